//! What the gateway changes is the list in `docs/reference/gateway.md`, and nothing else.

use wflo_testkit::model_server::Answer;

use crate::ledger::MemoryLedger;
use crate::world::{World, chat, message, send, streamed};

#[tokio::test]
async fn an_unstreamed_body_is_the_same_byte_for_byte_both_ways() {
    let world = World::new(MemoryLedger::unlimited());
    let body = "{ \"model\" : \"gpt-5-mini\",\n\"max_completion_tokens\":10, \"messages\":[{\"role\":\"user\",\"content\":\"caf\\u00e9 \\ud83d\\ude00 é\"}], \"x_unknown\": 1.50e1 }";
    let got = world
        .post_with("/openai/v1/chat/completions", &[("x-custom", "kept"), ("cookie", "a=b")], body)
        .await;
    let direct = send(
        world.mock.openai_url()[17..].trim_end_matches("/v1").parse().unwrap(),
        "POST",
        "/v1/chat/completions",
        &[],
        body,
    )
    .await;
    let seen = world.mock.seen();
    assert_eq!(seen[0].body, body.as_bytes());
    assert_eq!(seen[0].target, "/v1/chat/completions");
    // Ids differ by the mock's serial number alone.
    assert_eq!(got.text().replace("000001\"", "000002\""), direct.text());
    assert_eq!(seen[0].headers["x-custom"], "kept");
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
    assert!(seen[0].headers.get("cookie").is_none());
    for name in ["x-request-id", "openai-processing-ms", "content-type", "x-ratelimit-remaining-requests"] {
        assert!(got.headers.contains_key(name), "{name}");
    }
    assert!(got.headers.get("set-cookie").is_none());
    assert_eq!(got.headers["content-length"], got.body.len().to_string());
}

#[tokio::test]
async fn a_stream_without_usage_gets_none_and_one_with_it_gets_it_unchanged() {
    let world = World::new(MemoryLedger::unlimited());
    let without = world.chat(&streamed("hello there")).await;
    assert!(without.whole && without.text().ends_with("data: [DONE]\n\n"));
    assert!(!without.text().contains("prompt_tokens"), "{}", without.text());
    assert!(
        world.mock.seen()[0].body.starts_with(br#"{"stream_options":{"include_usage":true},"stream":true,"#)
    );
    let asking = streamed("hello there").replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    let with = world.chat(&asking).await;
    assert!(with.text().contains("prompt_tokens"));
    assert_eq!(world.mock.seen()[1].body, asking.as_bytes());
    // The usage event is the one thing that is missing.
    let usage_event =
        with.text().split("\n\n").find(|event| event.contains("prompt_tokens")).unwrap().to_owned() + "\n\n";
    assert_eq!(with.text().replace(&usage_event, "").replace("000002\"", "000001\""), without.text());
    assert_eq!(world.ledger.calls().len(), 2);
    assert!(world.ledger.settled() > 0);
}

#[tokio::test]
async fn anthropic_passes_on_both_paths_with_its_query() {
    let world = World::new(MemoryLedger::unlimited());
    for path in ["/anthropic/v1/messages?beta=true", "/anthropic/messages?beta=true"] {
        let got = world.post(path, &message("hi")).await;
        assert_eq!(got.json()["content"][0]["text"], "You said: hi");
    }
    let stream = world.messages(&message("hi").replacen('{', r#"{"stream":true,"#, 1)).await;
    assert!(stream.whole && stream.text().ends_with("data: {\"type\":\"message_stop\"}\n\n"));
    assert!(stream.text().contains(r#"{"type": "ping"}"#));
    let seen = world.mock.seen();
    assert!(
        seen[..2].iter().all(|seen| seen.target == "/v1/messages?beta=true" && seen.body == message("hi"))
    );
    let counted = world
        .post("/anthropic/v1/messages/count_tokens", r#"{"model":"claude-sonnet-4-5","messages":[]}"#)
        .await;
    assert!(counted.json()["input_tokens"].is_u64());
    assert_eq!(world.ledger.calls()[3].intent.hold.nanos(), 0);
}

#[tokio::test]
async fn embeddings_are_served() {
    let world = World::new(MemoryLedger::unlimited());
    world.mock.answer_next(Answer::billed(8, 0));
    let got =
        world.post("/openai/v1/embeddings", r#"{"model":"text-embedding-3-small","input":["a","b"]}"#).await;
    assert_eq!(got.json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(world.ledger.settled(), 160);
}

#[tokio::test]
async fn a_model_of_nobodys_template_is_told_where_to_end() {
    let world = World::new(MemoryLedger::unlimited());
    world.chat(r#"{"model":"smol","messages":[]}"#).await;
    world.chat(r#"{"model":"smol","max_tokens":7,"messages":[]}"#).await;
    let seen = world.mock.seen();
    assert_eq!(seen[0].body, &br#"{"max_tokens":500,"model":"smol","messages":[]}"#[..]);
    assert_eq!(seen[1].body, &br#"{"model":"smol","max_tokens":7,"messages":[]}"#[..]);
    // 1000 × 1 + 508 × 2 USD per million.
    assert_eq!(world.ledger.calls()[0].intent.hold.to_string(), "0.002016");
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let world = World::new(MemoryLedger::unlimited());
    let got = world.chat(&chat(&"a".repeat(6 << 20))).await;
    assert_eq!(got.json()["choices"][0]["message"]["content"].as_str().unwrap().len(), (6 << 20) + 10);
    let stream = world.chat(&streamed(&"word ".repeat(200_000))).await;
    assert!(stream.whole && stream.body.len() > 5 << 20);
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_the_clients_own_shape() {
    let world = World::new(MemoryLedger::unlimited());
    for (method, path, status, code) in [
        ("GET", "/openai/v1/files", 404, "WFLO-4004"),
        ("GET", "/openai/v1/responses/resp_1", 404, "WFLO-4004"),
        ("DELETE", "/openai/v1/responses/resp_1", 404, "WFLO-4004"),
        ("POST", "/anthropic/v1/messages/batches", 404, "WFLO-4004"),
        ("POST", "/google/v1beta/models/gemini-3-pro:batchGenerateContent", 404, "WFLO-4004"),
        ("POST", "/cohere/v1/generate", 404, "WFLO-4004"),
        ("GET", "/", 404, "WFLO-4004"),
    ] {
        let got = send(world.port, method, path, &[], "{}").await;
        assert_eq!(
            (got.status.as_u16(), got.text().contains(code)),
            (status, true),
            "{path}: {}",
            got.text()
        );
        assert_eq!(got.headers["x-should-retry"], "false");
    }
    assert!(world.mock.seen().is_empty());
}

/// Codex tries one first, and goes on over HTTP at once for this status alone.
#[tokio::test]
async fn a_websocket_is_told_to_come_by_http() {
    let world = World::new(MemoryLedger::unlimited());
    for value in ["websocket", "WebSocket", "h2c, websocket"] {
        let wanted = [("connection", "upgrade"), ("upgrade", value), ("sec-websocket-version", "13")];
        let got = send(world.port, "GET", "/openai/v1/responses", &wanted, "").await;
        assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4025")), (426, true), "{}", got.text());
        assert_eq!(got.headers["upgrade"], "HTTP/1.1");
    }
    let other = send(world.port, "GET", "/openai/v1/models", &[("upgrade", "h2c")], "").await;
    assert_ne!(other.status.as_u16(), 426);
}
