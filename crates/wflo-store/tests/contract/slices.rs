//! Slices of budgets, calls outside of runs, and virtual keys.

use std::sync::Arc;

use wflo_core::budget::{Amount, Budget, Measure, Scope};
use wflo_core::cost::PromptCache;
use wflo_core::id::{BudgetId, EngineId, KeyId};
use wflo_core::key::{KeyChange, VirtualKey};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Fold, Op, OpResult, Part, SliceOp, SliceStore, StoreError, Want};
use wflo_core::slice::{CallRecord, Slice, Spender};

use super::ground::*;

fn want(budget: &Budget, least: &str, most: &str) -> Want {
    Want { budget: budget.id, least: usd(least).into(), most: usd(most).into() }
}

fn part(budget: &Budget, settled: &str, freed: &str) -> Part {
    Part { budget: budget.id, settled: usd(settled).into(), freed: usd(freed).into() }
}

fn fold(spender: EngineId, from: u64, to: u64, parts: Vec<Part>) -> Fold {
    Fold { spender, from, to, parts, calls: Vec::new(), overruns: 0, ends: false, at: at(5) }
}

async fn slice(store: &dyn SliceStore, op: SliceOp) -> Result<OpResult, StoreError> {
    Ok(commit(store, vec![Op::Slice(op)]).await?.remove(0))
}

async fn folded(store: &dyn SliceStore, fold: Fold) -> Result<OpResult, StoreError> {
    slice(store, SliceOp::Fold(std::sync::Arc::new(fold))).await
}

async fn take(
    store: &dyn SliceStore,
    spender: EngineId,
    wants: Vec<Want>,
) -> Result<Vec<NanoUsd>, StoreError> {
    match slice(store, SliceOp::Take { spender, wants }).await? {
        OpResult::Granted(granted) => Ok(granted.into_iter().map(Amount::money).collect()),
        other => panic!("{other:?}"),
    }
}

async fn spender(store: &dyn SliceStore) -> EngineId {
    let id = engine_id();
    let row = Spender { id, pid: 7, boot_id: "boot".into(), position: 0, started_at: at(1) };
    slice(store, SliceOp::Open(Box::new(row.clone()))).await.unwrap();
    assert!(store.spenders().await.unwrap().contains(&row));
    id
}

async fn opened(store: &dyn SliceStore, limits: &[&str]) -> Vec<Budget> {
    let budgets: Vec<_> = limits.iter().map(|limit| budget("gateway", Scope::Gateway, limit)).collect();
    let named = budgets.into_iter().enumerate().map(|(n, budget)| Budget { key: format!("k{n}"), ..budget });
    let budgets: Vec<_> = named.collect();
    let ops = budgets.iter().map(|budget| Op::OpenBudget(Box::new(budget.clone()))).collect();
    commit(store, ops).await.unwrap();
    budgets
}

async fn books(store: &dyn SliceStore, id: BudgetId) -> (NanoUsd, NanoUsd) {
    let budget = store.budgets_by_id(vec![id]).await.unwrap().remove(0);
    (budget.settled.money(), budget.held.money())
}

pub async fn a_slice_is_taken_of_all_budgets_or_none(fixture: &Fixture) {
    let store = fixture.open_slices();
    let budgets = opened(&*store, &["10", "1"]).await;
    let me = spender(&*store).await;
    let both = |least| vec![want(&budgets[0], least, least), want(&budgets[1], least, least)];
    assert_eq!(take(&*store, me, both("0.6")).await.unwrap(), [usd("0.6"), usd("0.6")]);
    let Err(StoreError::Short(short)) = take(&*store, me, both("0.6")).await else { panic!("it fits") };
    assert_eq!((short.budget.id, short.wanted.money()), (budgets[1].id, usd("0.6")));
    assert_eq!(books(&*store, budgets[0].id).await, (usd("0"), usd("0.6")));
    // To the last nano, and not beyond.
    take(&*store, me, both("0.4")).await.unwrap();
    assert!(matches!(take(&*store, me, both("0.000000001")).await, Err(StoreError::Short(_))));
    let slices = store.slices().await.unwrap();
    let held = |budget: &Budget, amount| Slice {
        spender: me,
        budget: budget.id,
        measure: Measure::Cost,
        amount: usd(amount).into(),
        recalled: false,
    };
    assert_eq!(slices, [held(&budgets[0], "1"), held(&budgets[1], "1")]);
    let unknown = take(&*store, engine_id(), both("0")).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { noun: "spender", .. })));
    assert!(matches!(
        take(&*store, me, vec![want(&budgets[0], "-1", "1")]).await,
        Err(StoreError::Failed(_))
    ));
}

pub async fn what_is_fetched_ahead_leaves_as_much_for_others(fixture: &Fixture) {
    let store = fixture.open_slices();
    let budgets = opened(&*store, &["10"]).await;
    let (one, other) = (spender(&*store).await, spender(&*store).await);
    assert_eq!(take(&*store, one, vec![want(&budgets[0], "2", "100")]).await.unwrap(), [usd("6")]);
    assert_eq!(take(&*store, other, vec![want(&budgets[0], "0", "100")]).await.unwrap(), [usd("2")]);
    // What is needed is given to the last.
    assert_eq!(take(&*store, other, vec![want(&budgets[0], "2", "100")]).await.unwrap(), [usd("2")]);
    assert_eq!(books(&*store, budgets[0].id).await, (usd("0"), usd("10")));
}

pub async fn a_fold_moves_what_was_spent_once(fixture: &Fixture) {
    let store = fixture.open_slices();
    let budgets = opened(&*store, &["10"]).await;
    let me = spender(&*store).await;
    take(&*store, me, vec![want(&budgets[0], "6", "6")]).await.unwrap();
    let first = fold(me, 0, 9, vec![part(&budgets[0], "5", "5.5")]);
    let OpResult::Folded(alerts) = folded(&*store, first.clone()).await.unwrap() else { panic!() };
    assert_eq!(alerts.iter().map(|alert| alert.threshold).collect::<Vec<_>>(), [500]);
    assert_eq!(books(&*store, budgets[0].id).await, (usd("5"), usd("0.5")));
    // Said again, by whoever did not hear that it was done.
    assert!(matches!(folded(&*store, first).await, Err(StoreError::Failed(_))));
    assert_eq!(books(&*store, budgets[0].id).await, (usd("5"), usd("0.5")));
    assert_eq!(store.spenders().await.unwrap()[0].position, 9);
}

pub async fn the_end_of_a_process_frees_what_it_did_not_spend(fixture: &Fixture) {
    let store = fixture.open_slices();
    let budgets = opened(&*store, &["10", "10"]).await;
    let (me, other) = (spender(&*store).await, spender(&*store).await);
    let both = vec![want(&budgets[0], "3", "3"), want(&budgets[1], "3", "3")];
    take(&*store, me, both).await.unwrap();
    take(&*store, other, vec![want(&budgets[0], "1", "1")]).await.unwrap();
    let last = Fold { ends: true, ..fold(me, 0, 4, vec![part(&budgets[0], "2", "2")]) };
    folded(&*store, last.clone()).await.unwrap();
    assert_eq!(books(&*store, budgets[0].id).await, (usd("2"), usd("1")));
    assert_eq!(books(&*store, budgets[1].id).await, (usd("0"), usd("0")));
    assert_eq!(store.spenders().await.unwrap().iter().map(|row| row.id).collect::<Vec<_>>(), [other]);
    assert!(matches!(folded(&*store, last).await, Err(StoreError::NotFound { noun: "spender", .. })));
}

pub async fn more_than_was_taken_is_not_freed(fixture: &Fixture) {
    let store = fixture.open_slices();
    let budgets = opened(&*store, &["10"]).await;
    let me = spender(&*store).await;
    take(&*store, me, vec![want(&budgets[0], "1", "1")]).await.unwrap();
    let wrong = fold(me, 0, 1, vec![part(&budgets[0], "1", "1.000000001")]);
    assert!(matches!(folded(&*store, wrong).await, Err(StoreError::Failed(_))));
    assert_eq!(books(&*store, budgets[0].id).await, (usd("0"), usd("1")));
    // A bill above its hold is charged as it is, and counted.
    let above = Fold { overruns: 1, ..fold(me, 0, 1, vec![part(&budgets[0], "1.5", "1")]) };
    folded(&*store, above).await.unwrap();
    assert_eq!(books(&*store, budgets[0].id).await, (usd("1.5"), usd("0")));
    assert_eq!((store.overruns().await.unwrap(), store.slices().await.unwrap()), (1, Vec::new()));
}

pub async fn a_recall_reaches_everybody_else(fixture: &Fixture) {
    let store = fixture.open_slices();
    let budgets = opened(&*store, &["10", "10"]).await;
    let (me, other) = (spender(&*store).await, spender(&*store).await);
    for spender in [me, other] {
        take(&*store, spender, vec![want(&budgets[0], "1", "1"), want(&budgets[1], "1", "1")]).await.unwrap();
    }
    let ids = vec![budgets[0].id];
    slice(&*store, SliceOp::Recall { spender: Some(me), budgets: ids.clone() }).await.unwrap();
    let recalled = |slices: Vec<Slice>| -> Vec<_> {
        slices.into_iter().filter(|slice| slice.recalled).map(|slice| (slice.spender, slice.budget)).collect()
    };
    assert_eq!(recalled(store.slices().await.unwrap()), [(other, budgets[0].id)]);
    slice(&*store, SliceOp::Answered { spender: other, budgets: ids }).await.unwrap();
    assert_eq!(recalled(store.slices().await.unwrap()), []);
}

fn call(seq: u64, at_ms: i64, model: &str, cost: &str, uncertain: bool) -> CallRecord {
    CallRecord {
        seq,
        at_ms,
        key: None,
        provider: "openai".into(),
        model: model.into(),
        status: 200,
        input_tokens: 10,
        cached_tokens: 4,
        output_tokens: 2,
        cost: usd(cost),
        uncertain,
        took_us: 900,
        saved: None,
        prompt_cache: PromptCache::default(),
    }
}

pub async fn calls_are_summed_by_hour_and_kept_each(fixture: &Fixture) {
    let store: Arc<dyn SliceStore> = fixture.open_slices();
    let me = spender(&*store).await;
    let hour = 1_795_924_800_000;
    let first = vec![call(1, hour, "a", "0.1", false), call(3, hour + 3_599_999, "a", "0.2", true)];
    let second = vec![call(5, hour + 3_600_000, "a", "0.4", false), call(7, hour, "b", "0.8", false)];
    for (from, calls) in [(0, first.clone()), (4, second.clone())] {
        folded(&*store, Fold { calls, ..fold(me, from, from + 4, Vec::new()) }).await.unwrap();
    }
    // What the cache answered, and what the provider's cache did, which may have cost more than it saved.
    let saved = Some(usd("0.25"));
    let hit = CallRecord { saved, ..call(9, hour, "b", "0", false) };
    let prompt_cache = PromptCache { written_tokens: 7, saved: usd("-0.003") };
    let third = vec![hit, CallRecord { prompt_cache, ..call(11, hour, "b", "0.1", false) }];
    folded(&*store, Fold { calls: third.clone(), ..fold(me, 8, 12, Vec::new()) }).await.unwrap();
    let lines = store.calls_lines().await.unwrap();
    let sum = lines[1].sum;
    assert_eq!((sum.hits, sum.saved, sum.prompt_cache), (1, usd("0.25"), prompt_cache));
    let lines: Vec<_> = lines
        .iter()
        .map(|line| {
            (line.hour.as_str(), line.model.as_str(), line.sum.calls, line.sum.cost, line.sum.uncertain)
        })
        .collect();
    let hours = ("2026-11-29T04:00:00Z", "2026-11-29T05:00:00Z");
    assert_eq!(
        lines,
        [
            (hours.0, "a", 2, usd("0.3"), usd("0.2")),
            (hours.0, "b", 3, usd("0.9"), usd("0")),
            (hours.1, "a", 1, usd("0.4"), usd("0"))
        ]
    );
    assert_eq!(store.uncertain_calls().await.unwrap(), [(me, first[1].clone())]);
    assert_eq!(store.calls_of(me).await.unwrap(), [first, second, third].concat());
}

pub async fn old_calls_are_forgotten_but_for_sums_and_lost_bills(fixture: &Fixture) {
    let store = fixture.open_slices();
    let me = spender(&*store).await;
    let hour = 1_795_924_800_000;
    let calls =
        [call(1, hour, "a", "0.1", false), call(3, hour, "a", "0.2", true), call(5, hour, "a", "0.4", false)];
    for (nth, call) in calls.iter().enumerate() {
        let (from, at) = (nth as u64 * 2, at(10 * nth as i64));
        let fold = Fold { calls: vec![call.clone()], at, ..fold(me, from, from + 2, Vec::new()) };
        folded(&*store, fold).await.unwrap();
    }
    let sums = store.calls_lines().await.unwrap();
    let forget = async |seconds| slice(&*store, SliceOp::Forget { before: at(seconds) }).await.unwrap();
    forget(0).await;
    assert_eq!(store.calls_of(me).await.unwrap(), calls);
    forget(20).await;
    assert_eq!(store.calls_of(me).await.unwrap(), calls[1..]);
    forget(21).await;
    assert_eq!(store.calls_of(me).await.unwrap(), calls[1..2]);
    assert_eq!(store.uncertain_calls().await.unwrap(), [(me, calls[1].clone())]);
    assert_eq!(store.calls_lines().await.unwrap(), sums);
}

pub async fn a_key_is_kept_by_its_hash_and_stays_revoked(fixture: &Fixture) {
    let store = fixture.open_slices();
    let key = VirtualKey {
        id: KeyId::from_uuid(engine_id().uuid()),
        name: "ci".into(),
        hash: "00".repeat(32),
        prefix: "sk-wflo-1234".into(),
        models: vec!["gpt-*".into()],
        budget: None,
        labels: [("user".to_owned(), "anna".to_owned())].into(),
        requests_per_minute: Some(60),
        metrics: false,
        created_at: at(0),
        expires_at: Some(at(9)),
        revoked_at: None,
    };
    commit(&*store, vec![Op::PutKey(Box::new(key.clone()))]).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), std::slice::from_ref(&key));
    commit(&*store, vec![Op::RevokeKey { id: key.id, at: at(3) }]).await.unwrap();
    commit(&*store, vec![Op::RevokeKey { id: key.id, at: at(4) }]).await.unwrap();
    // Two changes that know nothing of each other, as of two people at once.
    let change = |change: KeyChange| vec![Op::ChangeKey { id: key.id, change: Box::new(change) }];
    let secret = Some(("11".repeat(32), "sk-wflo-5678".to_owned()));
    commit(&*store, change(KeyChange { secret, ..KeyChange::default() })).await.unwrap();
    let without = KeyChange { expires_at: Some(None), ..KeyChange::default() };
    commit(&*store, change(without.clone())).await.unwrap();
    let (hash, prefix) = ("11".repeat(32), "sk-wflo-5678".to_owned());
    let changed = VirtualKey { hash, prefix, expires_at: None, revoked_at: Some(at(3)), ..key.clone() };
    assert_eq!(store.keys().await.unwrap(), [changed], "what is revoked stays so");
    assert!(commit(&*store, vec![Op::PutKey(Box::new(key.clone()))]).await.is_err(), "it is there already");
    let nobody = KeyId::from_uuid(engine_id().uuid());
    for unknown in
        [Op::RevokeKey { id: nobody, at: at(3) }, Op::ChangeKey { id: nobody, change: Box::new(without) }]
    {
        let refused = commit(&*store, vec![unknown]).await;
        assert!(matches!(refused, Err(StoreError::NotFound { noun: "key", .. })));
    }
}
