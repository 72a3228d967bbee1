//! Budgets: accounts `{limit, settled, held}` at a scope and a period.
//!
//! **Architecture Invariant:** `settled + held <= limit` at every moment; the store checks it in the
//! commit that takes a hold.

use serde::{Deserialize, Serialize};

use crate::id::{BudgetId, HoldId};
use crate::money::NanoUsd;

/// What a budget covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One run, its retries included.
    Run,
    /// One step of one run.
    Step,
    /// One agent name within one run.
    Agent,
    /// All runs of a workflow, by name.
    Workflow,
    /// All calls of the standalone gateway.
    Gateway,
    /// All calls with one virtual key of the gateway.
    Key,
}

/// Over which span a workflow budget counts, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Without end.
    Total,
    /// A clock hour.
    Hour,
    /// A day.
    Day,
    /// A week from Monday.
    Week,
    /// A month.
    Month,
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
pub struct Budget {
    /// Its id.
    pub id: BudgetId,
    /// What it covers.
    pub scope: Scope,
    /// Which one: the run id, `<run>/<step>`, `<run>/<agent>`, the workflow's name, `gateway`, or the key's id
    /// and name, `<key>/<name>`.
    pub key: String,
    /// Over which span.
    pub period: Period,
    /// The span's start as RFC 3339 text for periods, empty for `total`.
    pub period_start: String,
    /// The most that may be spent, in USD.
    #[serde(rename = "limit_usd")]
    pub limit: NanoUsd,
    /// What finished calls were billed, in USD.
    #[serde(rename = "settled_usd")]
    pub settled: NanoUsd,
    /// What running calls may still be billed, in USD.
    #[serde(rename = "held_usd")]
    pub held: NanoUsd,
    /// What happens when a call does not fit.
    pub action_on_exceeded: OnExceeded,
    /// Shares of the limit at which an alert is raised once each, in thousandths, ascending.
    pub alert_thresholds: Vec<u32>,
}

impl Budget {
    /// What a new call could still hold.
    pub fn left(&self) -> NanoUsd {
        self.limit.saturating_sub(self.settled).saturating_sub(self.held)
    }
}

/// The name by which people know a budget: `run budget`, `step "triage" budget`.
pub fn display_name(scope: Scope, key: &str, period: Period) -> String {
    let of = key.split_once('/').map_or(key, |(_, name)| name);
    let scope = match scope {
        Scope::Run => "run budget".to_owned(),
        Scope::Step => format!("budget of step \"{of}\""),
        Scope::Agent => format!("budget of agent \"{of}\""),
        Scope::Workflow => format!("budget of workflow \"{key}\""),
        Scope::Gateway => "gateway budget".to_owned(),
        Scope::Key => format!("budget of key \"{of}\""),
    };
    match period {
        Period::Total => scope,
        Period::Hour => format!("{scope} per hour"),
        Period::Day => format!("{scope} per day"),
        Period::Week => format!("{scope} per week"),
        Period::Month => format!("{scope} per month"),
    }
}

/// Why a hold was refused: the first budget that could not take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// The budget that could not take the hold, as it stood.
    pub budget: Budget,
    /// What the call could cost at most.
    #[serde(rename = "wanted_usd")]
    pub wanted: NanoUsd,
}

impl Shortfall {
    /// Whether the call might fit once running calls have settled for less than they hold.
    pub fn may_fit_later(&self) -> bool {
        self.budget.held > NanoUsd::ZERO
            && self.budget.settled.saturating_add(self.wanted) <= self.budget.limit
    }

    /// What the budget lacks for the call, in USD.
    pub fn missing(&self) -> NanoUsd {
        self.wanted.saturating_sub(self.budget.left())
    }

    /// By how much to raise the budget so that the next calls do not ask again: room for twenty calls like
    /// this one, though no more than the whole limit once more, and no less than is missing; rounded up
    /// to two digits. Each yes at most doubles a limit that a call fits, so that even dear calls ask seldom.
    pub fn suggested(&self) -> NanoUsd {
        const CALLS: i64 = 20;
        let many = NanoUsd::from_nanos(self.wanted.nanos().saturating_mul(CALLS));
        many.min(self.budget.limit).max(self.missing()).rounded_up()
    }

    /// The whole arithmetic in one sentence.
    pub fn explain(&self) -> String {
        format!(
            "the {} has ${} left of ${} (${} spent, ${} held by running calls); this call could cost up to ${}",
            display_name(self.budget.scope, &self.budget.key, self.budget.period),
            self.budget.left(),
            self.budget.limit,
            self.budget.settled,
            self.budget.held,
            self.wanted,
        )
    }
}

/// A reservation on several budgets at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Every budget that applies to the call.
    pub budgets: Vec<BudgetId>,
    /// What the call can cost at most.
    pub amount: NanoUsd,
}
