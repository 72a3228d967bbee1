//! A call that does not fit: what its budget says happens then.

use std::sync::Arc;

use serde_json::json;
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Purpose};
use wflo_core::budget::{Budget, OnExceeded, Shortfall};
use wflo_core::canonical::Digest;
use wflo_core::event::EventBody;
use wflo_core::id::ApprovalId;
use wflo_core::machine::{CommandBody, Rejection};
use wflo_core::ports::store::Store;

use crate::calls::Calls;
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::protocol::On;

/// What follows for the call.
pub(crate) enum Then {
    /// There may be room now.
    Again,
    /// The attempt is being ended.
    Ended,
    /// It is not made.
    Refused,
    /// A cheaper model is wanted.
    Cheaper,
}

/// People are asked, a cheaper model is wanted, or the run halts.
pub(crate) async fn exceeded(
    calls: &Arc<Calls>,
    what: &str,
    cheaper: bool,
    on: &On,
    shortfall: &Shortfall,
) -> Result<Then, EngineError> {
    match shortfall.budget.action_on_exceeded {
        OnExceeded::Downgrade if cheaper => Ok(Then::Cheaper),
        OnExceeded::Halt | OnExceeded::Downgrade | OnExceeded::Queue => {
            halt(&calls.attempt, shortfall).await?;
            Ok(Then::Refused)
        }
        OnExceeded::Ask => Ok(match ask(calls, what, on, shortfall).await? {
            None => Then::Ended,
            Some(ApprovalStatus::Approved | ApprovalStatus::Consumed) => Then::Again,
            Some(_) => Then::Refused,
        }),
    }
}

/// What people said; `None` once the attempt is being ended.
async fn ask(
    calls: &Arc<Calls>,
    what: &str,
    on: &On,
    shortfall: &Shortfall,
) -> Result<Option<ApprovalStatus>, EngineError> {
    let store = calls.services.store.as_ref();
    let Some(question) = question(store, &calls.attempt, Some(what), shortfall).await? else {
        return Ok(Some(ApprovalStatus::Approved));
    };
    tokio::select! {
        status = calls.waits.decided(&calls.attempt, on.clone(), question) => status.map(Some),
        () = calls.closed() => Ok(None),
    }
}

/// The question about a budget that is short: the open one, or a new one. `None` where it has been raised
/// since.
pub(super) async fn question(
    store: &dyn Store,
    attempt: &Attempt,
    what: Option<&str>,
    shortfall: &Shortfall,
) -> Result<Option<ApprovalId>, EngineError> {
    let asked = store.approvals_about(attempt.run, raise_of(shortfall)).await?;
    if let Some(question) = asked.into_iter().find(|a| a.status == ApprovalStatus::Pending) {
        return Ok(Some(question.id));
    }
    // Looked at after the questions: an answer that came since the hold was refused shows in the limit.
    let known = store.budgets(vec![shortfall.budget.key.clone()]).await?;
    let raised = |known: &Budget| known.id == shortfall.budget.id && known.limit > shortfall.budget.limit;
    if known.iter().any(raised) {
        return Ok(None);
    }
    ask_once(attempt, top_up_request(attempt, what, shortfall)?).await.map(Some)
}

/// Ends the run: a budget is used up.
pub(super) async fn halt(attempt: &Attempt, shortfall: &Shortfall) -> Result<(), EngineError> {
    let (step, shortfall) = (attempt.step.clone(), Box::new(shortfall.clone()));
    let body = CommandBody::BudgetExhausted { step, shortfall, action: OnExceeded::Halt };
    attempt.driver.tell(body, Vec::new()).await.map(|_| ())
}

/// Puts a question and gives its id, or that of the same question which another call put first.
pub(crate) async fn ask_once(attempt: &Attempt, request: ApprovalRequest) -> Result<ApprovalId, EngineError> {
    let ask = CommandBody::Ask { request: Box::new(request) };
    let events = match attempt.driver.tell(ask, Vec::new()).await {
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
    let measure = shortfall.budget.measure;
    let suggested = Some(measure.decimal(shortfall.suggested()));
    let missing = measure.decimal(shortfall.missing());
    Purpose::Budget { budget: shortfall.budget.id, measure, missing, suggested }
}

fn top_up_request(
    attempt: &Attempt,
    what: Option<&str>,
    shortfall: &Shortfall,
) -> Result<ApprovalRequest, EngineError> {
    let (budget, missing, suggested) = (&shortfall.budget, shortfall.missing(), shortfall.suggested());
    // Money under the names that say so; anything else under its own.
    let unit = if budget.measure.is_cost() { "_usd" } else { "" };
    let mut evidence = json!({ "budget": budget.name(), "step": attempt.step });
    if let Some(what) = what {
        evidence["model"] = json!(what);
    }
    if !budget.measure.is_cost() {
        evidence["measure"] = json!(budget.measure);
    }
    for (name, amount) in [
        ("limit", budget.limit),
        ("settled", budget.settled),
        ("held", budget.held),
        ("wanted", shortfall.wanted),
        ("missing", missing),
        ("suggested", suggested),
    ] {
        evidence[format!("{name}{unit}")] = json!(budget.measure.decimal(amount));
    }
    let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
    Ok(ApprovalRequest {
        purpose: raise_of(shortfall),
        step: Some(attempt.step.clone()),
        generation: attempt.generation,
        title: format!("raise the {} by {}", budget.name(), budget.show(suggested)),
        binding: wflo_core::approval::Binding {
            action: Digest::of_json(&json!(["top_up", budget.id])).map_err(unreadable)?,
            code: attempt.context.record.code.clone(),
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
