//! Limits that change while calls outside of runs are made, and counts that are corrected.

use wflo_core::budget::{Amount, Budget, Change, Scope};
use wflo_core::id::BudgetId;
use wflo_core::ports::store::{Fold, Op, OpResult, Part, SliceOp, SliceStore, StoreError, Want};
use wflo_core::slice::Spender;

use super::ground::*;

async fn opened(store: &dyn SliceStore, limit: &str) -> Budget {
    let budget = budget("gateway", Scope::Gateway, limit);
    commit(store, vec![Op::OpenBudget(Box::new(budget.clone()))]).await.unwrap();
    budget
}

async fn now(store: &dyn SliceStore, id: BudgetId) -> Budget {
    store.budgets_by_id(vec![id]).await.unwrap().remove(0)
}

async fn says(store: &dyn SliceStore, budget: BudgetId, limit: &str) -> Amount {
    let limit =
        SliceOp::Limit { budget, limit: usd(limit).into(), raises: true, by: "a file".into(), at: at(3) };
    commit(store, vec![Op::Slice(limit)]).await.unwrap();
    now(store, budget).await.limit
}

fn top_up(budget: BudgetId, amount: &str) -> Op {
    Op::TopUp { budget, amount: usd(amount).into(), by: "anna".into(), at: at(2) }
}

/// A process that holds so much of a budget.
async fn holding(store: &dyn SliceStore, budget: BudgetId, amount: &str) -> wflo_core::id::EngineId {
    let spender = engine_id();
    let row = Spender { id: spender, pid: 7, boot_id: "boot".into(), position: 0, started_at: at(1) };
    let wants = vec![Want { budget, least: usd(amount).into(), most: usd(amount).into() }];
    let ops = [SliceOp::Open(Box::new(row)), SliceOp::Take { spender, wants }];
    commit(store, ops.into_iter().map(Op::Slice).collect()).await.unwrap();
    spender
}

pub async fn a_top_up_outlasts_what_a_file_says(fixture: &Fixture) {
    let store = fixture.open_slices();
    let id = opened(&*store, "10").await.id;
    commit(&*store, vec![top_up(id, "5")]).await.unwrap();
    // The same file is read again, by whoever starts next.
    assert_eq!(says(&*store, id, "10").await, usd("15").into());
    assert_eq!(says(&*store, id, "12").await, usd("17").into());
    assert_eq!(says(&*store, id, "12").await, usd("17").into());
    assert_eq!(says(&*store, id, "1").await, usd("6").into());
    // Never below nothing, and what it says next is counted from what it said last.
    commit(&*store, vec![top_up(id, "-6")]).await.unwrap();
    assert_eq!(says(&*store, id, "0").await, usd("0").into());
    assert_eq!(says(&*store, id, "3").await, usd("3").into());
    let below =
        SliceOp::Limit { budget: id, limit: usd("-1").into(), raises: true, by: String::new(), at: at(3) };
    assert!(matches!(commit(&*store, vec![Op::Slice(below)]).await, Err(StoreError::Failed(_))));
    let changes = store.budget_changes().await.unwrap();
    let by: Vec<&str> = changes.iter().map(|change| change.by.as_str()).collect();
    assert_eq!(
        by,
        ["anna", "a file", "a file", "anna", "a file", "a file"],
        "what changed nothing is no line"
    );
}

pub async fn a_limit_that_runs_share_is_lowered_by_others_and_never_raised(fixture: &Fixture) {
    let store = fixture.open_slices();
    let budget = opened(&*store, "10").await.id;
    for (said, limit) in [("20", "10"), ("4", "4"), ("10", "4"), ("3", "3")] {
        let by = "a file".to_owned();
        let op = SliceOp::Limit { budget, limit: usd(said).into(), raises: false, by, at: at(3) };
        commit(&*store, vec![Op::Slice(op)]).await.unwrap();
        assert_eq!(now(&*store, budget).await.limit, usd(limit).into(), "a file says {said}");
    }
}

pub async fn lowering_a_limit_takes_back_what_no_call_holds(fixture: &Fixture) {
    let store = fixture.open_slices();
    let id = opened(&*store, "10").await.id;
    holding(&*store, id, "6").await;
    // What is held in slices is not in use as far as anybody knows.
    commit(&*store, vec![top_up(id, "-8")]).await.unwrap();
    let lowered = now(&*store, id).await;
    assert_eq!((lowered.limit, lowered.held), (usd("2").into(), usd("6").into()));
    assert!(lowered.left().is_negative());
    assert!(store.slices().await.unwrap().iter().all(|slice| slice.recalled));
}

pub async fn a_correction_is_kept_with_who_when_and_why(fixture: &Fixture) {
    let store = fixture.open_slices();
    let id = opened(&*store, "10").await.id;
    let spender = holding(&*store, id, "9").await;
    let spends = |from, settled: &str| {
        let (settled, budget) = (usd(settled).into(), id);
        let parts = vec![Part { budget, settled, freed: settled }];
        let (calls, to) = (Vec::new(), from + 1);
        let fold = Fold { spender, from, to, parts, calls, overruns: 0, ends: false, at: at(5) };
        Op::Slice(SliceOp::Fold(std::sync::Arc::new(fold)))
    };
    let thresholds = |results: Vec<OpResult>| -> Vec<u32> {
        let OpResult::Folded(alerts) = &results[0] else { panic!("{results:?}") };
        alerts.iter().map(|alert| alert.threshold).collect()
    };
    assert_eq!(thresholds(commit(&*store, vec![spends(0, "6")]).await.unwrap()), [500]);
    let correct = |settled: &str| Op::CorrectBudget {
        budget: id,
        settled: usd(settled).into(),
        by: "anna".into(),
        reason: "billed twice".into(),
        at: at(7),
    };
    commit(&*store, vec![correct("2")]).await.unwrap();
    let corrected = now(&*store, id).await;
    assert_eq!((corrected.settled, corrected.held), (usd("2").into(), usd("3").into()));
    // What is passed anew is said anew.
    assert_eq!(thresholds(commit(&*store, vec![spends(1, "3")]).await.unwrap()), [500]);
    // The truth may be above the limit: then there is no room.
    commit(&*store, vec![correct("11")]).await.unwrap();
    assert_eq!(now(&*store, id).await.left(), usd("-1").into());
    assert!(matches!(commit(&*store, vec![correct("-1")]).await, Err(StoreError::Failed(_))));
    let changes = store.budget_changes().await.unwrap();
    let said: Vec<_> = changes.iter().map(|change| (change.change, change.reason.as_deref())).collect();
    let why = (Change::Corrected, Some("billed twice"));
    assert_eq!(said, [(Change::Alert, None), why, (Change::Alert, None), why]);
    assert_eq!((changes[1].before, changes[1].after), (Some(usd("6").into()), Some(usd("2").into())));
    assert_eq!((changes[1].by.as_str(), changes[1].at), ("anna", at(7)));
}
