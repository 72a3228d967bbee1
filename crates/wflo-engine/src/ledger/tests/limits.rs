//! Budgets of every measure and scope, and what happens when a call does not fit.

use wflo_core::budget::{Amount, Measure, Period, Scope, Standing};
use wflo_core::ports::store::{Batch, Op};
use wflo_gateway::ledger::Ledger as _;

use super::*;

fn budgets(list: &Value) -> Value {
    json!({ "budgets": list })
}

/// Calls one after the other, until one is refused: how many were answered.
fn one_by_one(world: &World, most: u32) {
    world.on(move |_, calls, gateway| async move {
        for seq in 0..most {
            if call(gateway.clone(), Arc::clone(&calls), seq).await.is_err() {
                break;
            }
        }
        done(Value::Null)
    });
}

async fn used(world: &World, key: &str, measure: Measure) -> (i64, i64) {
    let all = world.store.budgets(vec![key.to_owned()]).await.unwrap();
    let budget = all.iter().find(|budget| budget.measure == measure).expect("it was opened");
    (budget.settled.units(), budget.held.units())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_tokens_are_limited_as_money_is() {
    for (limit, answered, measure) in [
        (json!({"max_model_calls": 3}), 3, Measure::ModelCalls),
        // Each call holds more than the 110 tokens that it is billed.
        (json!({"max_tokens": 1500}), 0, Measure::Tokens),
    ] {
        let world = world().await;
        one_by_one(&world, 9);
        let run = world.submit(&budgets(&json!([limit]))).await;
        assert_eq!(world.ended(run).await, RunStatus::Halted, "{limit}");
        let (settled, held) = used(&world, &run.to_string(), measure).await;
        assert_eq!(held, 0);
        let billed = i64::try_from(world.mock.counts().billed).unwrap();
        match measure {
            Measure::ModelCalls => assert_eq!((settled, billed), (answered, answered)),
            _ => assert!(billed > 0 && settled == billed * 110 && settled <= 1_500, "{settled} for {billed}"),
        }
        assert_eq!(world.store.overruns().await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_an_organisation_holds_for_all_its_runs_and_a_labels_for_those_that_have_it() {
    let world = world().await;
    one_by_one(&world, 2);
    let limits = budgets(&json!([
        {"max_model_calls": 5, "per": "org", "period": "month", "time_zone": at_noon()},
        {"max_model_calls": 1, "per": "label", "label": "user"},
    ]));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let run = world.submit(&limits).await;
        statuses.push(world.ended(run).await);
    }
    // Nobody's runs: the label's budget is not theirs.
    assert_eq!(statuses, [RunStatus::Completed, RunStatus::Completed, RunStatus::Halted]);
    assert_eq!(used(&world, "local", Measure::ModelCalls).await, (5, 0));
    assert!(world.store.budgets(vec!["user=anna".into()]).await.unwrap().is_empty());
}

fn standing(limit: i64) -> Standing {
    Standing {
        scope: Scope::Workflow,
        key: "t".into(),
        period: Period::Day,
        time_zone: at_noon(),
        measure: Measure::ModelCalls,
        limit: Amount::from_units(limit),
        action_on_exceeded: Some(wflo_core::budget::OnExceeded::Queue),
        alert_thresholds: vec![],
        min_output_tokens: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_in_the_queue_for_a_standing_budget_until_somebody_raises_it() {
    let world = world().await;
    one_by_one(&world, 3);
    let set = |limit| {
        let op =
            Op::SetStanding { standing: Box::new(standing(limit)), by: "me".into(), at: world.clock.now() };
        world.store.commit(Batch { fence: None, ops: vec![op] })
    };
    set(2).await.unwrap();
    let run = world.submit(&json!({})).await;
    let queued = || async {
        let events = world.store.events(run, 0, 0).await.unwrap();
        events.iter().filter(|e| matches!(e.event.body, EventBody::BudgetQueued { .. })).count() == 1
    };
    until("the third call is queued", queued).await;
    assert_eq!(world.mock.counts().billed, 2);
    set(3).await.unwrap();
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().billed, used(&world, "t", Measure::ModelCalls).await), (3, (3, 0)));
    assert!(queued().await, "it is said once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_queued_no_longer_than_its_budget_says() {
    let world = world().await;
    one_by_one(&world, 2);
    let limit =
        json!([{"max_model_calls": 1, "action_on_exceeded": "queue", "queue_timeout_seconds": "0.05"}]);
    let run = world.submit(&budgets(&limit)).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    assert_eq!(used(&world, &run.to_string(), Measure::ModelCalls).await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dear_call_is_not_starved_by_cheap_ones_that_come_after_it() {
    let world = world().await;
    world.mock.hold();
    let here = Arc::new(tokio::sync::Notify::new());
    let arrived = Arc::clone(&here);
    world.on(move |_, calls, gateway| {
        let arrived = Arc::clone(&arrived);
        async move {
            let mut all = tokio::task::JoinSet::new();
            let spawn = |all: &mut tokio::task::JoinSet<_>, seq: u32, most: u64| {
                let (gateway, calls) = (gateway.clone(), Arc::clone(&calls));
                all.spawn(async move {
                    let mut body = request();
                    body["max_tokens"] = json!(most);
                    let chat = ChatCall {
                        model: "smol".into(),
                        request: body.as_object().unwrap().clone(),
                        stream: false,
                        positional: Some(("0".into(), seq)),
                    };
                    gateway.call(Caller::new("test", calls), chat, None).await.map(|_| ())
                });
            };
            for seq in 0..3 {
                spawn(&mut all, seq, 100);
            }
            let held = || async {
                let all = calls.services.store.budgets(vec![calls.attempt.run.to_string()]).await.unwrap();
                all.first().is_some_and(|budget| budget.held.units() == 3 * (EACH + MARGIN))
            };
            until("the cheap ones hold", held).await;
            spawn(&mut all, 3, 400);
            until("the dear one waits", || async { !calls.services.turns.is_empty() }).await;
            for seq in 4..7 {
                spawn(&mut all, seq, 100);
            }
            arrived.notify_one();
            while let Some(done) = all.join_next().await {
                done.unwrap().unwrap();
            }
            done(Value::Null)
        }
    });
    // The dear one fits once the first three are billed, and never if one more cheap call goes before it.
    let limit = NanoUsd::from_nanos(7 * EACH + 4 * MARGIN - 4_000).to_string();
    let run = world.submit(&budgets(&json!([{"max_cost_usd": limit, "action_on_exceeded": "halt"}]))).await;
    here.notified().await;
    world.mock.release();
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().billed, world.money(run).await), (7, (7 * EACH, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_downgrade_is_asked_for_while_there_is_a_cheaper_model_and_halts_after_it() {
    let world = world().await;
    world.on(|_, calls, _| async move {
        let dear = CallIntent { hold: NanoUsd::from_nanos(9 * EACH), cheaper: true, ..intent(&calls) };
        let Ok(Opened::Cheaper(place, Refusal::Budget(short))) = RunLedger.open(dear).await else {
            panic!("no cheaper model is wanted")
        };
        assert_eq!(short.wanted.units(), 9 * EACH);
        let cheap = CallIntent { place: Some(place), cheaper: false, ..intent(&calls) };
        let Ok(Opened::Dispatch { ticket, .. }) = RunLedger.open(cheap).await else { panic!("it fits") };
        RunLedger.release(ticket).await.unwrap();
        let last = CallIntent {
            hold: NanoUsd::from_nanos(9 * EACH),
            positional: Some(("0".into(), 1)),
            ..intent(&calls)
        };
        assert!(matches!(RunLedger.open(last).await, Ok(Opened::Refused(Refusal::Budget(_)))));
        done(Value::Null)
    });
    let run = world.submit(&budget(3, "downgrade")).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    assert_eq!(world.money(run).await, (0, 0));
}
