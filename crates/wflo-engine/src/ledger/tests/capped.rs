//! Calls that are cut down to what is left, and what their records say of it.

use super::*;

fn floored(calls: i64, floor: u64) -> Value {
    let mut limits = budget(calls, "halt");
    limits["budgets"][0]["min_output_tokens"] = json!(floor);
    limits
}

/// The limits of the requests that arrived.
fn sent(world: &World) -> Vec<u64> {
    let of = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["max_tokens"].as_u64().unwrap();
    world.mock.seen().iter().map(|seen| of(&seen.body)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_call_gets_what_is_left_and_its_record_says_so() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        for seq in 0..3 {
            call(gateway.clone(), Arc::clone(&calls), seq).await.unwrap();
        }
        assert!(call(gateway, calls, 3).await.is_err());
        done(Value::Null)
    });
    // Room for two calls and a half.
    let mut limits = floored(2, 10);
    let limit = NanoUsd::from_nanos(2 * EACH + EACH / 2 + MARGIN);
    limits["budgets"][0]["max_cost_usd"] = json!(limit.to_string());
    let run = world.submit(&limits).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    let limits = sent(&world);
    assert_eq!((limits.len(), limits[0], limits[1]), (3, 100, 100));
    assert!((10..100).contains(&limits[2]), "{limits:?}");
    let rows = world.store.run_effects(run).await.unwrap();
    assert_eq!(rows[0].attributes["capped"], Value::Null);
    assert_eq!(rows[2].attributes["capped"]["output_tokens"], json!(limits[2]));
    let (settled, held) = world.money(run).await;
    assert!(settled <= limit.nanos() && held == 0, "{settled} of {limit}");
    assert_eq!(world.store.overruns().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_budget_that_has_not_opted_in_is_enough_to_leave_a_call_whole() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        call(gateway.clone(), Arc::clone(&calls), 0).await.unwrap();
        assert!(call(gateway, calls, 1).await.is_err());
        done(Value::Null)
    });
    let mut limits = floored(9, 10);
    let half = NanoUsd::from_nanos(EACH + EACH / 2 + MARGIN).to_string();
    let strict = json!({"max_cost_usd": half, "per": "step", "action_on_exceeded": "halt"});
    limits["budgets"].as_array_mut().unwrap().push(strict);
    let run = world.submit(&limits).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    assert_eq!(sent(&world), [100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_is_cut_never_overspends_together() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        let (answered, _) = crowd(&gateway, &calls, 30).await;
        done(json!(answered))
    });
    let limits = floored(7, 20);
    let run = world.submit(&limits).await;
    world.ended(run).await;
    let (settled, held) = world.money(run).await;
    assert!(settled <= 7 * EACH + MARGIN && held == 0, "{settled}");
    assert_eq!(world.store.overruns().await.unwrap(), 0);
    assert_eq!(world.mock.counts().billed, world.store.run_effects(run).await.unwrap().len() as u64);
}
