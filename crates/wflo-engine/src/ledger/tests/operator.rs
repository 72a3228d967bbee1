//! What only the operator can put right pauses a run, with the reason, and nothing is sent.

use super::*;
use crate::executor::Stop;

fn no_key() -> Failure {
    Failure::new(Code(4021), "there is no key for the provider `local`")
}

/// A run whose first attempt makes a call that its operator has to put something right for, and whose
/// second makes it as it should be.
async fn paused(world: &World, launch: Value, not_ready: Option<Failure>) -> RunId {
    world.on(move |attempt, calls, gateway| {
        let not_ready = not_ready.clone();
        async move {
            if attempt.attempt == 1 {
                let intent = CallIntent { not_ready, ..intent(&calls) };
                let opened = tokio::spawn(async move { RunLedger.open(intent).await });
                assert_eq!(attempt.stopped().await, Stop::Paused);
                assert!(!opened.is_finished(), "the step hears nothing of it");
                return End::Stopped;
            }
            call(gateway, calls, 0).await.unwrap();
            done(Value::Null)
        }
    });
    let run = world.submit_sealed(&budget(3, "halt"), launch).await;
    until("it is paused", || async {
        world.store.run(run).await.unwrap().unwrap().status == RunStatus::Paused
    })
    .await;
    run
}

async fn reason(world: &World, run: RunId) -> Failure {
    let record = world.store.run(run).await.unwrap().unwrap();
    let (_, state) = crate::engine::load(world.store.as_ref(), &record).await.unwrap();
    state.paused_for.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_a_key_pauses_its_run_until_it_is_resumed() {
    let world = world().await;
    let run = paused(&world, Value::Null, Some(no_key())).await;
    assert_eq!(reason(&world, run).await, no_key());
    assert_eq!((world.mock.counts().requests, world.money(run).await), (0, (0, 0)));
    world.engine.send(run, &Message::Resume { by: "local:me".into() }).await.unwrap();
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.mock.counts().billed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_elsewhere_than_at_the_submission_is_sent_nothing() {
    for (launch, said) in [
        (
            json!({ "providers": { "local": "openai http://127.0.0.1:2/v1" } }),
            "was openai http://127.0.0.1:2/v1",
        ),
        (json!({ "providers": {} }), "was not there"),
    ] {
        let world = world().await;
        // A key that is missing as well is not what the person must put right first.
        let run = paused(&world, launch, Some(no_key())).await;
        let reason = reason(&world, run).await;
        assert_eq!(reason.code, "WFLO-4024");
        assert!(reason.message.contains(said), "{}", reason.message);
        assert!(reason.hint.unwrap().contains(&format!("wflo runs retry {run}")));
        assert_eq!(world.mock.counts().requests, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_recorded_needs_neither_key_nor_address() {
    let world = world().await;
    world.on(|_, calls, gateway| async move {
        call(gateway, Arc::clone(&calls), 0).await.unwrap();
        let intent = CallIntent { not_ready: Some(no_key()), address: "elsewhere".into(), ..intent(&calls) };
        assert!(matches!(RunLedger.open(intent).await, Ok(Opened::Replay(_))));
        done(Value::Null)
    });
    let sealed = json!({ "providers": { "local": format!("openai {}", world.mock.openai_url()) } });
    let run = world.submit_sealed(&budget(3, "halt"), sealed).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.mock.counts().billed, 1);
}
