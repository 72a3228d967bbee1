//! Calls that are tried again: only where nothing is billed twice unseen, only as often as was said, and
//! with every attempt charged and named.

use std::time::Duration;

use wflo_core::money::NanoUsd;
use wflo_gateway::Deadlines;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::ledger::Outcome;
use wflo_gateway::retry::{BURST, Retry};
use wflo_gateway::route::Provider;
use wflo_gateway::routing::Routing;
use wflo_testkit::model_server::{Fault, ModelServer};

use crate::ledger::{Call, Entry, MemoryLedger};
use crate::world::{World, chat, deadlines, message, streamed};

fn retry(attempts: u32) -> Retry {
    Retry { attempts, base: Duration::from_millis(1), ..Retry::default() }
}

fn world(retry: Retry) -> World {
    world_within(retry, MemoryLedger::unlimited(), deadlines())
}

fn world_within(retry: Retry, ledger: std::sync::Arc<MemoryLedger>, deadlines: Deadlines) -> World {
    let mock = ModelServer::start().unwrap();
    let providers = vec![
        Provider::new("openai", Dialect::OpenAi, &mock.openai_url(), None).unwrap(),
        Provider::new("anthropic", Dialect::Anthropic, &mock.anthropic_url(), None).unwrap(),
    ];
    World::routed(mock, providers, Routing { retry, ..Routing::default() }, ledger, deadlines)
}

fn refusal(status: u16) -> Fault {
    Fault::Status(status, r#"{"error":{"message":"not now"}}"#.to_owned(), None)
}

fn only(world: &World) -> Call {
    let mut calls = world.ledger.calls();
    assert_eq!((calls.len(), world.ledger.held()), (1, 0), "one call, and no hold left");
    calls.remove(0)
}

fn outcome(call: &Call) -> Outcome {
    match &call.entry {
        Entry::Closed(outcome) => outcome.clone(),
        other => panic!("not closed: {other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_is_repeated_and_costs_nothing() {
    for (status, anthropic) in [(429, false), (500, false), (408, false), (503, true), (529, true)] {
        let world = world(retry(3));
        world.mock.fault_next(refusal(status));
        world.mock.fault_next(refusal(status));
        let got =
            if anthropic { world.messages(&message("hi")).await } else { world.chat(&chat("hi")).await };
        assert_eq!((got.status.as_u16(), &got.headers["wflo-attempts"]), (200, &"3".parse().unwrap()));
        let call = only(&world);
        let failures: Vec<_> = call.tried.iter().map(|t| (t.failure.as_str(), t.charged_usd)).collect();
        let said = status.to_string();
        assert_eq!(failures, [(said.as_str(), NanoUsd::ZERO), (said.as_str(), NanoUsd::ZERO)]);
        assert!(!outcome(&call).uncertain);
        assert_eq!(world.ledger.settled(), outcome(&call).settled.nanos(), "one answer, one bill");
        assert_eq!(world.mock.counts().requests, 3);
    }
}

#[tokio::test]
async fn a_stream_is_repeated_only_before_its_first_byte() {
    let world = world(retry(3));
    world.mock.fault_next(refusal(500));
    let got = world.chat(&streamed("hi")).await;
    assert!(got.whole && got.text().contains("[DONE]"), "{}", got.text());
    assert_eq!(world.mock.counts().requests, 2);
    world.mock.fault_next(Fault::ResetAfter(2));
    let got = world.chat(&streamed("ho")).await;
    assert!(!got.whole && got.text().contains("WFLO-4010"));
    assert_eq!(world.mock.counts().requests, 3, "what the client has read is not taken back");
}

#[tokio::test]
async fn the_last_refusal_is_the_answer_and_the_client_is_told_not_to_multiply_it() {
    let world = world(retry(3));
    world.mock.fault_always(Some(refusal(503)));
    let got = world.chat(&chat("hi")).await;
    assert_eq!((got.status.as_u16(), got.text()), (503, r#"{"error":{"message":"not now"}}"#));
    assert_eq!(got.headers["x-should-retry"], "false");
    assert_eq!(world.mock.counts().requests, 3);
    assert_eq!((only(&world).tried.len(), world.ledger.settled()), (2, 0));
}

#[tokio::test]
async fn a_client_that_repeats_by_itself_is_not_repeated_for() {
    let world = world(retry(3));
    world.mock.fault_always(Some(refusal(503)));
    let path = "/openai/v1/chat/completions";
    let got = world.post_with(path, &[("x-stainless-retry-count", "1")], &chat("hi")).await;
    assert_eq!((got.status.as_u16(), world.mock.counts().requests), (503, 1));
    assert!(got.headers.get("x-should-retry").is_none());
}

#[tokio::test]
async fn without_a_setting_nothing_is_repeated() {
    let world = world(Retry::default());
    world.mock.fault_always(Some(refusal(429)));
    let got = world.chat(&chat("hi")).await;
    assert_eq!((got.status.as_u16(), world.mock.counts().requests), (429, 1));
    assert!(got.headers.get("wflo-attempts").is_none() && got.headers.get("x-should-retry").is_none());
}

#[tokio::test]
async fn what_may_be_billed_is_repeated_only_where_that_was_asked_for_and_each_time_charged() {
    let soon = Deadlines { first_byte: Duration::from_secs(2), ..deadlines() };
    for fault in [Fault::Close, Fault::Hang] {
        let kept = world_within(retry(3), MemoryLedger::unlimited(), soon);
        kept.mock.fault_next(fault.clone());
        assert_eq!(kept.chat(&chat("hi")).await.status, 504);
        assert_eq!(kept.mock.counts().requests, 1);

        let unanswered = Retry { unanswered: true, ..retry(3) };
        let world = world_within(unanswered, MemoryLedger::unlimited(), soon);
        world.mock.fault_next(fault);
        assert_eq!(world.chat(&chat("hi")).await.status, 200);
        let call = only(&world);
        assert_eq!(call.tried[0].charged_usd, call.intent.hold, "the whole hold of the lost attempt");
        let bill = outcome(&call).settled.nanos() + call.intent.hold.nanos();
        assert_eq!(world.ledger.settled(), bill, "its hold is not the next one's");
    }
}

#[tokio::test]
async fn an_attempt_that_no_budget_has_room_for_is_not_made() {
    let hold = {
        let world = world(retry(1));
        world.chat(&chat("hi")).await;
        only(&world).intent.hold
    };
    let soon = Deadlines { first_byte: Duration::from_secs(2), ..deadlines() };
    let limit = NanoUsd::from_nanos(hold.nanos() * 2 - 1);
    let unanswered = Retry { unanswered: true, ..retry(3) };
    let world = world_within(unanswered, MemoryLedger::with_limit(limit), soon);
    world.mock.fault_always(Some(Fault::Hang));
    let got = world.chat(&chat("hi")).await;
    assert_eq!((got.status.as_u16(), world.mock.counts().requests), (504, 1));
    assert!(outcome(&only(&world)).uncertain);
    assert_eq!(world.ledger.settled(), hold.nanos());
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_tried_as_often_as_was_said_and_costs_nothing() {
    // No other test can come to listen there, as it could at a port that was free a moment ago.
    let gone = "http://127.0.0.1:1/v1";
    let providers = vec![Provider::new("openai", Dialect::OpenAi, gone, None).unwrap()];
    let (mock, ledger) = (ModelServer::start().unwrap(), MemoryLedger::unlimited());
    let world = World::routed(
        mock,
        providers,
        Routing { retry: retry(3), ..Routing::default() },
        ledger,
        deadlines(),
    );
    let got = world.chat(&chat("x")).await;
    assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4080")), (502, true), "{}", got.text());
    assert_eq!(got.headers["x-should-retry"], "false");
    assert_eq!((only(&world).tried.len(), world.ledger.settled()), (2, 0));
}

#[tokio::test]
async fn a_wait_that_the_provider_asks_for_is_waited_or_handed_on() {
    let world = world(retry(2));
    world.mock.fault_next(Fault::Status(429, "{}".to_owned(), Some("0.05".to_owned())));
    let since = std::time::Instant::now();
    assert_eq!(world.chat(&chat("hi")).await.status, 200);
    assert!(since.elapsed() >= Duration::from_millis(50));
    world.mock.fault_next(Fault::Status(429, "{}".to_owned(), Some("61".to_owned())));
    let got = world.chat(&chat("ho")).await;
    assert_eq!((got.status.as_u16(), &got.headers["retry-after"]), (429, &"61".parse().unwrap()));
}

#[tokio::test]
async fn a_client_that_goes_ends_the_wait_for_the_next_attempt() {
    let world = world(Retry {
        base: Duration::from_secs(3_600),
        cap: Duration::from_secs(3_600),
        longest: Duration::from_secs(7_200),
        ..retry(2)
    });
    world.mock.fault_always(Some(refusal(500)));
    let port = world.port;
    let client = tokio::spawn(async move {
        crate::world::send(port, "POST", "/openai/v1/chat/completions", &[], &chat("x")).await
    });
    let mock = &world.mock;
    let asked = async {
        while mock.counts().requests == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), asked).await.unwrap();
    client.abort();
    world.ledger.until("settled", |calls| matches!(calls[0].entry, Entry::Closed(_))).await;
    assert_eq!((world.mock.counts().requests, world.ledger.settled(), world.ledger.held()), (1, 0, 0));
}

#[tokio::test]
async fn when_everything_fails_the_extra_load_is_bounded() {
    let world = world(Retry { base: Duration::ZERO, ..retry(5) });
    world.mock.fault_always(Some(refusal(500)));
    let calls = 60;
    for nth in 0..calls {
        world.chat(&chat(&nth.to_string())).await;
    }
    let requests = world.mock.counts().requests;
    assert!(requests <= calls + BURST + calls / 10, "{requests} requests for {calls} calls");
    assert!(requests > calls, "and it does repeat");
}
