//! Providers that hang, break, lie and refuse. Each time: the client learns it, nothing leaks, and
//! what is not known is charged as held and marked.

use std::sync::Arc;
use std::time::Duration;

use wflo_core::money::NanoUsd;
use wflo_gateway::Deadlines;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::ledger::Outcome;
use wflo_gateway::route::Provider;
use wflo_testkit::model_server::{Fault, ModelServer};

use crate::ledger::{Entry, MemoryLedger};
use crate::world::{Got, World, chat, deadlines, message, streamed};

fn only_outcome(world: &World) -> Outcome {
    let calls = world.ledger.calls();
    assert_eq!((calls.len(), world.ledger.held()), (1, 0));
    match &calls[0].entry {
        Entry::Closed(outcome) => outcome.clone(),
        other => panic!("not closed: {other:?}"),
    }
}

async fn with_fault(fault: Fault, deadlines: Deadlines, anthropic: bool, stream: bool) -> (World, Got) {
    let world = World::with(MemoryLedger::unlimited(), deadlines);
    world.mock.fault_next(fault);
    let body = match (anthropic, stream) {
        (false, false) => chat("hi there"),
        (false, true) => streamed("hi there"),
        (true, false) => message("hi there"),
        (true, true) => message("hi there").replacen('{', r#"{"stream":true,"#, 1),
    };
    let got = if anthropic { world.messages(&body).await } else { world.chat(&body).await };
    (world, got)
}

fn charged_as_held(world: &World) -> Outcome {
    let outcome = only_outcome(world);
    assert!(outcome.uncertain && outcome.settled == world.ledger.calls()[0].intent.hold);
    assert!(outcome.settled > NanoUsd::ZERO);
    outcome
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_an_error_event_and_a_broken_connection() {
    for anthropic in [false, true] {
        for fault in [Fault::ResetAfter(3), Fault::EndAfter(3), Fault::ErrorEvent(3)] {
            let (world, got) = with_fault(fault.clone(), deadlines(), anthropic, true).await;
            assert_eq!(got.status, 200);
            assert!(!got.whole, "{fault:?} looked whole: {}", got.text());
            assert!(got.text().contains("WFLO-4010"), "{fault:?}: {}", got.text());
            assert!(!got.text().contains("[DONE]") && !got.text().contains("message_stop"));
            assert!(charged_as_held(&world).recorded.interrupted);
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_before_its_end_is_an_error() {
    for fault in [Fault::ResetAfter(0), Fault::Close] {
        let (world, got) = with_fault(fault, deadlines(), false, false).await;
        assert!(got.status == 502 || got.status == 504, "{}", got.text());
        assert!(got.headers.get("x-should-retry").is_none());
        charged_as_held(&world);
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up_at_the_deadline() {
    let first = Deadlines { first_byte: Duration::from_millis(50), ..deadlines() };
    let (world, got) = with_fault(Fault::Hang, first, false, false).await;
    assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4009")), (504, true));
    charged_as_held(&world);
    let idle = Deadlines { idle: Duration::from_millis(50), ..deadlines() };
    for anthropic in [false, true] {
        let (world, got) = with_fault(Fault::HangAfter(2), idle, anthropic, true).await;
        assert!(!got.whole && got.text().contains("WFLO-4010"), "{}", got.text());
        charged_as_held(&world);
    }
}

#[tokio::test]
async fn a_client_that_goes_from_a_provider_that_hangs_does_not_keep_its_hold_for_ever() {
    let drain = Deadlines { drain: Duration::from_millis(50), ..deadlines() };
    let world = World::with(MemoryLedger::unlimited(), drain);
    world.mock.fault_next(Fault::Hang);
    let port = world.port;
    let client = tokio::spawn(async move {
        crate::world::send(port, "POST", "/openai/v1/chat/completions", &[], &chat("x")).await
    });
    world.ledger.until("dispatched", |calls| calls.len() == 1).await;
    client.abort();
    world.ledger.until("settled", |calls| matches!(calls[0].entry, Entry::Closed(_))).await;
    charged_as_held(&world);
}

/// Whoever made the call is being ended: the hold is charged soon, however long the provider hangs.
#[tokio::test]
async fn a_call_whose_caller_is_being_ended_is_waited_for_only_a_while() {
    for (fault, stream) in [(Fault::Hang, false), (Fault::HangAfter(1), true)] {
        let soon = Deadlines { ending: Duration::from_millis(20), ..deadlines() };
        let world = Arc::new(World::with(MemoryLedger::unlimited(), soon));
        world.mock.fault_next(fault.clone());
        let (port, body) = (world.port, if stream { streamed("x") } else { chat("x") });
        let client = tokio::spawn(async move {
            crate::world::send(port, "POST", "/openai/v1/chat/completions", &[], &body).await
        });
        world.ledger.until("dispatched", |calls| calls.len() == 1).await;
        world.ledger.ending.send_replace(true);
        let got = client.await.unwrap();
        assert!(!got.whole || got.status == 504, "{fault:?}: {}", got.text());
        assert!(charged_as_held(&world).recorded.interrupted);
    }
}

#[tokio::test]
async fn errors_of_the_provider_pass_unchanged_and_cost_nothing() {
    for (status, body) in [
        (429, r#"{"error":{"message":"Rate limit","code":"rate_limit_exceeded"}}"#),
        (500, "oops"),
        (401, "{}"),
    ] {
        let (world, got) = with_fault(
            Fault::Status(status, body.to_owned(), Some("7".to_owned())),
            deadlines(),
            false,
            true,
        )
        .await;
        assert_eq!((got.status.as_u16(), got.text(), got.whole), (status, body, true));
        assert_eq!(got.headers["retry-after"], "7");
        let outcome = only_outcome(&world);
        assert_eq!((outcome.settled, outcome.uncertain), (NanoUsd::ZERO, false));
    }
}

#[tokio::test]
async fn garbage_and_missing_usage_pass_and_are_charged_as_held() {
    for (fault, stream) in
        [(Fault::Garbage, false), (Fault::UsageMissing, false), (Fault::UsageMissing, true)]
    {
        for anthropic in [false, true] {
            let (world, got) = with_fault(fault.clone(), deadlines(), anthropic, stream).await;
            assert!(got.status == 200 && got.whole, "{}", got.text());
            charged_as_held(&world);
        }
    }
}

#[tokio::test]
async fn usage_after_the_end_mark_still_counts() {
    let (world, got) = with_fault(Fault::UsageAfterDone, deadlines(), false, true).await;
    assert!(got.whole && got.text().contains("[DONE]"));
    assert!(!only_outcome(&world).uncertain);
}

#[tokio::test]
async fn a_slow_provider_is_waited_for() {
    let (world, got) = with_fault(Fault::Delay(Duration::from_millis(30)), deadlines(), true, false).await;
    assert_eq!(got.status, 200);
    assert!(!only_outcome(&world).uncertain);
}

#[tokio::test]
async fn a_provider_that_is_not_there_costs_nothing() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/v1", listener.local_addr().unwrap())
    };
    let providers = vec![Provider::new("openai", Dialect::OpenAi, &gone, None).unwrap()];
    let world = World::over(ModelServer::start().unwrap(), providers, MemoryLedger::unlimited(), deadlines());
    let got = world.chat(&chat("x")).await;
    assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4008")), (502, true), "{}", got.text());
    assert!(matches!(world.ledger.calls()[0].entry, Entry::Released));
    assert_eq!((world.ledger.held(), world.ledger.settled()), (0, 0));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (world, got) = with_fault(Fault::Status(307, String::new(), None), deadlines(), false, false).await;
    assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4012")), (502, true));
    assert_eq!(only_outcome(&world).settled, NanoUsd::ZERO);
}
