//! The hold of a call: in full, cut down to what is left, or after waiting for room.
//!
//! Owns the order in which a call that does not fit is helped: count its text, cut it (where every budget that
//! is short has opted in), else wait while running calls may still free room, else what the budget says.
//!
//! **Architecture Invariant:** what is held is what is sent: a cut call's hold, its attributes and its limit
//! are decided before the commit that takes the hold, which takes it on all budgets or on none. A commit that
//! comes too late is refused by the store, and the call looks again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;
use wflo_core::budget::{Amounts, Budget, Measure, Scope};
use wflo_core::effect::{EffectKind, EffectRecord};
use wflo_core::id::{HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Batch, Op, SliceOp, StoreError};
use wflo_gateway::ledger::{CallIntent, Opened, Refusal, Ticket};
use wflo_gateway::shorter::Most;

use super::content::Asked;
use super::exceeded::{Short, Then, exceeded, patience};
use super::queue::{Queued, queue};
use super::replayed::request_of;
use super::{Again, Dispatched, Held, ending, unwanted};
use crate::budgets::{self, Applied};
use crate::calls::{Calls, Flight};
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::journal::Intent;
use crate::protocol::On;
use crate::services::Services;

/// How long a call may wait for room behind running ones.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long gateways have to answer a recall before they are asked again.
const RECALL: Duration = Duration::from_millis(500);

/// How much of a call is held.
#[derive(Clone, Copy)]
struct Size {
    amounts: Amounts,
    /// The most output tokens of one answer, where they are fewer than was asked for.
    output_limit: Option<u64>,
}

impl Size {
    fn whole(intent: &CallIntent) -> Size {
        let tokens = intent.max_input_tokens.saturating_add(intent.max_output_tokens);
        Size { amounts: amounts(intent, intent.hold, tokens), output_limit: None }
    }
}

/// What a call takes; one that costs nothing (counting tokens) is no call of a model.
pub(super) fn amounts(intent: &CallIntent, cost: NanoUsd, tokens: u64) -> Amounts {
    match intent.path.endpoint.is_billed() {
        true => Amounts { cost, tokens, model_calls: 1, ..Amounts::default() },
        false => Amounts::default(),
    }
}

/// Takes the hold and journals the intent in one commit, waiting for room or for people.
pub(super) async fn reserve(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    path: String,
    seq: u32,
    found: Option<EffectRecord>,
) -> Result<Opened, EngineError> {
    let found = match found {
        Some(row) => Some(charged(calls, row).await?),
        None => None,
    };
    // One that was begun before has it.
    let asked = match found {
        None => Asked::of(calls, &intent.body).await,
        Some(_) => Asked::default(),
    };
    let since = Instant::now();
    let on = On { path, seq };
    let mut whole = Size::whole(intent);
    let mut size = whole;
    let mut counted: Option<CallIntent> = None;
    let place = calls.services.turns.place();
    let mut queued: Option<Queued<'_>> = None;
    let mut recalled = None;
    loop {
        let intent = counted.as_ref().unwrap_or(intent);
        if calls.waits.is_withdrawn(&on) {
            return Ok(Opened::Refused(unwanted()));
        }
        let applied = accounts_of(calls).await?;
        let moved = place.moved();
        if place.is_behind(applied.iter().map(|applied| applied.budget.id)) && since.elapsed() < PATIENCE {
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
                () = calls.closed() => return Ok(Opened::Refused(ending())),
                () = calls.waits.withdrawn(&on) => {}
            }
            continue;
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
        let shortfall =
            match try_reserve(calls, intent, &on, size, &applied, (found.clone(), &asked), flight).await {
                Ok(opened) => return Ok(opened),
                Err(StoreError::Short(shortfall)) => shortfall,
                Err(e) => return Err(e.into()),
            };
        // Before it waits, or is cut: it may be less than its bytes say.
        if let Some(closer) = intent.counted() {
            whole = Size::whole(&closer);
            size = whole;
            counted = Some(closer);
            continue;
        }
        place.waits_for(shortfall.budget.id);
        // What was left when it was cut may be gone; as often as that happens, another call has got it.
        size = cut(calls, intent, &whole, &applied).await?.unwrap_or(whole);
        if size.output_limit.is_some() {
            continue;
        }
        intent.turn.give_back();
        if shortfall.may_fit_later() && recall(calls, &shortfall.budget, &mut recalled).await? {
            continue;
        }
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
        // Nothing that runs makes room for it: whoever needs less than it may go on.
        place.step_aside();
        if queue(calls, &on, &shortfall, &applied, &mut queued).await? {
            continue;
        }
        let patience = patience(&calls.attempt);
        let short =
            Short { what: &intent.model, cheaper: intent.cheaper, on: &on, shortfall: &shortfall, patience };
        match exceeded(calls, short).await? {
            Then::Again => {}
            Then::Ended => return Ok(Opened::Refused(ending())),
            Then::Refused => return Ok(Opened::Refused(Refusal::Budget(shortfall))),
            Then::Unanswered(waited) => {
                return Ok(Opened::Refused(Refusal::Unanswered { shortfall, waited }));
            }
            Then::Cheaper => {
                let again = Again { path: on.path, seq: on.seq };
                return Ok(Opened::Cheaper(Ticket::new(again), Refusal::Budget(shortfall)));
            }
        }
    }
}

/// A try that was lost is charged in full: its answer may have been on its way. Before the call is made again,
/// and not with it, so that what the lost try holds is not waited for.
async fn charged(calls: &Calls, row: EffectRecord) -> Result<EffectRecord, EngineError> {
    let lost = match row.hold {
        Some(lost) => calls.services.store.hold(lost).await?,
        None => None,
    };
    let Some(lost) = lost else { return Ok(row) };
    let at = calls.services.clock.now();
    let settle = Op::Settle { id: lost.id, actual: lost.amounts, at };
    let row = calls.journal.charge(row, lost.amounts.cost, settle).await?;
    calls.services.settled.notify_waiters();
    Ok(row)
}

/// Gets back what gateways have of a budget that they share with runs. Whether it is worth another look at once.
///
/// The dead are asked for first, as they answer no recall. With a crash of this engine after each line:
/// 1. a gateway is killed: the kernel frees its lock, its slices stay held, its log says what was sent;
/// 2. this engine finds the lock free and reads the log; crash: nothing has changed, whoever comes next does;
/// 3. its last fold, with the end of its row and its slices, is one commit, which is refused where somebody else was
///    faster; crash: all is accounted for, its log is without a row and is removed by whoever looks next;
/// 4. the log is removed; crash: as before the call was asked for.
async fn recall(calls: &Calls, budget: &Budget, recalled: &mut Option<Instant>) -> Result<bool, EngineError> {
    if !matches!(budget.scope, Scope::Org | Scope::Label) || recalled.is_some_and(|at| at.elapsed() < RECALL)
    {
        return Ok(false);
    }
    *recalled = Some(Instant::now());
    if calls.services.spenders.recover_dead().await > 0 {
        calls.services.settled.notify_waiters();
        return Ok(true);
    }
    let recall = SliceOp::Recall { spender: None, budgets: vec![budget.id] };
    calls.services.store.commit(Batch { fence: None, ops: vec![Op::Slice(recall)] }).await?;
    Ok(false)
}

/// How far the call must be cut to fit into what is left now, if it may be.
async fn cut(
    calls: &Calls,
    intent: &CallIntent,
    whole: &Size,
    applied: &[Applied],
) -> Result<Option<Size>, EngineError> {
    let Some(shorter) = &intent.shorter else { return Ok(None) };
    if applied.iter().all(|applied| applied.floor.is_none()) {
        return Ok(None);
    }
    let known = calls.services.store.budgets(applied.iter().map(|a| a.budget.key.clone()).collect()).await?;
    let (mut room, mut floor) = (Vec::new(), 0);
    for Applied { budget, floor: least, .. } in applied {
        let left = known.iter().find(|known| known.id == budget.id).unwrap_or(budget).left();
        if left < whole.amounts.of(budget.measure) {
            let Some(least) = least else { return Ok(None) };
            floor = floor.max(*least);
            room.push((budget.measure, left));
        }
    }
    let size = |most: Most| amounts(intent, most.cost, most.tokens);
    let fits = |most: Most| room.iter().all(|(measure, left)| size(most).of(*measure) <= *left);
    let cut = shorter.longest(floor, fits).and_then(|tokens| Some((tokens, shorter.at(tokens)?)));
    Ok(cut.map(|(tokens, most)| Size { amounts: size(most), output_limit: Some(tokens) }))
}

async fn try_reserve(
    calls: &Arc<Calls>,
    intent: &CallIntent,
    on: &On,
    size: Size,
    applied: &[Applied],
    (found, asked): (Option<EffectRecord>, &Asked),
    flight: Flight,
) -> Result<Opened, StoreError> {
    let hold = HoldId::from_uuid(calls.services.clock.uuid());
    let mut ops: Vec<Op> = Vec::new();
    let mut attributes = json!({
        "model": intent.model,
        "provider": intent.provider,
        "dialect": intent.path.dialect.name(),
        "stream": intent.stream,
        "hold_usd": size.amounts.cost,
        "agent": calls.attempt.spec().map(|s| s.agent_name().to_owned()),
    });
    if let (Some(tokens), Some(shorter)) = (size.output_limit, &intent.shorter) {
        attributes["capped"] = json!({ "output_tokens": tokens, "asked": shorter.wanted() });
    }
    let row = match found {
        Some(row) => {
            ops.extend(hold_ops(calls.attempt.run, applied, hold, size.amounts));
            calls.journal.reopen(row, Some(hold), NanoUsd::ZERO, attributes, ops).await?
        }
        None => {
            ops.extend(hold_ops(calls.attempt.run, applied, hold, size.amounts));
            ops.extend(asked.op(calls.attempt.run));
            let mut request = request_of(intent);
            asked.outline(&mut request);
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
            let row = calls.journal.intend(draft, ops).await?;
            asked.committed(calls);
            row
        }
    };
    crate::failpoint::pass("llm.intent.after");
    let flight = Mutex::new(Some(flight));
    let budgets = applied.iter().map(|applied| (applied.budget.key.clone(), applied.budget.id)).collect();
    let call = Dispatched {
        calls: Arc::clone(calls),
        key: row.key.clone(),
        // Its bytes may be many, and are looked at no more.
        intent: CallIntent { body: Bytes::new(), ..intent.clone() },
        budgets,
        held: Mutex::new(Held { row, hold, amounts: size.amounts }),
        flight,
    };
    Ok(Opened::Dispatch { ticket: Ticket::new(call), output_limit: size.output_limit })
}

/// The accounts that a call of a model is held on.
pub(super) async fn accounts_of(calls: &Calls) -> Result<Vec<Applied>, EngineError> {
    let counts = |measure| matches!(measure, Measure::Cost | Measure::ModelCalls | Measure::Tokens);
    accounts_that(&calls.services, &calls.attempt, counts).await
}

/// The accounts that apply to the step, of these measures.
pub(crate) async fn accounts_that(
    services: &Services,
    attempt: &Attempt,
    counts: impl Fn(Measure) -> bool,
) -> Result<Vec<Applied>, EngineError> {
    let context = &attempt.context;
    let standing = services.store.standing_budgets().await?;
    let (step, now) = (attempt.spec(), services.clock.now());
    let mut applied = budgets::accounts(&context.record, &context.definition, step, &standing, now);
    applied.retain(|applied| counts(applied.budget.measure));
    Ok(applied)
}

/// Opens the accounts, and holds on all of them or on none.
pub(crate) fn hold_ops(run: RunId, applied: &[Applied], hold: HoldId, amounts: Amounts) -> Vec<Op> {
    let open = |applied: &Applied| Op::OpenBudget(Box::new(applied.budget.clone()));
    let mut ops: Vec<Op> = applied.iter().map(open).collect();
    let budgets = applied.iter().map(|applied| applied.budget.id).collect();
    ops.push(Op::Hold { id: hold, run, budgets, amounts });
    ops
}
