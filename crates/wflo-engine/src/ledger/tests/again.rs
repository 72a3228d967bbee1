//! Further attempts of one call: a crash between any two steps of them charges what may be billed, and
//! nothing twice; whatever keeps a call back keeps its further attempts back.

use wflo_gateway::ledger::{Further, Next, Tried};

use super::*;

fn next(charged: i64) -> Next {
    let charged = NanoUsd::from_nanos(charged);
    let tried = Tried {
        provider: "local".into(),
        model: "smol".into(),
        failure: "no answer".into(),
        charged_usd: charged,
    };
    Next {
        tried: vec![tried],
        charged,
        provider: "local".into(),
        address: "openai http://127.0.0.1:1/v1".into(),
        model: "smol".into(),
        hold: NanoUsd::from_nanos(2 * EACH),
        max_input_tokens: 10,
        max_output_tokens: 200,
    }
}

async fn opened(calls: &Arc<Calls>) -> Ticket {
    match RunLedger.open(intent(calls)).await {
        Ok(Opened::Dispatch { ticket, .. }) => ticket,
        other => panic!("{other:?}"),
    }
}

/// The run's row and money after a crash that followed `act`, and one more call on the resume.
async fn crashed(act: fn(Ticket) -> BoxFuture<'static, ()>) -> (EffectRecord, (i64, i64)) {
    let world = world().await;
    world.on(move |attempt, calls, gateway| async move {
        if attempt.attempt == 1 {
            act(opened(&calls).await).await;
            return End::Lost { reason: "died".into() };
        }
        call(gateway, calls, 0).await.unwrap();
        done(Value::Null)
    });
    let run = world.submit(&budget(10, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.mock.counts().billed, 1);
    let mut rows = world.store.run_effects(run).await.unwrap();
    assert_eq!(rows.len(), 1, "all attempts are one effect");
    (rows.remove(0), world.money(run).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_charges_the_attempt_that_was_under_way_and_no_other() {
    // Before the second attempt is journaled, the first's hold; after it, the second's alone when the
    // first was free, both when it may have been billed. Each time the answer's own bill comes on top.
    let before: fn(Ticket) -> BoxFuture<'static, ()> = |_| Box::pin(async {});
    let free: fn(Ticket) -> BoxFuture<'static, ()> = |ticket| {
        Box::pin(async move {
            assert!(matches!(RunLedger.again(&ticket, next(0)).await, Ok(Further::Dispatch)));
        })
    };
    let billed: fn(Ticket) -> BoxFuture<'static, ()> = |ticket| {
        Box::pin(async move {
            assert!(matches!(RunLedger.again(&ticket, next(EACH)).await, Ok(Further::Dispatch)));
        })
    };
    for (act, uncertain) in [(before, EACH), (free, 2 * EACH), (billed, 3 * EACH)] {
        let (row, money) = crashed(act).await;
        assert_eq!(row.uncertain.nanos(), uncertain);
        assert_eq!(row.cost.nanos(), uncertain + EACH);
        assert_eq!(money, (uncertain + EACH, 0), "the budget has what the row has, and no hold is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_later_attempt_is_recorded_with_all_that_was_tried() {
    let world = world().await;
    world.on(|_, calls, _| async move {
        let ticket = opened(&calls).await;
        assert!(matches!(RunLedger.again(&ticket, next(EACH)).await, Ok(Further::Dispatch)));
        let recorded = Recorded {
            status: 200,
            headers: Vec::new(),
            body: "{}".into(),
            interrupted: false,
            broke: None,
            usage: None,
            cost: NanoUsd::from_nanos(7),
        };
        let settled = recorded.cost;
        let outcome = Outcome {
            recorded,
            settled,
            usage: None,
            uncertain: false,
            prompt_cache: wflo_core::cost::PromptCache::default(),
        };
        RunLedger.close(ticket, outcome).await.unwrap();
        done(Value::Null)
    });
    let run = world.submit(&budget(10, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    let row = world.store.run_effects(run).await.unwrap().remove(0);
    assert_eq!((row.cost.nanos(), row.uncertain.nanos()), (EACH + 7, EACH));
    assert_eq!(row.attributes["tried"][0]["failure"], "no answer");
    assert_eq!(row.attributes["tried"][0]["charged_usd"], "0.0002");
    assert_eq!(world.money(run).await, (EACH + 7, 0));
}

/// What `again` says, and the money while the first attempt's hold is still open.
async fn refused(limits: &Value, launch: Value, charged: i64) -> (Refusal, (i64, i64)) {
    let world = world().await;
    let (send, mut said) = tokio::sync::mpsc::channel(1);
    world.on(move |_, calls, _| {
        let send = send.clone();
        async move {
            let ticket = opened(&calls).await;
            match RunLedger.again(&ticket, next(charged)).await {
                Ok(Further::Refused(refusal)) => send.send(refusal).await.unwrap(),
                other => panic!("{other:?}"),
            }
            RunLedger.release(ticket).await.unwrap();
            done(Value::Null)
        }
    });
    let run = world.submit_sealed(limits, launch).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    (said.recv().await.unwrap(), world.money(run).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_without_room_keeps_the_attempt_back_and_changes_nothing() {
    let (refusal, money) = refused(&budget(2, "halt"), Value::Null, EACH).await;
    assert!(matches!(refusal, Refusal::Budget { .. }), "{refusal:?}");
    assert_eq!(money, (0, 0), "the first attempt's charge was not made either");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_the_run_was_not_sealed_with_gets_no_attempt() {
    let world = world().await;
    world.on(|_, calls, _| async move {
        let ticket = opened(&calls).await;
        let elsewhere = Next { address: "openai http://127.0.0.1:2/v1".into(), ..next(0) };
        match RunLedger.again(&ticket, elsewhere).await {
            Ok(Further::Refused(Refusal::Other { failure, .. })) => assert_eq!(failure.code, "WFLO-4024"),
            other => panic!("{other:?}"),
        }
        RunLedger.release(ticket).await.unwrap();
        done(Value::Null)
    });
    let sealed = json!({ "providers": { "local": "openai http://127.0.0.1:1/v1" } });
    let run = world.submit_sealed(&budget(10, "halt"), sealed).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_denies_the_dearer_attempt_keeps_it_back() {
    // The first may cost 0.0002 USD, the next 0.0004.
    let mut limits = budget(10, "halt");
    limits["policies"] = json!([{
        "name": "dear",
        "condition": "estimated_cost > 0.0003",
        "actions": [{"type": "deny"}],
    }]);
    let world = world().await;
    world.on(|_, calls, _| async move {
        let ticket = opened(&calls).await;
        let said = RunLedger.again(&ticket, next(0)).await;
        assert!(matches!(said, Ok(Further::Refused(_))), "{said:?}");
        RunLedger.release(ticket).await.unwrap();
        done(Value::Null)
    });
    let run = world.submit(&limits).await;
    assert_eq!(world.ended(run).await, RunStatus::Rejected);
    assert_eq!(world.money(run).await, (0, 0));
}
