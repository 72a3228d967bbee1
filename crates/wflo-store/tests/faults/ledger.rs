//! A small engine's worth of commits whose traces can be checked afterwards: intent and hold, then
//! result and bill, each with its event.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use wflo_core::budget::{Budget, Period, Scope};
use wflo_core::effect::EffectKey;
use wflo_core::event::EventBody;
use wflo_core::id::{HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Op, RunFilter, Store, StoreError};
use wflo_core::run::RunStatus;

use crate::contract::ground::*;

const BUDGET: &str = "everybody";

/// Opens the one budget that all runs share.
pub async fn open_budget(store: &dyn Store) -> Budget {
    try_open_budget(store).await.unwrap()
}

/// The same where the disk may fail.
pub async fn try_open_budget(store: &dyn Store) -> Result<Budget, StoreError> {
    let budget = Budget {
        period: Period::Total,
        alert_thresholds: Vec::new(),
        ..budget(BUDGET, Scope::Workflow, "1000")
    };
    commit(store, vec![Op::OpenBudget(Box::new(budget))]).await?;
    Ok(store.budgets(vec![BUDGET.to_owned()]).await?.remove(0))
}

fn place(n: u32) -> EffectKey {
    key("0", n)
}

/// Each run's holds have ids of their own.
fn hold_of(run: RunId, n: u32) -> HoldId {
    HoldId::from_uuid(uuid::Uuid::from_u128(run.uuid().as_u128().rotate_left(32) ^ u128::from(n)))
}

fn note(text: &str, n: u32) -> wflo_core::event::Event {
    let body = EventBody::Notice { notice: text.to_owned(), message: n.to_string() };
    wflo_core::event::Event { at: at(i64::from(n)), body }
}

/// One call: intent and result, acknowledged by `tell` one after the other.
pub async fn call(
    store: &dyn Store,
    run: RunId,
    budget: &Budget,
    n: u32,
    tell: impl Fn(&str),
) -> Result<(), StoreError> {
    let intent = vec![
        put(run, place(n)),
        Op::Hold {
            id: hold_of(run, n),
            run,
            budgets: vec![budget.id],
            amounts: NanoUsd::from_nanos(2).into(),
        },
        Op::AppendEvents { run, events: vec![note("intent", n)] },
    ];
    commit(store, intent).await?;
    tell(&format!("intent {run} {n}"));
    let result = vec![
        Op::FinishEffect {
            run,
            key: place(n),
            end: end(json!({"n": n, "pad": "p".repeat(300)}), NanoUsd::from_nanos(1)),
        },
        Op::Settle { id: hold_of(run, n), actual: NanoUsd::from_nanos(1).into(), at: at(1) },
        Op::AppendEvents { run, events: vec![machine_event(i64::from(n)), note("result", n)] },
        Op::SetRun { run, status: RunStatus::Running, outputs: None, error: None, at: at(i64::from(n)) },
    ];
    commit(store, result).await?;
    tell(&format!("result {run} {n}"));
    Ok(())
}

type Told = HashMap<RunId, HashSet<u32>>;

/// Proves that every acknowledged line is there, and that nothing is there by half.
pub async fn check(store: &dyn Store, told: &[String]) {
    let (mut intents, mut results) = (Told::new(), Told::new());
    for line in told {
        let mut words = line.split(' ');
        let what = words.next().unwrap();
        if !matches!(what, "intent" | "result") {
            continue;
        }
        let (run, n) =
            (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse::<u32>().unwrap());
        let told = if what == "intent" { &mut intents } else { &mut results };
        told.entry(run).or_default().insert(n);
    }
    let (mut open, mut finished) = (0_i64, 0_i64);
    for run in store.runs(RunFilter::default()).await.unwrap() {
        let events = store.events(run.id, 0, 0).await.unwrap();
        assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq), "numbers are dense");
        let count = |name: &str| {
            let named = |body: &EventBody| matches!(body, EventBody::Notice { notice, .. } if notice == name);
            events.iter().filter(|event| named(&event.event.body)).count()
        };
        let effects = store.effects(run.id, "triage".to_owned(), 1).await.unwrap();
        let mut orders: Vec<_> = effects.iter().filter_map(|effect| effect.order()).collect();
        orders.sort_unstable();
        assert!(orders.iter().zip(1..).all(|(order, n)| *order == n), "orders are dense: {orders:?}");
        assert_eq!((count("intent"), count("result")), (effects.len(), orders.len()), "whole batches only");
        assert_eq!(store.machine_events(run.id).await.unwrap().len(), orders.len());
        let there: HashSet<u32> = effects.iter().map(|effect| effect.key.seq).collect();
        let done =
            effects.iter().filter(|effect| effect.order().is_some()).map(|effect| effect.key.seq).collect();
        assert!(intents.get(&run.id).is_none_or(|told| told.is_subset(&there)), "acknowledged intents");
        assert!(results.get(&run.id).is_none_or(|told| told.is_subset(&done)), "acknowledged results");
        for effect in &effects {
            let held = store.hold(hold_of(run.id, effect.key.seq)).await.unwrap();
            assert_eq!(held.is_some(), effect.order().is_none(), "a hold is open while its effect is");
        }
        assert_eq!(store.run_cost(run.id).await.unwrap().nanos(), orders.len() as i64);
        open += (effects.len() - orders.len()) as i64;
        finished += orders.len() as i64;
    }
    let known = intents.keys().chain(results.keys());
    for run in known {
        assert!(store.run(*run).await.unwrap().is_some(), "acknowledged runs");
    }
    let budget = store.budgets(vec![BUDGET.to_owned()]).await.unwrap().remove(0);
    assert_eq!((budget.settled.units(), budget.held.units()), (finished, 2 * open), "the books");
    assert!(budget.settled.saturating_add(budget.held) <= budget.limit);
}
