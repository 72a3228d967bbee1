//! A provider's key is in the request to the provider and nowhere else.

use wflo_gateway::dialect::Dialect;
use wflo_gateway::route::Provider;
use wflo_gateway::secret::Secret;
use wflo_testkit::log::Log;
use wflo_testkit::model_server::Fault;

use crate::ledger::MemoryLedger;
use crate::world::{KEY, World, chat, message, streamed};

#[tokio::test]
async fn neither_logs_nor_errors_nor_debug_show_a_key_or_a_prompt() {
    let log = Log::default();
    let made = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || made.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::new(MemoryLedger::unlimited());
    let secret_prompt = "prompt-that-nobody-logs";
    let mut shown = String::new();
    for fault in [None, Some(Fault::ResetAfter(2)), Some(Fault::Close), Some(Fault::Garbage)] {
        for body in [chat(secret_prompt), streamed(secret_prompt)] {
            if let Some(fault) = fault.clone() {
                world.mock.fault_next(fault);
            }
            let got = world
                .post_with("/openai/v1/chat/completions", &[("authorization", "Bearer placeholder")], &body)
                .await;
            shown.push_str(&format!("{:?} {}", got.headers, got.text()));
        }
    }
    world.messages(&message(secret_prompt)).await;
    shown.push_str(&format!("{:?} {:?}", world.gateway.routes(), world.ledger.calls()[0].intent));
    let logged = log.text();
    assert!(logged.contains("gen_ai.request.model"), "nothing was logged: {logged}");
    assert!(!logged.contains(KEY) && !shown.contains(KEY));
    let own_lines: Vec<_> =
        logged.lines().filter(|line| line.contains("wflo_gateway") && line.contains(secret_prompt)).collect();
    assert!(own_lines.is_empty(), "{own_lines:?}");
    let seen = world.mock.seen();
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {KEY}"));
    let last = seen.last().unwrap();
    assert_eq!(
        (&last.headers["x-api-key"], last.headers.get("authorization")),
        (&KEY.parse().unwrap(), None)
    );
}

/// A server for debugging, or a gateway behind this one, tells its clients what it was sent.
#[tokio::test]
async fn a_provider_that_repeats_its_key_tells_it_to_nobody() {
    let world = World::new(MemoryLedger::unlimited());
    let refused = format!("{{\"error\":{{\"message\":\"Incorrect API key provided: {KEY}\"}}}}");
    let echo = [("content-type", "application/json"), ("x-echo", KEY)];
    let whole = format!(
        "{{\"echo\":\"Bearer {KEY}\",\"choices\":[],\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":1}}}}"
    );
    let events = format!(
        "data: {{\"echo\":\"{KEY}\",\"choices\":[{{\"finish_reason\":\"stop\"}}]}}\n\ndata: [DONE]\n\n"
    );
    let (begin, end) = events.split_at(20);
    let pieces = vec![begin.to_owned().into(), end.to_owned().into()];
    for fault in [
        Fault::Status(401, refused, None),
        Fault::Verbatim(echo.to_vec(), vec![whole.into()]),
        Fault::Verbatim(vec![("content-type", "text/event-stream"), ("x-echo", KEY)], pieces),
    ] {
        let body = if matches!(&fault, Fault::Verbatim(_, pieces) if pieces.len() > 1) {
            streamed("x")
        } else {
            chat("x")
        };
        world.mock.fault_next(fault.clone());
        let got = world.post_with("/openai/v1/chat/completions", &[], &body).await;
        let shown = format!("{:?} {}", got.headers, got.text());
        assert!(shown.contains("[redacted]") && !shown.contains(KEY), "{fault:?}: {shown}");
    }
    let kept = format!("{:?}", world.ledger.calls());
    assert!(kept.contains("[redacted]") && !kept.contains(KEY), "{kept}");
}

#[test]
fn a_secret_shows_nothing() {
    let secret = Secret::new(" sk-123\n").unwrap();
    assert_eq!((format!("{secret:?}"), secret.expose()), ("Secret(…)".to_owned(), "sk-123"));
    assert!(Secret::new(" \n").is_none());
    let provider = Provider::from_environment(Dialect::OpenAi, |name| {
        (name == "OPENAI_API_KEY").then(|| KEY.to_owned())
    });
    assert!(!format!("{provider:?}").contains("sk-real"));
}
