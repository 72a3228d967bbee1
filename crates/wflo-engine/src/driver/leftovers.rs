//! What the generations that are over have left open in their journals.
//!
//! Calls whose answer was lost, and that no later attempt made again: nobody will ask for them any more, so
//! their holds are charged in full, as uncertain; money that is held for ever is neither spent nor free.
//! Writes that a database has recorded and whose end was lost are finished from there by whoever carries
//! steps out ([`Executor::made`](crate::executor::Executor::made)).

use wflo_core::effect::{EffectRecord, EffectState};
use wflo_core::error::{Code, Failure};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::RunId;
use wflo_core::machine::RunState;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{EffectEnd, Op, Store, StoreError};

/// A call that was sent and whose answer never came.
const NO_ANSWER: Code = Code(4009);

/// The journals of the generations that these events end, where an attempt may have died.
pub(super) async fn journals(
    store: &dyn Store,
    run: RunId,
    was: &RunState,
    events: &[Event],
) -> Result<Vec<Vec<EffectRecord>>, StoreError> {
    let mut journals = Vec::new();
    for event in events {
        let (name, after_one_attempt) = match &event.body {
            EventBody::StepSucceeded { step, .. } | EventBody::StepFailed { step, .. } => (step, false),
            EventBody::StepCancelled { step, .. } => (step, true),
            _ => continue,
        };
        // An attempt ends with its effects settled; only one that died leaves some behind.
        let most_settled = if after_one_attempt { 0 } else { 1 };
        let Some(step) = was.step(name).filter(|step| step.attempt > most_settled) else { continue };
        journals.push(store.effects(run, name.clone(), step.generation).await?);
    }
    Ok(journals)
}

/// Closes the calls that a journal has left open.
pub(super) async fn calls(
    store: &dyn Store,
    run: RunId,
    rows: &[EffectRecord],
    at: jiff::Timestamp,
) -> Result<Vec<Op>, StoreError> {
    let mut ops = Vec::new();
    for row in rows {
        ops.extend(lost(store, run, row, at).await?);
    }
    Ok(ops)
}

async fn lost(
    store: &dyn Store,
    run: RunId,
    row: &EffectRecord,
    at: jiff::Timestamp,
) -> Result<Vec<Op>, StoreError> {
    if row.state != EffectState::Intent {
        return Ok(Vec::new());
    }
    let hold = match row.hold {
        Some(hold) => store.hold(hold).await?,
        None => None,
    };
    // One that was charged already, and not made again, is over as well.
    if hold.is_none() && row.uncertain == NanoUsd::ZERO {
        return Ok(Vec::new());
    }
    let cost = hold.as_ref().map_or(NanoUsd::ZERO, |hold| hold.amounts.cost);
    let failure = Failure::new(
        NO_ANSWER,
        "the answer was lost in a crash and the call was not made again; its whole hold is charged",
    );
    let end = EffectEnd {
        outcome: Err(failure.clone()),
        cost,
        uncertain: true,
        attributes: serde_json::json!({ "error_kind": "interrupted" }),
        at,
    };
    let body = EventBody::EffectFinished {
        key: row.key.clone(),
        kind: row.kind,
        name: row.name.clone(),
        cost_usd: row.cost.saturating_add(cost),
        uncertain: true,
        error: Some(failure),
    };
    let mut ops = vec![Op::FinishEffect { run, key: row.key.clone(), end }];
    ops.extend(hold.map(|hold| Op::Settle { id: hold.id, actual: hold.amounts, at }));
    ops.push(Op::AppendEvents { run, events: vec![Event { at, body }] });
    Ok(ops)
}
