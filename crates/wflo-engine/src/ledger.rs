//! The gateway's ledger over runs: journal, holds, bills.
//!
//! A call's sequence, with what a crash between two lines leaves behind:
//! 1. intent and hold are one commit; crash: the hold is charged in full as uncertain, and the call is
//!    made again under a new hold (its answer may have been lost on its way);
//! 2. the call is dispatched; crash: as above;
//! 3. answer and bill are one commit; crash: the answer is replayed and nothing is paid again;
//! 4. the last bytes reach the client.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Purpose};
use wflo_core::budget::{Budget, OnExceeded, Shortfall, display_name};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKind, EffectRecord, EffectState};
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::event::EventBody;
use wflo_core::id::{ApprovalId, BudgetId, HoldId};
use wflo_core::machine::{CommandBody, Rejection};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{EffectEnd, Op, StoreError};
use wflo_gateway::ledger::{
    BoxFuture, CallIntent, Ledger, LedgerError, Opened, Outcome, Recorded, Refusal, Ticket,
};

use crate::broker::{Unanswered, full};
use crate::budgets;
use crate::calls::{Calls, Flight, Place};
use crate::error::EngineError;
use crate::journal::Intent;
use crate::policy;
use crate::protocol::On;

mod operator;
mod overshot;

pub use overshot::Overshot;

/// The attempt that made the call is being ended.
const ENDING: Code = Code(3025);
/// The writes before a call were not approved.
const REJECTED: Code = Code(7003);
/// A call that was never sent.
const NOT_SENT: Code = Code(4016);
/// How long a call may wait for room behind running ones.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// Keeps the calls of runs.
#[derive(Debug, Default)]
pub struct RunLedger;

/// What a dispatched call is known by.
struct Dispatched {
    calls: Arc<Calls>,
    row: EffectRecord,
    hold: HoldId,
    amount: NanoUsd,
    /// The accounts that it was held on: what each covers, and which one.
    budgets: Vec<(String, BudgetId)>,
    flight: Mutex<Option<Flight>>,
}

impl Dispatched {
    fn overshot(&self, billed: NanoUsd) -> Overshot {
        let said = |name: &str| self.row.attributes[name].as_str().unwrap_or_default().to_owned();
        let (model, provider) = (said("model"), said("provider"));
        Overshot { model, provider, billed, held: self.amount, budgets: self.budgets.clone() }
    }

    /// The call is over, whatever became of its record: nobody waits for it any longer.
    fn over(&self) {
        self.calls.finished(&self.row.key.path, self.row.key.seq);
        drop(self.flight.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.calls.services.settled.notify_waiters();
    }
}

impl Ledger for RunLedger {
    fn open(&self, intent: CallIntent) -> BoxFuture<'_, Result<Opened, LedgerError>> {
        Box::pin(async move {
            let Some(calls) = intent.caller.get::<Arc<Calls>>().cloned() else {
                return Err(LedgerError { code: Code(9002), message: "a call without a caller".to_owned() });
            };
            open(&calls, intent).await.map_err(|e| refused(&calls, e))
        })
    }

    fn close(&self, ticket: Ticket, outcome: Outcome) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let Some(call) = ticket.get::<Dispatched>() else { return Ok(()) };
            let closed = close(call, outcome).await;
            call.over();
            closed.map_err(|e| refused(&call.calls, e))
        })
    }

    fn release(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let Some(call) = ticket.get::<Dispatched>() else { return Ok(()) };
            let failure =
                Failure::new(NOT_SENT, "the provider could not be reached; the call was never sent");
            let end = EffectEnd {
                attributes: json!({ "error_kind": "model" }),
                ..call.calls.journal.end(Err(failure))
            };
            let ops = vec![Op::ReleaseHold { id: call.hold }];
            let released = call.calls.journal.finish(call.row.clone(), end, ops, Vec::new()).await;
            call.over();
            released.map(|_| ()).map_err(|e| refused(&call.calls, e.into()))
        })
    }

    fn connection_closed_early(&self, ticket: &Ticket) {
        if let Some(call) = ticket.get::<Dispatched>() {
            call.calls.abandoned(&call.row.key.path, call.row.key.seq);
        }
    }

    fn ending<'a>(&'a self, ticket: &'a Ticket) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match ticket.get::<Dispatched>() {
                Some(call) => call.calls.hurried().await,
                None => std::future::pending().await,
            }
        })
    }
}

async fn open(calls: &Arc<Calls>, intent: CallIntent) -> Result<Opened, EngineError> {
    let (path, seq) = match &intent.positional {
        Some((path, seq)) => (path.clone(), *seq),
        None => {
            // What a client asks for may follow from what it gave up.
            calls.keep_given_up(None).await?;
            let (path, seq, nth, other) = match calls.place(&intent.fingerprint, intent.retry_of) {
                Place::New { path, seq, nth } => (path, seq, nth, None),
                Place::Attach { path, seq, nth, over } => (path, seq, nth, Some(over)),
            };
            if !calls.asked(&path, seq, nth, intent.caller.connection()) {
                return Ok(Opened::GivenUp);
            }
            if let Some(over) = other {
                runs(&intent);
                wait_for_the_other(calls, over).await?;
            }
            (path, seq)
        }
    };
    let opened = open_at(calls, &intent, path.clone(), seq).await;
    if !matches!(opened, Ok(Opened::Dispatch(_))) {
        // It is answered or refused: whoever attached to it goes on by itself.
        calls.finished(&path, seq);
    }
    opened
}

async fn open_at(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    path: String,
    seq: u32,
) -> Result<Opened, EngineError> {
    let found = calls.journal.get(&path, seq);
    calls.matched(&path, seq);
    match found.as_ref().map(|row| &row.state) {
        Some(EffectState::Finished { .. }) => return Ok(Opened::Replay(recorded(calls, &path, seq).await?)),
        Some(EffectState::Failed { error, .. }) => {
            let kind = "not_sent".to_owned();
            return Ok(Opened::Refused(Refusal::Other { status: 502, kind, failure: error.clone() }));
        }
        Some(EffectState::Intent | EffectState::Previewed { .. }) | None => {}
    }
    // Before people are asked about a call that cannot be made.
    if let Some(error) = operator::not_ready(calls, intent) {
        return operator::hold_back(calls, error).await;
    }
    if found.is_none() && intent.positional.is_none() && calls.misses() {
        let key = calls.journal.key(&path, seq);
        calls.journal.note(vec![EventBody::ReplayMiss { key }]).await?;
    }
    // One of a step's own is refused where its effect begins.
    if let Some(limit) = calls.journal.meter().reached().filter(|_| found.is_none()) {
        let kind = "journal_full".to_owned();
        return Ok(Opened::Refused(Refusal::Other { status: 403, kind, failure: full(limit) }));
    }
    runs(intent);
    // A call that was begun before is not held up by writes that came after it.
    if found.is_none()
        && let Some(refusal) = before_writes(calls, On { path: path.clone(), seq }).await?
    {
        return Ok(Opened::Refused(refusal));
    }
    if let Some(refusal) = policy::before_call(calls, intent, &path, seq).await? {
        return Ok(Opened::Refused(refusal));
    }
    reserve(calls, intent, path, seq, found).await
}

/// An answer that was given before.
async fn recorded(calls: &Calls, path: &str, seq: u32) -> Result<Recorded, EngineError> {
    let row = calls.journal.whole(path, seq).await?;
    let result = match row.map(|row| row.state) {
        Some(EffectState::Finished { result, .. }) => result.into_here(),
        _ => None,
    };
    let result =
        result.ok_or_else(|| EngineError::Unreadable(format!("the answer of {path}/{seq} is gone")))?;
    serde_json::from_value(result).map_err(|e| EngineError::Unreadable(e.to_string()))
}

/// No answer of the journal comes on its connection: it takes as long as it takes.
fn runs(intent: &CallIntent) {
    if let Some(connection) = intent.caller.connection() {
        connection.runs();
    }
}

/// A new call waits until the step's writes so far are approved.
async fn before_writes(calls: &Calls, on: On) -> Result<Option<Refusal>, EngineError> {
    let settled = tokio::select! {
        settled = calls.chain.settle(&on) => settled,
        () = calls.closed() => return Ok(Some(ending())),
    };
    match settled {
        Ok(Ok(())) => Ok(None),
        Ok(Err(refused)) => {
            let failure = Failure::new(REJECTED, refused.message);
            Ok(Some(Refusal::Other { status: 403, kind: "approval_rejected".to_owned(), failure }))
        }
        Err(Unanswered::Halted) => Ok(Some(ending())),
        Err(Unanswered::Withdrawn) => Ok(Some(unwanted())),
        Err(Unanswered::Failed(failure)) => {
            Ok(Some(Refusal::Other { status: 403, kind: "step_ending".to_owned(), failure }))
        }
        Err(Unanswered::Broken(e)) => Err(e),
    }
}

async fn wait_for_the_other(calls: &Calls, mut over: watch::Receiver<bool>) -> Result<(), EngineError> {
    tokio::select! {
        _ = over.wait_for(|over| *over) => Ok(()),
        () = calls.closed() => Err(EngineError::ShuttingDown),
    }
}

/// Takes the hold and journals the intent in one commit, waiting for room or for people.
async fn reserve(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    path: String,
    seq: u32,
    found: Option<EffectRecord>,
) -> Result<Opened, EngineError> {
    let since = tokio::time::Instant::now();
    let on = On { path: path.clone(), seq };
    loop {
        if calls.waits.is_withdrawn(&on) {
            return Ok(Opened::Refused(unwanted()));
        }
        let Some(flight) = calls.take_off() else { return Ok(Opened::Refused(ending())) };
        let settled = calls.services.settled.notified();
        match try_reserve(calls, intent, &path, seq, found.clone(), flight).await {
            Ok(opened) => return Ok(opened),
            Err(StoreError::Short(shortfall)) => {
                if shortfall.may_fit_later() && since.elapsed() < PATIENCE {
                    tokio::select! {
                        () = settled => {}
                        // Holds of other processes are settled without a bell here.
                        () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {}
                        () = calls.closed() => {}
                        () = calls.waits.withdrawn(&on) => {}
                    }
                    continue;
                }
                if let Some(refusal) = exceeded(calls, intent, &path, seq, shortfall).await? {
                    return Ok(Opened::Refused(refusal));
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
}

async fn try_reserve(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    path: &str,
    seq: u32,
    found: Option<EffectRecord>,
    flight: Flight,
) -> Result<Opened, StoreError> {
    let accounts = accounts_of(calls);
    let hold = HoldId::from_uuid(calls.services.clock.uuid());
    let mut ops: Vec<Op> = Vec::new();
    let attributes = json!({
        "model": intent.model,
        "provider": intent.provider,
        "dialect": intent.path.dialect.name(),
        "stream": intent.stream,
        "hold_usd": intent.hold,
        "agent": calls.attempt.spec().map(|s| s.agent_name().to_owned()),
    });
    let row = match found {
        Some(row) => {
            // The lost try is charged in full: its answer may have been on its way.
            let carried = match row.hold {
                Some(lost) => match calls.services.store.hold(lost).await? {
                    Some(lost) => {
                        ops.push(Op::Settle {
                            id: lost.id,
                            actual: lost.amount,
                            at: calls.services.clock.now(),
                        });
                        lost.amount
                    }
                    None => NanoUsd::ZERO,
                },
                None => NanoUsd::ZERO,
            };
            ops.extend(hold_ops(calls, &accounts, hold, intent.hold));
            calls.journal.reopen(row, Some(hold), carried, attributes, ops).await?
        }
        None => {
            ops.extend(hold_ops(calls, &accounts, hold, intent.hold));
            let request = json!({ "fingerprint": intent.fingerprint, "bytes": intent.request_bytes });
            let (fingerprint, after) = calls.expected(path, seq, &intent.fingerprint);
            let draft = Intent {
                path: path.to_owned(),
                seq,
                kind: EffectKind::Llm,
                name: intent.path.endpoint.name().to_owned(),
                fingerprint,
                request,
                hold: Some(hold),
                attributes,
                after,
            };
            crate::failpoint::pass("llm.intent.before");
            calls.journal.intend(draft, ops).await?
        }
    };
    crate::failpoint::pass("llm.intent.after");
    let flight = Mutex::new(Some(flight));
    let budgets = accounts.into_iter().map(|account| (account.key, account.id)).collect();
    let call = Dispatched { calls: Arc::clone(calls), row, hold, amount: intent.hold, budgets, flight };
    Ok(Opened::Dispatch(Ticket::new(call)))
}

fn accounts_of(calls: &Calls) -> Vec<Budget> {
    let context = &calls.attempt.context;
    budgets::accounts(&context.record, &context.definition, calls.attempt.spec(), calls.services.clock.now())
}

fn hold_ops(calls: &Calls, accounts: &[Budget], hold: HoldId, amount: NanoUsd) -> Vec<Op> {
    let mut ops: Vec<Op> = accounts.iter().map(|a| Op::OpenBudget(Box::new(a.clone()))).collect();
    let budgets = accounts.iter().map(|a| a.id).collect();
    ops.push(Op::Hold { id: hold, run: calls.attempt.run, budgets, amount });
    ops
}

/// A call that does not fit: people are asked, or the run halts. `None` means try again.
async fn exceeded(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    path: &str,
    seq: u32,
    shortfall: Box<Shortfall>,
) -> Result<Option<Refusal>, EngineError> {
    let budget = shortfall.budget.clone();
    let refusal = Refusal::Budget {
        budget: display_name(budget.scope, &budget.key, budget.period)
            .replace(" budget", "")
            .replace("budget of ", ""),
        limit: budget.limit,
        left: budget.left(),
    };
    if budget.action_on_exceeded == OnExceeded::Halt {
        let action = OnExceeded::Halt;
        let body = CommandBody::BudgetExhausted { step: calls.attempt.step.clone(), shortfall, action };
        calls.attempt.driver.tell(body, Vec::new()).await?;
        return Ok(Some(refusal));
    }
    let about = raise_of(&shortfall);
    let asked = calls.services.store.approvals_about(calls.attempt.run, about).await?;
    let question = match asked.into_iter().find(|a| a.status == ApprovalStatus::Pending) {
        Some(question) => question.id,
        None => ask_once(calls, top_up_request(calls, intent, &shortfall)?).await?,
    };
    let on = On { path: path.to_owned(), seq };
    let status = tokio::select! {
        status = calls.waits.decided(&calls.attempt, on, question) => status?,
        () = calls.closed() => return Ok(Some(ending())),
    };
    match status {
        ApprovalStatus::Approved | ApprovalStatus::Consumed => Ok(None),
        _ => Ok(Some(refusal)),
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

async fn close(call: &Dispatched, outcome: Outcome) -> Result<(), EngineError> {
    let result: Value =
        serde_json::to_value(&outcome.recorded).map_err(|e| EngineError::Unreadable(e.to_string()))?;
    let at = call.calls.services.clock.now();
    let usage = outcome.usage.unwrap_or_default();
    let end = EffectEnd {
        outcome: Ok(result),
        cost: outcome.settled,
        uncertain: outcome.uncertain,
        attributes: json!({
            "status": outcome.recorded.status,
            "interrupted": outcome.recorded.interrupted,
            "input_tokens": usage.total_input(),
            "cached_tokens": usage.cached_input(),
            "output_tokens": usage.total_output(),
        }),
        at,
    };
    let overshot = (outcome.settled > call.amount).then(|| call.overshot(outcome.settled));
    let mut ops = vec![Op::Settle { id: call.hold, actual: outcome.settled, at }];
    if let Some(overshot) = &overshot {
        tracing::error!(effect = %call.row.key, settled = %outcome.settled, held = %call.amount, "a call was billed above its upper bound");
        let message = overshot::message(call, overshot);
        ops.extend(message.map(|message| Op::PushInbox { run: call.calls.attempt.run, message, at }));
    }
    crate::failpoint::pass("llm.close.before");
    call.calls.journal.finish(call.row.clone(), end, ops, Vec::new()).await?;
    crate::failpoint::pass("llm.close.after");
    if let Some(overshot) = &overshot {
        overshot::halt(call, overshot).await;
    }
    Ok(())
}

pub(crate) fn ending() -> Refusal {
    let failure = Failure::new(ENDING, "the step is being ended, so no further call is made");
    Refusal::Other { status: 409, kind: "step_ending".to_owned(), failure }
}

/// The step has gone on without this call, and it has not been sent.
fn unwanted() -> Refusal {
    let failure = Failure::new(ENDING, "the step no longer waits for this call, so it is not made");
    Refusal::Other { status: 409, kind: "step_ending".to_owned(), failure }
}

fn refused(calls: &Calls, error: EngineError) -> LedgerError {
    calls.break_off(&error);
    LedgerError { code: error.code(), message: error.to_string() }
}

#[cfg(test)]
mod tests;
