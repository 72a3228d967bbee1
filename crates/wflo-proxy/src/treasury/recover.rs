//! What processes leave that end without saying so.
//!
//! Owns the proof of death and the reckoning. A log whose host has not been started anew since is whole:
//! what ended in it is settled as it was billed, what has no end is charged in full. After a loss of power the
//! end of the log may be missing, so whatever of the slices is not settled is charged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wflo_core::budget::{Amount, Amounts, Measure};
use wflo_core::cost::PromptCache;
use wflo_core::id::{BudgetId, EngineId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Moment;
use wflo_core::ports::store::{Batch, Fold, Op, Part, SliceOp, SliceStore, StoreError};
use wflo_core::slice::{CallRecord, Slice, Spender};
use wflo_store::lock;

use super::TreasuryError;
use crate::log;

/// The name under which reports list what a loss of power has left unknown.
const LOST: &str = "(lost with the power)";

/// The same for a log that was damaged.
const DAMAGED: &str = "(lost with a damaged log)";

/// The name under which reports list the sum of calls that could not be stored as they were.
const SUMMED: &str = "(could not be stored)";

/// Brings in what gateways have left that ended without saying so; how many they were. To be called by
/// whoever reports what was spent, or misses what a budget should have.
///
/// # Errors
/// When the store or a log cannot be read or written.
pub async fn recover_dead(
    store: &dyn SliceStore,
    data_dir: &Path,
    now: &Moment,
) -> Result<usize, TreasuryError> {
    all(store, data_dir, now).await
}

/// Brings in what dead processes have left; how many they were.
pub(crate) async fn all(
    store: &dyn SliceStore,
    data_dir: &Path,
    now: &Moment,
) -> Result<usize, TreasuryError> {
    let mut recovered = 0;
    let spenders = store.spenders().await?;
    for spender in &spenders {
        match one(store, data_dir, spender, now).await {
            Ok(was_dead) => recovered += usize::from(was_dead),
            // Its slices stay held, which is what they can have cost; nobody else is kept from anything.
            Err(error) => tracing::error!(
                spender = %spender.id, %error,
                "what a process that has ended spent could not be brought in; its slices stay held"
            ),
        }
    }
    // Logs without a row: their process died before it announced itself, or after its end was folded.
    for id in log::writers(data_dir).map_err(file)? {
        if !spenders.iter().any(|spender| spender.id == id) && is_dead(data_dir, id)? {
            log::remove(data_dir, id);
            let _ = lock::remove_stale(data_dir, id);
        }
    }
    Ok(recovered)
}

fn file(source: std::io::Error) -> TreasuryError {
    TreasuryError::File { what: "the log of a process that has ended", source }
}

fn is_dead(data_dir: &Path, id: EngineId) -> Result<bool, TreasuryError> {
    Ok(lock::holder(data_dir, id).map_err(file)?.is_none())
}

async fn one(
    store: &dyn SliceStore,
    data_dir: &Path,
    spender: &Spender,
    now: &Moment,
) -> Result<bool, TreasuryError> {
    if !is_dead(data_dir, spender.id)? {
        return Ok(false);
    }
    let slices: Vec<Slice> =
        store.slices().await?.into_iter().filter(|slice| slice.spender == spender.id).collect();
    let read = log::read(data_dir, spender.id, spender.position).map_err(file)?;
    let damaged = spender.boot_id == now.boot_id && read.as_ref().is_none_or(|read| read.damaged);
    let lost = match (damaged, spender.boot_id == now.boot_id) {
        (true, _) => Some(DAMAGED),
        (false, false) => Some(LOST),
        (false, true) => None,
    };
    if damaged {
        tracing::error!(
            spender = %spender.id,
            "the log of a process that has ended is damaged or gone; all that is left of its slices is charged"
        );
    }
    let reckoned = reckon(spender, &slices, read.unwrap_or_default(), lost, now);
    tracing::warn!(
        spender = %spender.id, pid = spender.pid, calls = reckoned.calls.len(),
        "a process ended with slices of budgets; what it spent is brought in"
    );
    let put = |fold| store.commit(Batch { fence: None, ops: vec![Op::Slice(SliceOp::Fold(Arc::new(fold)))] });
    let outcome = match put(reckoned.clone()).await {
        Err(StoreError::Failed(reason)) => {
            tracing::error!(
                reason,
                "the store does not take the calls of a process that has ended; their sum is stored"
            );
            put(summed(&reckoned)).await
        }
        outcome => outcome,
    };
    match outcome {
        // Somebody else was faster.
        Ok(_) | Err(StoreError::NotFound { noun: "spender", .. }) => {}
        Err(error) => return Err(error.into()),
    }
    log::remove(data_dir, spender.id);
    let _ = lock::remove_stale(data_dir, spender.id);
    Ok(true)
}

/// The same fold with its calls as one, of which nothing but the cost is said.
pub(super) fn summed(fold: &Fold) -> Fold {
    let cost = fold.calls.iter().fold(NanoUsd::ZERO, |sum, call| sum.saturating_add(call.cost));
    let sum = unknown(fold.to, fold.at.as_millisecond(), cost, SUMMED);
    Fold { calls: if fold.calls.is_empty() { Vec::new() } else { vec![sum] }, ..fold.clone() }
}

/// A call of which only the cost is known, or the most that it can have been.
fn unknown(seq: u64, at_ms: i64, cost: NanoUsd, name: &str) -> CallRecord {
    CallRecord {
        seq,
        at_ms,
        key: None,
        provider: name.to_owned(),
        model: name.to_owned(),
        status: 0,
        input_tokens: 0,
        cached_tokens: 0,
        output_tokens: 0,
        cost,
        uncertain: true,
        took_us: 0,
        saved: None,
        prompt_cache: PromptCache::default(),
    }
}

/// The last fold of a dead process. `lost` names what is charged where the end of its log is not known.
fn reckon(
    spender: &Spender,
    slices: &[Slice],
    read: log::Read,
    lost: Option<&'static str>,
    now: &Moment,
) -> Fold {
    let mut spent: BTreeMap<BudgetId, Amount> = BTreeMap::new();
    let mut charge = |budgets: &[(BudgetId, Measure)], taken: &Amounts| {
        for (budget, measure) in budgets {
            let sum = spent.entry(*budget).or_default();
            *sum = sum.saturating_add(taken.of(*measure));
        }
    };
    let (mut calls, mut overruns) = (Vec::new(), 0);
    let last = read.last.max(spender.position);
    for (intent, lsn, end) in &read.settled {
        // What stands before the position was folded by the process itself.
        if *lsn <= spender.position {
            continue;
        }
        charge(&intent.budgets, &end.taken(&intent.amounts));
        overruns += u32::from(end.is_over(intent));
        calls.push(end.record(intent));
    }
    if let Some(name) = lost {
        // A call is on several budgets, so the dearest rest is what was lost; each budget is charged its own.
        let mut most = NanoUsd::ZERO;
        for slice in slices {
            let known = spent.get(&slice.budget).copied().unwrap_or_default();
            let rest = slice.amount.saturating_sub(known).max(Amount::ZERO);
            if slice.measure.is_cost() {
                most = most.max(rest.money());
            }
            spent.insert(slice.budget, known.saturating_add(rest));
        }
        if most > NanoUsd::ZERO {
            calls.push(unknown(last.saturating_add(1), now.wall.as_millisecond(), most, name));
        }
    } else {
        for intent in &read.open {
            charge(&intent.budgets, &intent.amounts);
            let most = unknown(intent.seq, intent.at_ms, intent.amounts.cost, "");
            let (provider, model) = (intent.provider.clone(), intent.model.clone());
            calls.push(CallRecord { key: intent.key, provider, model, ..most });
        }
    }
    let held = |budget| slices.iter().find(|slice| slice.budget == budget).map(|slice| slice.amount);
    let part = |(budget, settled): (BudgetId, Amount)| Part {
        budget,
        settled,
        freed: settled.min(held(budget).unwrap_or_default()),
    };
    Fold {
        spender: spender.id,
        from: spender.position,
        to: last,
        parts: spent.into_iter().map(part).collect(),
        calls,
        overruns,
        // What is left of the slices was never spent.
        ends: true,
        at: now.wall,
    }
}
