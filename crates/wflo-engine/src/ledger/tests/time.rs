//! Budgets on the time for which attempts run.

use wflo_core::budget::{Amount, Amounts, Budget, Measure, OnExceeded, Period, Scope, Standing};
use wflo_core::event::Wait;
use wflo_core::id::HoldId;
use wflo_core::ports::store::{Batch, Op};

use super::*;

fn time(seconds: &str, action: &str) -> Value {
    json!({"budgets": [{"max_seconds": seconds, "action_on_exceeded": action}]})
}

/// Attempts that run until they are asked to end; how many there were.
fn endless(world: &World) -> Arc<std::sync::atomic::AtomicU32> {
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&count);
    world.on(move |attempt, _, _| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            attempt.stopped().await;
            End::Stopped
        }
    });
    count
}

async fn account(world: &World, key: &str) -> Budget {
    let all = world.store.budgets(vec![key.to_owned()]).await.unwrap();
    all.into_iter().find(|budget| budget.measure == Measure::Seconds).expect("it was opened")
}

async fn bodies(world: &World, run: RunId) -> Vec<EventBody> {
    let events = world.store.events(run, 0, 0).await.unwrap();
    events.into_iter().map(|recorded| recorded.event.body).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_ended_when_its_time_is_used_up_and_the_run_halts() {
    let world = world().await;
    endless(&world);
    let run = world.submit(&time("1.3", "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    let account = account(&world, &run.to_string()).await;
    assert!(account.limit.units() == 1_300 && account.held == Amount::ZERO, "{account:?}");
    // Less than what is worth a slice is left at most, and nothing was ever above the limit.
    assert!((1_200..=1_300).contains(&account.settled.units()), "{account:?}");
    assert_eq!(world.store.overruns().await.unwrap(), 0);
    let bodies = bodies(&world, run).await;
    let alerts: Vec<u32> = bodies
        .iter()
        .filter_map(|body| match body {
            EventBody::BudgetAlert { threshold, .. } => Some(*threshold),
            _ => None,
        })
        .collect();
    assert!(alerts.starts_with(&[500, 750, 900]), "{alerts:?}");
    let error = world.store.run(run).await.unwrap().unwrap().error.unwrap();
    assert!(error.message.starts_with("the run budget of time has "), "{}", error.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_beside_each_other_use_the_same_time_and_never_more_than_there_is() {
    let world = world().await;
    endless(&world);
    let steps: Vec<Value> = (0..3)
        .map(|n| json!({"name": format!("s{n}"), "type": "agent", "handler": "code", "depends_on": []}))
        .collect();
    let run = world
        .submit(&json!({
            "steps": steps,
            "budgets": [
                {"max_seconds": "1.5", "action_on_exceeded": "halt"},
                {"max_seconds": "9", "per": "step"},
            ],
        }))
        .await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    let whole = account(&world, &run.to_string()).await;
    assert!(whole.held == Amount::ZERO && whole.settled <= whole.limit, "{whole:?}");
    let mut sum = 0;
    for n in 0..3 {
        let all = world.store.budgets(vec![format!("{run}/s{n}")]).await.unwrap();
        sum += all.iter().map(|budget| budget.settled.units()).sum::<i64>();
    }
    assert_eq!(whole.settled.units(), sum, "each step counts on its own account and on the run's");
    assert_eq!(world.store.overruns().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_time_is_asked_for_and_the_step_goes_on_after_a_yes() {
    let world = world().await;
    world.on(|attempt, _, _| async move {
        if attempt.attempt > 1 {
            return done(json!("in time"));
        }
        attempt.stopped().await;
        End::Stopped
    });
    let run = world.submit(&time("3", "ask")).await;
    until("it asks", || async { world.approvals(run).await.len() == 1 }).await;
    until("it waits", || async { status(&world, run).await == RunStatus::Waiting }).await;
    assert_eq!(account(&world, &run.to_string()).await.held, Amount::ZERO, "nothing counts while it waits");
    let question = world.approvals(run).await.remove(0);
    assert_eq!(question.request.evidence["suggested"], "3.00", "as much again");
    world.decide(run, &question, None).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let account = account(&world, &run.to_string()).await;
    assert!(account.limit.units() == 6_000 && account.settled <= account.limit, "{account:?}");
    assert_eq!(world.approvals(run).await.len(), 1);
}

async fn status(world: &World, run: RunId) -> RunStatus {
    world.store.run(run).await.unwrap().unwrap().status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_no_to_more_time_halts_the_run() {
    let world = world().await;
    let attempts = endless(&world);
    let run = world.submit(&time("0.2", "ask")).await;
    until("it asks", || async { world.approvals(run).await.len() == 1 }).await;
    let approval = world.approvals(run).await.remove(0).id;
    let decision = Decision {
        approved: false,
        by: "me".into(),
        comment: None,
        amount: None,
        lasts: None,
        at: world.clock.now(),
    };
    world.engine.send(run, &Message::Decide { approval, decision }).await.unwrap();
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    assert_eq!(attempts.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_queued_for_time_no_longer_than_its_budget_says() {
    let world = world().await;
    let attempts = endless(&world);
    let limit =
        json!([{"max_seconds": "0.2", "action_on_exceeded": "queue", "queue_timeout_seconds": "0.1"}]);
    let run = world.submit(&json!({"budgets": limit})).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    assert_eq!(attempts.load(std::sync::atomic::Ordering::Relaxed), 1, "without time nothing begins");
    let queued = |body: &&EventBody| matches!(body, EventBody::BudgetQueued { .. });
    assert_eq!(bodies(&world, run).await.iter().filter(queued).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_step_goes_on_once_there_is_time_again() {
    let world = world().await;
    world.on(|attempt, _, _| async move {
        if attempt.attempt > 1 {
            return done(Value::Null);
        }
        attempt.stopped().await;
        End::Stopped
    });
    let set = |limit| {
        let standing = Box::new(Standing {
            scope: Scope::Workflow,
            key: "t".into(),
            period: Period::Day,
            time_zone: at_noon(),
            measure: Measure::Seconds,
            limit: Amount::from_units(limit),
            action_on_exceeded: Some(OnExceeded::Queue),
            alert_thresholds: vec![],
            min_output_tokens: None,
        });
        let op = Op::SetStanding { standing, by: "me".into(), at: world.clock.now() };
        world.store.commit(Batch { fence: None, ops: vec![op] })
    };
    set(200).await.unwrap();
    let run = world.submit(&json!({})).await;
    until("it waits", || async { status(&world, run).await == RunStatus::Waiting }).await;
    set(60_000).await.unwrap();
    let wait = bodies(&world, run).await.into_iter().find_map(|body| match body {
        EventBody::StepSuspended { on, .. } => on.into_iter().next(),
        _ => None,
    });
    let Some(Wait::Timer { path, seq, .. }) = wait else { panic!("{wait:?}") };
    world.engine.send(run, &Message::Wake { step: "s".into(), path, seq }).await.unwrap();
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert!(account(&world, "t").await.settled.units() <= 60_000);
}

/// What an engine that was killed leaves behind: time that is held, and nobody who uses it.
#[tokio::test(flavor = "multi_thread")]
async fn time_that_a_dead_attempt_had_taken_counts_in_full_and_is_not_held_for_ever() {
    let world = world().await;
    world.on(|attempt, calls, _| async move {
        if attempt.attempt > 1 {
            return done(Value::Null);
        }
        let id = HoldId::from_uuid(calls.services.clock.uuid());
        let keys = vec![attempt.run.to_string()];
        let budgets: Vec<_> =
            calls.services.store.budgets(keys).await.unwrap().iter().map(|budget| budget.id).collect();
        let amounts = Amounts { active_ms: 5_000, ..Amounts::default() };
        let hold = Op::Hold { id, run: attempt.run, budgets, amounts };
        calls.services.store.commit(Batch { fence: None, ops: vec![hold] }).await.unwrap();
        // Late enough that nobody drives the run by then: whoever takes it up looks at what it holds.
        let due = calls.services.clock.now() + jiff::SignedDuration::from_secs(3);
        End::Suspended { on: vec![Wait::Timer { path: "0".into(), seq: 0, due }] }
    });
    let run = world.submit(&time("60", "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let account = account(&world, &run.to_string()).await;
    assert!(account.held == Amount::ZERO && account.settled.units() >= 5_000, "{account:?}");
    assert!(world.store.open_holds(run).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_done_gives_back_what_it_did_not_use() {
    let world = world().await;
    world.on(|_, _, _| async move { done(Value::Null) });
    let run = world.submit(&time("3600", "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let account = account(&world, &run.to_string()).await;
    assert!(account.held == Amount::ZERO && account.settled > Amount::ZERO, "{account:?}");
    assert!(account.settled.units() < 60_000, "a slice at most");
}
