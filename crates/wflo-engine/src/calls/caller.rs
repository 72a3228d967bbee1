//! Who makes the calls of an attempt, as the gateway sees it.

use std::sync::Arc;

use wflo_gateway::Gateway;
use wflo_gateway::cache::Scope;
use wflo_gateway::ledger::Caller;

use super::Calls;

impl Calls {
    /// The attempt's name in logs, limits and circles.
    pub(crate) fn label(&self) -> String {
        let attempt = &self.attempt;
        format!("{}/{}/{}", attempt.run, attempt.step, attempt.generation)
    }

    /// The attempt as a caller, and with whom it shares kept answers.
    pub(crate) fn caller(self: &Arc<Self>) -> Caller {
        let attempt = &self.attempt;
        let caller = Caller::new(&self.label(), Arc::clone(self)).among_others(&self.share);
        let wanted = attempt.spec().is_none_or(|step| step.cache != Some(false));
        let cache = self.services.gateway().and_then(Gateway::cache).filter(|_| wanted);
        let record = &attempt.context.record;
        match cache.map(|cache| cache.settings().scope) {
            None => caller,
            // A retry goes on with what its run has paid for.
            Some(Scope::Caller) => caller.sharing(&format!("run/{}", record.budget_key)),
            Some(Scope::Workflow) => caller.sharing(&format!("workflow/{}", record.workflow)),
            Some(Scope::Everyone) => caller.sharing("everyone"),
        }
    }
}
