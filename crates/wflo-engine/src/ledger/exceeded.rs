//! A call that does not fit: what its budget says happens then.

use std::sync::Arc;

use serde_json::json;
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Purpose};
use wflo_core::budget::{OnExceeded, Shortfall, display_name};
use wflo_core::canonical::Digest;
use wflo_core::event::EventBody;
use wflo_core::id::ApprovalId;
use wflo_core::machine::{CommandBody, Rejection};
use wflo_gateway::ledger::{CallIntent, Opened, Refusal, Ticket};

use super::{Again, ending};
use crate::calls::Calls;
use crate::error::EngineError;
use crate::protocol::On;

/// People are asked, a cheaper model is wanted, or the run halts. `None` means try again.
pub(super) async fn exceeded(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    on: &On,
    shortfall: Box<Shortfall>,
) -> Result<Option<Opened>, EngineError> {
    let budget = shortfall.budget.clone();
    let refusal = Refusal::Budget {
        budget: display_name(budget.scope, &budget.key, budget.period)
            .replace(" budget", "")
            .replace("budget of ", ""),
        limit: budget.limit,
        left: budget.left(),
        action: budget.action_on_exceeded,
    };
    match budget.action_on_exceeded {
        OnExceeded::Downgrade if intent.cheaper => {
            let again = Again { path: on.path.clone(), seq: on.seq };
            Ok(Some(Opened::Cheaper(Ticket::new(again), refusal)))
        }
        OnExceeded::Halt | OnExceeded::Downgrade | OnExceeded::Queue => {
            let action = OnExceeded::Halt;
            let body = CommandBody::BudgetExhausted { step: calls.attempt.step.clone(), shortfall, action };
            calls.attempt.driver.tell(body, Vec::new()).await?;
            Ok(Some(Opened::Refused(refusal)))
        }
        OnExceeded::Ask => {
            let status = ask(calls, intent, on, &shortfall).await?;
            Ok(match status {
                None => Some(Opened::Refused(ending())),
                Some(ApprovalStatus::Approved | ApprovalStatus::Consumed) => None,
                Some(_) => Some(Opened::Refused(refusal)),
            })
        }
    }
}

/// What people said; `None` once the attempt is being ended.
async fn ask(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    on: &On,
    shortfall: &Shortfall,
) -> Result<Option<ApprovalStatus>, EngineError> {
    let asked = calls.services.store.approvals_about(calls.attempt.run, raise_of(shortfall)).await?;
    let question = match asked.into_iter().find(|a| a.status == ApprovalStatus::Pending) {
        Some(question) => question.id,
        None => ask_once(calls, top_up_request(calls, intent, shortfall)?).await?,
    };
    tokio::select! {
        status = calls.waits.decided(&calls.attempt, on.clone(), question) => status.map(Some),
        () = calls.closed() => Ok(None),
    }
}

/// Puts a question and gives its id, or that of the same question which another call put first.
pub(crate) async fn ask_once(calls: &Calls, request: ApprovalRequest) -> Result<ApprovalId, EngineError> {
    let ask = CommandBody::Ask { request: Box::new(request) };
    let events = match calls.attempt.driver.tell(ask, Vec::new()).await {
        Ok(events) => events,
        Err(EngineError::Rejected(Rejection::AskedAlready(known))) => return Ok(known),
        Err(e) => return Err(e),
    };
    let asked = events.iter().find_map(|e| match &e.body {
        EventBody::ApprovalRequested { approval_id, .. } => Some(*approval_id),
        _ => None,
    });
    asked.ok_or_else(|| EngineError::Unreadable("a question got no id".to_owned()))
}

/// What is asked about a budget that cannot take a call.
fn raise_of(shortfall: &Shortfall) -> Purpose {
    let suggested = Some(shortfall.suggested());
    Purpose::Budget { budget: shortfall.budget.id, missing: shortfall.missing(), suggested }
}

fn top_up_request(
    calls: &Calls,
    intent: &CallIntent,
    shortfall: &Shortfall,
) -> Result<ApprovalRequest, EngineError> {
    let (budget, missing, suggested) = (&shortfall.budget, shortfall.missing(), shortfall.suggested());
    let evidence = json!({
        "budget": display_name(budget.scope, &budget.key, budget.period),
        "limit_usd": budget.limit,
        "settled_usd": budget.settled,
        "held_usd": budget.held,
        "wanted_usd": shortfall.wanted,
        "missing_usd": missing,
        "suggested_usd": suggested,
        "model": intent.model,
        "step": calls.attempt.step,
    });
    let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
    Ok(ApprovalRequest {
        purpose: raise_of(shortfall),
        step: Some(calls.attempt.step.clone()),
        generation: calls.attempt.generation,
        title: format!(
            "raise the {} by ${suggested} (at least ${missing})",
            display_name(budget.scope, &budget.key, budget.period)
        ),
        binding: wflo_core::approval::Binding {
            action: Digest::of_json(&json!(["top_up", budget.id])).map_err(unreadable)?,
            code: calls.attempt.context.record.code.clone(),
            evidence: Digest::of_json(&evidence).map_err(unreadable)?,
        },
        evidence,
        approvers: Vec::new(),
        quorum: 1,
        expires_at: None,
        on_timeout: wflo_core::approval::OnTimeout::Hold,
        notify: Vec::new(),
    })
}
