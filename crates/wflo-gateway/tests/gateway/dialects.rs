//! Every dialect, streamed and not: what is sent, what comes back, what is billed.

use http_body_util::BodyExt as _;
use wflo_testkit::model_server::{Answer, Fault};

use crate::ledger::{Entry, MemoryLedger};
use crate::shapes::{SHAPES, only_outcome, streams};
use crate::world::{KEY, World, send};

const TEXT: &str = "caf\\u00e9 \\ud83d\\ude00 é";

#[tokio::test]
async fn requests_and_answers_are_the_same_byte_for_byte_in_every_shape() {
    for shape in SHAPES {
        let world = World::new(MemoryLedger::unlimited());
        let got = shape.ask(&world, TEXT).await;
        let direct = send(world.mock.port(), "POST", &shape.target(), &[], &shape.body(TEXT)).await;
        assert_eq!(got.status, 200, "{shape:?}: {}", got.text());
        assert!(
            got.whole && got.text().contains("You said: café 😀 é".split(' ').next().unwrap()),
            "{shape:?}"
        );
        let seen = world.mock.seen();
        assert_eq!((&seen[0].body[..], &seen[0].target), (shape.body(TEXT).as_bytes(), &shape.target()));
        // Ids differ by the mock's serial number alone.
        let numbered = |text: &str| text.replace("000001", "00000N").replace("000002", "00000N");
        assert_eq!(numbered(got.text()), numbered(direct.text()), "{shape:?}");
        assert_eq!(got.headers["content-type"], direct.headers["content-type"], "{shape:?}");
    }
}

#[tokio::test]
async fn each_is_billed_by_what_its_provider_says() {
    for shape in SHAPES {
        let world = World::new(MemoryLedger::unlimited());
        let answer = Answer { reasoning_tokens: 3, ..Answer::billed(40, 20) };
        world.mock.answer_next(answer);
        let got = shape.ask(&world, "hi").await;
        let outcome = only_outcome(&world);
        let usage = outcome.usage.unwrap_or_else(|| panic!("{shape:?}: {}", got.text()));
        assert_eq!((usage.total_input(), usage.total_output()), (40, 20), "{shape:?}: {}", got.text());
        assert!(!outcome.uncertain && outcome.settled <= world.ledger.calls()[0].intent.hold, "{shape:?}");
    }
}

#[tokio::test]
async fn the_providers_own_key_is_sent_where_it_reads_it_and_the_clients_nowhere() {
    for (path, name, value) in [
        (
            "/google/v1beta/models/gemini-x:generateContent?key=client-key&x=1",
            "x-goog-api-key",
            KEY.to_owned(),
        ),
        ("/v1beta/models/gemini-x:generateContent?%6bey=client-key", "x-goog-api-key", KEY.to_owned()),
        ("/cohere/v2/chat", "authorization", format!("Bearer {KEY}")),
        ("/v1/responses", "authorization", format!("Bearer {KEY}")),
    ] {
        let world = World::new(MemoryLedger::unlimited());
        let body = if path.contains("gemini") {
            "{}"
        } else {
            r#"{"model":"command-x","messages":[],"max_tokens":1}"#
        };
        let body = if path.contains("responses") { r#"{"model":"gpt-5-mini","input":"x"}"# } else { body };
        let headers = [("authorization", "Bearer client-key"), ("x-goog-api-key", "client-key")];
        let override_ = [("x-http-method-override", "GET"), ("x-goog-fieldmask", "candidates")];
        let got = world.post_with(path, &[headers, override_].concat(), body).await;
        assert_eq!(got.status, 200, "{}", got.text());
        let seen = &world.mock.seen()[0];
        assert_eq!(seen.headers[name], value);
        assert!(!seen.target.contains("key") && !format!("{:?}", seen.headers).contains("client-key"));
        assert!(!seen.headers.contains_key("x-http-method-override"));
        assert!(!seen.headers.contains_key("x-goog-fieldmask"));
    }
}

#[tokio::test]
async fn what_counts_tokens_is_free_and_what_embeds_is_billed() {
    let world = World::new(MemoryLedger::unlimited());
    let counted = world.post("/v1beta/models/gemini-x:countTokens", r#"{"contents":[]}"#).await;
    assert!(counted.json()["totalTokens"].is_u64(), "{}", counted.text());
    assert_eq!(world.ledger.calls()[0].intent.hold.nanos(), 0);
    world.mock.answer_next(Answer::billed(8, 0));
    let batch = r#"{"requests":[{"model":"models/gemini-x","content":{"parts":[{"text":"a"}]}}]}"#;
    let embedded = world.post("/v1beta/models/gemini-x:batchEmbedContents", batch).await;
    assert_eq!(embedded.json()["embeddings"].as_array().unwrap().len(), 1);
    world.mock.answer_next(Answer::billed(8, 0));
    let embedded = world
        .post("/v2/embed", r#"{"model":"command-x","texts":["a","b"],"input_type":"search_query"}"#)
        .await;
    assert_eq!(embedded.json()["embeddings"]["float"].as_array().unwrap().len(), 2);
    // 8 tokens each at 1 USD per million.
    assert_eq!(world.ledger.settled(), 16_000);
}

#[tokio::test]
async fn a_model_that_is_not_told_where_to_end_is_told_in_its_own_dialect() {
    let world = World::new(MemoryLedger::unlimited());
    world.post("/v1beta/models/gemini-x:generateContent", r#"{"contents":[]}"#).await;
    let snake = r#"{"contents":[],"generation_config":{"temperature":1}}"#;
    world.post("/v1beta/models/gemini-x:generateContent", snake).await;
    world.post("/v2/chat", r#"{"model":"command-x","messages":[]}"#).await;
    let seen = world.mock.seen();
    let sent: Vec<&str> = seen.iter().map(|seen| std::str::from_utf8(&seen.body).unwrap()).collect();
    assert_eq!(
        sent,
        [
            r#"{"generationConfig":{"maxOutputTokens":500},"contents":[]}"#,
            r#"{"contents":[],"generation_config":{"maxOutputTokens":500,"temperature":1}}"#,
            r#"{"max_tokens":500,"model":"command-x","messages":[]}"#,
        ]
    );
}

#[tokio::test]
async fn models_are_listed_as_each_dialect_lists_them() {
    let world = World::new(MemoryLedger::unlimited());
    let get = |path: &'static str, headers: &'static [(&'static str, &'static str)]| {
        send(world.port, "GET", path, headers, "")
    };
    let google = get("/v1/models", &[("x-goog-api-key", "k")]).await.json();
    assert_eq!(google["models"][0]["name"], "models/gemini-x");
    assert_eq!(google["models"][0]["outputTokenLimit"], 500);
    let one = get("/google/v1beta/models/gemini-x", &[]).await.json();
    assert_eq!(one["supportedGenerationMethods"][0], "generateContent");
    assert_eq!(get("/cohere/v1/models/command-x", &[]).await.json()["context_length"], 1_000);
    let missing = get("/v1beta/models/nobodys", &[]).await;
    assert_eq!((missing.status.as_u16(), missing.json()["error"]["code"].as_u64()), (404, Some(404)));
    assert!(world.mock.seen().is_empty() && world.ledger.calls().is_empty());
}

#[tokio::test]
async fn what_is_refused_is_refused_in_the_clients_own_shape() {
    let world = World::new(MemoryLedger::unlimited());
    let google = "/v1beta/models/gemini-x:generateContent";
    for (path, body, code, message) in [
        (google, r#"{"tools":[{"googleSearch":{}}]}"#, "WFLO-4003", "/error/message"),
        (
            google,
            r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}"#,
            "WFLO-4006",
            "/error/message",
        ),
        ("/v1beta/models/gemini-x:generateContent?fields=candidates", "{}", "WFLO-4030", "/error/message"),
        (
            "/v1/responses",
            r#"{"model":"gpt-5-mini","input":"x","background":true}"#,
            "WFLO-4003",
            "/error/message",
        ),
        ("/v1/responses/resp_1/cancel", "{}", "WFLO-4004", "/error/message"),
        ("/v2/chat", r#"{"model":"command-x","connectors":[{"id":"w"}]}"#, "WFLO-4003", "/message"),
        ("/v2/parse", "{}", "WFLO-4004", "/message"),
        ("/v1beta/models/gemini-x:predict", "{}", "WFLO-4004", "/error/message"),
    ] {
        let got = world.post(path, body).await;
        assert!(got.status.is_client_error() && got.text().contains(code), "{path}: {}", got.text());
        assert!(got.json().pointer(message).is_some_and(serde_json::Value::is_string), "{}", got.text());
    }
    assert!(world.mock.seen().is_empty());
}

#[tokio::test]
async fn an_answer_is_given_again_as_it_was_and_one_that_broke_off_breaks_off_again() {
    for fault in [None, Some(Fault::ResetAfter(3))] {
        for shape in SHAPES.into_iter().filter(|shape| fault.is_none() || shape.streams) {
            let world = World::new(MemoryLedger::unlimited());
            fault.iter().for_each(|fault| world.mock.fault_next(fault.clone()));
            let first = shape.ask(&world, TEXT).await;
            let resumed = World::new(MemoryLedger::resuming(&world.ledger));
            let again = shape.ask(&resumed, TEXT).await;
            assert_eq!((again.status, again.whole), (first.status, fault.is_none()), "{shape:?}");
            assert_eq!(again.headers["content-type"], first.headers["content-type"]);
            if fault.is_none() {
                assert_eq!(again.text(), first.text(), "{shape:?}");
            } else {
                assert!(
                    again.text().contains("WFLO-4010") && !again.text().contains(shape.end),
                    "{}",
                    again.text()
                );
            }
            assert!(resumed.mock.seen().is_empty());
        }
    }
}

#[tokio::test]
async fn the_same_body_at_another_model_of_the_path_is_another_call() {
    let world = World::new(MemoryLedger::unlimited());
    for path in [
        "/v1beta/models/gemini-x:generateContent",
        "/v1beta/models/gemini-y:generateContent",
        "/v1beta/models/gemini-x:generateContent?key=one",
        "/v1beta/models/gemini-x:generateContent?key=two",
    ] {
        let got = world.post(path, r#"{"contents":[]}"#).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }
    let calls = world.ledger.calls();
    let prints: Vec<&str> = calls.iter().map(|call| call.intent.fingerprint.as_str()).collect();
    assert_ne!(prints[0], prints[1]);
    assert!(prints[0] == prints[2] && prints[0] == prints[3], "a key is no part of what is asked");
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_a_stream_is_billed_what_the_provider_billed() {
    for shape in streams() {
        let world = World::new(MemoryLedger::unlimited());
        world.mock.fault_next(Fault::Slow(std::time::Duration::from_millis(1)));
        world.mock.answer_next(Answer { text: Some("a b c d e f g h".to_owned()), ..Answer::billed(40, 20) });
        let mut response = crate::world::start(world.port, "POST", shape.path, &[], &shape.body("x")).await;
        assert!(response.body_mut().frame().await.unwrap().is_ok());
        drop(response);
        world.ledger.until("settled", |calls| matches!(calls[0].entry, Entry::Closed(_))).await;
        let outcome = only_outcome(&world);
        assert!(!outcome.uncertain, "{shape:?}");
        assert_eq!(outcome.usage.unwrap().total_output(), 20, "{shape:?}");
    }
}
