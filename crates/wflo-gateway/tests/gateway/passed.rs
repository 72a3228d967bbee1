//! Endpoints that the operator lets through: held and charged at the operator's word, unless usage is told.

use bytes::Bytes;
use wflo_core::money::NanoUsd;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::route::{Passthrough, Provider};
use wflo_gateway::secret::Secret;
use wflo_testkit::model_server::{Fault, ModelServer};

use crate::ledger::MemoryLedger;
use crate::shapes::{charged_as_held, only_outcome};
use crate::world::{KEY, World, deadlines, send};

const MOST: &str = "0.05";

fn world(ledger: std::sync::Arc<MemoryLedger>) -> World {
    let mock = ModelServer::start().unwrap();
    let mut openai = Provider::new("openai", Dialect::OpenAi, &mock.openai_url(), Secret::new(KEY)).unwrap();
    for path in ["/images/generations", "/files/*"] {
        openai.passthrough.push(Passthrough::new(path, MOST.parse().unwrap()).unwrap());
    }
    World::over(mock, vec![openai], ledger, deadlines())
}

fn answers(world: &World, kind: &'static str, body: &'static str) {
    let pieces = vec![Bytes::from_static(body.as_bytes())];
    world.mock.fault_always(Some(Fault::Verbatim(vec![("content-type", kind)], pieces)));
}

#[tokio::test]
async fn a_path_that_was_named_passes_at_its_stated_price_and_no_other_does() {
    let world = world(MemoryLedger::unlimited());
    answers(&world, "image/png", "\u{1}\u{2}not text");
    let body = "--b\r\ncontent-disposition: form-data\r\n\r\nanything at all\r\n--b--\r\n";
    let form = [("x-own", "1")];
    let got = world.post_with("/openai/v1/images/generations?x=1", &form, body).await;
    assert_eq!((got.status.as_u16(), got.text()), (200, "\u{1}\u{2}not text"));
    let outcome = charged_as_held(&world);
    assert_eq!(outcome.settled, MOST.parse::<NanoUsd>().unwrap());
    let seen = &world.mock.seen()[0];
    assert_eq!((&seen.body[..], seen.target.as_str()), (body.as_bytes(), "/v1/images/generations?x=1"));
    assert_eq!(seen.headers["x-own"], "1");
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    for (method, path) in [
        ("POST", "/openai/v1/images/edits"),
        ("GET", "/openai/v1/files"),
        ("GET", "/openai/v1/files/../batches"),
        ("GET", "/openai/v1/files/%2e%2e/batches"),
        ("POST", "/anthropic/v1/files/x"),
    ] {
        let got = send(world.port, method, path, &[], "").await;
        assert!(got.status == 404 && got.text().contains("WFLO-4004"), "{path}: {}", got.text());
    }
    assert_eq!(world.mock.seen().len(), 1);
}

#[tokio::test]
async fn usage_that_is_told_is_charged_and_an_error_costs_nothing() {
    let told = world(MemoryLedger::unlimited());
    answers(&told, "application/json", r#"{"usage":{"input_tokens":100,"output_tokens":10}}"#);
    told.post("/v1/images/generations", r#"{"model":"gpt-5-mini","prompt":"x"}"#).await;
    let outcome = only_outcome(&told);
    // 100 × 0.25 + 10 × 2 USD per million.
    assert_eq!((outcome.settled.to_string().as_str(), outcome.uncertain), ("0.000045", false));
    let unpriced = world(MemoryLedger::unlimited());
    answers(&unpriced, "application/json", r#"{"usage":{"input_tokens":100,"output_tokens":10}}"#);
    unpriced.post("/v1/images/generations", r#"{"model":"unheard-of","prompt":"x"}"#).await;
    charged_as_held(&unpriced);
    let failed = world(MemoryLedger::unlimited());
    failed.mock.fault_next(Fault::Status(500, "{}".to_owned(), None));
    let got = send(failed.port, "DELETE", "/openai/v1/files/f-1", &[], "").await;
    assert_eq!(got.status, 404, "the mock knows no such path");
    assert_eq!(only_outcome(&failed).settled, NanoUsd::ZERO);
    assert_eq!(failed.mock.seen()[0].method, "DELETE");
}

#[tokio::test]
async fn a_stream_passes_to_its_end_and_a_budget_stops_what_does_not_fit() {
    let world = world(MemoryLedger::with_limit("0.06".parse().unwrap()));
    let stream = "event: partial\ndata: {\"b64\":\"AA\"}\n\nevent: completed\ndata: {\"b64\":\"BB\"}\n\n";
    answers(&world, "text/event-stream", stream);
    let got = world.post("/v1/images/generations", r#"{"stream":true}"#).await;
    assert_eq!((got.whole, got.text()), (true, stream));
    charged_as_held(&world);
    let refused = world.post("/v1/images/generations", r#"{"stream":true}"#).await;
    assert_eq!(refused.status, 402, "{}", refused.text());
    assert_eq!(world.mock.seen().len(), 1);
}

#[tokio::test]
async fn two_paths_with_one_body_are_two_calls_on_resume() {
    let first = world(MemoryLedger::unlimited());
    answers(&first, "application/json", "{}");
    send(first.port, "GET", "/openai/v1/files/a", &[], "").await;
    send(first.port, "GET", "/openai/v1/files/b", &[], "").await;
    let calls = first.ledger.calls();
    assert_ne!(calls[0].intent.fingerprint, calls[1].intent.fingerprint);
}
