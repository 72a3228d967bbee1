//! Budgets and holds.

use std::sync::Arc;

use wflo_core::budget::{Budget, Hold, Scope};
use wflo_core::event::EventBody;
use wflo_core::id::{BudgetId, HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Op, Store, StoreError};

use super::ground::*;

fn hold(id: HoldId, run: RunId, budgets: &[BudgetId], amount: &str) -> Op {
    Op::Hold { id, run, budgets: budgets.to_vec(), amount: usd(amount) }
}

fn settle(id: HoldId, actual: &str) -> Op {
    Op::Settle { id, actual: usd(actual), at: at(9) }
}

async fn read(store: &dyn Store, budget: &Budget) -> Budget {
    store.budgets(vec![budget.key.clone()]).await.unwrap().into_iter().find(|b| b.id == budget.id).unwrap()
}

async fn opened(fixture: &Fixture, limits: &[&str]) -> (Arc<dyn Store>, RunId, Vec<Budget>) {
    let (store, run) = accepted(fixture).await;
    let scopes = [Scope::Run, Scope::Step, Scope::Agent, Scope::Workflow];
    let budgets: Vec<_> =
        limits.iter().zip(scopes).map(|(limit, scope)| budget(&run.id.to_string(), scope, limit)).collect();
    let ops = budgets.iter().map(|budget| Op::OpenBudget(Box::new(budget.clone()))).collect();
    commit(&*store, ops).await.unwrap();
    (store, run.id, budgets)
}

pub async fn a_hold_is_taken_on_all_budgets_or_none(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["10", "1"]).await;
    let ids: Vec<_> = budgets.iter().map(|budget| budget.id).collect();
    let (first, second) = (hold_id(), hold_id());
    commit(&*store, vec![hold(first, run, &ids, "0.60")]).await.unwrap();
    assert_eq!(
        store.hold(first).await.unwrap(),
        Some(Hold { id: first, budgets: ids.clone(), amount: usd("0.60") })
    );
    let error = commit(&*store, vec![hold(second, run, &ids, "0.60")]).await.unwrap_err();
    let StoreError::Short(short) = error else { panic!("{error}") };
    assert_eq!(short.budget, Budget { held: usd("0.60"), ..budgets[1].clone() });
    assert_eq!(short.wanted, usd("0.60"));
    assert_eq!(store.hold(second).await.unwrap(), None);
    assert_eq!(read(&*store, &budgets[0]).await.held, usd("0.60"));
    // To the last nano.
    commit(&*store, vec![hold(second, run, &ids, "0.40")]).await.unwrap();
    assert_eq!(read(&*store, &budgets[1]).await.left(), NanoUsd::ZERO);
    let over = commit(&*store, vec![hold(hold_id(), run, &ids, "0.000000001")]).await;
    assert!(matches!(over, Err(StoreError::Short(_))));
    let unknown = commit(&*store, vec![hold(hold_id(), run, &[budget_id()], "0")]).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { noun: "budget", .. })));
    let below = commit(&*store, vec![hold(hold_id(), run, &ids, "-1")]).await;
    assert!(matches!(below, Err(StoreError::Failed(_))));
    // The largest amount overflows nothing.
    let most = Op::Hold { id: hold_id(), run, budgets: ids, amount: NanoUsd::MAX };
    assert!(matches!(commit(&*store, vec![most]).await, Err(StoreError::Short(_))));
}

pub async fn a_bill_frees_the_rest_once(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["10", "1"]).await;
    let ids: Vec<_> = budgets.iter().map(|budget| budget.id).collect();
    let (paid, freed) = (hold_id(), hold_id());
    commit(&*store, vec![hold(paid, run, &ids, "0.50"), hold(freed, run, &ids, "0.50")]).await.unwrap();
    for _ in 0..2 {
        commit(&*store, vec![settle(paid, "0.10")]).await.unwrap();
        commit(&*store, vec![Op::ReleaseHold { id: freed }]).await.unwrap();
        for budget in &budgets {
            let now = read(&*store, budget).await;
            assert_eq!((now.settled, now.held), (usd("0.10"), NanoUsd::ZERO));
        }
    }
    assert_eq!((store.hold(paid).await.unwrap(), store.hold(freed).await.unwrap()), (None, None));
    assert_eq!(store.overruns().await.unwrap(), 0);
    let unknown = commit(&*store, vec![settle(hold_id(), "0")]).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { noun: "hold", .. })));
}

pub async fn alerts_are_raised_once_each(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["1"]).await;
    for (actual, expected) in
        [("0.40", &[][..]), ("0.40", &[500, 750]), ("0.05", &[]), ("0.15", &[900, 1000])]
    {
        let before = store.events(run, 0, 0).await.unwrap().len() as u64;
        let id = hold_id();
        commit(&*store, vec![hold(id, run, &[budgets[0].id], actual), settle(id, actual)]).await.unwrap();
        let alerts: Vec<_> =
            store.events(run, before, 0).await.unwrap().into_iter().map(|event| event.event).collect();
        let thresholds: Vec<_> = alerts
            .iter()
            .map(|event| match &event.body {
                EventBody::BudgetAlert { budget_id, threshold, .. } if *budget_id == budgets[0].id => {
                    *threshold
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(thresholds, expected);
        assert!(alerts.iter().all(|event| event.at == at(9)));
        // Twice the same bill is no news.
        commit(&*store, vec![settle(id, actual)]).await.unwrap();
        assert_eq!(store.events(run, before, 0).await.unwrap().len(), expected.len());
    }
    let top_up = Op::TopUp { budget: budgets[0].id, amount: usd("1") };
    let id = hold_id();
    commit(&*store, vec![top_up, hold(id, run, &[budgets[0].id], "1"), settle(id, "1")]).await.unwrap();
    assert_eq!(store.events(run, 0, 0).await.unwrap().len(), 4);
}

pub async fn an_account_is_opened_once(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["1"]).await;
    let again = Budget { id: budget_id(), limit: usd("5"), ..budgets[0].clone() };
    let other = Budget { period_start: "2026-11-21T00:00:00Z".to_owned(), ..again.clone() };
    commit(&*store, vec![Op::OpenBudget(Box::new(again)), Op::OpenBudget(Box::new(other.clone()))])
        .await
        .unwrap();
    assert_eq!(store.budgets(vec![run.to_string()]).await.unwrap(), [budgets[0].clone(), other]);
    assert!(store.budgets(vec!["another".to_owned()]).await.unwrap().is_empty());
}

pub async fn a_limit_is_raised_and_never_lowered_under_what_is_used(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["1"]).await;
    let id = budgets[0].id;
    let (paid, held) = (hold_id(), hold_id());
    commit(
        &*store,
        vec![hold(paid, run, &[id], "0.30"), settle(paid, "0.30"), hold(held, run, &[id], "0.20")],
    )
    .await
    .unwrap();
    for (amount, limit) in [("4", "5"), ("-1", "4"), ("-100", "0.50"), ("0.25", "0.75")] {
        commit(&*store, vec![Op::TopUp { budget: id, amount: usd(amount) }]).await.unwrap();
        assert_eq!(read(&*store, &budgets[0]).await.limit, usd(limit));
    }
    let unknown = commit(&*store, vec![Op::TopUp { budget: budget_id(), amount: usd("1") }]).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { noun: "budget", .. })));
}

pub async fn a_bill_above_its_hold_is_counted(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["1"]).await;
    let id = hold_id();
    commit(&*store, vec![hold(id, run, &[budgets[0].id], "0.50"), settle(id, "2")]).await.unwrap();
    assert_eq!(store.overruns().await.unwrap(), 1);
    let now = read(&*store, &budgets[0]).await;
    assert_eq!((now.settled, now.held, now.left()), (usd("2"), NanoUsd::ZERO, usd("-1")));
    assert!(matches!(
        commit(&*store, vec![hold(hold_id(), run, &[budgets[0].id], "0")]).await,
        Err(StoreError::Short(_))
    ));
}

pub async fn fifty_at_once_fit_three(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["0.35"]).await;
    let mut tasks = Vec::new();
    for n in 0..50 {
        let (store, id, budget) = (Arc::clone(&store), hold_id(), budgets[0].id);
        tasks.push(tokio::spawn(async move {
            // Half-written when it is refused: the intent comes first.
            let ops = vec![put(run, key("0", n)), hold(id, run, &[budget], "0.10")];
            commit(&*store, ops).await.map(|_| id)
        }));
    }
    let mut taken = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => taken.push(id),
            Err(error) => assert!(matches!(error, StoreError::Short(_)), "{error}"),
        }
    }
    assert_eq!(taken.len(), 3);
    assert_eq!(read(&*store, &budgets[0]).await.held, usd("0.30"));
    assert_eq!(store.run_effects(run).await.unwrap().len(), 3);
}
