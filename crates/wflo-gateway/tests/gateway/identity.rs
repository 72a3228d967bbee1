//! Which requests are one call and which are several, and what becomes of calls whose client goes.

use std::sync::Arc;

use wflo_testkit::model_server::{Answer, Fault};

use crate::ledger::{Entry, MemoryLedger};
use crate::world::{World, chat, send, start, streamed};

const CHAT: &str = "/openai/v1/chat/completions";

#[tokio::test]
async fn five_identical_calls_at_once_are_five_calls() {
    let world = World::new(MemoryLedger::unlimited());
    let body = chat("the same");
    let (a, b, c, d, e) = tokio::join!(
        world.chat(&body),
        world.chat(&body),
        world.chat(&body),
        world.chat(&body),
        world.chat(&body)
    );
    for got in [a, b, c, d, e] {
        assert_eq!(got.status, 200);
    }
    assert_eq!((world.mock.counts().billed, world.ledger.calls().len()), (5, 5));
    let prints: std::collections::BTreeSet<_> =
        world.ledger.calls().into_iter().map(|call| call.intent.fingerprint).collect();
    assert_eq!(prints.len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_before_the_answer_is_settled_and_its_repetition_attaches() {
    for body in [chat("patience"), streamed("patience")] {
        let world = World::new(MemoryLedger::unlimited());
        world.mock.hold();
        let (port, asked) = (world.port, body.clone());
        let client = tokio::spawn(async move { send(port, "POST", CHAT, &[], &asked).await });
        world.ledger.until("dispatched", |calls| calls.len() == 1).await;
        client.abort();
        world.ledger.until("seen to have gone", |calls| calls[0].closed_early).await;
        let again = tokio::spawn(async move { send(port, "POST", CHAT, &[], &body).await });
        world.mock.release();
        let got = again.await.unwrap();
        assert!(got.status == 200 && got.whole, "{}", got.text());
        assert_eq!((world.mock.counts().billed, world.ledger.calls().len(), world.ledger.held()), (1, 1, 0));
        assert!(matches!(&world.ledger.calls()[0].entry, Entry::Closed(outcome) if !outcome.uncertain));
    }
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_a_stream_is_billed_for_what_it_was() {
    let world = World::new(MemoryLedger::unlimited());
    // All of it takes far longer than it takes to see that the client is gone.
    world.mock.fault_next(Fault::Slow(std::time::Duration::from_millis(50)));
    world.mock.answer_next(Answer { text: Some("word ".repeat(60)), ..Answer::billed(10, 60) });
    let mut response = start(world.port, "POST", CHAT, &[], &streamed("go")).await;
    http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().unwrap();
    drop(response);
    world.ledger.until("settled", |calls| matches!(calls[0].entry, Entry::Closed(_))).await;
    let call = world.ledger.calls().remove(0);
    let Entry::Closed(outcome) = call.entry else { panic!("not closed") };
    assert!(call.closed_early && !outcome.uncertain && !outcome.recorded.interrupted);
    assert_eq!(outcome.settled.nanos(), 10 * 250 + 60 * 2_000);
    assert!(outcome.recorded.body.ends_with(b"data: [DONE]\n\n"));
    let got = world.chat(&streamed("go")).await;
    assert_eq!((got.body, world.mock.counts().billed), (outcome.recorded.body, 1));
}

#[tokio::test]
async fn a_retry_that_says_so_attaches_to_the_call_that_runs() {
    let world = World::new(MemoryLedger::unlimited());
    world.mock.hold();
    let (port, body) = (world.port, chat("again"));
    let first = {
        let body = body.clone();
        tokio::spawn(
            async move { send(port, "POST", CHAT, &[("x-stainless-retry-count", "0")], &body).await },
        )
    };
    world.ledger.until("dispatched", |calls| calls.len() == 1).await;
    let retry =
        tokio::spawn(
            async move { send(port, "POST", CHAT, &[("x-stainless-retry-count", "1")], &body).await },
        );
    world.mock.release();
    assert_eq!(first.await.unwrap().body, retry.await.unwrap().body);
    assert_eq!(world.mock.counts().billed, 1);
}

#[tokio::test]
async fn a_retry_after_an_error_that_arrived_is_a_new_call() {
    let world = World::new(MemoryLedger::unlimited());
    world.mock.fault_next(Fault::Status(
        429,
        r#"{"error":{"message":"slow down"}}"#.into(),
        Some("2".into()),
    ));
    let first = world.post_with(CHAT, &[("x-stainless-retry-count", "0")], &chat("x")).await;
    assert_eq!((first.status.as_u16(), first.headers["retry-after"].as_bytes()), (429, &b"2"[..]));
    let second = world.post_with(CHAT, &[("x-stainless-retry-count", "1")], &chat("x")).await;
    assert_eq!((second.status.as_u16(), world.ledger.calls().len()), (200, 2));
}

#[tokio::test]
async fn a_resumed_program_gets_every_answer_again_and_pays_nothing() {
    let first = World::new(MemoryLedger::unlimited());
    let mut answers = Vec::new();
    first.mock.fault_next(Fault::ResetAfter(3));
    for body in [streamed("cut"), streamed("whole"), chat("plain"), chat("plain")] {
        answers.push((body.clone(), first.chat(&body).await));
    }
    let resumed = World::new(MemoryLedger::resuming(&first.ledger));
    for (body, earlier) in answers {
        let got = resumed.chat(&body).await;
        assert_eq!((got.status, got.whole), (earlier.status, earlier.whole), "{body}");
        // To the byte, the error that ends a broken one included: a program may write it into its next request.
        assert_eq!(got.text(), earlier.text());
    }
    assert_eq!((resumed.mock.counts().requests, resumed.ledger.calls().len()), (0, 0));
}

#[tokio::test]
async fn nothing_of_the_end_is_given_before_it_is_durable() {
    for body in [chat("x"), streamed("x")] {
        let world = World::new(MemoryLedger::unlimited());
        world.ledger.fail_close();
        let got = world.chat(&body).await;
        assert!(got.text().contains("WFLO-4013"), "{}", got.text());
        assert!(!got.text().contains("[DONE]") && !got.text().contains("\"stop\""));
        assert!(got.status == 503 || !got.whole);
    }
}

#[tokio::test]
async fn shutdown_waits_for_the_settlement_of_what_runs() {
    let world = World::new(MemoryLedger::unlimited());
    world.mock.hold();
    let (port, mock) = (world.port, Arc::new(world.mock));
    let client = tokio::spawn(async move { send(port, "POST", CHAT, &[], &chat("x")).await });
    world.ledger.until("dispatched", |calls| calls.len() == 1).await;
    let ending = tokio::spawn({
        let gateway = world.gateway.clone();
        async move { gateway.shutdown().await }
    });
    mock.release();
    ending.await.unwrap();
    assert!(matches!(world.ledger.calls()[0].entry, Entry::Closed(_)));
    assert_eq!(client.await.unwrap().status, 200);
    world.handle.stop(std::time::Duration::from_secs(5)).await;
}
