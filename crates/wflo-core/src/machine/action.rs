//! Actions: what a run asks of its driver, derived from the state alone.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::state::{RunState, StepStatus};
use crate::approval::ApprovalStatus;
use crate::event::Wait;
use crate::id::ApprovalId;
use crate::run::RunStatus;

/// What a run asks of its driver. Each is answered by a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Run (or go on with) a step: answered by `StepSucceeded`, `StepFailed`, `StepSuspended` or `StepLost`.
    RunStep {
        /// The step.
        step: String,
        /// Its journal: the one that will begin, when none has.
        generation: u32,
    },
    /// End a live attempt: answered by `StepStopped` (or by whatever the attempt says first).
    StopStep {
        /// The step.
        step: String,
    },
    /// Undo the data changes of a generation: answered by `StepUndone`.
    Compensate {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
    },
    /// Put a question to people: answered by `ApprovalDecided`.
    RequestApproval {
        /// Which.
        approval: ApprovalId,
    },
    /// Wake the run: answered by `TimerFired`.
    StartTimer {
        /// Which.
        timer: TimerKey,
        /// When.
        due: Timestamp,
    },
}

/// The name of a timer within its run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerKey {
    /// The wait before a step's next generation.
    Backoff {
        /// The step.
        step: String,
    },
    /// A durable sleep.
    Sleep {
        /// The step.
        step: String,
        /// The sleeping effect's branch.
        path: String,
        /// The sleeping effect's position.
        seq: u32,
    },
    /// The time people have for a question.
    Approval {
        /// Which.
        approval: ApprovalId,
    },
    /// The run's time-out.
    Run,
}

impl fmt::Display for TimerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimerKey::Backoff { step } => write!(f, "backoff:{step}"),
            TimerKey::Sleep { step, path, seq } => write!(f, "sleep:{step}:{seq}:{path}"),
            TimerKey::Approval { approval } => write!(f, "approval:{approval}"),
            TimerKey::Run => f.write_str("run"),
        }
    }
}

/// A text that names no timer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no timer")]
pub struct ParseTimerError(String);

impl FromStr for TimerKey {
    type Err = ParseTimerError;

    fn from_str(text: &str) -> Result<Self, ParseTimerError> {
        let bad = || ParseTimerError(text.to_owned());
        match text.split_once(':') {
            None if text == "run" => Ok(TimerKey::Run),
            Some(("backoff", step)) => Ok(TimerKey::Backoff { step: step.to_owned() }),
            Some(("approval", id)) => Ok(TimerKey::Approval { approval: id.parse().map_err(|_| bad())? }),
            Some(("sleep", rest)) => {
                let mut parts = rest.splitn(3, ':');
                let (step, seq, path) = (parts.next(), parts.next(), parts.next());
                match (step, seq.and_then(|s| s.parse().ok()), path) {
                    (Some(step), Some(seq), Some(path)) => {
                        Ok(TimerKey::Sleep { step: step.to_owned(), path: path.to_owned(), seq })
                    }
                    _ => Err(bad()),
                }
            }
            _ => Err(bad()),
        }
    }
}

/// Everything asked for and not yet answered.
pub fn outstanding(state: &RunState) -> Vec<Action> {
    let mut actions = Vec::new();
    if state.status.is_terminal() || state.status == RunStatus::Pending {
        return actions;
    }
    let holding = state.paused || state.ending.is_some();
    for (spec, step) in state.definition.steps.iter().zip(&state.steps) {
        let name = || spec.name.clone();
        match &step.status {
            StepStatus::Ready if !holding => {
                actions.push(Action::RunStep { step: name(), generation: step.generation.max(1) });
            }
            StepStatus::Running { .. } if holding => actions.push(Action::StopStep { step: name() }),
            StepStatus::Running { .. } => {
                actions.push(Action::RunStep { step: name(), generation: step.generation });
            }
            StepStatus::Undoing { .. } => {
                actions.push(Action::Compensate { step: name(), generation: step.generation });
            }
            StepStatus::Backoff { due } => {
                actions.push(Action::StartTimer { timer: TimerKey::Backoff { step: name() }, due: *due });
            }
            StepStatus::Waiting { on } => {
                for wait in on {
                    if let Wait::Timer { path, seq, due } = wait {
                        let timer = TimerKey::Sleep { step: name(), path: path.clone(), seq: *seq };
                        actions.push(Action::StartTimer { timer, due: *due });
                    }
                }
            }
            _ => {}
        }
    }
    for (id, approval) in &state.approvals {
        if approval.status == ApprovalStatus::Pending {
            actions.push(Action::RequestApproval { approval: *id });
            if let Some(due) = approval.request.expires_at.filter(|_| !approval.escalated) {
                actions.push(Action::StartTimer { timer: TimerKey::Approval { approval: *id }, due });
            }
        }
    }
    if let Some(due) = run_deadline(state) {
        actions.push(Action::StartTimer { timer: TimerKey::Run, due });
    }
    actions
}

/// When the run's time-out comes due, if it has one and is active.
pub(super) fn run_deadline(state: &RunState) -> Option<Timestamp> {
    let limit = state.definition.timeout_seconds?;
    let since = state.active_since.filter(|_| state.ending.is_none())?;
    let left = i64::try_from(limit.0.saturating_sub(state.active_ms)).unwrap_or(i64::MAX);
    since.checked_add(jiff::SignedDuration::from_millis(left)).ok()
}
