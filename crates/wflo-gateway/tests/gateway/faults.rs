//! Providers that hang, break, lie and refuse, in every dialect. Each time: the client learns it, nothing
//! leaks, and what is not known is charged as held and marked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wflo_core::money::NanoUsd;
use wflo_gateway::Deadlines;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::route::Provider;
use wflo_testkit::model_server::{Answer, Fault, ModelServer};

use crate::bytes::{before, ending, provider};
use crate::ledger::{Entry, MemoryLedger};
use crate::shapes::{SHAPES, Shape, charged_as_held, only_outcome, streams};
use crate::world::{Got, World, chat, deadlines, streamed};

async fn with_fault(fault: &Fault, deadlines: Deadlines, shape: Shape) -> (World, Got) {
    let world = World::with(MemoryLedger::unlimited(), deadlines);
    world.mock.fault_next(fault.clone());
    let got = shape.ask(&world, "hi there").await;
    (world, got)
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_an_error_event_and_a_broken_connection() {
    for shape in streams() {
        for fault in [Fault::ResetAfter(3), Fault::EndAfter(3), Fault::ErrorEvent(3), Fault::ErrorEvent(0)] {
            let (world, got) = with_fault(&fault, deadlines(), shape).await;
            assert_eq!(got.status, 200);
            assert!(!got.whole, "{shape:?}: {fault:?} looked whole: {}", got.text());
            assert!(got.text().contains("WFLO-4010"), "{shape:?}: {fault:?}: {}", got.text());
            assert!(!got.text().contains(shape.end), "{shape:?}: {}", got.text());
            assert!(charged_as_held(&world).recorded.interrupted);
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_before_its_end_is_an_error() {
    for shape in SHAPES {
        for fault in [Fault::ResetAfter(0), Fault::Close] {
            if shape.streams && fault != Fault::Close {
                continue;
            }
            let (world, got) = with_fault(&fault, deadlines(), shape).await;
            assert!(got.status == 502 || got.status == 504, "{}", got.text());
            assert!(got.headers.get("x-should-retry").is_none());
            charged_as_held(&world);
        }
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up_at_the_deadline() {
    let first = Deadlines { first_byte: Duration::from_millis(50), ..deadlines() };
    let idle = Deadlines { idle: Duration::from_millis(50), ..deadlines() };
    for shape in SHAPES {
        let (world, got) = with_fault(&Fault::Hang, first, shape).await;
        assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4009")), (504, true));
        charged_as_held(&world);
        if shape.streams {
            let (world, got) = with_fault(&Fault::HangAfter(2), idle, shape).await;
            assert!(!got.whole && got.text().contains("WFLO-4010"), "{}", got.text());
            charged_as_held(&world);
        }
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
    for shape in SHAPES {
        for (status, body) in [
            (429, r#"{"error":{"message":"Rate limit","code":"rate_limit_exceeded"}}"#),
            (500, "oops"),
            (401, "{}"),
        ] {
            let fault = Fault::Status(status, body.to_owned(), Some("7".to_owned()));
            let (world, got) = with_fault(&fault, deadlines(), shape).await;
            assert_eq!((got.status.as_u16(), got.text(), got.whole), (status, body, true));
            assert_eq!(got.headers["retry-after"], "7");
            let outcome = only_outcome(&world);
            assert_eq!((outcome.settled, outcome.uncertain), (NanoUsd::ZERO, false));
        }
    }
}

#[tokio::test]
async fn garbage_and_missing_usage_pass_and_are_charged_as_held() {
    for shape in SHAPES {
        let (world, got) = with_fault(&Fault::UsageMissing, deadlines(), shape).await;
        assert!(got.status == 200 && got.whole && got.text().contains(shape.end), "{}", got.text());
        charged_as_held(&world);
        let (world, got) = with_fault(&Fault::Garbage, deadlines(), shape).await;
        // What was to be an array, and never ended, is a stream that broke.
        let array = shape.path.contains(":streamGenerateContent");
        assert!(got.status == 200 && got.whole != array, "{shape:?}: {}", got.text());
        assert!(got.text().starts_with("<html>"));
        charged_as_held(&world);
    }
}

/// Numbers that no provider can mean: nothing of them is believed.
const WRONG: &str = r#"{"prompt_tokens":-1,"completion_tokens":"many","input_tokens":-1,"output_tokens":1e300,"promptTokenCount":-1,"candidatesTokenCount":{},"billed_units":{"input_tokens":-1,"output_tokens":"x"}}"#;

/// More than was held.
const MORE: &str = r#"{"prompt_tokens":3000,"completion_tokens":3000,"input_tokens":3000,"output_tokens":3000,"promptTokenCount":3000,"candidatesTokenCount":3000,"billed_units":{"input_tokens":3000,"output_tokens":3000}}"#;

/// Far more than is possible.
const FAR: &str = r#"{"prompt_tokens":900000000000,"completion_tokens":900000000000,"input_tokens":900000000000,"output_tokens":900000000000,"promptTokenCount":900000000000,"candidatesTokenCount":900000000000,"billed_units":{"input_tokens":900000000000,"output_tokens":900000000000}}"#;

#[tokio::test]
async fn usage_that_cannot_be_is_not_believed_and_usage_above_the_hold_is_charged_and_alarmed() {
    for shape in SHAPES {
        let (world, got) = with_fault(&Fault::UsageIs(WRONG), deadlines(), shape).await;
        assert!(got.whole && got.text().contains(WRONG) || got.text().contains(": -1"), "{}", got.text());
        charged_as_held(&world);
        let (world, got) = with_fault(&Fault::UsageIs(FAR), deadlines(), shape).await;
        assert!(got.whole, "{}", got.text());
        charged_as_held(&world);
        assert_eq!(world.gateway.overshoots(), 1, "it is an alarm");
        let (world, got) = with_fault(&Fault::UsageIs(MORE), deadlines(), shape).await;
        assert!(got.whole, "{}", got.text());
        let outcome = only_outcome(&world);
        assert!(outcome.settled > world.ledger.calls()[0].intent.hold && !outcome.uncertain, "{shape:?}");
        assert_eq!(world.gateway.overshoots(), 1);
    }
}

#[tokio::test]
async fn usage_after_the_end_mark_still_counts() {
    for shape in streams() {
        let (world, got) = with_fault(&Fault::UsageAfterDone, deadlines(), shape).await;
        assert!(got.whole && got.text().contains(shape.end), "{}", got.text());
        assert!(!only_outcome(&world).uncertain, "{shape:?}");
    }
}

/// Events that are no JSON, that are cut, or that are no events: all pass as they are, and the rest is read.
#[tokio::test]
async fn malformed_events_pass_and_do_not_hide_the_rest() {
    for shape in streams().filter(|shape| !shape.is_array()) {
        let pieces: Vec<Bytes> = [
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}\n\n",
            "data\u{1F600}: \u{7}\n\nevent: x\nid\nretry: no\n\n",
            "data: [[[[\ndata:\n\n\n\n:\n\ndata: null\n\ndata: 1e999\n\n",
            ending(shape.path),
        ]
        .map(|piece| Bytes::copy_from_slice(piece.as_bytes()))
        .into();
        let world = World::new(MemoryLedger::unlimited());
        world.mock.fault_next(Fault::Verbatim(vec![("content-type", "text/event-stream")], pieces.clone()));
        let got = shape.ask(&world, "x").await;
        assert!(got.whole, "{shape:?}: {}", got.text());
        assert_eq!(got.body, pieces.concat());
        let outcome = only_outcome(&world);
        assert_eq!((outcome.settled.nanos(), outcome.uncertain), (shape.bill(4, 2), false), "{shape:?}");
    }
    // In Google's array what is no value leaves nothing to go on with.
    let shape = streams().find(|shape| shape.is_array()).unwrap();
    for body in ["[{\"candidates\":[]},{\"a\":]", "[{\"candidates\":[]}}]", "[1,]", "[{\"candidates\":[]}"] {
        let world = World::new(MemoryLedger::unlimited());
        let pieces = vec![Bytes::from_static(body.as_bytes())];
        world.mock.fault_next(Fault::Verbatim(vec![("content-type", "application/json")], pieces));
        assert!(!shape.ask(&world, "x").await.whole, "{body}");
        charged_as_held(&world);
    }
}

/// 200, and an error in the body: nobody knows what it was billed.
#[tokio::test]
async fn an_error_under_the_status_of_success_is_charged_as_held() {
    for shape in SHAPES {
        for body in [
            r#"{"error":{"message":"The server had an error","type":"server_error"}}"#,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            "",
            "null",
        ] {
            let world = World::new(MemoryLedger::unlimited());
            let pieces = vec![Bytes::from_static(body.as_bytes())];
            world.mock.fault_next(Fault::Verbatim(vec![("content-type", "application/json")], pieces));
            let got = shape.ask(&world, "x").await;
            assert_eq!(got.status, 200);
            // Of an array it is no beginning.
            assert!(got.text().starts_with(body), "{shape:?}: {}", got.text());
            charged_as_held(&world);
        }
    }
}

/// A connection that ends before as much came as was announced.
#[tokio::test]
async fn a_body_shorter_than_it_was_announced_is_charged_as_held() {
    for (dialect, nth) in
        [(Dialect::OpenAi, 0), (Dialect::Anthropic, 4), (Dialect::Google, 6), (Dialect::Cohere, 9)]
    {
        let shape = SHAPES[nth];
        for head in ["content-length: 1000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n40\r\n"] {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}{{\"usage\":");
            let (url, provider) = provider(answer.leak());
            let base = if dialect == Dialect::OpenAi { format!("{url}/v1") } else { url };
            let world = before(dialect, &base);
            let got = shape.ask(&world, "x").await;
            assert_eq!(
                (got.status.as_u16(), got.text().contains("WFLO-4010")),
                (502, true),
                "{}",
                got.text()
            );
            charged_as_held(&world);
            provider.join().unwrap();
        }
    }
}

#[tokio::test]
async fn an_answer_of_fifty_megabytes_passes_and_a_larger_one_is_charged_as_held() {
    let json = ("content-type", "application/json");
    let usages = [
        (0, r#""usage":{"prompt_tokens":4,"completion_tokens":2}"#),
        (2, r#""usage":{"input_tokens":4,"output_tokens":2}"#),
        (4, r#""usage":{"input_tokens":4,"output_tokens":2}"#),
        (6, r#""usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2}"#),
        (9, r#""usage":{"billed_units":{"input_tokens":4,"output_tokens":2}}"#),
    ];
    for (shape, usage) in usages.map(|(nth, usage)| (SHAPES[nth], usage)) {
        for (megabytes, passes) in [(50, true), (70, false)] {
            let world = World::new(MemoryLedger::unlimited());
            let mut pieces = vec![Bytes::from_static(b"{\"text\":\"")];
            pieces.extend(std::iter::repeat_n(Bytes::from(vec![b'a'; 1 << 20]), megabytes));
            pieces.push(format!("\",{usage}}}").into());
            world.mock.fault_next(Fault::Verbatim(vec![json], pieces));
            let got = shape.ask(&world, "x").await;
            assert_eq!((got.status == 200, got.body.len() > megabytes << 20), (passes, passes), "{shape:?}");
            if passes {
                let outcome = only_outcome(&world);
                assert_eq!((outcome.settled.nanos(), outcome.uncertain), (shape.bill(4, 2), false));
            } else {
                charged_as_held(&world);
            }
        }
    }
}

#[tokio::test]
async fn a_stream_of_seventy_megabytes_passes_and_its_record_is_cut() {
    let world = World::new(MemoryLedger::unlimited());
    let event =
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "a".repeat(1 << 20));
    let mut pieces = vec![Bytes::from(event); 70];
    pieces.push(Bytes::from_static(b"data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n"));
    world.mock.fault_next(Fault::Verbatim(vec![("content-type", "text/event-stream")], pieces));
    let got = world.chat(&streamed("x")).await;
    assert!(got.whole && got.body.len() > 70 << 20);
    let outcome = only_outcome(&world);
    assert!(!outcome.uncertain && outcome.recorded.interrupted, "its record cannot be given again");
}

#[tokio::test]
async fn a_request_of_fifty_megabytes_passes_and_a_larger_one_is_refused() {
    for shape in [SHAPES[0], SHAPES[4], SHAPES[6], SHAPES[9]] {
        let world = World::new(MemoryLedger::unlimited());
        world.mock.answer_next(Answer { text: Some("fine".to_owned()), ..Answer::billed(10, 5) });
        let got = shape.ask(&world, &"a".repeat(50 << 20)).await;
        assert_eq!(got.status, 200, "{shape:?}: {}", got.text());
        assert!(world.mock.seen()[0].body.len() > 50 << 20);
        assert_eq!(only_outcome(&world).settled.nanos(), shape.bill(10, 5));
        let got = shape.ask(&world, &"a".repeat(64 << 20)).await;
        assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4007")), (413, true), "{}", got.text());
        assert_eq!((world.mock.seen().len(), world.ledger.calls().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_slow_provider_is_waited_for() {
    let (world, got) = with_fault(&Fault::Delay(Duration::from_millis(30)), deadlines(), SHAPES[4]).await;
    assert_eq!(got.status, 200);
    assert!(!only_outcome(&world).uncertain);
}

#[tokio::test]
async fn a_provider_that_is_not_there_costs_nothing() {
    // No other test can come to listen there, as it could at a port that was free a moment ago.
    let gone = "http://127.0.0.1:1/v1";
    let providers = vec![Provider::new("openai", Dialect::OpenAi, gone, None).unwrap()];
    let world = World::over(ModelServer::start().unwrap(), providers, MemoryLedger::unlimited(), deadlines());
    let got = world.chat(&chat("x")).await;
    assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4008")), (502, true), "{}", got.text());
    assert!(matches!(world.ledger.calls()[0].entry, Entry::Released));
    assert_eq!((world.ledger.held(), world.ledger.settled()), (0, 0));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (world, got) = with_fault(&Fault::Status(307, String::new(), None), deadlines(), SHAPES[0]).await;
    assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4012")), (502, true));
    assert_eq!(only_outcome(&world).settled, NanoUsd::ZERO);
}
