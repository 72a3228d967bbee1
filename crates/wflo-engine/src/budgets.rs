//! Which budget accounts apply to a call, and how they are opened.
//!
//! Every limit that applies to the same account (flags, `wflo.toml`, code) is merged into the lowest:
//! each may add a limit, none raises another's. A standing budget has an account of its own, so that it
//! neither raises nor lowers what files say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Standing, Zone};
use wflo_core::definition::{BudgetSpec, Definition, Per, StepSpec};
use wflo_core::id::{BudgetId, RunId};
use wflo_core::run::RunRecord;
use wflo_core::size::Millis;

/// Shares of the limit at which an alert is raised when nothing else is said, in thousandths.
pub const ALERTS: [u32; 4] = [500, 750, 900, 1_000];
/// The organisation of a data directory that names none.
pub const LOCAL_ORG: &str = "local";
/// How long a call is queued when nothing else is said: a day.
const QUEUE: Millis = Millis(24 * 60 * 60 * 1_000);

/// An account that applies to a call, and what its limits say of the call itself.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The account, as it is opened.
    pub budget: Budget,
    /// The fewest output tokens that an answer may be cut down to; `None` where nobody opted in.
    pub floor: Option<u64>,
    /// How long a call may be queued for it.
    pub queue: Millis,
}

/// The accounts of a run, by the step that calls.
struct Accounts<'a> {
    record: &'a RunRecord,
    definition: &'a Definition,
    step: Option<&'a StepSpec>,
    now: Timestamp,
    merged: BTreeMap<BudgetId, Applied>,
}

/// The accounts of a call of `step` (all accounts of the run that exist without a call, for `None`).
pub fn accounts(
    record: &RunRecord,
    definition: &Definition,
    step: Option<&StepSpec>,
    standing: &[Standing],
    now: Timestamp,
) -> Vec<Applied> {
    let mut accounts = Accounts { record, definition, step, now, merged: BTreeMap::new() };
    for spec in definition.budgets.iter().chain(&record.options.budgets) {
        for key in accounts.keys(spec) {
            accounts.add(spec, key);
        }
    }
    if let Some(step) = step {
        for spec in &step.budgets {
            let (per, name) = match spec.per {
                Per::Agent => (Per::Agent, step.agent_name()),
                _ => (Per::Step, step.name.as_str()),
            };
            let spec = BudgetSpec { per, ..spec.clone() };
            accounts.add(&spec, format!("{}/{name}", record.budget_key));
        }
    }
    for standing in standing {
        if accounts.applies(standing) {
            accounts.stand(standing);
        }
    }
    accounts.merged.into_values().collect()
}

impl Accounts<'_> {
    /// Which accounts a limit has for this call.
    fn keys(&self, spec: &BudgetSpec) -> Vec<String> {
        let run = &self.record.budget_key;
        let one = |key: Option<String>| key.into_iter().collect();
        match spec.covers().0 {
            Scope::Run => one(Some(run.clone())),
            Scope::Step => one(self.step.map(|step| format!("{run}/{}", step.name))),
            Scope::Agent => {
                let step =
                    self.step.filter(|step| spec.agent.as_deref().is_none_or(|a| a == step.agent_name()));
                one(step.map(|step| format!("{run}/{}", step.agent_name())))
            }
            Scope::Workflow => {
                let name = &self.definition.name;
                one(spec.workflow.as_ref().is_none_or(|only| only == name).then(|| name.clone()))
            }
            Scope::Org => one(Some(self.org().to_owned())),
            Scope::Label => {
                let wanted = spec.label.as_deref().unwrap_or_default();
                let (name, only) = wanted.split_once('=').map_or((wanted, None), |(name, v)| (name, Some(v)));
                let value = self.record.options.labels.get(name);
                one(value
                    .filter(|value| only.is_none_or(|only| only == *value))
                    .map(|v| format!("{name}={v}")))
            }
            // A run is not of the gateway.
            Scope::Key | Scope::Gateway => Vec::new(),
        }
    }

    fn org(&self) -> &str {
        self.record.options.org.as_deref().unwrap_or(LOCAL_ORG)
    }

    fn applies(&self, standing: &Standing) -> bool {
        match standing.scope {
            Scope::Org => standing.key == self.org(),
            Scope::Workflow => standing.key == self.definition.name,
            Scope::Agent => self.step.is_some_and(|step| step.agent_name() == standing.key),
            Scope::Label => standing.key.split_once('=').is_some_and(|(name, value)| {
                self.record.options.labels.get(name).is_some_and(|v| v == value)
            }),
            Scope::Run | Scope::Step | Scope::Key | Scope::Gateway => false,
        }
    }

    fn default_action(&self) -> OnExceeded {
        if self.record.options.ask_when_exceeded { OnExceeded::Ask } else { OnExceeded::Halt }
    }

    fn add(&mut self, spec: &BudgetSpec, key: String) {
        let (scope, period) = spec.covers();
        let time_zone = spec.time_zone.clone().unwrap_or_default();
        for (measure, limit) in spec.limits() {
            let which = Which { scope, key: &key, period, time_zone: &time_zone, standing: false, measure };
            let action = spec.action_on_exceeded.unwrap_or_else(|| self.default_action());
            let budget = which.account(limit, action, thresholds(spec), self.now);
            let queue = spec.queue_timeout_seconds;
            self.merge(budget, spec.min_output_tokens, queue);
        }
    }

    fn stand(&mut self, standing: &Standing) {
        let Standing { scope, period, measure, .. } = *standing;
        let (key, time_zone) = (&standing.key, &standing.time_zone);
        let which = Which { scope, key, period, time_zone, standing: true, measure };
        let action = standing.action_on_exceeded.unwrap_or_else(|| self.default_action());
        let budget = which.account(standing.limit, action, standing.alert_thresholds.clone(), self.now);
        self.merge(budget, standing.min_output_tokens, None);
    }

    fn merge(&mut self, account: Budget, floor: Option<u64>, queue: Option<Millis>) {
        let known = self.merged.get(&account.id);
        let floor = floor.max(known.and_then(|known| known.floor));
        let queue = queue.or(known.map(|known| known.queue)).unwrap_or(QUEUE);
        let budget = match known {
            Some(known) if known.budget.limit <= account.limit => known.budget.clone(),
            _ => account,
        };
        self.merged.insert(budget.id, Applied { budget, floor, queue });
    }
}

/// Which account.
struct Which<'a> {
    scope: Scope,
    key: &'a str,
    period: Period,
    time_zone: &'a Zone,
    standing: bool,
    measure: Measure,
}

impl Which<'_> {
    fn account(&self, limit: Amount, action: OnExceeded, thresholds: Vec<u32>, now: Timestamp) -> Budget {
        let account = Budget {
            id: BudgetId::from_uuid(uuid::Uuid::nil()),
            scope: self.scope,
            key: self.key.to_owned(),
            period: self.period,
            period_start: self.period.start(self.time_zone, now),
            time_zone: self.time_zone.clone(),
            standing: self.standing,
            measure: self.measure,
            limit,
            settled: Amount::ZERO,
            held: Amount::ZERO,
            action_on_exceeded: action,
            alert_thresholds: thresholds,
        };
        account.named()
    }
}

/// The key of a run's own budget: the first run of its chain of retries.
pub fn run_key(first: RunId) -> String {
    first.to_string()
}

fn thresholds(spec: &BudgetSpec) -> Vec<u32> {
    let Some(given) = &spec.alert_thresholds else { return ALERTS.to_vec() };
    let mut thousandths: Vec<u32> = given.iter().map(|t| (t * 1_000.0).round() as u32).collect();
    thousandths.sort_unstable();
    thousandths.dedup();
    thousandths
}
