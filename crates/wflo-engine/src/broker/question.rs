//! Questions about a step's writes, and about its output when it wrote nothing.

use jiff::SignedDuration;
use serde_json::Value;
use wflo_core::approval::{Approval, ApprovalRequest, Binding, OnTimeout, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::definition::{ApprovalSpec, AskWhen};
use wflo_core::ports::clock::Clock;

use crate::error::EngineError;
use crate::executor::Attempt;
use crate::protocol::EffectError;

/// The run is being rejected.
const REJECTED: wflo_core::error::Code = wflo_core::error::Code(7003);

/// Whether people are asked at this step's writes.
pub(crate) fn asks_at_writes(attempt: &Attempt) -> bool {
    attempt.context.record.options.require_approval || own_policy(attempt).is_some()
}

/// Whether the step itself wants to be approved: then it asks even if it wrote nothing.
pub(crate) fn own_policy(attempt: &Attempt) -> Option<&ApprovalSpec> {
    attempt.spec()?.approval.as_ref().filter(|a| a.required && a.when == AskWhen::Write)
}

/// A question about this step.
pub(crate) fn request(
    attempt: &Attempt,
    clock: &dyn Clock,
    purpose: Purpose,
    title: String,
    action: &Value,
    evidence: Value,
) -> Result<ApprovalRequest, EngineError> {
    let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
    let policy = own_policy(attempt);
    let timeout = policy.and_then(|p| p.timeout_seconds);
    let expires_at = timeout.and_then(|t| {
        let span = SignedDuration::from_millis(i64::try_from(t.0).ok()?);
        clock.now().checked_add(span).ok()
    });
    Ok(ApprovalRequest {
        purpose,
        step: Some(attempt.step.clone()),
        generation: attempt.generation,
        title,
        binding: Binding {
            action: Digest::of_json(action).map_err(unreadable)?,
            code: attempt.context.record.code.clone(),
            evidence: Digest::of_json(&evidence).map_err(unreadable)?,
        },
        evidence,
        approvers: policy.map(|p| p.approvers.clone()).unwrap_or_default(),
        quorum: policy.map_or(1, |p| p.quorum),
        expires_at,
        on_timeout: policy.map_or(OnTimeout::Reject, |p| p.on_timeout),
        notify: policy.map(|p| p.notify.clone()).unwrap_or_default(),
    })
}

/// Whether an approval is for exactly this: the same action by the same code on the same evidence.
pub(crate) fn still_good(attempt: &Attempt, approval: &Approval, action: &Value) -> bool {
    let binding = &approval.request.binding;
    let same_action = Digest::of_json(action).is_ok_and(|digest| digest == binding.action);
    let same_evidence = Digest::of_json(&approval.request.evidence).is_ok_and(|d| d == binding.evidence);
    same_action && same_evidence && binding.code == attempt.context.record.code
}

/// What a step hears when people said no.
pub(crate) fn rejected(question: &Approval) -> EffectError {
    EffectError {
        code: REJECTED.to_string(),
        kind: "approval_rejected".to_owned(),
        message: format!("\"{}\" was not approved", question.request.title),
        hint: None,
    }
}
