//! The fold: one event into the state. Total: it never fails and never asks why.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::state::{AfterUndo, ApprovalState, RunState, StepState, StepStatus};
use crate::approval::{ApprovalRequest, ApprovalStatus, Lasts, Purpose, TIMEOUT};
use crate::definition::{AskWhen, StepKind, StepSpec};
use crate::error::Failure;
use crate::event::{AfterFailure, Event, EventBody, Wait};
use crate::run::RunStatus;

/// The state after all of `events`.
pub fn replay<'a>(initial: RunState, events: impl IntoIterator<Item = &'a Event>) -> RunState {
    events.into_iter().fold(initial, evolve)
}

/// The state after one event.
#[must_use]
pub fn evolve(mut state: RunState, event: &Event) -> RunState {
    fold(&mut state, event);
    state
}

/// [`evolve`] in place.
pub(super) fn fold(state: &mut RunState, event: &Event) {
    let at = event.at;
    match &event.body {
        EventBody::RunStarted { .. } => {
            state.status = RunStatus::Running;
            state.started_at = Some(at);
            state.active_since = Some(at);
            unblock(state);
        }
        EventBody::RunWaiting { .. } => {
            state.status = RunStatus::Waiting;
            rest(state, at);
        }
        EventBody::RunRunning {} => {
            state.status = RunStatus::Running;
            state.active_since = Some(at);
        }
        EventBody::RunPaused { error, .. } => {
            state.paused = true;
            state.paused_for.clone_from(error);
            state.status = RunStatus::Paused;
            rest(state, at);
        }
        EventBody::RunResumed { .. } => {
            state.paused = false;
            state.paused_for = None;
            state.status = RunStatus::Running;
            state.active_since = Some(at);
        }
        EventBody::RunStopping { ending } => {
            state.paused = false;
            state.paused_for = None;
            state.status = RunStatus::Running;
            state.ending = Some(ending.clone());
        }
        EventBody::RunCompleted {} => end(state, at, RunStatus::Completed, None),
        EventBody::RunFailed { error } => end(state, at, RunStatus::Failed, Some(error)),
        EventBody::RunCancelled { error } => end(state, at, RunStatus::Cancelled, Some(error)),
        EventBody::RunRejected { error } => end(state, at, RunStatus::Rejected, Some(error)),
        EventBody::RunHalted { error } => end(state, at, RunStatus::Halted, Some(error)),
        EventBody::RunTimedOut { error } => end(state, at, RunStatus::TimedOut, Some(error)),
        EventBody::RunRolledBack { .. } => end(state, at, RunStatus::RolledBack, None),

        EventBody::ApprovalRequested { approval_id, request } => {
            // What people are shown may be large, and nothing follows from it.
            let request = Box::new(ApprovalRequest { evidence: Value::Null, ..(**request).clone() });
            let approval = ApprovalState {
                request: request.clone(),
                status: ApprovalStatus::Pending,
                decision: None,
                escalated: false,
            };
            state.approvals.insert(*approval_id, approval);
            if matches!(request.purpose, Purpose::Gate | Purpose::Start)
                && let Some(step) = request.step.as_deref().and_then(|name| step_mut(state, name))
            {
                step.status = StepStatus::Asking { approval: *approval_id };
                step.started_at.get_or_insert(at);
            }
        }
        EventBody::ApprovalDecided { approval_id, decision } => {
            if let Some(approval) = state.approvals.get_mut(approval_id) {
                approval.status = match (decision.approved, decision.by.as_str()) {
                    (true, _) => ApprovalStatus::Approved,
                    (false, TIMEOUT) => ApprovalStatus::Expired,
                    (false, _) => ApprovalStatus::Rejected,
                };
                approval.decision = Some(decision.clone());
                let lasts = decision.lasts.unwrap_or_default();
                // Whoever was not there has said nothing of the host.
                if let Purpose::Host { rule } = approval.request.purpose.clone()
                    && approval.status != ApprovalStatus::Expired
                    && lasts != Lasts::Once
                {
                    state.change_host(&rule, decision.approved, true);
                }
            }
            wake(state, |wait| matches!(wait, Wait::Approval { approval_id: id } if id == approval_id));
            for (spec, step) in state.definition.steps.iter().zip(&mut state.steps) {
                if step.status == (StepStatus::Asking { approval: *approval_id }) && decision.approved {
                    // A gate's success is an event of its own; a step that asked before it begins is ready.
                    step.cleared = true;
                    if spec.needs_worker() {
                        step.status = StepStatus::Ready;
                    }
                }
            }
        }
        EventBody::ApprovalSuperseded { approval_id, .. } => {
            if let Some(approval) = state.approvals.get_mut(approval_id) {
                approval.status = ApprovalStatus::Superseded;
            }
        }
        EventBody::EgressChanged { rule, allowed, .. } => state.change_host(rule, *allowed, false),
        EventBody::ApprovalEscalated { approval_id } => {
            if let Some(approval) = state.approvals.get_mut(approval_id) {
                approval.escalated = true;
            }
        }
        EventBody::TimerFired { step, path, seq } => {
            let woken =
                |wait: &Wait| matches!(wait, Wait::Timer { path: p, seq: s, .. } if p == path && s == seq);
            if let Some(step) = step_mut(state, step)
                && matches!(&step.status, StepStatus::Waiting { on } if on.iter().any(woken))
            {
                step.status = StepStatus::Ready;
            }
        }
        EventBody::SignalReceived { name, .. } => {
            wake(state, |wait| matches!(wait, Wait::Signal { name: wanted } if wanted == name));
        }
        EventBody::BudgetExhausted { .. } => {}
        body => {
            step_event(state, at, body);
            if matches!(body, EventBody::StepSucceeded { .. } | EventBody::StepSkipped { .. }) {
                unblock(state);
            }
        }
    }
}

fn step_event(state: &mut RunState, at: Timestamp, body: &EventBody) {
    let name = match body {
        EventBody::StepStarted { step, .. }
        | EventBody::StepLost { step, .. }
        | EventBody::StepSuspended { step, .. }
        | EventBody::StepStopped { step, .. }
        | EventBody::SandboxUsed { step, .. }
        | EventBody::StepSucceeded { step, .. }
        | EventBody::StepFailed { step, .. }
        | EventBody::StepUndone { step, .. }
        | EventBody::StepRetrying { step, .. }
        | EventBody::StepWoken { step, .. }
        | EventBody::StepSkipped { step, .. }
        | EventBody::StepCancelled { step, .. } => step.clone(),
        _ => return,
    };
    let decided: Vec<_> =
        state.approvals.iter().filter(|(_, a)| a.decision.is_some()).map(|(id, _)| *id).collect();
    let asks_first = state.definition.steps.iter().any(|spec| spec.name == name && asks_first(spec));
    let Some(step) = step_mut(state, &name) else { return };
    match body {
        EventBody::StepStarted { generation, attempt, epoch, .. } => {
            step.generation = *generation;
            step.attempt = *attempt;
            step.status = StepStatus::Running { epoch: *epoch };
            step.started_at.get_or_insert(at);
        }
        EventBody::StepLost { active_ms, answered, .. } => {
            match answered {
                None => step.losses += 1,
                Some(answered) => {
                    step.crashes = crashes(step, *answered);
                    step.answered = *answered;
                }
            }
            step.active_ms = step.active_ms.max(*active_ms);
            step.status = StepStatus::Ready;
        }
        EventBody::StepStopped { active_ms, .. } => {
            step.active_ms = step.active_ms.max(*active_ms);
            step.status = StepStatus::Ready;
        }
        EventBody::SandboxUsed { resources, .. } => step.resources = step.resources.then(*resources),
        EventBody::StepSuspended { on, active_ms, .. } => {
            step.losses = 0;
            step.crashes = 0;
            step.active_ms = step.active_ms.max(*active_ms);
            // An answer may have come while the attempt was being ended.
            let answered =
                |wait: &Wait| matches!(wait, Wait::Approval { approval_id } if decided.contains(approval_id));
            step.status = if on.iter().any(answered) || on.is_empty() {
                StepStatus::Ready
            } else {
                StepStatus::Waiting { on: on.clone() }
            };
        }
        EventBody::StepSucceeded { output, changes, cost_usd, layer, .. } => {
            step.status = StepStatus::Succeeded;
            step.output = Some(Arc::new(output.clone()));
            step.changes = changes.clone();
            step.error = None;
            step.cost = *cost_usd;
            step.layer.clone_from(layer);
            step.finished_at = Some(at);
        }
        EventBody::StepFailed { error, timed_out, then, left, .. } => {
            step.failures += 1;
            step.error = Some(error.clone());
            step.timed_out = *timed_out;
            step.status = match then {
                AfterFailure::UndoThenRetry => StepStatus::Undoing { then: AfterUndo::Retry },
                AfterFailure::UndoThenFail => StepStatus::Undoing { then: AfterUndo::Fail },
                // The wait that follows is an event of its own, in the same commit.
                AfterFailure::Retry => StepStatus::Backoff { due: at },
                AfterFailure::Fail => StepStatus::Failed,
            };
            if *then == AfterFailure::Fail {
                step.finished_at = Some(at);
                // A generation that is tried again starts without the files of the one before it.
                step.layer = left.as_ref().and_then(|left| left.layer.clone());
            }
            step.exit_code = left.as_ref().and_then(|left| left.exit_code);
        }
        EventBody::StepUndone { error, retry, .. } => {
            if let Some(error) = error {
                step.error = Some(error.clone());
            }
            step.status = match (&step.status, retry) {
                (_, true) => StepStatus::Backoff { due: at },
                (StepStatus::Undoing { then: AfterUndo::Cancel }, false) => StepStatus::Cancelled,
                _ => StepStatus::Failed,
            };
            if !retry {
                step.finished_at = Some(at);
            }
        }
        EventBody::StepRetrying { generation, due, .. } => {
            step.generation = *generation;
            step.attempt = 0;
            step.losses = 0;
            step.crashes = 0;
            step.answered = 0;
            step.active_ms = 0;
            step.cleared = false;
            step.status = StepStatus::Backoff { due: *due };
        }
        // What people allowed was one generation: for another they are asked again.
        EventBody::StepWoken { .. } if asks_first => step.status = StepStatus::Blocked,
        EventBody::StepWoken { .. } => step.status = StepStatus::Ready,
        EventBody::StepSkipped { .. } => {
            step.status = StepStatus::Skipped;
            step.finished_at = Some(at);
        }
        EventBody::StepCancelled { undo, .. } => {
            step.status = if *undo {
                StepStatus::Undoing { then: AfterUndo::Cancel }
            } else {
                step.finished_at = Some(at);
                StepStatus::Cancelled
            };
        }
        _ => {}
    }
}

/// How many engines in a row have died with an attempt, one more included, and got no answer further.
pub(super) fn crashes(step: &StepState, answered: u32) -> u32 {
    if answered > step.answered { 1 } else { step.crashes + 1 }
}

fn step_mut<'a>(state: &'a mut RunState, name: &str) -> Option<&'a mut StepState> {
    let index = state.definition.index_of(name)?;
    state.steps.get_mut(index)
}

fn wake(state: &mut RunState, woken: impl Fn(&Wait) -> bool) {
    for step in &mut state.steps {
        if matches!(&step.status, StepStatus::Waiting { on } if on.iter().any(&woken)) {
            step.status = StepStatus::Ready;
        }
    }
}

/// The run is not active any more: what it used counts towards its time-out.
fn rest(state: &mut RunState, at: Timestamp) {
    if let Some(since) = state.active_since.take() {
        let spent = at.duration_since(since).as_millis().max(0);
        state.active_ms = state.active_ms.saturating_add(u64::try_from(spent).unwrap_or(u64::MAX));
    }
}

fn end(state: &mut RunState, at: Timestamp, status: RunStatus, error: Option<&Failure>) {
    state.status = status;
    state.error = error.cloned();
    state.finished_at = Some(at);
    rest(state, at);
    for approval in state.approvals.values_mut() {
        if approval.status == ApprovalStatus::Pending {
            approval.status = ApprovalStatus::Superseded;
        }
    }
}

/// Whether people are asked before a generation of the step begins.
fn asks_first(spec: &StepSpec) -> bool {
    spec.approval.as_ref().is_some_and(|a| a.required && a.when == AskWhen::Start)
}

/// Worker steps become ready by themselves once all steps before them are done; steps that need a
/// decision of the machine (gates, conditions, skips, clashes, questions before they begin) wait for its
/// event.
fn unblock(state: &mut RunState) {
    let definition = Arc::clone(&state.definition);
    for (index, spec) in definition.steps.iter().enumerate() {
        if state.steps[index].status == StepStatus::Blocked
            && spec.needs_worker()
            && !asks_first(spec)
            && dependencies(state, index) == Dependencies::Met
            && state.clash(Some(index)).is_none()
        {
            state.steps[index].status = StepStatus::Ready;
        }
    }
}

/// How far the steps before a step are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dependencies {
    /// Some are not done.
    Open,
    /// All succeeded.
    Met,
    /// One was skipped, or is a condition that was false.
    Skip { because: String },
}

/// Whether a step that this one depends on was done before the run began (a retry keeps it), while one
/// before that is still to come: a gate that is asked again lets nothing pass until it is answered.
fn ahead_of_its_time(state: &RunState, index: usize) -> bool {
    let definition = &state.definition;
    let direct = definition.steps[index].depends_on.iter().filter_map(|name| state.step(name));
    let over = |step: &StepState| matches!(step.status, StepStatus::Succeeded | StepStatus::Skipped);
    direct.into_iter().any(|step| step.attempt == 0)
        && definition.before(index).into_iter().any(|at| !over(&state.steps[at]))
}

pub(super) fn dependencies(state: &RunState, index: usize) -> Dependencies {
    let mut met = true;
    for name in &state.definition.steps[index].depends_on {
        let Some(at) = state.definition.index_of(name) else { continue };
        let step = &state.steps[at];
        let is_condition = matches!(state.definition.steps[at].kind, StepKind::Condition { .. });
        match &step.status {
            StepStatus::Skipped => return Dependencies::Skip { because: name.clone() },
            StepStatus::Succeeded
                if is_condition
                    && step.output.as_deref().and_then(|o| o["result"].as_bool()) == Some(false) =>
            {
                return Dependencies::Skip { because: name.clone() };
            }
            StepStatus::Succeeded => {}
            _ => met = false,
        }
    }
    if met && !ahead_of_its_time(state, index) { Dependencies::Met } else { Dependencies::Open }
}
