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
use wflo_core::budget::Amounts;
use wflo_core::cost::PromptCache;
use wflo_core::effect::{EffectKey, EffectRecord, EffectState};
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::event::EventBody;
use wflo_core::id::{BudgetId, HoldId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{EffectEnd, Op};
use wflo_gateway::error::GatewayError;
use wflo_gateway::ledger::{
    BoxFuture, CallIntent, Caller, Further, Ledger, LedgerError, Next, Opened, Outcome, Recorded, Refusal,
    Ticket,
};

use crate::broker::{Unanswered, full};
use crate::calls::{Calls, Flight, Place};
use crate::error::EngineError;
use crate::policy;
use crate::protocol::On;

mod again;
mod content;
mod exceeded;
mod operator;
mod overshot;
mod queue;
mod repeated;
mod replayed;
mod reserve;
mod time;
mod turns;

pub(crate) use content::Kept;
pub(crate) use exceeded::{Short, Then, ask_once, exceeded};
pub use overshot::Overshot;
pub(crate) use queue::queue;
pub(crate) use reserve::{accounts_that, hold_ops};
pub(crate) use time::within;
pub use turns::Turns;

/// The attempt that made the call is being ended.
pub(crate) const ENDING: Code = Code(3025);
/// The writes before a call were not approved.
const REJECTED: Code = Code(7003);
/// A call that was never sent.
const NOT_SENT: Code = Code(4016);

/// Keeps the calls of runs.
#[derive(Debug, Default)]
pub struct RunLedger;

/// What a dispatched call is known by.
struct Dispatched {
    calls: Arc<Calls>,
    key: EffectKey,
    intent: CallIntent,
    /// The accounts that it was held on: what each covers, and which one.
    budgets: Vec<(String, BudgetId)>,
    held: Mutex<Held>,
    flight: Mutex<Option<Flight>>,
}

/// What the present attempt of a dispatched call is recorded and held as.
#[derive(Clone)]
struct Held {
    row: EffectRecord,
    hold: HoldId,
    amounts: Amounts,
}

impl Dispatched {
    fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn overshot(&self, held: &Held, billed: NanoUsd) -> Overshot {
        let said = |name: &str| held.row.attributes[name].as_str().unwrap_or_default().to_owned();
        let (model, provider) = (said("model"), said("provider"));
        Overshot { model, provider, billed, held: held.amounts.cost, budgets: self.budgets.clone() }
    }

    /// The call is over, whatever became of its record: nobody waits for it any longer.
    fn over(&self) {
        self.calls.finished(&self.key.path, self.key.seq);
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

    fn again<'a>(&'a self, ticket: &'a Ticket, next: Next) -> BoxFuture<'a, Result<Further, LedgerError>> {
        Box::pin(async move {
            let Some(call) = ticket.get::<Dispatched>() else { return Ok(Further::Refused(unwanted())) };
            again::again(call, next).await.map_err(|e| refused(&call.calls, e))
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
            let Held { row, hold, .. } = call.held();
            let ops = vec![Op::ReleaseHold { id: hold }];
            let released = call.calls.journal.finish(row, end, ops, Vec::new()).await;
            call.over();
            released.map(|_| ()).map_err(|e| refused(&call.calls, e.into()))
        })
    }

    fn connection_closed_early(&self, ticket: &Ticket) {
        if let Some(call) = ticket.get::<Dispatched>() {
            call.calls.abandoned(&call.key.path, call.key.seq);
        }
    }

    fn refused<'a>(&'a self, caller: &'a Caller, error: &'a GatewayError) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Some(calls) = caller.get::<Arc<Calls>>() {
                calls.refused(error).await;
            }
        })
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

/// Where a call stands that is opened again as one of a cheaper model.
struct Again {
    path: String,
    seq: u32,
}

async fn open(calls: &Arc<Calls>, intent: CallIntent) -> Result<Opened, EngineError> {
    let place = intent.place.as_ref().and_then(|place| place.get::<Again>());
    let (path, seq) = match (place, &intent.positional) {
        (Some(again), _) => (again.path.clone(), again.seq),
        (None, Some((path, seq))) => (path.clone(), *seq),
        (None, None) => {
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
    if !matches!(opened, Ok(Opened::Dispatch { .. } | Opened::Cheaper(..))) {
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
    let is_replayed = calls.attempt.context.record.options.recording.is_some();
    // Before people are asked about a call that cannot be made.
    if !is_replayed && let Some(error) = operator::not_ready(calls, intent) {
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
    if let Some(refusal) = repeated::before_call(calls, intent, &path, seq, found.is_some()).await? {
        return Ok(Opened::Refused(refusal));
    }
    if let Some(refusal) = policy::before_call(calls, intent, &path, seq).await? {
        return Ok(Opened::Refused(refusal));
    }
    if let Some(answered) = replayed::answer(calls, intent, &path, seq).await? {
        return Ok(answered);
    }
    // One that was begun before may have been paid for: it is made again as it was.
    if found.is_none()
        && let Some(answered) = replayed::kept(calls, intent, &path, seq).await?
    {
        return Ok(answered);
    }
    reserve::reserve(calls, intent, path, seq, found).await
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

async fn close(call: &Dispatched, outcome: Outcome) -> Result<(), EngineError> {
    let result: Value =
        serde_json::to_value(&outcome.recorded).map_err(|e| EngineError::Unreadable(e.to_string()))?;
    let at = call.calls.services.clock.now();
    let usage = outcome.usage.unwrap_or_default();
    let mut attributes = json!({
        "status": outcome.recorded.status,
        "interrupted": outcome.recorded.interrupted,
        "input_tokens": usage.total_input(),
        "cached_tokens": usage.cached_input(),
        "output_tokens": usage.total_output(),
    });
    let PromptCache { written_tokens, saved } = outcome.prompt_cache;
    if written_tokens > 0 {
        attributes["cache_write_tokens"] = written_tokens.into();
    }
    if saved != NanoUsd::ZERO {
        attributes["prompt_cache_saved_usd"] = json!(saved);
    }
    let end = EffectEnd {
        outcome: Ok(result),
        cost: outcome.settled,
        uncertain: outcome.uncertain,
        attributes,
        at,
    };
    let held = call.held();
    let overshot = (outcome.settled > held.amounts.cost).then(|| call.overshot(&held, outcome.settled));
    let tokens = match outcome.uncertain {
        true => held.amounts.tokens,
        false => usage.total_input().saturating_add(usage.total_output()),
    };
    let actual = Amounts { cost: outcome.settled, tokens, ..held.amounts };
    let mut ops = vec![Op::Settle { id: held.hold, actual, at }];
    if let Some(overshot) = &overshot {
        tracing::error!(effect = %call.key, settled = %outcome.settled, held = %held.amounts.cost, "a call was billed above its upper bound");
        let message = overshot::message(call, overshot);
        ops.extend(message.map(|message| Op::PushInbox { run: call.calls.attempt.run, message, at }));
    }
    crate::failpoint::pass("llm.close.before");
    call.calls.journal.finish(held.row, end, ops, Vec::new()).await?;
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
