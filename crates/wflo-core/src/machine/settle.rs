//! What follows by itself after a command: gates asked, conditions decided, steps skipped or
//! cancelled, and the run waiting, running again, or over.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::apply::{CANCELLED, Draft};
use super::evolve::{Dependencies, dependencies};
use super::state::{StepStatus, object_of};
use super::variables::Changes;
use crate::approval::{ApprovalRequest, ApprovalStatus, Binding, OnTimeout, Purpose};
use crate::canonical::Digest;
use crate::condition::{Condition, ConditionError};
use crate::definition::{AskWhen, CONDITION_NAMES, StepKind, StepSpec};
use crate::error::{Code, Failure};
use crate::event::{AfterFailure, Ending, EventBody, Wait};
use crate::money::NanoUsd;
use crate::run::RunStatus;
use crate::size::Millis;

const CONDITION_FAILED: Code = Code(3005);

pub(super) fn settle(draft: &mut Draft) {
    if draft.state.status.is_terminal() {
        return;
    }
    take_back_what_nobody_asks(draft);
    // Each pass either changes a step for good or ends the loop, so it runs at most twice per step.
    while draft.state.ending.is_none() && advance(draft) {}
    fail_if_a_step_failed(draft);
    fail_if_the_ends_clash(draft);
    if draft.state.ending.is_some() {
        wind_down(draft);
    } else if draft
        .state
        .steps
        .iter()
        .all(|s| matches!(s.status, StepStatus::Succeeded | StepStatus::Skipped))
    {
        draft.push(EventBody::RunCompleted {});
        return;
    }
    rest_or_run(draft);
}

/// A question that a generation put is taken back once that generation is over: nobody waits for the
/// answer any more, and a late no must not end the run.
fn take_back_what_nobody_asks(draft: &mut Draft) {
    let state = &draft.state;
    let over = |request: &ApprovalRequest| {
        let bound = matches!(
            request.purpose,
            Purpose::Write { .. }
                | Purpose::Asked { .. }
                | Purpose::Repeat { .. }
                | Purpose::Output
                | Purpose::Host { .. }
        );
        let step = request.step.as_deref().filter(|_| bound).and_then(|name| state.step(name));
        step.is_some_and(|step| {
            let goes_on = matches!(
                step.status,
                StepStatus::Ready | StepStatus::Running { .. } | StepStatus::Waiting { .. }
            );
            !goes_on || step.generation != request.generation
        })
    };
    let stale =
        state.approvals.iter().filter(|(_, a)| a.status == ApprovalStatus::Pending && over(&a.request));
    for approval_id in stale.map(|(id, _)| *id).collect::<Vec<_>>() {
        let reason = "the step that asked went on without the answer".to_owned();
        draft.push(EventBody::ApprovalSuperseded { approval_id, reason });
    }
}

/// Decides one step that needs the machine's decision; whether there was one.
fn advance(draft: &mut Draft) -> bool {
    let definition = Arc::clone(&draft.state.definition);
    for (index, spec) in definition.steps.iter().enumerate() {
        let step = &draft.state.steps[index];
        match (&step.status, &spec.kind) {
            (StepStatus::Blocked, kind) => match dependencies(&draft.state, index) {
                Dependencies::Open => {}
                Dependencies::Skip { because } => {
                    draft.push(EventBody::StepSkipped { step: spec.name.clone(), because });
                    return true;
                }
                Dependencies::Met => {
                    if let Some(clash) = draft.state.clash(Some(index)) {
                        fail(draft, spec, clash.failure(Some(&spec.name)));
                        return true;
                    }
                    let before = draft.events.len();
                    match kind {
                        StepKind::Condition { when } => decide_condition(draft, spec, when),
                        StepKind::Approval(_)
                        | StepKind::Agent { .. }
                        | StepKind::Tool { .. }
                        | StepKind::Program { .. } => ask_first(draft, spec),
                    }
                    if draft.events.len() > before {
                        return true;
                    }
                }
            },
            // A gate that was answered and did not end the run.
            (StepStatus::Asking { approval }, StepKind::Approval(_)) => {
                let decision = draft.state.approvals.get(approval).and_then(|a| a.decision.clone());
                if let Some(decision) = decision {
                    let output = json!({
                        "approved": decision.approved,
                        "by": decision.by,
                        "comment": decision.comment,
                    });
                    succeed(draft, spec, output);
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

fn succeed(draft: &mut Draft, spec: &StepSpec, output: Value) {
    draft.push(EventBody::StepSucceeded {
        step: spec.name.clone(),
        generation: 1,
        output,
        changes: Changes::default(),
        cost_usd: NanoUsd::ZERO,
        layer: None,
    });
}

/// A step that nothing was begun for.
fn fail(draft: &mut Draft, spec: &StepSpec, error: Failure) {
    draft.push(EventBody::StepFailed {
        step: spec.name.clone(),
        generation: 1,
        error,
        timed_out: false,
        then: AfterFailure::Fail,
        left: None,
    });
}

fn decide_condition(draft: &mut Draft, spec: &StepSpec, when: &str) {
    match evaluate(draft, &spec.name, when) {
        Ok(result) => succeed(draft, spec, json!({ "result": result })),
        Err(e) => {
            let error = Failure::new(CONDITION_FAILED, format!("condition `{}`: {e}", spec.name))
                .at(spec.place.clone().unwrap_or_else(|| spec.name.clone()));
            fail(draft, spec, error);
        }
    }
}

fn evaluate(draft: &Draft, step: &str, when: &str) -> Result<bool, ConditionError> {
    let spent = draft.state.steps.iter().fold(NanoUsd::ZERO, |sum, s| sum.saturating_add(s.cost));
    // Conditions compare amounts with literals, which CEL reads as floating point; nothing is charged by them.
    let usd = |amount: NanoUsd| json!(amount.nanos() as f64 / 1e9);
    let limit = draft.state.definition.budgets.iter().filter_map(|b| b.max_cost_usd).min();
    let values = BTreeMap::from([
        ("inputs", (*draft.state.inputs).clone()),
        ("outputs", draft.state.definition.outputs_in_conditions(object_of(&draft.state.outputs_for(step)))),
        ("cost", usd(spent)),
        ("estimated_cost", usd(spent)),
        ("budget", limit.map_or(Value::Null, usd)),
    ]);
    Condition::parse(when, CONDITION_NAMES)?.evaluate(&values)
}

fn ask_first(draft: &mut Draft, spec: &StepSpec) {
    let request = match &spec.kind {
        StepKind::Approval(gate) => Asked {
            purpose: Purpose::Gate,
            title: gate.message.clone().unwrap_or_else(|| spec.name.clone()),
            approvers: &gate.approvers,
            quorum: gate.quorum,
            timeout: spec.timeout_seconds,
            on_timeout: gate.on_timeout,
            notify: &gate.notify,
        },
        _ => match spec.approval.as_ref().filter(|a| a.required && a.when == AskWhen::Start) {
            Some(asks) => Asked {
                purpose: Purpose::Start,
                title: format!("begin step `{}`", spec.name),
                approvers: &asks.approvers,
                quorum: asks.quorum,
                timeout: asks.timeout_seconds,
                on_timeout: asks.on_timeout,
                notify: &asks.notify,
            },
            None => return,
        },
    };
    let evidence = json!({
        "step": spec.name,
        "inputs": *draft.state.inputs,
        "outputs": draft.state.outputs_named_by(spec),
    });
    let request = request.into_request(draft, spec, evidence);
    let approval_id = draft.mint_approval();
    draft.push(EventBody::ApprovalRequested { approval_id, request: Box::new(request) });
}

/// A gate's and a first question's common parts.
struct Asked<'a> {
    purpose: Purpose,
    title: String,
    approvers: &'a [String],
    quorum: u32,
    timeout: Option<Millis>,
    on_timeout: OnTimeout,
    notify: &'a [String],
}

impl Asked<'_> {
    fn into_request(self, draft: &Draft, spec: &StepSpec, evidence: Value) -> ApprovalRequest {
        let digest = |value: &Value| Digest::of_json(value).unwrap_or_else(|_| Digest::of_bytes(b""));
        let expires = self.timeout.and_then(|t| i64::try_from(t.0).ok());
        ApprovalRequest {
            purpose: self.purpose,
            step: Some(spec.name.clone()),
            generation: draft.state.step(&spec.name).map_or(1, |step| step.generation.max(1)),
            title: self.title,
            binding: Binding {
                action: digest(&json!(["step", spec.name])),
                code: draft.state.code.clone(),
                evidence: digest(&evidence),
            },
            evidence,
            approvers: self.approvers.to_vec(),
            quorum: self.quorum,
            expires_at: expires
                .and_then(|ms| draft.at.checked_add(jiff::SignedDuration::from_millis(ms)).ok()),
            on_timeout: self.on_timeout,
            notify: self.notify.to_vec(),
        }
    }
}

fn fail_if_a_step_failed(draft: &mut Draft) {
    if draft.state.ending.is_some() {
        return;
    }
    let failed = draft.state.steps.iter().find(|s| s.status == StepStatus::Failed);
    if let Some((error, timed_out)) = failed.and_then(|s| Some((s.error.clone()?, s.timed_out))) {
        let ending = if timed_out { Ending::TimedOut { error } } else { Ending::Failed { error } };
        draft.push(EventBody::RunStopping { ending });
    }
}

/// Where every step is over, what each of them changed meets.
fn fail_if_the_ends_clash(draft: &mut Draft) {
    let over = |status: &StepStatus| matches!(status, StepStatus::Succeeded | StepStatus::Skipped);
    if draft.state.ending.is_some() || !draft.state.steps.iter().all(|s| over(&s.status)) {
        return;
    }
    if let Some(clash) = draft.state.clash(None) {
        draft.push(EventBody::RunStopping { ending: Ending::Failed { error: clash.failure(None) } });
    }
}

/// The run ends: what has not begun is cancelled, what runs is stopped (its driver does that), what
/// promised rollback is undone first; then the run is over.
fn wind_down(draft: &mut Draft) {
    let definition = Arc::clone(&draft.state.definition);
    for (index, spec) in definition.steps.iter().enumerate() {
        let step = &draft.state.steps[index];
        let idle = matches!(
            step.status,
            StepStatus::Blocked
                | StepStatus::Asking { .. }
                | StepStatus::Ready
                | StepStatus::Waiting { .. }
                | StepStatus::Backoff { .. }
        );
        if idle {
            // A generation in backoff has not begun; the one before it was undone.
            let begun = step.attempt > 0 && !matches!(step.status, StepStatus::Backoff { .. });
            draft.push(EventBody::StepCancelled {
                step: spec.name.clone(),
                undo: begun && spec.rollback_enabled,
            });
        }
    }
    if draft.state.steps.iter().any(|s| !s.status.is_terminal()) {
        return;
    }
    let Some(ending) = draft.state.ending.clone() else { return };
    draft.push(match ending {
        Ending::Cancelled { by, reason } => {
            let reason = reason.map(|r| format!(": {r}")).unwrap_or_default();
            EventBody::RunCancelled { error: Failure::new(CANCELLED, format!("cancelled by {by}{reason}")) }
        }
        Ending::Rejected { error } => EventBody::RunRejected { error },
        Ending::Halted { error } => EventBody::RunHalted { error },
        Ending::TimedOut { error } => EventBody::RunTimedOut { error },
        Ending::Failed { error } => EventBody::RunFailed { error },
    });
}

/// Says when everything left waits, and when something can go on again.
fn rest_or_run(draft: &mut Draft) {
    let state = &draft.state;
    if state.status.is_terminal() || state.paused || state.ending.is_some() {
        return;
    }
    let active = state.steps.iter().any(|s| s.status.is_active());
    match (state.status, active) {
        (RunStatus::Running, false) => {
            let mut on: Vec<Wait> = Vec::new();
            for step in &state.steps {
                match &step.status {
                    StepStatus::Waiting { on: waits } => on.extend(waits.iter().cloned()),
                    StepStatus::Asking { approval } => on.push(Wait::Approval { approval_id: *approval }),
                    StepStatus::Backoff { due } => {
                        on.push(Wait::Timer { path: "backoff".to_owned(), seq: 0, due: *due });
                    }
                    _ => {}
                }
            }
            let pending = state.approvals.iter().filter(|(_, a)| a.status == ApprovalStatus::Pending);
            let asked: Vec<Wait> = pending.map(|(id, _)| Wait::Approval { approval_id: *id }).collect();
            on.extend(asked);
            on.sort();
            on.dedup();
            draft.push(EventBody::RunWaiting { on });
        }
        (RunStatus::Waiting, true) => draft.push(EventBody::RunRunning {}),
        _ => {}
    }
}
