//! The hold of a call: in full, cut down to what is left, or after waiting for room.
//!
//! Owns the order in which a call that does not fit is helped: cut (where every budget that is short has
//! opted in), else wait while running calls may still free room, else what the budget says.
//!
//! **Architecture Invariant:** what is held is what is sent: a cut call's hold, its attributes and its limit
//! are decided before the commit that takes the hold, which takes it on all budgets or on none. A commit that
//! comes too late is refused by the store, and the call looks again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use wflo_core::budget::Budget;
use wflo_core::effect::{EffectKind, EffectRecord};
use wflo_core::id::HoldId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Op, StoreError};
use wflo_gateway::ledger::{CallIntent, Opened, Ticket};

use super::exceeded::exceeded;
use super::{Dispatched, Held, ending, unwanted};
use crate::budgets::{self, Applied};
use crate::calls::{Calls, Flight};
use crate::error::EngineError;
use crate::journal::Intent;
use crate::protocol::On;

/// How long a call may wait for room behind running ones.
const PATIENCE: Duration = Duration::from_secs(300);

/// How much of a call is held.
#[derive(Clone, Copy)]
struct Size {
    hold: NanoUsd,
    /// The most output tokens of one answer, where they are fewer than was asked for.
    output_limit: Option<u64>,
}

/// Takes the hold and journals the intent in one commit, waiting for room or for people.
pub(super) async fn reserve(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    path: String,
    seq: u32,
    found: Option<EffectRecord>,
) -> Result<Opened, EngineError> {
    let since = tokio::time::Instant::now();
    let on = On { path: path.clone(), seq };
    let whole = Size { hold: intent.hold, output_limit: None };
    let mut size = whole;
    loop {
        if calls.waits.is_withdrawn(&on) {
            return Ok(Opened::Refused(unwanted()));
        }
        // Whoever waits for a slot or a rate has not been sent: nothing is journaled of it yet.
        tokio::select! {
            taken = intent.turn.take() => if let Err(refusal) = taken {
                return Ok(Opened::Refused(refusal));
            },
            () = calls.closed() => return Ok(Opened::Refused(ending())),
            () = calls.waits.withdrawn(&on) => return Ok(Opened::Refused(unwanted())),
        }
        let Some(flight) = calls.take_off() else { return Ok(Opened::Refused(ending())) };
        let settled = calls.services.settled.notified();
        let shortfall = match try_reserve(calls, intent, &on, size, found.clone(), flight).await {
            Ok(opened) => return Ok(opened),
            Err(StoreError::Short(shortfall)) => shortfall,
            Err(e) => return Err(e.into()),
        };
        // What was left when it was cut may be gone; as often as that happens, another call has got it.
        size = match cut(calls, intent).await? {
            Some(cut) => cut,
            None => whole,
        };
        if size.output_limit.is_some() {
            continue;
        }
        intent.turn.give_back();
        if shortfall.may_fit_later() && since.elapsed() < PATIENCE {
            tokio::select! {
                () = settled => {}
                // Holds of other processes are settled without a bell here.
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                () = calls.closed() => {}
                () = calls.waits.withdrawn(&on) => {}
            }
            continue;
        }
        if let Some(opened) = exceeded(calls, intent, &on, shortfall).await? {
            return Ok(opened);
        }
    }
}

/// How far the call must be cut to fit into what is left now, if it may be.
async fn cut(calls: &Calls, intent: &CallIntent) -> Result<Option<Size>, EngineError> {
    let Some(shorter) = &intent.shorter else { return Ok(None) };
    let applied = accounts_of(calls);
    if applied.iter().all(|applied| applied.floor.is_none()) {
        return Ok(None);
    }
    let known = calls.services.store.budgets(applied.iter().map(|a| a.budget.key.clone()).collect()).await?;
    let (mut room, mut floor) = (NanoUsd::MAX, 0);
    for Applied { budget, floor: least } in &applied {
        let left = known.iter().find(|known| known.id == budget.id).unwrap_or(budget).left();
        if left < intent.hold {
            let Some(least) = least else { return Ok(None) };
            floor = floor.max(*least);
        }
        room = room.min(left);
    }
    let tokens = shorter.longest(floor, |most| most.cost <= room);
    Ok(tokens.and_then(|tokens| Some(Size { hold: shorter.at(tokens)?.cost, output_limit: Some(tokens) })))
}

async fn try_reserve(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    on: &On,
    size: Size,
    found: Option<EffectRecord>,
    flight: Flight,
) -> Result<Opened, StoreError> {
    let accounts: Vec<Budget> = accounts_of(calls).into_iter().map(|applied| applied.budget).collect();
    let hold = HoldId::from_uuid(calls.services.clock.uuid());
    let mut ops: Vec<Op> = Vec::new();
    let mut attributes = json!({
        "model": intent.model,
        "provider": intent.provider,
        "dialect": intent.path.dialect.name(),
        "stream": intent.stream,
        "hold_usd": size.hold,
        "agent": calls.attempt.spec().map(|s| s.agent_name().to_owned()),
    });
    if let (Some(tokens), Some(shorter)) = (size.output_limit, &intent.shorter) {
        attributes["capped"] = json!({ "output_tokens": tokens, "asked": shorter.wanted() });
    }
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
            ops.extend(hold_ops(calls, &accounts, hold, size.hold));
            calls.journal.reopen(row, Some(hold), carried, attributes, ops).await?
        }
        None => {
            ops.extend(hold_ops(calls, &accounts, hold, size.hold));
            let request = json!({ "fingerprint": intent.fingerprint, "bytes": intent.request_bytes });
            let (fingerprint, after) = calls.expected(&on.path, on.seq, &intent.fingerprint);
            let draft = Intent {
                path: on.path.clone(),
                seq: on.seq,
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
    let call = Dispatched {
        calls: Arc::clone(calls),
        key: row.key.clone(),
        intent: intent.clone(),
        budgets,
        held: Mutex::new(Held { row, hold, amount: size.hold }),
        flight,
    };
    Ok(Opened::Dispatch { ticket: Ticket::new(call), output_limit: size.output_limit })
}

pub(super) fn accounts_of(calls: &Calls) -> Vec<Applied> {
    let context = &calls.attempt.context;
    budgets::accounts(&context.record, &context.definition, calls.attempt.spec(), calls.services.clock.now())
}

pub(super) fn hold_ops(calls: &Calls, accounts: &[Budget], hold: HoldId, amount: NanoUsd) -> Vec<Op> {
    let mut ops: Vec<Op> = accounts.iter().map(|a| Op::OpenBudget(Box::new(a.clone()))).collect();
    let budgets = accounts.iter().map(|a| a.id).collect();
    ops.push(Op::Hold { id: hold, run: calls.attempt.run, budgets, amount });
    ops
}
