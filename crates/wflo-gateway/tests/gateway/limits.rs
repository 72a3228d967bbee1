//! A limit bounds only where the server reads its name.
//!
//! Servers are tried that read every subset of the names, each ignoring all others as real servers do and
//! writing without end where it finds none; every one of them reads the name that its dialect requires. What
//! each then writes is billed, and is never more than the hold.

use bytes::Bytes;
use wflo_gateway::dialect::limit::OutputLimit;
use wflo_gateway::dialect::request::Request;
use wflo_gateway::dialect::{Dialect, Endpoint};
use wflo_gateway::price::{End, ModelSettings, Price, lookup, settle};
use wflo_gateway::reserve::upper_bound;
use wflo_gateway::usage::{Dimension, Usage};
use wflo_testkit::model_server::Answer;

use crate::ledger::MemoryLedger;
use crate::world::World;

const NAMES: [&str; 6] = [
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "num_predict",
    "max_new_tokens",
    "max_output_tokens",
];

/// As much as a server writes that was told no end: far more than any window.
const WITHOUT_END: u64 = 50_000_000;

/// Those of [`NAMES`] that a number's bits stand for.
fn subset(bits: u32) -> Vec<&'static str> {
    NAMES.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, name)| *name).collect()
}

/// What a server writes that reads only these names: the first of its own order, or the last.
fn written(body: &[u8], reads: &[&str], first: bool) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let mut told = reads.iter().filter_map(|name| body[*name].as_u64());
    let told = if first { told.next() } else { told.next_back() };
    told.unwrap_or(WITHOUT_END)
}

/// Every request that has some of the names, at every server that reads `always` and some of the names.
fn no_server_is_paid_more_than_the_hold(model: &str, price: &Price, always: &'static str) {
    for asked in 0..1 << NAMES.len() {
        for kind in 0..3 {
            let fields = subset(asked).into_iter().enumerate().map(|(at, name)| match kind {
                0 => format!(r#","{name}":1"#),
                1 => format!(r#","{name}":{}"#, 1 + at * 700),
                _ => format!(r#","{name}":{}"#, if at % 2 == 0 { "null" } else { "3" }),
            });
            let fields: String = fields.collect();
            let body = Bytes::from(format!(r#"{{"model":"{model}","messages":[]{fields}}}"#));
            let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, &body, "").unwrap();
            let bound = upper_bound(&request, price).unwrap();
            let sent = request.outgoing(&body, bound.write).unwrap();
            for reads in 0..1 << NAMES.len() {
                let mut reads = subset(reads);
                reads.retain(|name| *name != always);
                reads.insert(0, always);
                // Either overrules the others: the name that all have, or one of theirs.
                for first in [true, false] {
                    let output = written(&sent, &reads, first);
                    let cost = settle(&Usage::of(&[(Dimension::Output, output)]), price);
                    let sent = String::from_utf8_lossy(&sent);
                    assert!(cost <= bound.cost, "{sent} at a server of {reads:?}: {cost} > {}", bound.cost);
                }
            }
        }
    }
}

fn own() -> ModelSettings {
    ModelSettings {
        provider: Some("local".into()),
        input: Some("1".into()),
        output: Some("1000".into()),
        context_tokens: Some(4_096),
        ..ModelSettings::default()
    }
}

#[test]
fn no_server_of_the_operators_writes_more_than_is_held_whatever_names_it_reads() {
    let price = own().price("local", "m").unwrap().unwrap();
    no_server_is_paid_more_than_the_hold("m", &price, "max_tokens");
}

#[test]
fn a_name_of_openais_at_another_address_does_not_make_it_openai() {
    let elsewhere = lookup("openai", "gpt-5-mini").unwrap().at_host("127.0.0.1", OutputLimit::MaxTokens);
    assert_eq!(elsewhere.end, End::Told(OutputLimit::MaxTokens));
    no_server_is_paid_more_than_the_hold("gpt-5-mini", &elsewhere, "max_tokens");
}

#[test]
fn at_a_proxy_before_openai_its_own_name_is_written() {
    let price = lookup("openai", "gpt-5-mini").unwrap();
    let proxy = price.at_host("proxy.example", OutputLimit::MaxCompletionTokens);
    for (asked, sent) in [
        (r#"{"model":"gpt-5-mini"}"#, r#"{"max_completion_tokens":128000,"model":"gpt-5-mini"}"#),
        (r#"{"model":"gpt-5-mini","max_tokens":5}"#, r#"{"model":"gpt-5-mini","max_tokens":5}"#),
        (
            r#"{"model":"gpt-5-mini","max_completion_tokens":null}"#,
            r#"{"model":"gpt-5-mini","max_completion_tokens":128000}"#,
        ),
    ] {
        let body = Bytes::from(asked);
        let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, &body, "").unwrap();
        let bound = upper_bound(&request, &proxy).unwrap();
        assert_eq!(request.outgoing(&body, bound.write).unwrap(), sent);
    }
}

#[test]
fn the_provider_itself_is_sent_what_the_client_wrote() {
    for (host, own) in
        [("api.openai.com", true), ("eu.api.openai.com", true), ("api.openai.com.evil.example", false)]
    {
        let price = lookup("openai", "gpt-5-mini").unwrap().at_host(host, OutputLimit::MaxCompletionTokens);
        assert_eq!(price.end == End::Provider, own, "{host}");
    }
    let price = lookup("openai", "gpt-5-mini").unwrap();
    let bound = |fields: &str| {
        let body = format!(r#"{{"model":"gpt-5-mini","messages":[]{fields}}}"#);
        let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "").unwrap();
        upper_bound(&request, &price).unwrap()
    };
    for (fields, tokens) in [
        ("", 128_008),
        (r#","max_tokens":5"#, 13),
        (r#","max_completion_tokens":5"#, 13),
        // Nothing that it documents: it may ignore it.
        (r#","max_output_tokens":5"#, 128_008),
    ] {
        assert_eq!((bound(fields).output_tokens, bound(fields).write), (tokens, None), "{fields}");
    }
}

#[tokio::test]
async fn a_real_server_that_ignores_a_name_ends_where_it_was_told() {
    for name in &NAMES[1..] {
        let world = World::new(MemoryLedger::unlimited());
        world.mock.read_limits(&["max_tokens"]);
        world.mock.answer_always(Answer::billed(1, WITHOUT_END));
        world.chat(&format!(r#"{{"model":"smol","messages":[],"{name}":1}}"#)).await;
        let seen = world.mock.seen();
        let sent = String::from_utf8_lossy(&seen[0].body);
        assert_eq!(sent, format!(r#"{{"max_tokens":1,"model":"smol","messages":[],"{name}":1}}"#));
        assert!(world.ledger.settled() <= world.ledger.calls()[0].intent.hold.nanos(), "{name}");
        assert_eq!(world.gateway.overshoots(), 0, "{name}");
    }
}

#[tokio::test]
async fn what_chooses_among_hosts_is_refused_by_name() {
    let world = World::new(MemoryLedger::unlimited());
    for field in [
        r#""provider":{"only":["dear"]}"#,
        r#""route":"fallback""#,
        r#""preset":"p""#,
        r#""models":["a"]"#,
        // Orders of a LiteLLM that may stand behind: each would send its key, or the request, elsewhere.
        r#""api_base":"http://169.254.169.254/latest/meta-data""#,
        r#""base_url":"https://evil.example""#,
        r#""api_key":"sk-other""#,
        r#""custom_llm_provider":"openai""#,
        r#""model_list":[{"model_name":"smol"}]"#,
        r#""user_config":{"model_list":[]}"#,
        r#""extra_headers":{"authorization":"x"}"#,
        r#""context_window_fallbacks":[{"smol":["dear"]}]"#,
    ] {
        let got = world.chat(&format!(r#"{{"model":"smol","messages":[],"max_tokens":1,{field}}}"#)).await;
        assert_eq!(got.status, 400, "{field}");
        assert!(got.text().contains("WFLO-4003") && got.text().contains("at the dearest"), "{}", got.text());
    }
    assert!(world.mock.seen().is_empty());
}
