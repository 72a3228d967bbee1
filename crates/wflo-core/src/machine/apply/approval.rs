//! Questions: put once, answered once, and what an answer does to the run.

use super::{Draft, HALTED, REJECTED};
use crate::approval::{ApprovalStatus, Decision, Purpose, TIMEOUT};
use crate::error::Failure;
use crate::event::{Ending, EventBody};
use crate::id::ApprovalId;
use crate::machine::command::Rejection;
use crate::machine::state::ApprovalState;

impl Draft {
    pub(super) fn decided(&mut self, approval: ApprovalId, decision: Decision) -> Result<(), Rejection> {
        let found = self
            .state
            .approvals
            .get(&approval)
            .filter(|a| a.status == ApprovalStatus::Pending)
            .ok_or(Rejection::NotPending(approval))?;
        // What somebody said after its time was up is no answer, whoever comes to it first.
        let decision =
            if found.request.is_over(decision.at) { Decision::timed_out(self.at) } else { decision };
        let (purpose, title) = (found.request.purpose.clone(), found.request.title.clone());
        let gate_goes_on = found.request.step.as_deref().is_some_and(|name| self.gate_continues(name));
        let comment = decision.comment.as_deref().map(|c| format!(": {c}")).unwrap_or_default();
        let refusal = format!("{} rejected \"{title}\"{comment}", decision.by);
        let (approved, is_late) = (decision.approved, decision.by == TIMEOUT);
        self.push(EventBody::ApprovalDecided { approval_id: approval, decision });
        if approved || self.state.ending.is_some() {
            return Ok(());
        }
        match purpose {
            // The code that asked hears the answer and decides itself.
            Purpose::Asked { .. } | Purpose::Host { .. } | Purpose::Apply => Ok(()),
            Purpose::Gate if gate_goes_on => Ok(()),
            // Nobody has said no: the call that was held is refused, and its program lives on.
            Purpose::Budget { .. } if is_late => Ok(()),
            Purpose::Budget { .. } => {
                self.begin_ending(Ending::Halted { error: Failure::new(HALTED, refusal) })
            }
            Purpose::Gate
            | Purpose::Start
            | Purpose::Write { .. }
            | Purpose::Output
            | Purpose::Repeat { .. }
            | Purpose::Policy { .. } => {
                self.begin_ending(Ending::Rejected { error: Failure::new(REJECTED, refusal) })
            }
        }
    }

    /// Questions of the run as a whole are put once, however many calls come to them at the same moment:
    /// one about a budget or a host while it is open, one of a policy for good. So are those of a step about its circles
    /// while one is open.
    pub(super) fn asked_already(&self, purpose: &Purpose) -> Option<ApprovalId> {
        let same = |known: &ApprovalState| match (purpose, &known.request.purpose) {
            (Purpose::Budget { budget, .. }, Purpose::Budget { budget: other, .. }) => {
                budget == other && known.status == ApprovalStatus::Pending
            }
            (Purpose::Repeat { effect }, Purpose::Repeat { effect: other }) => {
                effect.step == other.step
                    && effect.generation == other.generation
                    && known.status == ApprovalStatus::Pending
            }
            (Purpose::Host { rule }, Purpose::Host { rule: other }) => {
                rule == other && known.status == ApprovalStatus::Pending
            }
            (Purpose::Policy { policy }, Purpose::Policy { policy: other }) => {
                policy == other && known.status != ApprovalStatus::Superseded
            }
            _ => false,
        };
        self.state.approvals.iter().find(|(_, known)| same(known)).map(|(id, _)| *id)
    }

    fn gate_continues(&self, name: &str) -> bool {
        use crate::definition::{OnRejected, StepKind};
        self.find(name).is_ok_and(|(spec, _)| {
            matches!(&spec.kind, StepKind::Approval(gate) if gate.on_rejected == OnRejected::Continue)
        })
    }
}
