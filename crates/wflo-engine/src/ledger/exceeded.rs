//! A call that does not fit: what its budget says happens then.
//!
//! Where people are asked, a call of the workflow's own waits durably, for as long as it takes. A program's
//! holds its connection, which no resume brings back: its question has a deadline, and so has its wait. The
//! order of things is in `docs/adr/0022`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, OnTimeout, Purpose};
use wflo_core::budget::{Amount, Budget, OnExceeded, Shortfall};
use wflo_core::canonical::Digest;
use wflo_core::definition::StepKind;
use wflo_core::event::EventBody;
use wflo_core::id::ApprovalId;
use wflo_core::machine::{CommandBody, Rejection};
use wflo_core::ports::store::{Batch, Op, Store};
use wflo_core::size::Millis;

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
    /// It is not made: nobody has answered in this time.
    Unanswered(Millis),
    /// A cheaper model is wanted.
    Cheaper,
}

/// What is looked at.
pub(crate) struct Short<'a> {
    /// What the call is of: a model, a tool.
    pub(crate) what: &'a str,
    /// There is a cheaper model.
    pub(crate) cheaper: bool,
    pub(crate) on: &'a On,
    pub(crate) shortfall: &'a Shortfall,
    /// For how long the call can be held; nothing where its wait is durable.
    pub(crate) patience: Option<Millis>,
}

/// For how long a program's call is held while people are asked, where nothing says so: many clients give a call
/// up after ten minutes, and this one is to hear why it is refused.
const PATIENCE: Millis = Millis(300_000);

/// For how long a call of the attempt's program can be held; nothing where the step is the workflow's own code,
/// whose waits are durable.
pub(super) fn patience(attempt: &Attempt) -> Option<Millis> {
    let kind = attempt.spec().map(|step| &step.kind);
    let is_program = matches!(kind, Some(StepKind::Program { .. } | StepKind::Tool { .. }));
    is_program.then(|| attempt.context.record.options.budget_timeout.unwrap_or(PATIENCE))
}

/// People are asked, a cheaper model is wanted, or the run halts.
pub(crate) async fn exceeded(calls: &Arc<Calls>, short: Short<'_>) -> Result<Then, EngineError> {
    let (shortfall, cheaper) = (short.shortfall, short.cheaper);
    match shortfall.budget.action_on_exceeded {
        OnExceeded::Downgrade if cheaper => Ok(Then::Cheaper),
        OnExceeded::Halt | OnExceeded::Downgrade | OnExceeded::Queue => {
            halt(&calls.attempt, shortfall).await?;
            Ok(Then::Refused)
        }
        OnExceeded::Ask => ask(calls, &short).await,
    }
}

/// Asks, and waits for what people say, or for the deadline.
async fn ask(calls: &Arc<Calls>, short: &Short<'_>) -> Result<Then, EngineError> {
    let Short { what, on, shortfall, patience, .. } = *short;
    let (store, attempt) = (calls.services.store.as_ref(), &calls.attempt);
    loop {
        let since = calls.services.clock.now();
        let until = patience.and_then(|patience| since.checked_add(patience.duration()).ok());
        let Some(asked) = question(store, attempt, Some(what), shortfall, until).await? else {
            return Ok(Then::Again);
        };
        crate::failpoint::pass("budget.asked");
        // One that was put by a step whose wait is durable stays open: this call waits no longer for that.
        let own = patience.filter(|_| asked.until.is_none());
        let status = tokio::select! {
            biased;
            status = calls.waits.decided(attempt, on.clone(), asked.id) => status?,
            () = calls.closed() => return Ok(Then::Ended),
            waited = reached(own) => return Ok(Then::Unanswered(waited)),
        };
        let overdue = asked.until.is_some_and(|until| until <= since);
        return Ok(match (status, patience) {
            (ApprovalStatus::Approved | ApprovalStatus::Consumed, _) => Then::Again,
            // It ran out for another: for a process that is gone, or a program beside this step.
            (ApprovalStatus::Expired, Some(_)) if overdue => continue,
            (ApprovalStatus::Expired, None) => continue,
            (ApprovalStatus::Expired, Some(waited)) => Then::Unanswered(waited),
            _ => Then::Refused,
        });
    }
}

/// Resolves with the time once it has passed.
async fn reached(patience: Option<Millis>) -> Millis {
    match patience {
        Some(patience) => {
            tokio::time::sleep(patience.duration()).await;
            patience
        }
        None => std::future::pending().await,
    }
}

/// A question that is open.
pub(super) struct Asked {
    pub(super) id: ApprovalId,
    /// Its deadline, if it has one.
    until: Option<Timestamp>,
}

/// The question about a budget that is short: the open one, or a new one. `None` where it has been raised
/// since.
pub(super) async fn question(
    store: &dyn Store,
    attempt: &Attempt,
    what: Option<&str>,
    shortfall: &Shortfall,
    until: Option<Timestamp>,
) -> Result<Option<Asked>, EngineError> {
    let open = || async {
        let asked = store.approvals_about(attempt.run, raise_of(shortfall)).await?;
        let open = asked.into_iter().find(|asked| asked.status == ApprovalStatus::Pending);
        Ok::<_, EngineError>(open.map(|open| Asked { id: open.id, until: open.request.expires_at }))
    };
    if let Some(open) = open().await? {
        return Ok(Some(open));
    }
    // Looked at after the questions: an answer that came since the hold was refused shows in the limit.
    let known = store.budgets(vec![shortfall.budget.key.clone()]).await?;
    let raised = |known: &Budget| known.id == shortfall.budget.id && known.limit > shortfall.budget.limit;
    if known.iter().any(raised) {
        return Ok(None);
    }
    // An account whose first call does not fit was opened with that call's hold, and so not at all: a yes would
    // find nothing to raise.
    if known.iter().all(|known| known.id != shortfall.budget.id) {
        let none = Amount::ZERO;
        let account = Budget { settled: none, held: none, ..shortfall.budget.clone() };
        let ops = vec![Op::OpenBudget(Box::new(account))];
        store.commit(Batch { fence: Some(attempt.fence()), ops }).await?;
    }
    let request = top_up_request(attempt, what, shortfall, until)?;
    let id = ask_once(attempt, request).await?;
    // Another call may have put it at the same moment, with another deadline.
    let other = open().await?.filter(|open| open.id == id);
    Ok(Some(other.unwrap_or(Asked { id, until })))
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
    until: Option<Timestamp>,
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
        expires_at: until,
        on_timeout: if until.is_some() { OnTimeout::Reject } else { OnTimeout::Hold },
        notify: Vec::new(),
    })
}
