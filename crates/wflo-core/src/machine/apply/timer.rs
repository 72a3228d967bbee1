//! Timers that fired: the end of a pause, a sleep, a question's deadline, the run's own.

use super::{Draft, RUN_TIMEOUT};
use crate::approval::{ApprovalStatus, Decision, OnTimeout};
use crate::error::Failure;
use crate::event::{Ending, EventBody, Wait};
use crate::machine::action::{TimerKey, run_deadline};
use crate::machine::command::Rejection;
use crate::machine::state::StepStatus;

impl Draft {
    pub(super) fn timer_fired(&mut self, timer: &TimerKey) -> Result<(), Rejection> {
        let none = || Rejection::NoTimer(timer.to_string());
        match timer {
            TimerKey::Backoff { step } => {
                let (_, found) = self.find(step)?;
                let StepStatus::Backoff { due } = found.status else { return Err(none()) };
                if due > self.at {
                    return Err(none());
                }
                let generation = found.generation;
                self.push(EventBody::StepWoken { step: step.clone(), generation });
            }
            TimerKey::Sleep { step, path, seq } => {
                let (_, found) = self.find(step)?;
                let set = |wait: &Wait| matches!(wait, Wait::Timer { path: p, seq: s, .. } if p == path && s == seq);
                if !matches!(&found.status, StepStatus::Waiting { on } if on.iter().any(set)) {
                    return Err(none());
                }
                self.push(EventBody::TimerFired { step: step.clone(), path: path.clone(), seq: *seq });
            }
            TimerKey::Approval { approval } => {
                let found =
                    self.state.approvals.get(approval).filter(|a| a.status == ApprovalStatus::Pending);
                let found = found.filter(|a| !a.escalated).ok_or_else(none)?;
                match found.request.on_timeout {
                    OnTimeout::Reject => {
                        return self.decided(*approval, Decision::timed_out(self.at));
                    }
                    OnTimeout::Escalate | OnTimeout::Hold => {
                        self.push(EventBody::ApprovalEscalated { approval_id: *approval });
                    }
                }
            }
            TimerKey::Run => {
                if run_deadline(&self.state).is_none_or(|due| due > self.at) {
                    return Err(none());
                }
                let limit = self.state.definition.timeout_seconds.map(|t| t.to_string()).unwrap_or_default();
                let error = Failure::new(
                    RUN_TIMEOUT,
                    format!("the run was active for longer than its time-out of {limit}"),
                )
                .with_hint("raise timeout_seconds of the workflow, then `wflo runs retry ID`");
                return self.begin_ending(Ending::TimedOut { error });
            }
        }
        Ok(())
    }
}
