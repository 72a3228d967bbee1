//! Limits over runs: what waits for its turn is not journaled and holds nothing.

use wflo_gateway::limits::Limit;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_a_slot_has_no_intent_and_no_hold() {
    let mock = ModelServer::start().unwrap();
    mock.answer_always(Answer::billed(10, 100));
    mock.hold();
    let url = mock.openai_url();
    let limits = vec![Limit { concurrent: Some(1), ..Limit::new("one") }];
    let world = world_with(mock, &url, Routing { limits, ..Routing::default() }).await;
    crowds(&world, 3);
    let run = world.submit(&budget(10, "halt")).await;
    until("one is sent", || async { world.mock.counts().requests == 1 }).await;
    let rows = world.store.run_effects(run).await.unwrap();
    assert_eq!((rows.len(), world.money(run).await), (1, (0, EACH + MARGIN)), "the others wait");
    world.mock.release();
    assert_eq!(world.ended(run).await, RunStatus::Completed);
    assert_eq!((world.mock.counts().billed, world.money(run).await), (3, (3 * EACH, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_money_keeps_nobody_from_a_slot() {
    let mock = ModelServer::start().unwrap();
    mock.answer_always(Answer::billed(10, 100));
    let url = mock.openai_url();
    let limits = vec![Limit { concurrent: Some(1), ..Limit::new("one") }];
    let world = world_with(mock, &url, Routing { limits, ..Routing::default() }).await;
    crowds(&world, 4);
    let first = world.submit(&budget(1, "ask")).await;
    until("it asks", || async { world.approvals(first).await.len() == 1 }).await;
    let second = world.submit(&budget(10, "halt")).await;
    assert_eq!(world.ended(second).await, RunStatus::Completed);
    let question = world.approvals(first).await.remove(0);
    world.decide(first, &question, Some(9 * EACH)).await;
    assert_eq!(world.ended(first).await, RunStatus::Completed);
}
