//! The memory for bodies, of which one step has its share.

use tokio::sync::mpsc;

use super::*;

/// Most bytes of bodies at a time.
const ALL: usize = 8_000;

/// A call of the step with a body of about so many bytes; whether there was memory for it.
async fn fits(gateway: &Gateway, calls: &Arc<Calls>, seq: u32, bytes: usize) -> bool {
    let mut request = request();
    request["messages"][0]["content"] = json!("a".repeat(bytes));
    let chat = ChatCall {
        model: "smol".into(),
        request: request.as_object().unwrap().clone(),
        stream: false,
        positional: Some(("0".into(), seq)),
    };
    match gateway.call(calls.caller(), chat, None).await {
        Ok(_) => true,
        Err(CallError::Gateway(GatewayError::TooMuch)) => false,
        Err(e) => panic!("{e:?}"),
    }
}

/// One step sends as much as it can; another, of the same or another run, still has room.
#[tokio::test(flavor = "multi_thread")]
async fn no_step_can_take_the_memory_that_others_need() {
    let mock = ModelServer::start().unwrap();
    mock.answer_always(Answer::billed(10, 100));
    let url = mock.openai_url();
    let limits = Limits { buffered_bytes: ALL, ..Limits::default() };
    let world = world_within(mock, &url, Routing::default(), None, limits).await;
    // Both steps are there at the same time, and do what is said below.
    let (steps, mut there) = mpsc::channel(2);
    let over = tokio::sync::watch::Sender::new(false);
    let wait = over.subscribe();
    world.on(move |_, calls, _| {
        let (steps, mut wait) = (steps.clone(), wait.clone());
        async move {
            steps.send(calls).await.unwrap();
            wait.wait_for(|over| *over).await.unwrap();
            done(Value::Null)
        }
    });
    let runs = [world.submit(&json!({})).await, world.submit(&json!({})).await];
    let (greedy, other) = (there.recv().await.unwrap(), there.recv().await.unwrap());
    world.mock.hold();
    let (gateway, hostile) = (world.gateway.clone(), Arc::clone(&greedy));
    let held = tokio::spawn(async move { fits(&gateway, &hostile, 0, 3_000).await });
    until("it is sent", || async { world.mock.counts().requests == 1 }).await;
    assert!(!fits(&world.gateway, &greedy, 1, 3_000).await, "there would be room, of others");
    let (gateway, calls) = (world.gateway.clone(), Arc::clone(&other));
    let others = tokio::spawn(async move { fits(&gateway, &calls, 0, 1_500).await });
    until("another's passes", || async { world.mock.counts().requests == 2 }).await;
    world.mock.release();
    assert!(held.await.unwrap() && others.await.unwrap());
    assert!(fits(&world.gateway, &greedy, 2, 3_000).await, "what was held is given back");
    over.send_replace(true);
    for run in runs {
        assert_eq!(world.ended(run).await, RunStatus::Completed);
    }
}
