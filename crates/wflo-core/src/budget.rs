//! Budgets: accounts `{limit, settled, held}` at a scope and a period.
//!
//! **Architecture Invariant:** `settled + held <= limit` at every moment; the store checks it in the
//! commit that takes a hold.

use serde::{Deserialize, Serialize};

use crate::id::{BudgetId, HoldId};
use crate::money::NanoUsd;

mod amount;
mod applied;
mod period;
mod standing;
mod wire;

pub use amount::{Amount, Amounts, Measure};
pub use applied::{ALERTS, Applied, Applying, LOCAL_ORG, Which};
pub use period::{Period, Span, UnknownZone, Zone};
pub use standing::{BudgetChange, Change, Standing};
pub use wire::{Figures, Quantity};

/// What a budget covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One run, its retries included.
    Run,
    /// One step of one run.
    Step,
    /// One agent name: within one run, or of all runs where the budget is a standing one.
    Agent,
    /// All runs of a workflow, by name.
    Workflow,
    /// All calls of the standalone gateway.
    Gateway,
    /// All runs of an organisation: of the data directory, unless `[project] org` names one.
    Org,
    /// All runs with one label, `user=anna`.
    Label,
    /// All calls with one API key of the gateway.
    Key,
}

impl Scope {
    /// The name in files and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Run => "run",
            Scope::Step => "step",
            Scope::Agent => "agent",
            Scope::Workflow => "workflow",
            Scope::Org => "org",
            Scope::Label => "label",
            Scope::Gateway => "gateway",
            Scope::Key => "key",
        }
    }

    /// Whether its accounts belong to one run and go with it.
    pub const fn is_of_a_run(self) -> bool {
        matches!(self, Scope::Run | Scope::Step | Scope::Agent)
    }
}

/// What happens when a call does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExceeded {
    /// The call is refused and the run ends as `halted`.
    Halt,
    /// The run waits while a person tops the budget up or stops it.
    Ask,
    /// The call waits for room: behind running calls, for the next period, for a top-up; then it halts.
    Queue,
    /// A cheaper model is called instead; it halts where there is none.
    Downgrade,
}

impl OnExceeded {
    /// Its name in files and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            OnExceeded::Halt => "halt",
            OnExceeded::Ask => "ask",
            OnExceeded::Queue => "queue",
            OnExceeded::Downgrade => "downgrade",
        }
    }
}

/// One budget account as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "wire::BudgetWire", into = "wire::BudgetWire")]
pub struct Budget {
    /// Its id.
    pub id: BudgetId,
    /// What it covers.
    pub scope: Scope,
    /// Which one: the run id, `<run>/<step>`, `<run>/<agent>`, `gateway`, the key's id and name, `<key>/<name>`, or
    /// the name of whatever else outlives runs.
    pub key: String,
    /// Over which span.
    pub period: Period,
    /// The span's start as RFC 3339 text for periods, empty for `total`.
    pub period_start: String,
    /// In which time zone the span is meant.
    pub time_zone: Zone,
    /// Whether people keep it with `wflo budgets set`, beside what files and code say.
    pub standing: bool,
    /// What it counts.
    pub measure: Measure,
    /// The most that may be spent.
    pub limit: Amount,
    /// What finished calls took.
    pub settled: Amount,
    /// What running calls may still take.
    pub held: Amount,
    /// What happens when a call does not fit.
    pub action_on_exceeded: OnExceeded,
    /// Shares of the limit at which an alert is raised once each, in thousandths, ascending.
    pub alert_thresholds: Vec<u32>,
}

impl Budget {
    /// What a new call could still hold.
    pub fn left(&self) -> Amount {
        self.limit.saturating_sub(self.settled).saturating_sub(self.held)
    }

    /// Whether it is the money of one run.
    pub fn is_money_of_a_run(&self) -> bool {
        self.scope == Scope::Run && self.measure == Measure::Cost
    }

    /// An amount of it as people read it.
    pub fn show(&self, amount: Amount) -> String {
        self.measure.show(amount)
    }

    /// The name by which people know it: run budget, budget of step `triage`,
    /// budget of tokens for org `acme` per month.
    pub fn name(&self) -> String {
        let of = self.key.split_once('/').map_or(self.key.as_str(), |(_, name)| name);
        let kind = match self.measure {
            Measure::Cost => "budget",
            Measure::ModelCalls => "budget of model calls",
            Measure::ToolCalls => "budget of tool calls",
            Measure::Tokens => "budget of tokens",
            Measure::Seconds => "budget of time",
        };
        let scope = match (self.scope, self.measure) {
            (Scope::Run, _) => format!("run {kind}"),
            (Scope::Gateway, _) => format!("gateway {kind}"),
            (Scope::Key, Measure::Cost) => format!("{kind} of key `{of}`"),
            (Scope::Key, _) => format!("{kind} for key `{of}`"),
            (Scope::Step, Measure::Cost) => format!("{kind} of step `{of}`"),
            (Scope::Agent, Measure::Cost) => format!("{kind} of agent `{of}`"),
            (Scope::Step, _) => format!("{kind} for step `{of}`"),
            (Scope::Agent, _) => format!("{kind} for agent `{of}`"),
            (scope, Measure::Cost) => format!("{kind} of {} `{}`", scope.name(), self.key),
            (scope, _) => format!("{kind} for {} `{}`", scope.name(), self.key),
        };
        match self.period {
            Period::Total => scope,
            period => format!("{scope} per {}", period.name()),
        }
    }

    /// The name without the word budget, as a refusal has it: run, step `triage`, org `acme` per month.
    pub fn short_name(&self) -> String {
        self.name().replace(" budget", "").replace("budget of ", "")
    }

    /// The same account has the same id in every process, so that opening it twice opens one.
    #[must_use]
    pub fn named(self) -> Budget {
        let mut name = format!("{:?}\0{}\0{:?}\0{}", self.scope, self.key, self.period, self.period_start);
        // What accounts were known by before they had more.
        if !self.measure.is_cost() || !self.time_zone.is_utc() || self.standing {
            name.push_str(&format!("\0{}\0{}\0{}", self.measure.name(), self.time_zone, self.standing));
        }
        let digest = blake3::hash(name.as_bytes());
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        Budget { id: BudgetId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid()), ..self }
    }
}

/// Why a hold was refused: the first budget that could not take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "wire::ShortfallWire", into = "wire::ShortfallWire")]
pub struct Shortfall {
    /// The budget that could not take the hold, as it stood.
    pub budget: Budget,
    /// What the call could take at most; of time, the least that a step begins with.
    pub wanted: Amount,
}

impl Shortfall {
    /// Whether the call might fit once running calls have settled for less than they hold.
    pub fn may_fit_later(&self) -> bool {
        self.budget.held > Amount::ZERO
            && self.budget.settled.saturating_add(self.wanted) <= self.budget.limit
    }

    /// What the budget lacks for the call.
    pub fn missing(&self) -> Amount {
        self.wanted.saturating_sub(self.budget.left())
    }

    /// By how much to raise the budget so that the next calls do not ask again: room for twenty calls like
    /// this one, though no more than the whole limit once more, and no less than is missing; of time, the whole
    /// limit once more. Rounded up to two digits. Each yes at most doubles a limit that a call fits, so that even dear calls ask seldom.
    pub fn suggested(&self) -> Amount {
        const CALLS: i64 = 20;
        let many = match self.budget.measure {
            // How long a step will run nobody knows.
            Measure::Seconds => self.budget.limit,
            _ => Amount::from_units(self.wanted.units().saturating_mul(CALLS)),
        };
        let units = many.min(self.budget.limit).max(self.missing()).units();
        NanoUsd::from_nanos(units).rounded_up().into()
    }

    /// The whole arithmetic in one sentence.
    pub fn explain(&self) -> String {
        let Shortfall { budget, wanted } = self;
        let show = |amount: Amount| budget.show(amount);
        let (verb, by, take) = match budget.measure {
            Measure::Cost => ("spent", "calls", "cost"),
            Measure::Seconds => ("used", "steps", ""),
            _ => ("used", "calls", "take"),
        };
        let account = format!(
            "the {} has {} left of {} ({} {verb}, {} held by running {by})",
            budget.name(),
            show(budget.left()),
            show(budget.limit),
            show(budget.settled),
            show(budget.held),
        );
        match budget.measure {
            Measure::Seconds => account,
            _ => format!("{account}; this call could {take} up to {}", show(*wanted)),
        }
    }
}

/// A reservation on several budgets at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Every budget that applies to the call.
    pub budgets: Vec<BudgetId>,
    /// What the call can take at most, of each measure.
    pub amounts: Amounts,
}
