//! Calls that go round in circles, where people are asked about them.
//!
//! The gateway counts, and says when a circle is closed; who is asked, and what a yes is for, is decided here.
//!
//! The sequence, with what a crash after each line leaves behind:
//! 1. the call closes a circle: the question is put, bound to the call's place in the journal; crash before
//!    it: the resume counts from nothing, and asks later; after it: the question is found at the same place
//!    whatever was counted, and waited for;
//! 2. people decide; crash: the resume finds the answer at the same place, and asks nothing;
//! 3. yes: the call is opened as any other, and the gateway counts anew; crash: as for every call. What the
//!    journal holds is not asked about again, and the counts begin anew at the same place;
//! 4. no: the run is rejected.

use std::sync::Arc;

use serde_json::json;
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Binding, OnTimeout, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::error::Failure;
use wflo_gateway::ledger::{CallIntent, Refusal};
use wflo_gateway::repeats::Circle;

use super::{REJECTED, ask_once, ending};
use crate::calls::Calls;
use crate::error::EngineError;
use crate::protocol::On;

/// Asks about a call that closes a circle; `None` lets it pass. One that has `begun` before was let pass then.
pub(super) async fn before_call(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    path: &str,
    seq: u32,
    begun: bool,
) -> Result<Option<Refusal>, EngineError> {
    let Some(circle) = intent.circle else { return Ok(None) };
    let purpose = Purpose::Repeat { effect: calls.journal.key(path, seq) };
    // Most runs have asked nothing yet: there is nothing to look for.
    let asked = match calls.attempt.decisions.borrow().is_empty() {
        true => None,
        false => Some(purpose.clone()),
    };
    let known = match asked {
        Some(purpose) => calls.services.store.approvals_about(calls.attempt.run, purpose).await?,
        None => Vec::new(),
    };
    let known = known.into_iter().find(|approval| approval.status != ApprovalStatus::Superseded);
    let (id, status) = match known {
        Some(approval) => (approval.id, approval.status),
        None if circle.closed && !begun => {
            let id = ask_once(&calls.attempt, request(calls, intent, circle, purpose)?).await?;
            (id, ApprovalStatus::Pending)
        }
        None => return Ok(None),
    };
    let on = On { path: path.to_owned(), seq };
    let status = match status {
        ApprovalStatus::Pending => tokio::select! {
            status = calls.waits.decided(&calls.attempt, on, id) => status?,
            () = calls.closed() => return Ok(Some(ending())),
        },
        status => status,
    };
    Ok(match status {
        ApprovalStatus::Approved | ApprovalStatus::Consumed => {
            // Also where it did not close here, because the resume has counted less.
            if let Some(gateway) = calls.services.gateway() {
                gateway.begins(intent.caller.label());
            }
            None
        }
        _ if calls.is_closed() => Some(ending()),
        _ => {
            let message = "the step makes the same call again and again, and people have stopped it";
            let failure = Failure::new(REJECTED, message);
            Some(Refusal::Other { status: 403, kind: "approval_rejected".to_owned(), failure })
        }
    })
}

fn request(
    calls: &Calls,
    intent: &CallIntent,
    circle: Circle,
    purpose: Purpose,
) -> Result<ApprovalRequest, EngineError> {
    let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
    let (step, model, times) = (&calls.attempt.step, &intent.model, circle.times);
    let evidence = json!({
        "step": step,
        "model": model,
        "times": times,
        "request_bytes": intent.request_bytes,
        "this_call_up_to_usd": intent.hold,
    });
    Ok(ApprovalRequest {
        step: Some(step.clone()),
        generation: calls.attempt.generation,
        title: format!("step `{step}` has asked {model} the same, or nearly the same, {times} times: go on?"),
        binding: Binding {
            action: Digest::of_json(&json!(["repeat", purpose.key()])).map_err(unreadable)?,
            code: calls.attempt.context.record.code.clone(),
            evidence: Digest::of_json(&evidence).map_err(unreadable)?,
        },
        purpose,
        evidence,
        approvers: Vec::new(),
        quorum: 1,
        expires_at: None,
        on_timeout: OnTimeout::Hold,
        notify: Vec::new(),
    })
}
