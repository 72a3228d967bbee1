//! Heads and streams by which a request, or its bill, would become another than the one that was read.

use bytes::Bytes;
use wflo_testkit::model_server::Fault;

use crate::bytes::{before, exchange, provider};
use crate::ledger::MemoryLedger;
use crate::shapes::{SHAPES, charged_as_held, only_outcome};
use crate::world::{World, chat, message, streamed};
use wflo_gateway::dialect::Dialect;

#[tokio::test]
async fn a_body_that_says_it_is_anything_but_plain_json_is_refused() {
    let world = World::new(MemoryLedger::unlimited());
    for shape in SHAPES {
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("content-encoding", "deflate"),
            // In two lines, beside the one that is right.
            ("content-type", "application/json; charset=utf-7"),
        ] {
            let got = world.post_with(shape.path, &[(name, value)], &shape.body("x")).await;
            assert_eq!(got.status, 415, "{shape:?}: {}", got.text());
            assert!(got.text().contains("WFLO-4031"), "{}", got.text());
            assert_eq!(got.headers["x-should-retry"], "false");
        }
    }
    assert!(world.mock.seen().is_empty() && world.ledger.calls().is_empty());
}

/// What RFC 9112 has a server refuse and the HTTP library passes on.
#[tokio::test]
async fn a_head_that_two_servers_could_read_differently_is_refused_in_the_clients_own_shape() {
    let world = World::new(MemoryLedger::unlimited());
    for shape in SHAPES {
        let (path, body) = (shape.path, shape.body("x"));
        let sized = format!("content-length: {}\r\n\r\n{body}", body.len());
        let chunked = format!("\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        for rest in [
            sized.clone(),
            format!("host: a\r\nhost: b\r\n{sized}"),
            format!("host: a\r\nHost: a\r\n{sized}"),
            format!("host: a\r\ntransfer-encoding: gzip, chunked\r\n{chunked}"),
            format!("host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n{chunked}"),
            format!("host: a\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n{chunked}"),
        ] {
            let got = exchange(&world, format!("POST {path} HTTP/1.1\r\n{rest}")).await;
            assert!(got.starts_with("HTTP/1.1 400 "), "{rest}: {got}");
            assert!(got.contains("WFLO-4120") && got.contains("\r\nconnection: close\r\n"), "{got}");
        }
    }
    assert!(world.mock.seen().is_empty() && world.ledger.calls().is_empty());
}

#[tokio::test]
async fn the_provider_is_told_of_json_whatever_the_client_says_of_it() {
    for said in ["", "content-type: Application/JSON; charset=UTF-8\r\ncontent-encoding: identity\r\n"] {
        let (url, provider) = provider("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
        let world = before(Dialect::OpenAi, &url);
        let body = chat("hi");
        let length = body.len();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n{said}content-length: {length}\r\n\r\n{body}"
        );
        exchange(&world, request).await;
        let sent = provider.join().unwrap();
        assert!(sent.contains("\r\ncontent-type: application/json\r\n"), "{sent}");
        assert!(!sent.contains("content-encoding"), "{sent}");
    }
}

#[tokio::test]
async fn of_a_query_only_what_is_known_goes_on() {
    let world = World::new(MemoryLedger::unlimited());
    let google = r#"{"contents":[],"generationConfig":{"maxOutputTokens":9}}"#;
    let generate = "/google/v1beta/models/gemini-x:generateContent";
    for (path, body, sent) in [
        (
            "/openai/v1/chat/completions?n=8&model=o1-pro&api-version=2025-01-01".to_owned(),
            chat("x"),
            "/v1/chat/completions?api-version=2025-01-01",
        ),
        ("/anthropic/v1/messages?beta=true&x=1".to_owned(), message("x"), "/v1/messages?beta=true"),
        ("/anthropic/v1/messages?beta=true;n=1".to_owned(), message("x"), "/v1/messages"),
        (
            format!(
                "{generate}?$httpMethod=GET&uploadType=media&generationConfig.candidateCount=8&a;alt=proto&alt=json"
            ),
            google.to_owned(),
            "/v1beta/models/gemini-x:generateContent?alt=json",
        ),
        (
            format!("{generate}?$userProject=p&bearer_token=t&$ct=application/x-protobuf"),
            google.to_owned(),
            "/v1beta/models/gemini-x:generateContent",
        ),
    ] {
        let got = world.post(&path, &body).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        assert_eq!(world.mock.seen().last().unwrap().target, sent, "{path}");
    }
}

#[tokio::test]
async fn a_version_that_is_not_served_is_not_asked_for() {
    let world = World::new(MemoryLedger::unlimited());
    let body = r#"{"contents":[],"generationConfig":{"maxOutputTokens":9}}"#;
    for version in ["v1alpha", "v9zzz", "v2", "v1beta1"] {
        let got = world.post(&format!("/google/{version}/models/gemini-x:generateContent"), body).await;
        assert_eq!(got.status, 404, "{version}: {}", got.text());
        assert!(got.text().contains("WFLO-4004"));
    }
    assert!(world.mock.seen().is_empty());
}

#[tokio::test]
async fn a_status_that_is_none_of_an_answer_is_charged_as_held() {
    for status in [304, 600, 999] {
        let world = World::new(MemoryLedger::unlimited());
        world.mock.fault_next(Fault::Status(status, String::new(), None));
        let got = world.chat(&chat("x")).await;
        assert_eq!(got.status, 504, "{}", got.text());
        assert!(
            got.text().contains("WFLO-4009") && got.text().contains(&status.to_string()),
            "{}",
            got.text()
        );
        charged_as_held(&world);
    }
    let (url, provider) =
        provider("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    let world = before(Dialect::OpenAi, &url);
    assert_eq!(world.chat(&chat("x")).await.status, 504);
    provider.join().unwrap();
    charged_as_held(&world);
}

const WORD: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"},\"finish_reason\":null}]}\n\n";
const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const EARLY: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0}}\n\n";
const LATE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":50}}\n\n";

/// What comes of a chat that streams these events and is then cut.
async fn cut(events: &[&str]) -> (World, String) {
    let world = World::new(MemoryLedger::unlimited());
    let pieces = events.iter().map(|event| Bytes::copy_from_slice(event.as_bytes())).collect();
    world.mock.fault_next(Fault::Verbatim(vec![("content-type", "text/event-stream")], pieces));
    let got = world.chat(&streamed("x")).await;
    assert!(!got.whole && got.text().contains("WFLO-4010"), "{}", got.text());
    let text = got.text().to_owned();
    (world, text)
}

#[tokio::test]
async fn usage_that_came_before_the_end_of_a_stream_that_broke_is_not_its_bill() {
    for events in [&[EARLY, WORD, WORD][..], &[WORD, EARLY], &[EARLY, WORD, END], &[EARLY]] {
        let (world, text) = cut(events).await;
        charged_as_held(&world);
        assert_eq!(
            text.contains("word"),
            events.contains(&WORD),
            "what came early was not held back: {text}"
        );
    }
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\n\n";
    let world = World::new(MemoryLedger::unlimited());
    let pieces = vec![Bytes::from_static(start.as_bytes())];
    world.mock.fault_next(Fault::Verbatim(vec![("content-type", "text/event-stream")], pieces));
    world.messages(&message("x").replacen('{', r#"{"stream":true,"#, 1)).await;
    charged_as_held(&world);
}

/// It is billed by the usage that came with its end, and its client still learns that the mark is missing.
#[tokio::test]
async fn a_chat_that_ends_without_its_mark_is_broken_and_charged_by_its_last_usage() {
    let (world, text) = cut(&[WORD, END, LATE]).await;
    assert!(!text.contains("\"stop\""), "what looks like the end stays back: {text}");
    let outcome = only_outcome(&world);
    assert!(!outcome.uncertain && outcome.recorded.interrupted);
    assert_eq!(outcome.usage.unwrap().total_output(), 50);
}
