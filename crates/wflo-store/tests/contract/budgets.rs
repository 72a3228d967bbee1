//! Budgets and holds.

use std::sync::Arc;

use wflo_core::budget::{
    Amount, Amounts, Budget, Change, Figures, Hold, Measure, Period, Scope, Standing, Zone,
};
use wflo_core::event::EventBody;
use wflo_core::id::{BudgetId, HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Op, Store, StoreError};

use super::ground::*;

fn hold(id: HoldId, run: RunId, budgets: &[BudgetId], amount: &str) -> Op {
    Op::Hold { id, run, budgets: budgets.to_vec(), amounts: usd(amount).into() }
}

fn settle(id: HoldId, actual: &str) -> Op {
    Op::Settle { id, actual: usd(actual).into(), at: at(9) }
}

fn top_up(budget: BudgetId, by: &str) -> Op {
    Op::TopUp { budget, amount: amount(by), by: "local:me".to_owned(), at: at(2) }
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
        Some(Hold { id: first, budgets: ids.clone(), amounts: usd("0.60").into() })
    );
    let error = commit(&*store, vec![hold(second, run, &ids, "0.60")]).await.unwrap_err();
    let StoreError::Short(short) = error else { panic!("{error}") };
    assert_eq!(short.budget, Budget { held: amount("0.60"), ..budgets[1].clone() });
    assert_eq!(short.wanted, amount("0.60"));
    assert_eq!(store.hold(second).await.unwrap(), None);
    assert_eq!(read(&*store, &budgets[0]).await.held, amount("0.60"));
    // To the last nano.
    commit(&*store, vec![hold(second, run, &ids, "0.40")]).await.unwrap();
    assert_eq!(read(&*store, &budgets[1]).await.left(), Amount::ZERO);
    let over = commit(&*store, vec![hold(hold_id(), run, &ids, "0.000000001")]).await;
    assert!(matches!(over, Err(StoreError::Short(_))));
    let unknown = commit(&*store, vec![hold(hold_id(), run, &[budget_id()], "0")]).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { noun: "budget", .. })));
    let below = commit(&*store, vec![hold(hold_id(), run, &ids, "-1")]).await;
    assert!(matches!(below, Err(StoreError::Failed(_))));
    // The largest amount overflows nothing.
    let most = Op::Hold { id: hold_id(), run, budgets: ids, amounts: NanoUsd::MAX.into() };
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
            assert_eq!((now.settled, now.held), (amount("0.10"), Amount::ZERO));
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
    let more = top_up(budgets[0].id, "1");
    let id = hold_id();
    commit(&*store, vec![more, hold(id, run, &[budgets[0].id], "1"), settle(id, "1")]).await.unwrap();
    assert_eq!(store.events(run, 0, 0).await.unwrap().len(), 4);
}

pub async fn an_account_is_opened_once(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["1"]).await;
    let again = Budget { id: budget_id(), limit: amount("5"), ..budgets[0].clone() };
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
    for (by, limit) in [("4", "5"), ("-1", "4"), ("-100", "0.50"), ("0.25", "0.75")] {
        commit(&*store, vec![top_up(id, by)]).await.unwrap();
        assert_eq!(read(&*store, &budgets[0]).await.limit, amount(limit));
    }
    let unknown = commit(&*store, vec![top_up(budget_id(), "1")]).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { noun: "budget", .. })));
}

pub async fn a_bill_above_its_hold_is_counted(fixture: &Fixture) {
    let (store, run, budgets) = opened(fixture, &["1"]).await;
    let id = hold_id();
    commit(&*store, vec![hold(id, run, &[budgets[0].id], "0.50"), settle(id, "2")]).await.unwrap();
    assert_eq!(store.overruns().await.unwrap(), 1);
    let now = read(&*store, &budgets[0]).await;
    assert_eq!((now.settled, now.held, now.left()), (amount("2"), Amount::ZERO, amount("-1")));
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
    assert_eq!(read(&*store, &budgets[0]).await.held, amount("0.30"));
    assert_eq!(store.run_effects(run).await.unwrap().len(), 3);
}

pub async fn each_account_takes_its_own_measure_of_a_call(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let of = |measure, units| Budget {
        id: budget_id(),
        measure,
        limit: Amount::from_units(units),
        ..budget(&run.id.to_string(), Scope::Run, "0")
    };
    let budgets = [
        of(Measure::Cost, 1_000),
        of(Measure::Tokens, 150),
        of(Measure::ModelCalls, 2),
        of(Measure::ToolCalls, 0),
    ];
    let ops = budgets.iter().map(|budget| Op::OpenBudget(Box::new(budget.clone()))).collect();
    commit(&*store, ops).await.unwrap();
    assert_eq!(store.budgets(vec![run.id.to_string()]).await.unwrap(), budgets);
    let ids: Vec<_> = budgets.iter().map(|budget| budget.id).collect();
    let call = Amounts { cost: NanoUsd::from_nanos(10), tokens: 100, model_calls: 1, ..Amounts::default() };
    let (first, second) = (hold_id(), hold_id());
    let take = |id| Op::Hold { id, run: run.id, budgets: ids.clone(), amounts: call };
    commit(&*store, vec![take(first)]).await.unwrap();
    assert_eq!(store.hold(first).await.unwrap().unwrap().amounts, call);
    let Err(StoreError::Short(short)) = commit(&*store, vec![take(second)]).await else { panic!("it fits") };
    assert_eq!(
        (short.budget.measure, short.wanted.units(), short.missing().units()),
        (Measure::Tokens, 100, 50)
    );
    assert!(
        short.explain().contains("50 tokens left of 150 tokens (0 tokens used, 100 tokens held"),
        "{}",
        short.explain()
    );
    let bill = Amounts { cost: NanoUsd::from_nanos(3), tokens: 40, model_calls: 1, ..Amounts::default() };
    let settle = Op::Settle { id: first, actual: bill, at: at(3) };
    commit(&*store, vec![settle, take(second)]).await.unwrap();
    let read = store.budgets(vec![run.id.to_string()]).await.unwrap();
    let read: Vec<_> = read.iter().map(|b| (b.settled.units(), b.held.units())).collect();
    assert_eq!(read, [(3, 10), (40, 100), (1, 1), (0, 0)]);
    commit(&*store, vec![Op::ReleaseHold { id: second }]).await.unwrap();
    let tool = Op::Hold {
        id: hold_id(),
        run: run.id,
        budgets: ids.clone(),
        amounts: Amounts { tool_calls: 1, ..Amounts::default() },
    };
    assert!(matches!(commit(&*store, vec![tool]).await, Err(StoreError::Short(_))));
    let more = Amounts { tokens: 41, ..call };
    let third = hold_id();
    commit(&*store, vec![take(third), Op::Settle { id: third, actual: more, at: at(4) }]).await.unwrap();
    assert_eq!(store.overruns().await.unwrap(), 0);
    let events = store.events(run.id, 0, 0).await.unwrap();
    let alert = events.iter().find_map(|event| match &event.event.body {
        EventBody::BudgetAlert { budget, figures: Figures::Units { measure, settled, .. }, .. } => {
            Some((budget.clone(), *measure, settled.units()))
        }
        _ => None,
    });
    assert_eq!(alert, Some(("run budget of model calls".to_owned(), Measure::ModelCalls, 1)));
}

fn standing(limit: i64) -> Standing {
    Standing {
        scope: Scope::Org,
        key: "acme".to_owned(),
        period: Period::Month,
        time_zone: "Europe/Berlin".parse().unwrap(),
        measure: Measure::Tokens,
        limit: Amount::from_units(limit),
        action_on_exceeded: None,
        alert_thresholds: vec![900, 500],
        min_output_tokens: Some(1_024),
    }
}

fn month_of(standing: &Standing, start: &str) -> Budget {
    let account = Budget {
        period: standing.period,
        period_start: start.to_owned(),
        time_zone: standing.time_zone.clone(),
        standing: true,
        measure: standing.measure,
        limit: standing.limit,
        ..budget(&standing.key, standing.scope, "0")
    };
    account.named()
}

pub async fn a_standing_budget_is_changed_with_its_open_accounts_and_keeps_its_history(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let set =
        |limit| Op::SetStanding { standing: Box::new(standing(limit)), by: "local:me".to_owned(), at: at(1) };
    commit(&*store, vec![set(100)]).await.unwrap();
    let kept = Standing { alert_thresholds: vec![500, 900], ..standing(100) };
    assert_eq!(store.standing_budgets().await.unwrap(), [kept]);
    let (october, november) =
        (month_of(&standing(100), "2026-09-30T22:00:00Z"), month_of(&standing(100), "2026-10-31T23:00:00Z"));
    assert_ne!(october.id, november.id);
    let call = Amounts { tokens: 80, ..Amounts::default() };
    let id = hold_id();
    commit(
        &*store,
        vec![
            Op::OpenBudget(Box::new(october.clone())),
            Op::OpenBudget(Box::new(november.clone())),
            Op::TopUp {
                budget: november.id,
                amount: Amount::from_units(50),
                by: "local:me".to_owned(),
                at: at(2),
            },
            Op::Hold { id, run: run.id, budgets: vec![november.id], amounts: call },
            Op::Settle { id, actual: call, at: at(3) },
        ],
    )
    .await
    .unwrap();
    // What it was topped up by stays; nothing goes below what was used.
    commit(&*store, vec![set(40)]).await.unwrap();
    let limits =
        |all: Vec<Budget>| all.iter().map(|b| (b.limit.units(), b.settled.units())).collect::<Vec<_>>();
    assert_eq!(limits(store.all_budgets().await.unwrap()), [(40, 0), (90, 80)]);
    commit(&*store, vec![set(1_000)]).await.unwrap();
    assert_eq!(limits(store.all_budgets().await.unwrap()), [(1_000, 0), (1_050, 80)]);
    let remove = Op::RemoveStanding { standing: Box::new(standing(0)), by: "local:me".to_owned(), at: at(4) };
    commit(&*store, vec![remove.clone()]).await.unwrap();
    assert_eq!(store.standing_budgets().await.unwrap(), []);
    assert!(matches!(commit(&*store, vec![remove]).await, Err(StoreError::NotFound { .. })));
    let history = store.budget_changes().await.unwrap();
    let said: Vec<_> = history
        .iter()
        .map(|line| (line.change, line.before.map(Amount::units), line.after.map(Amount::units)))
        .collect();
    let of_november = |line: &wflo_core::budget::BudgetChange| line.budget == Some(november.id);
    assert_eq!(history.iter().filter(|line| of_november(line)).count(), 4);
    assert_eq!(said[0], (Change::Set, None, Some(100)));
    assert_eq!(said[1], (Change::ToppedUp, Some(100), Some(150)));
    assert_eq!(said[2], (Change::Alert, Some(80), Some(150)));
    assert_eq!(said[said.len() - 1], (Change::Removed, Some(1_000), None));
}

/// A clock that is set forward over a boundary and back again.
pub async fn a_clock_that_steps_over_a_boundary_neither_doubles_nor_loses_a_period(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let zone: Zone = "Europe/Berlin".parse().unwrap();
    let account = |now: &str| {
        let period_start = Period::Day.start(&zone, now.parse().unwrap());
        let (time_zone, period) = (zone.clone(), Period::Day);
        Budget { period, period_start, time_zone, ..budget("nightly", Scope::Workflow, "1") }.named()
    };
    let (before, after) = ("2026-11-29T22:59:59Z", "2026-11-29T23:00:00Z");
    // Each spends all that its day has left, wherever the clock stands.
    let mut taken = Vec::new();
    for now in [before, after, before, "2027-11-29T12:00:00Z", after, before] {
        let account = account(now);
        let id = hold_id();
        let ops = vec![
            Op::OpenBudget(Box::new(account.clone())),
            hold(id, run.id, &[account.id], "1"),
            Op::Settle { id, actual: usd("1").into(), at: at(1) },
        ];
        taken.push(commit(&*store, ops).await.is_ok());
        // Nor does tidying up at the wrong hour open a day anew.
        store.collect("2028-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    }
    assert_eq!(taken, [true, true, false, true, false, false]);
}
