//! Kept answers in runs: given, journaled, and never in the place of the journal's own.

use wflo_core::cost;
use wflo_gateway::cache::Scope;

use super::*;

async fn cached(scope: Scope) -> World {
    let mock = ModelServer::start().unwrap();
    mock.answer_always(Answer::billed(10, 100));
    let url = mock.openai_url();
    let settings = CacheSettings { scope, ..CacheSettings::default() };
    world_over(mock, &url, Routing::default(), Some(settings)).await
}

/// A call as the step's own callers make it.
async fn ask(gateway: &Gateway, calls: &Arc<Calls>, seq: u32) -> ChatReply {
    let chat = ChatCall {
        model: "smol".into(),
        request: request().as_object().unwrap().clone(),
        stream: false,
        positional: Some(("0".into(), seq)),
    };
    gateway.call(calls.caller(), chat, None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_is_journaled_at_nothing_and_fits_a_budget_that_is_used_up() {
    let world = cached(Scope::Caller).await;
    world.on(|_, calls, gateway| async move {
        let first = ask(&gateway, &calls, 0).await;
        let again = ask(&gateway, &calls, 1).await;
        assert_eq!(first.text, again.text);
        done(Value::Null)
    });
    let run = world.submit(&budget(1, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().requests, world.money(run).await), (1, (EACH, 0)));
    let mut rows = world.store.run_effects(run).await.unwrap();
    rows.sort_by_key(|row| row.key.seq);
    assert_eq!((rows[0].cost.nanos(), rows[1].cost), (EACH, NanoUsd::ZERO));
    let EffectRecord { attributes, hold, .. } = &rows[1];
    assert_eq!(attributes["saved_usd"], json!(NanoUsd::from_nanos(EACH)));
    assert!(attributes["cache"]["age_seconds"].is_u64() && hold.is_none(), "{attributes}");
    let record = world.store.run(run).await.unwrap().unwrap();
    let sum = cost::of_run(&record, &rows)[0].sum;
    assert_eq!((sum.calls, sum.hits, sum.cost.nanos(), sum.saved.nanos()), (2, 1, EACH, EACH));
    assert_eq!((sum.input_tokens, sum.output_tokens), (10, 100), "of what was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_gives_what_was_given_and_looks_nowhere_else() {
    let world = cached(Scope::Caller).await;
    world.on(|attempt, calls, gateway| async move {
        for seq in 0..2 {
            ask(&gateway, &calls, seq).await;
        }
        if attempt.attempt == 1 {
            return End::Lost { reason: "died".into() };
        }
        done(Value::Null)
    });
    let run = world.submit(&budget(1, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().requests, world.money(run).await), (1, (EACH, 0)));
    let stats = world.gateway.cache().unwrap().stats();
    assert_eq!((stats.hits, stats.misses), (1, 1), "the second attempt asked the journal alone");
    assert_eq!(world.store.run_effects(run).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_may_have_been_paid_for_is_made_again_and_not_looked_up() {
    let world = cached(Scope::Workflow).await;
    world.on(|_, calls, gateway| async move {
        ask(&gateway, &calls, 0).await;
        done(Value::Null)
    });
    let warm = world.submit(&budget(1, "halt")).await;
    assert_eq!(world.ended(warm).await, RunStatus::Completed);
    world.on(|attempt, calls, gateway| async move {
        if attempt.attempt == 1 {
            lost_intent(&calls).await;
            return End::Lost { reason: "died".into() };
        }
        ask(&gateway, &calls, 0).await;
        done(Value::Null)
    });
    let run = world.submit(&budget(3, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().billed, world.money(run).await), (2, (2 * EACH, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_share_only_what_their_operator_lets_them() {
    for (scope, sent) in [(Scope::Caller, 2), (Scope::Workflow, 1), (Scope::Everyone, 1)] {
        let world = cached(scope).await;
        world.on(|_, calls, gateway| async move {
            ask(&gateway, &calls, 0).await;
            done(Value::Null)
        });
        for _ in 0..2 {
            let run = world.submit(&budget(1, "halt")).await;
            assert_eq!(world.ended(run).await, RunStatus::Completed);
        }
        assert_eq!(world.mock.counts().requests, sent, "{scope:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_says_so_always_asks() {
    let world = cached(Scope::Everyone).await;
    world.on(|_, calls, gateway| async move {
        for seq in 0..2 {
            ask(&gateway, &calls, seq).await;
        }
        done(Value::Null)
    });
    let step = json!([{"name": "s", "type": "agent", "handler": "code", "depends_on": [], "cache": false}]);
    let run = world.submit(&json!({ "steps": step })).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.mock.counts().requests, 2);
    assert_eq!(world.gateway.cache().unwrap().stats().entries, 0);
}
