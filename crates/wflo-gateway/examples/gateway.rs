//! A gateway before the mock provider, with a budget in memory: what stock clients are tried against.
//!
//! `gateway [BUDGET_USD [OPENAI_URL MODEL]]` prints one JSON line with its addresses. Then each line on its standard
//! input is a command: `counts` prints what was asked and charged, `fault 429` fails the next
//! request with that status, `cut` breaks the next stream. It ends with its input. With an address
//! and a model, that server stands beside the mock, at a price of 1 and 2 USD per million tokens.

// The ledger is the tests' own, which may panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/gateway/ledger.rs"]
mod ledger;

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wflo_core::money::NanoUsd;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::ledger::Caller;
use wflo_gateway::price::ModelSettings;
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::secret::Secret;
use wflo_gateway::{Deadlines, Gateway, Limits, PLACEHOLDER_KEY, client_env};
use wflo_testkit::model_server::{Fault, ModelServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let budget = match std::env::args().nth(1) {
        Some(text) => text.parse::<NanoUsd>()?,
        None => NanoUsd::MAX,
    };
    let ledger = ledger::MemoryLedger::with_limit(budget);
    let mock = ModelServer::start()?;
    let key = Secret::new("sk-provider-key");
    let mut models = BTreeMap::new();
    let mut providers = vec![
        Provider::new("openai", Dialect::OpenAi, &mock.openai_url(), key.clone())?,
        Provider::new("anthropic", Dialect::Anthropic, &mock.anthropic_url(), key.clone())?,
        Provider::new("google", Dialect::Google, &mock.root_url(), key.clone())?,
        Provider::new("cohere", Dialect::Cohere, &mock.root_url(), key)?,
    ];
    for (model, provider) in [("gemini-x", "google"), ("command-x", "cohere")] {
        let price = ModelSettings {
            provider: Some(provider.to_owned()),
            input: Some("1".to_owned()),
            output: Some("2".to_owned()),
            context_tokens: Some(128_000),
            max_output_tokens: Some(8_000),
            ..ModelSettings::default()
        };
        models.insert(model.to_owned(), price);
    }
    if let (Some(url), Some(model)) = (std::env::args().nth(2), std::env::args().nth(3)) {
        providers.push(Provider::new("local", Dialect::OpenAi, &url, None)?);
        let price = ModelSettings {
            provider: Some("local".to_owned()),
            input: Some("1".to_owned()),
            output: Some("2".to_owned()),
            context_tokens: Some(4_096),
            max_output_tokens: Some(64),
            ..ModelSettings::default()
        };
        models.insert(model, price);
    }
    let routes = Routes::new(providers, Vec::new(), models)?;
    let gateway = Gateway::new(routes, Arc::clone(&ledger) as _, Deadlines::default(), Limits::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let handle = gateway.serve(listener, Caller::new("example", ()))?;
    let env: BTreeMap<String, String> = client_env(port, PLACEHOLDER_KEY).into_iter().collect();
    say(&json!({"port": port, "mock": mock.openai_url(), "env": env}))?;
    let commands = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        for line in std::io::stdin().lock().lines() {
            match line?.split_whitespace().collect::<Vec<_>>()[..] {
                ["counts"] => {
                    let (counts, calls) = (mock.counts(), ledger.calls());
                    say(&json!({
                        "requests": counts.requests, "billed": counts.billed, "free": counts.free,
                        "input_tokens": counts.input_tokens, "output_tokens": counts.output_tokens,
                        "calls": calls.len(), "retries": calls.iter().filter(|call| call.intent.retry_of > Some(0)).count(),
                        "settled_usd": NanoUsd::from_nanos(ledger.settled()), "held_usd": NanoUsd::from_nanos(ledger.held()),
                    }))?;
                }
                ["fault", status] => {
                    let body = r#"{"error":{"message":"on command","type":"server_error"}}"#.to_owned();
                    mock.fault_next(Fault::Status(status.parse().unwrap_or(500), body, None));
                }
                ["cut"] => mock.fault_next(Fault::ResetAfter(4)),
                _ => {}
            }
        }
        Ok(())
    });
    commands.await??;
    handle.stop(Duration::from_secs(5)).await;
    gateway.shutdown().await;
    Ok(())
}

fn say(line: &serde_json::Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
