//! Which budget accounts apply to a call of a run.
//!
//! What the limits of one account come to together is the core's ([`Applying`]); here stands which of them a
//! run, its step, its agent and its labels have.

use jiff::Timestamp;
use wflo_core::budget::{Applying, LOCAL_ORG, OnExceeded, Scope, Standing};
use wflo_core::definition::{BudgetSpec, Definition, Per, StepSpec};
use wflo_core::id::RunId;
use wflo_core::run::RunRecord;
use wflo_core::size::Millis;

pub use wflo_core::budget::Applied;

/// How long a call is queued when nothing else is said: a day.
const QUEUE: Millis = Millis(24 * 60 * 60 * 1_000);

/// Who calls: a run, by one of its steps.
struct Calling<'a> {
    record: &'a RunRecord,
    definition: &'a Definition,
    step: Option<&'a StepSpec>,
}

/// The accounts of a call of `step` (all accounts of the run that exist without a call, for `None`).
pub fn accounts(
    record: &RunRecord,
    definition: &Definition,
    step: Option<&StepSpec>,
    standing: &[Standing],
    now: Timestamp,
) -> Vec<Applied> {
    let calling = Calling { record, definition, step };
    let action = if record.options.ask_when_exceeded { OnExceeded::Ask } else { OnExceeded::Halt };
    let mut applying = Applying::new(now, action, QUEUE);
    for spec in definition.budgets.iter().chain(&record.options.budgets) {
        if let Some(key) = calling.key(spec) {
            applying.add(spec, &key);
        }
    }
    if let Some(step) = step {
        for spec in &step.budgets {
            let (per, name) = match spec.per {
                Per::Agent => (Per::Agent, step.agent_name()),
                _ => (Per::Step, step.name.as_str()),
            };
            let spec = BudgetSpec { per, ..spec.clone() };
            applying.add(&spec, &format!("{}/{name}", record.budget_key));
        }
    }
    standing.iter().filter(|standing| calling.has(standing)).for_each(|standing| applying.stand(standing));
    applying.accounts()
}

impl Calling<'_> {
    /// Which account a limit has for this call.
    fn key(&self, spec: &BudgetSpec) -> Option<String> {
        let run = &self.record.budget_key;
        match spec.covers().0 {
            Scope::Run => Some(run.clone()),
            Scope::Step => self.step.map(|step| format!("{run}/{}", step.name)),
            Scope::Agent => {
                let step =
                    self.step.filter(|step| spec.agent.as_deref().is_none_or(|a| a == step.agent_name()));
                step.map(|step| format!("{run}/{}", step.agent_name()))
            }
            Scope::Workflow => {
                let name = &self.definition.name;
                spec.workflow.as_ref().is_none_or(|only| only == name).then(|| name.clone())
            }
            Scope::Org => Some(self.org().to_owned()),
            Scope::Label => spec.labelled(&self.record.options.labels),
            // A run is not of the gateway.
            Scope::Key | Scope::Gateway => None,
        }
    }

    fn org(&self) -> &str {
        self.record.options.org.as_deref().unwrap_or(LOCAL_ORG)
    }

    fn has(&self, standing: &Standing) -> bool {
        match standing.scope {
            Scope::Org => standing.key == self.org(),
            Scope::Workflow => standing.key == self.definition.name,
            Scope::Agent => self.step.is_some_and(|step| step.agent_name() == standing.key),
            Scope::Label => standing.labelled(&self.record.options.labels),
            Scope::Run | Scope::Step | Scope::Key | Scope::Gateway => false,
        }
    }
}

/// The key of a run's own budget: the first run of its chain of retries.
pub fn run_key(first: RunId) -> String {
    first.to_string()
}
