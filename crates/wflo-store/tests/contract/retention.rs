//! Removing runs, and what stays of them and of the others.

use std::sync::Arc;

use serde_json::json;
use wflo_core::budget::{Budget, Period, Scope};
use wflo_core::cost::{PromptCache, Spent, Sum};
use wflo_core::id::RunId;
use wflo_core::ports::clock::Moment;
use wflo_core::ports::store::{Leftover, Op, RunFilter, RunTrees, Store, StoreError};
use wflo_core::run::{RunRecord, RunStatus};

use super::ground::*;

fn ended(run: RunId) -> Op {
    Op::SetRun { run, status: RunStatus::Completed, outputs: None, error: None, at: at(9) }
}

fn remove(run: &RunRecord) -> Op {
    Op::RemoveRun { run: run.id, epoch: run.lease_epoch, spent: Vec::new(), databases: Vec::new() }
}

fn retry_of(old: &RunRecord) -> RunRecord {
    RunRecord { retried_from: Some(old.id), budget_key: old.budget_key.clone(), ..run_record() }
}

fn line(run: &RunRecord) -> Spent {
    let sum = Sum {
        calls: 3,
        hits: 1,
        input_tokens: 30,
        cached_tokens: 10,
        output_tokens: 40,
        cost: usd("0.02"),
        uncertain: usd("0.005"),
        saved: usd("0.03"),
        prompt_cache: PromptCache { written_tokens: 7, saved: usd("-0.001") },
    };
    Spent {
        run: run.id,
        workflow: run.workflow.clone(),
        created_at: run.created_at,
        labels: [("user".to_owned(), "anna".to_owned())].into(),
        day: jiff::civil::date(2026, 11, 3),
        step: "triage".to_owned(),
        agent: Some("writer".to_owned()),
        provider: None,
        model: Some("m".to_owned()),
        sum,
    }
}

/// A run with a row of each kind.
pub async fn full(store: &Arc<dyn Store>) -> (RunRecord, Budget) {
    let (run, own) = (run_record(), budget_id());
    let budget = Budget { id: own, ..budget(&run.budget_key, Scope::Run, "1") };
    let hold = hold_id();
    let mut ops = acceptance(&run);
    ops.extend([
        Op::AppendEvents { run: run.id, events: vec![machine_event(1), journal_event(2)] },
        put(run.id, key("0", 0)),
        finish(run.id, key("0", 0), json!("x".repeat(100_000))),
        Op::CancelWait { run: run.id, key: key("0", 1), after: 1 },
        Op::KeepContent { run: run.id, pieces: wflo_core::content::cut(&"{\"a\": 1}".repeat(9)).1 },
        Op::OpenBudget(Box::new(budget.clone())),
        Op::Hold { id: hold, run: run.id, budgets: vec![own], amounts: usd("0.5").into() },
        Op::Settle { id: hold, actual: usd("0.02").into(), at: at(3) },
        Op::PutApproval(Box::new(super::approvals::question(run.id, wflo_core::approval::Purpose::Gate))),
        Op::PushInbox { run: run.id, message: json!({}), at: at(4) },
        Op::PutTimer {
            run: run.id,
            key: "run".to_owned(),
            due: at(9),
            set: Moment { wall: at(1), boot_ms: 1, boot_id: "b".to_owned() },
        },
        Op::KeepTrees { run: run.id, trees: vec!["seal".to_owned(), "layer".to_owned()] },
        ended(run.id),
    ]);
    commit(&**store, ops).await.unwrap();
    (run, budget)
}

pub async fn a_run_is_removed_whole(fixture: &Fixture) {
    let store = fixture.open();
    let (run, own) = full(&store).await;
    let (other, _) = full(&store).await;
    let op = Op::RemoveRun {
        run: run.id,
        epoch: run.lease_epoch,
        spent: vec![line(&run)],
        databases: vec!["main".to_owned(), "archive".to_owned()],
    };
    // Read through another connection, so that it is the database that says so.
    let again = fixture.open();
    again.run(run.id).await.unwrap().unwrap();
    commit(&*store, vec![op.clone()]).await.unwrap();
    for store in [&store, &again] {
        assert_eq!(store.run(run.id).await.unwrap(), None);
        assert!(store.definition(run.id).await.is_err());
        assert_eq!(store.events(run.id, 0, 0).await.unwrap(), []);
        assert_eq!(store.run_effects(run.id).await.unwrap(), []);
        assert_eq!(store.run_inbox(run.id).await.unwrap(), []);
        assert_eq!(store.timers(None, Some(run.id)).await.unwrap(), []);
        assert_eq!(store.budgets(vec![own.key.clone()]).await.unwrap(), []);
        let runs: Vec<RunId> =
            store.runs(RunFilter::default()).await.unwrap().iter().map(|run| run.id).collect();
        assert_eq!(runs, [other.id]);
        assert_eq!(store.approvals(Default::default()).await.unwrap().len(), 1);
        assert_eq!(store.events(other.id, 0, 0).await.unwrap().len(), 2);
        assert_eq!(store.run_effects(other.id).await.unwrap().len(), 1);
        assert_eq!(store.spent().await.unwrap(), [line(&run)]);
    }
    // Nobody writes to it any more, whatever he has seen of it.
    let late = vec![Op::AppendEvents { run: run.id, events: vec![machine_event(3)] }];
    let refused = commit(&*again, late.clone()).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound { noun: "run", .. }), "{refused}");
    assert!(commit(&*store, late).await.is_err());
    assert!(matches!(commit(&*store, vec![op]).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.spent().await.unwrap().len(), 1, "counted once");
    // A new run may get the place of the old one, and has none of its rows.
    let new = run_record();
    commit(&*store, acceptance(&new)).await.unwrap();
    assert_eq!(store.events(new.id, 0, 0).await.unwrap(), []);
    assert_eq!(store.run_effects(new.id).await.unwrap(), []);
}

pub async fn a_run_that_is_needed_stays(fixture: &Fixture) {
    let (store, mut run) = accepted(fixture).await;
    let why = |error: StoreError| match error {
        StoreError::StillNeeded { why, .. } => why,
        other => panic!("{other}"),
    };
    assert!(why(commit(&*store, vec![remove(&run)]).await.unwrap_err()).contains("pending"));
    let account = budget("nightly", Scope::Workflow, "1");
    let hold = hold_id();
    let ops = vec![
        Op::OpenBudget(Box::new(account.clone())),
        Op::Hold { id: hold, run: run.id, budgets: vec![account.id], amounts: usd("0.5").into() },
        ended(run.id),
    ];
    commit(&*store, ops).await.unwrap();
    assert!(why(commit(&*store, vec![remove(&run)]).await.unwrap_err()).contains("not settled"));
    commit(&*store, vec![Op::ReleaseHold { id: hold }]).await.unwrap();
    let retry = retry_of(&run);
    commit(&*store, acceptance(&retry)).await.unwrap();
    let reason = why(commit(&*store, vec![remove(&run)]).await.unwrap_err());
    assert!(reason.contains(&retry.id.to_string()), "{reason}");
    commit(&*store, vec![ended(retry.id)]).await.unwrap();
    // Somebody recorded what became of its files since its costs were counted.
    let claim = Op::Claim { run: run.id, expected: 1, engine: engine_id() };
    commit(&*store, vec![claim, Op::Release { run: run.id }]).await.unwrap();
    let stale = commit(&*store, vec![remove(&run)]).await.unwrap_err();
    assert_eq!(stale, StoreError::LeaseLost { run: run.id, current: 2, held: 1 });
    assert!(store.run(run.id).await.unwrap().is_some());
    run.lease_epoch = 2;
    commit(&*store, vec![remove(&run)]).await.unwrap();
    assert!(store.run(run.id).await.unwrap().is_none());
}

pub async fn a_chain_has_its_budget_until_its_last_run_is_removed(fixture: &Fixture) {
    let (store, first) = accepted(fixture).await;
    let (second, third) = (retry_of(&first), RunRecord { retried_from: None, ..retry_of(&first) });
    let third = RunRecord { retried_from: Some(second.id), ..third };
    let key = first.budget_key.clone();
    let workflow = Budget { period: Period::Total, ..budget("nightly", Scope::Workflow, "1") };
    let own = [
        budget(&key, Scope::Run, "1"),
        budget(&format!("{key}/triage"), Scope::Step, "1"),
        budget(&format!("{key}/writer"), Scope::Agent, "1"),
    ];
    let stranger = budget(&format!("{key}0"), Scope::Run, "1");
    let keys: Vec<String> = own.iter().chain([&stranger, &workflow]).map(|b| b.key.clone()).collect();
    let mut ops: Vec<Op> = [acceptance(&second), acceptance(&third)].concat();
    ops.extend(own.iter().chain([&stranger, &workflow]).map(|b| Op::OpenBudget(Box::new(b.clone()))));
    ops.extend([first.id, second.id, third.id].map(ended));
    commit(&*store, ops).await.unwrap();
    for run in [&first, &third] {
        commit(&*store, vec![remove(run)]).await.unwrap();
        assert_eq!(store.budgets(keys.clone()).await.unwrap().len(), 5);
    }
    commit(&*store, vec![remove(&second)]).await.unwrap();
    let left: Vec<String> = store.budgets(keys).await.unwrap().into_iter().map(|b| b.key).collect();
    assert_eq!(left, [stranger.key, workflow.key]);
}

pub async fn a_removed_run_is_not_retried(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    commit(&*store, vec![ended(run.id), remove(&run)]).await.unwrap();
    let refused = commit(&*fixture.open(), acceptance(&retry_of(&run))).await.unwrap_err();
    assert_eq!(refused, StoreError::NotFound { noun: "run", id: run.id.to_string() });
    assert_eq!(store.runs(RunFilter::default()).await.unwrap(), []);
}

pub async fn trees_are_needed_until_they_are_dropped(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let other = run_record();
    commit(&*store, acceptance(&other)).await.unwrap();
    let keep = |run: RunId, trees: &[&str]| Op::KeepTrees {
        run,
        trees: trees.iter().map(|&tree| tree.to_owned()).collect(),
    };
    commit(&*store, vec![keep(run.id, &["a", "b"]), keep(run.id, &["b", "c"])]).await.unwrap();
    commit(&*store, vec![keep(other.id, &["b"])]).await.unwrap();
    assert_eq!(store.trees().await.unwrap(), ["a", "b", "c"]);
    let needed = |run: RunId, trees: &[&str]| RunTrees {
        run,
        trees: trees.iter().map(|&tree| tree.to_owned()).collect(),
    };
    let by_run = store.run_trees().await.unwrap();
    assert_eq!(by_run, [needed(run.id, &["a", "b", "c"]), needed(other.id, &["b"])]);
    commit(&*store, vec![Op::DropTrees { run: run.id }]).await.unwrap();
    assert_eq!(store.trees().await.unwrap(), ["b"]);
    assert_eq!(store.run_trees().await.unwrap(), [needed(other.id, &["b"])]);
    commit(&*store, vec![ended(other.id), remove(&other)]).await.unwrap();
    assert_eq!(fixture.open().trees().await.unwrap(), Vec::<String>::new());
}

pub async fn leftovers_are_named_until_they_are_gone(fixture: &Fixture) {
    let (store, run) = accepted(fixture).await;
    let databases = vec!["main".to_owned(), "archive".to_owned(), "main".to_owned()];
    let op = Op::RemoveRun { run: run.id, epoch: 1, spent: Vec::new(), databases };
    commit(&*store, vec![ended(run.id), op]).await.unwrap();
    let leftover = |database: &str| Leftover { database: database.to_owned(), run: run.id };
    assert_eq!(store.leftovers().await.unwrap(), [leftover("archive"), leftover("main")]);
    for _ in 0..2 {
        commit(&*store, vec![Op::DropLeftover(leftover("main"))]).await.unwrap();
        assert_eq!(fixture.open().leftovers().await.unwrap(), [leftover("archive")]);
    }
}

pub async fn runs_are_found_by_their_end(fixture: &Fixture) {
    let store = fixture.open();
    let times = ["2026-11-28T10:00:00Z", "2026-11-28T10:00:00.5Z", "2026-11-28T10:00:01Z"];
    let mut ids = Vec::new();
    for time in times {
        let run = run_record();
        let end = Op::SetRun {
            run: run.id,
            status: RunStatus::Failed,
            outputs: None,
            error: None,
            at: time.parse().unwrap(),
        };
        commit(&*store, [acceptance(&run), vec![end]].concat()).await.unwrap();
        ids.push(run.id);
    }
    commit(&*store, acceptance(&run_record())).await.unwrap();
    for (n, time) in times.iter().enumerate() {
        let filter = RunFilter { finished_before: Some(time.parse().unwrap()), ..RunFilter::default() };
        let mut found: Vec<RunId> = store.runs(filter).await.unwrap().iter().map(|run| run.id).collect();
        found.reverse();
        assert_eq!(found, ids[..n], "{time}");
    }
}

/// Writers of large values beside passes: whatever a commit referred to when it returned is there.
pub async fn nothing_that_a_row_points_to_is_collected(fixture: &Fixture) {
    let store = fixture.open();
    let writers = (0..3_u32).map(|writer| {
        let store = fixture.open();
        tokio::spawn(async move {
            for round in 0..25_u32 {
                let mut run = run_record();
                // Few contents, so that most were kept, or collected, before.
                let large = json!("x".repeat(40_000 + ((writer + round) % 4) as usize));
                run.inputs = large.clone();
                commit(&*store, acceptance(&run)).await.unwrap();
                let mut effect = intent(key("0", 0));
                effect.attributes = json!({"a": "y".repeat(40_000 + (round % 3) as usize)});
                let ops = vec![
                    Op::PutEffect { run: run.id, effect: Box::new(effect) },
                    finish(run.id, key("0", 0), json!(round)),
                    ended(run.id),
                ];
                commit(&*store, ops).await.unwrap();
                assert_eq!(store.run(run.id).await.unwrap().unwrap().inputs, large);
                store.run_effects(run.id).await.unwrap();
                if round % 5 != 0 {
                    commit(&*store, vec![remove(&run)]).await.unwrap();
                }
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    while writers.iter().any(|writer| !writer.is_finished()) {
        store.collect(at(0)).await.unwrap();
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    // What is left has somebody who refers to it, in whatever order the others went.
    assert!(!store.collect(at(0)).await.unwrap().busy);
    let kept = store.runs(RunFilter::default()).await.unwrap();
    assert_eq!(kept.len(), 15);
    for run in kept {
        assert!(store.run_effects(run.id).await.unwrap()[0].attributes["a"].is_string());
        commit(&*store, vec![remove(&run)]).await.unwrap();
    }
    assert!(store.collect(at(0)).await.unwrap().blobs > 0);
    assert_eq!(fixture.open().collect(at(0)).await.unwrap().blobs, 0);
}

pub async fn accounts_of_the_past_go_and_totals_stay(fixture: &Fixture) {
    let (store, _) = accepted(fixture).await;
    let account = |period: Period, start: &str| {
        let period_start = start.to_owned();
        Op::OpenBudget(Box::new(Budget { period, period_start, ..budget("nightly", Scope::Workflow, "1") }))
    };
    let ops = vec![
        account(Period::Total, ""),
        account(Period::Month, "2026-09-01T00:00:00Z"),
        account(Period::Day, "2026-11-01T00:00:00Z"),
        account(Period::Hour, "2026-09-01T00:00:00Z"),
    ];
    let spent = Op::OpenBudget(Box::new(Budget {
        period: Period::Week,
        period_start: "2026-08-31T00:00:00Z".to_owned(),
        settled: amount("0.1"),
        ..budget("nightly", Scope::Workflow, "1")
    }));
    commit(&*store, ops).await.unwrap();
    commit(&*store, vec![spent]).await.unwrap();
    store.collect("2026-11-01T10:00:00Z".parse().unwrap()).await.unwrap();
    let periods = async || -> Vec<Period> {
        let left = store.budgets(vec!["nightly".to_owned()]).await.unwrap();
        left.iter().map(|budget| budget.period).collect()
    };
    assert_eq!(periods().await.len(), 3 + 2, "62 days are not over");
    store.collect("2026-11-03T10:00:00Z".parse().unwrap()).await.unwrap();
    assert_eq!(periods().await, [Period::Total, Period::Day, Period::Week], "what was spent is kept");
}
