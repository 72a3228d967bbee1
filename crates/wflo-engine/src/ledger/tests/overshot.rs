//! A provider that bills more than a call could cost.

use super::*;
use crate::executor::Stop;

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_above_its_bound_that_overdraws_a_budget_halts_the_run_before_its_answer_is_out() {
    let world = world().await;
    world.mock.read_limits(&[]);
    world.mock.answer_always(Answer::billed(10, 5_000));
    world.on(|attempt, calls, gateway| async move {
        let made = tokio::spawn(call(gateway, calls, 0));
        assert_eq!(attempt.stopped().await, Stop::Ending);
        assert!(!made.is_finished(), "its answer waits until the attempt is being ended");
        End::Stopped
    });
    // A budget that asks does not ask about this.
    let run = world.submit(&budget(3, "ask")).await;
    assert_eq!(world.ended(run).await, RunStatus::Halted);
    let error = world.store.run(run).await.unwrap().unwrap().error.unwrap();
    assert_eq!(error.code, "WFLO-4023", "{error:?}");
    assert!(error.message.contains("`local` billed a call of smol at $0.01"), "{}", error.message);
    assert_eq!((world.mock.counts().requests, world.money(run).await), (1, (10_000_000, 0)));
    assert_eq!(world.store.overruns().await.unwrap(), 1);
    assert!(world.approvals(run).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_above_its_bound_that_every_budget_has_room_for_is_charged_and_the_run_goes_on() {
    let world = world().await;
    world.mock.read_limits(&[]);
    world.mock.answer_always(Answer::billed(10, 200));
    world.on(|_, calls, gateway| async move {
        call(gateway, calls, 0).await.unwrap();
        done(Value::Null)
    });
    let run = world.submit(&budget(3, "halt")).await;
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!(world.money(run).await, (2 * EACH, 0));
}
