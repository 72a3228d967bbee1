//! Commands into events.
//!
//! Each command is checked against the state, gives its own events, and then the run is settled: what
//! has become possible or necessary through them (gates, skips, the end) follows in the same list.

mod approval;
mod timer;

use jiff::Timestamp;
use serde_json::Value;

use super::command::{Attempt, Command, CommandBody, Rejection};
use super::evolve::{crashes, fold};
use super::settle::settle;
use super::state::{AfterUndo, RunState, StepState, StepStatus};
use super::{CRASH_LIMIT, POISON_LIMIT};
use crate::approval::ApprovalStatus;
use crate::budget::OnExceeded;
use crate::definition::StepSpec;
use crate::error::{Code, Failure};
use crate::event::{AfterFailure, Ending, Event, EventBody, LeftBehind};
use crate::id::ApprovalId;
use crate::money::NanoUsd;
use crate::run::RunStatus;

/// A step whose worker died too often.
pub(super) const POISONED: Code = Code(3001);
/// People said no.
pub(super) const REJECTED: Code = Code(7003);
/// The budget does not allow the call.
pub(super) const HALTED: Code = Code(4001);
/// The run took too long.
pub(super) const RUN_TIMEOUT: Code = Code(3003);
/// A person cancelled the run.
pub(super) const CANCELLED: Code = Code(3004);

/// The events that a command causes.
///
/// # Errors
/// [`Rejection`] when the command changes nothing; the state is as it was.
pub fn apply(state: &RunState, command: Command) -> Result<Vec<Event>, Rejection> {
    step(state, command).map(|(events, _)| events)
}

/// Like [`apply`], with the state after the events, so that a driver folds only once.
///
/// # Errors
/// As [`apply`].
pub fn step(state: &RunState, command: Command) -> Result<(Vec<Event>, RunState), Rejection> {
    let mut draft = Draft::new(state.clone(), &command);
    draft.run(command.body)?;
    settle(&mut draft);
    Ok((draft.events, draft.state))
}

/// How a generation failed.
struct Failed {
    error: Failure,
    timed_out: bool,
    no_retry: Option<Failure>,
    left: Option<LeftBehind>,
}

/// The state as it becomes, and the events that make it so.
pub(super) struct Draft {
    pub(super) state: RunState,
    pub(super) events: Vec<Event>,
    pub(super) at: Timestamp,
    seed: uuid::Uuid,
    minted: u64,
    draw: f64,
}

impl Draft {
    fn new(state: RunState, command: &Command) -> Self {
        Draft { state, events: Vec::new(), at: command.at, seed: command.seed, minted: 0, draw: command.draw }
    }

    pub(super) fn push(&mut self, body: EventBody) {
        let event = Event { at: self.at, body };
        fold(&mut self.state, &event);
        self.events.push(event);
    }

    /// A fresh approval id: the seed's time, and random bits derived from the seed and a counter.
    pub(super) fn mint_approval(&mut self) -> ApprovalId {
        self.minted += 1;
        let mut bytes = *self.seed.as_bytes();
        let mixed = blake3::hash(&[&bytes[..], &self.minted.to_be_bytes()[..]].concat());
        bytes[6..].copy_from_slice(&mixed.as_bytes()[..10]);
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        ApprovalId::from_uuid(uuid::Uuid::from_bytes(bytes))
    }

    fn find(&self, name: &str) -> Result<(&StepSpec, &StepState), Rejection> {
        let index =
            self.state.definition.index_of(name).ok_or_else(|| Rejection::UnknownStep(name.to_owned()))?;
        Ok((&self.state.definition.steps[index], &self.state.steps[index]))
    }

    /// The step, if `attempt` is its live one.
    fn live(
        &self,
        name: &str,
        attempt: Attempt,
        wanted: &'static str,
    ) -> Result<(&StepSpec, &StepState), Rejection> {
        let (spec, step) = self.find(name)?;
        if step.generation != attempt.generation || step.attempt != attempt.attempt {
            let Attempt { generation, attempt } = attempt;
            return Err(Rejection::StaleAttempt { step: name.to_owned(), generation, attempt });
        }
        if !matches!(step.status, StepStatus::Running { .. }) {
            return Err(Rejection::StepNot { step: name.to_owned(), status: step.status.as_str(), wanted });
        }
        Ok((spec, step))
    }

    fn run(&mut self, body: CommandBody) -> Result<(), Rejection> {
        if self.state.status.is_terminal() {
            return Err(Rejection::Terminal(self.state.status));
        }
        if let CommandBody::Start { version, carried } = body {
            if self.state.status != RunStatus::Pending {
                return Err(Rejection::AlreadyStarted);
            }
            let workflow = self.state.definition.name.clone();
            self.push(EventBody::RunStarted { workflow, version });
            for done in carried {
                if self.state.definition.index_of(&done.step).is_none() {
                    continue;
                }
                self.push(EventBody::StepSucceeded {
                    step: done.step,
                    generation: 1,
                    output: done.output,
                    changes: done.changes,
                    cost_usd: NanoUsd::ZERO,
                    layer: done.layer,
                });
            }
            return Ok(());
        }
        if self.state.status == RunStatus::Pending {
            return match body {
                CommandBody::Cancel { by, reason } => self.begin_ending(Ending::Cancelled { by, reason }),
                _ => Err(Rejection::NotStarted),
            };
        }
        match body {
            CommandBody::Start { .. } => Err(Rejection::AlreadyStarted),
            CommandBody::StepStarted { step, epoch } => self.step_started(step, epoch),
            CommandBody::StepSucceeded { step, attempt, output, state, cost, layer } => {
                self.live(&step, attempt, "completed")?;
                let changes = self.state.changes_of(&step, state.as_ref());
                self.push(EventBody::StepSucceeded {
                    step,
                    generation: attempt.generation,
                    output,
                    changes,
                    cost_usd: cost,
                    layer,
                });
                Ok(())
            }
            CommandBody::StepFailed { step, attempt, error, timed_out, no_retry, left } => {
                self.live(&step, attempt, "failed")?;
                self.step_failed(&step, attempt.generation, Failed { error, timed_out, no_retry, left })
            }
            CommandBody::StepLost { step, attempt, reason, active_ms, answered } => {
                let (_, found) = self.live(&step, attempt, "lost")?;
                let poisoned = match answered {
                    None if found.losses + 1 >= POISON_LIMIT => Some(format!(
                        "the worker of step `{step}` died {POISON_LIMIT} times in a row: {reason}"
                    )),
                    Some(answered) if crashes(found, answered) >= CRASH_LIMIT => Some(format!(
                        "wflo itself ended {CRASH_LIMIT} times in a row while step `{step}` ran, and none of its effects was answered in between"
                    )),
                    _ => None,
                };
                let Attempt { generation, attempt } = attempt;
                if let Some(message) = poisoned.filter(|_| self.state.ending.is_none()) {
                    let error = Failure::new(POISONED, message).with_hint(
                        "see its output with `wflo runs events ID`; after a fix, `wflo runs retry ID`",
                    );
                    let refused = error.clone();
                    let failed = Failed { error, timed_out: false, no_retry: Some(refused), left: None };
                    return self.step_failed(&step, generation, failed);
                }
                self.push(EventBody::StepLost { step, generation, attempt, reason, active_ms, answered });
                Ok(())
            }
            CommandBody::StepSuspended { step, attempt, on, active_ms } => {
                self.live(&step, attempt, "suspended")?;
                let Attempt { generation, attempt } = attempt;
                self.push(EventBody::StepSuspended { step, generation, attempt, on, active_ms });
                Ok(())
            }
            CommandBody::StepStopped { step, attempt, active_ms } => {
                self.live(&step, attempt, "stopped")?;
                let Attempt { generation, attempt } = attempt;
                self.push(EventBody::StepStopped { step, generation, attempt, active_ms });
                Ok(())
            }
            CommandBody::SandboxUsed { step, attempt, resources } => {
                self.live(&step, attempt, "measured")?;
                let Attempt { generation, attempt } = attempt;
                self.push(EventBody::SandboxUsed { step, generation, attempt, resources });
                Ok(())
            }
            CommandBody::StepUndone { step, report, error } => self.step_undone(step, report, error),
            CommandBody::Ask { request } => {
                if let Some(step) = request.step.as_deref() {
                    self.find(step)?;
                }
                if let Some(asked) = self.asked_already(&request.purpose) {
                    return Err(Rejection::AskedAlready(asked));
                }
                let approval_id = self.mint_approval();
                self.push(EventBody::ApprovalRequested { approval_id, request });
                Ok(())
            }
            CommandBody::Supersede { approval, reason } => {
                self.state
                    .approvals
                    .get(&approval)
                    .filter(|a| matches!(a.status, ApprovalStatus::Pending | ApprovalStatus::Approved))
                    .ok_or(Rejection::NotPending(approval))?;
                self.push(EventBody::ApprovalSuperseded { approval_id: approval, reason });
                Ok(())
            }
            CommandBody::ApprovalDecided { approval, decision } => self.decided(approval, decision),
            CommandBody::TimerFired { timer } => self.timer_fired(&timer),
            CommandBody::BudgetExhausted { step, shortfall, action } => {
                self.find(&step)?;
                let raise = match shortfall.budget.is_money_of_a_run() {
                    true => "add to the limit with `wflo runs retry ID --budget USD`".to_owned(),
                    false => format!(
                        "raise the limit with `wflo budgets top-up {} AMOUNT`, then `wflo runs retry ID`",
                        shortfall.budget.id
                    ),
                };
                let error = Failure::new(HALTED, shortfall.explain())
                    .with_hint(format!("{raise}: what is finished is not paid again"));
                self.push(EventBody::BudgetExhausted { step, shortfall });
                match action {
                    OnExceeded::Halt if self.state.ending.is_none() => {
                        self.begin_ending(Ending::Halted { error })
                    }
                    _ => Ok(()),
                }
            }
            CommandBody::Denied { error } => self.begin_ending(Ending::Rejected { error }),
            CommandBody::Signal { name, payload } => {
                self.push(EventBody::SignalReceived { name, payload });
                Ok(())
            }
            CommandBody::ChangeHost { rule, allowed, by } => {
                self.push(EventBody::EgressChanged { rule, allowed, by });
                Ok(())
            }
            CommandBody::Overdrawn { error } => self.begin_ending(Ending::Halted { error }),
            CommandBody::Pause { by, error } => {
                if self.state.paused || self.state.ending.is_some() {
                    return Err(Rejection::NotNow(self.state.status));
                }
                self.push(EventBody::RunPaused { by, error });
                Ok(())
            }
            CommandBody::Resume { by } => {
                if !self.state.paused {
                    return Err(Rejection::NotNow(self.state.status));
                }
                self.push(EventBody::RunResumed { by });
                Ok(())
            }
            CommandBody::Cancel { by, reason } => self.begin_ending(Ending::Cancelled { by, reason }),
        }
    }

    fn step_started(&mut self, step: String, epoch: u64) -> Result<(), Rejection> {
        let (spec, found) = self.find(&step)?;
        let holding = self.state.paused || self.state.ending.is_some();
        let allowed = match found.status {
            StepStatus::Ready => !holding && spec.needs_worker(),
            // Its engine died; a newer lease proves that the old attempt is gone.
            StepStatus::Running { epoch: old } => epoch > old && !holding,
            _ => false,
        };
        if !allowed {
            return Err(Rejection::StepNot { step, status: found.status.as_str(), wanted: "started" });
        }
        let (generation, attempt) = (found.generation.max(1), found.attempt + 1);
        self.push(EventBody::StepStarted { step, generation, attempt, epoch });
        Ok(())
    }

    fn step_failed(&mut self, name: &str, generation: u32, failed: Failed) -> Result<(), Rejection> {
        let Failed { error, timed_out, no_retry, left } = failed;
        let (spec, step) = self.find(name)?;
        let wants_retry = step.failures < spec.retries && self.state.ending.is_none();
        let retry = wants_retry && no_retry.is_none();
        let undo = spec.rollback_enabled;
        let then = match (undo, retry) {
            (true, true) => AfterFailure::UndoThenRetry,
            (true, false) => AfterFailure::UndoThenFail,
            (false, true) => AfterFailure::Retry,
            (false, false) => AfterFailure::Fail,
        };
        // A retry that was wanted and is out of the question is the more useful thing to read.
        let error = match no_retry.filter(|refused| wants_retry && *refused != error) {
            Some(refused) => Failure {
                message: format!("{}; not retried: {}", error.message, refused.message),
                hint: refused.hint.or_else(|| error.hint.clone()),
                ..error
            },
            None => error,
        };
        let step = name.to_owned();
        self.push(EventBody::StepFailed { step, generation, error, timed_out, then, left });
        if retry && !undo {
            self.back_off(name);
        }
        Ok(())
    }

    fn back_off(&mut self, name: &str) {
        let Ok((spec, step)) = self.find(name) else { return };
        let wait = spec.retry_backoff.clone().unwrap_or_default().wait(step.failures, self.draw);
        let wait = jiff::SignedDuration::from_millis(i64::try_from(wait.0).unwrap_or(i64::MAX));
        let due = self.at.checked_add(wait).unwrap_or(self.at);
        let generation = step.generation + 1;
        self.push(EventBody::StepRetrying { step: name.to_owned(), generation, due });
    }

    fn step_undone(&mut self, name: String, report: Value, error: Option<Failure>) -> Result<(), Rejection> {
        let (_, step) = self.find(&name)?;
        let StepStatus::Undoing { then } = step.status else {
            return Err(Rejection::StepNot { step: name, status: step.status.as_str(), wanted: "undone" });
        };
        let retry = then == AfterUndo::Retry && error.is_none() && self.state.ending.is_none();
        let generation = step.generation;
        self.push(EventBody::StepUndone { step: name.clone(), generation, report, error, retry });
        if retry {
            self.back_off(&name);
        }
        Ok(())
    }

    pub(super) fn begin_ending(&mut self, ending: Ending) -> Result<(), Rejection> {
        if self.state.ending.is_some() {
            return Err(Rejection::NotNow(self.state.status));
        }
        self.push(EventBody::RunStopping { ending });
        Ok(())
    }
}
