//! The invariant of `reserve`: no response that a provider can return costs more than the bound.
//!
//! `generated` makes requests of every endpoint and the usage that a provider may report for them, and every
//! model of the map is tried with them; `traffic` asks how far above the bills the holds are.

use proptest::prelude::*;
use wflo_gateway::dialect::request::Request;
use wflo_gateway::dialect::{Dialect, Endpoint};
use wflo_gateway::price::{ModelSettings, lookup, settle};
use wflo_gateway::reserve::{closer_bound, upper_bound};

use crate::generated::{self, Asked, Billed, Model};

/// `counted`: the text's tokens are known, so what is held once it is counted must do as well.
fn check(asked: &Asked, billed: &Billed, model: &Model, counted: bool) -> Result<bool, TestCaseError> {
    let (body, endpoint) = (generated::body(asked, model), model.endpoint(asked));
    let suffix = format!("/models/{}:generateContent", model.name);
    let wire = wflo_gateway::dialect::wire::Asked {
        dialect: model.dialect,
        endpoint,
        suffix: &suffix,
        query: None,
        beta: "",
    };
    let request = Request::read(&wire, body.as_bytes()).unwrap();
    // A request without a bound is refused, which keeps the promise.
    let Ok(bound) = upper_bound(&request, &model.price) else { return Ok(false) };
    let usage = generated::usage(asked, billed, &request, model);
    let cost = settle(&usage, &model.price);
    prop_assert!(cost <= bound.cost, "{}: {cost} > {}: {usage:?} of {body}", model.name, bound.cost);
    if counted && let Some(closer) = closer_bound(&request, &model.price, body.as_bytes()).unwrap() {
        prop_assert!(cost <= closer.cost, "{}: {cost} > {}: {usage:?} of {body}", model.name, closer.cost);
        prop_assert!(closer.cost <= bound.cost && closer.input_tokens <= bound.input_tokens, "{body}");
    }
    Ok(true)
}

/// Texts, and the tokens of each by `o200k_base` and by `cl100k_base`, from `scripts/token_differential.py`.
fn counted_texts() -> Vec<(String, [u64; 2])> {
    let lines = include_str!("../fixtures/token_counts.jsonl").lines();
    let texts = lines.map(|line| serde_json::from_str::<(String, u64, u64)>(line).unwrap());
    texts.map(|(text, o200k, cl100k)| (text, [o200k, cl100k])).collect()
}

#[test]
fn no_text_has_more_tokens_than_are_counted_in_it() {
    use wflo_gateway::encoding::{Encoding, Work};
    for (text, tokens) in counted_texts() {
        for (encoding, tokens) in [Encoding::O200k, Encoding::Cl100k].into_iter().zip(tokens) {
            let most = encoding.most_tokens(&text, &mut Work::default());
            assert!(tokens <= most && most <= text.len() as u64, "{encoding:?}: {tokens} > {most}: {text:?}");
        }
    }
}

#[test]
fn no_response_of_any_model_costs_more_than_its_bound() {
    let models = generated::models();
    assert!(models.len() > 3_400, "{}", models.len());
    let cases: u32 = std::env::var("WFLO_BOUND_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(6);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut bounded = std::collections::BTreeSet::new();
    let (tried, refused) = (std::cell::Cell::new(0_u64), std::cell::Cell::new(0_u64));
    for model in &models {
        let seen = std::cell::Cell::new(false);
        // A runner counts its cases over all its runs, so each model has one of its own.
        proptest::test_runner::TestRunner::new(config.clone())
            .run(&(generated::asked(), generated::billed()), |(asked, billed)| {
                let checked = check(&asked, &billed, model, false)?;
                seen.set(seen.get() | checked);
                let count = if checked { &tried } else { &refused };
                count.set(count.get() + 1);
                Ok(())
            })
            .unwrap();
        if seen.get() {
            bounded.insert(model.name.clone());
        }
    }
    println!(
        "upper bound: {} models, {} of them bounded; {} cases, {} refused; 0 violations",
        models.len(),
        bounded.len(),
        tried.get(),
        refused.get()
    );
    // Most of the map can be bounded; what cannot lacks a window, or searches on its own.
    assert!(bounded.len() > 2_500, "{}", bounded.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_response_of_a_much_used_model_costs_more_than_its_bound(
        asked in generated::asked(), billed in generated::billed(),
        model in proptest::sample::select(vec![
            ("openai", "gpt-5-mini"), ("openai", "gpt-5.4"), ("openai", "gpt-4o"), ("openai", "gpt-4.1"),
            ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-opus-4-6"), ("anthropic", "claude-opus-5-5"),
            ("gemini", "gemini-2.5-pro"), ("gemini", "gemini-2.5-flash-image"), ("cohere", "command-a-03-2025"),
            ("openai", "text-embedding-3-small"), ("cohere", "rerank-v3.5"), ("deepseek", "deepseek-chat"),
        ])
    ) {
        check(&asked, &billed, &Model::at(model.0, model.1).unwrap(), false)?;
    }

    /// Texts whose tokens OpenAI's own tokenizer has counted, in requests of every endpoint.
    #[test]
    fn no_response_costs_more_than_the_bound_by_the_text_that_was_counted(
        asked in generated::asked(), billed in generated::billed(),
        text in proptest::sample::select(counted_texts()),
        (name, encoding) in proptest::sample::select(vec![
            ("gpt-5-mini", 0), ("gpt-4o", 0), ("gpt-4.1", 0), ("o3", 0), ("gpt-4", 1), ("text-embedding-3-small", 1),
        ])
    ) {
        let (text, tokens) = text;
        let asked = Asked { text, tokens: tokens[encoding], ..asked };
        check(&asked, &billed, &Model::at("openai", name).unwrap(), true)?;
    }

    /// What a provider reports in a body is read as no more than what it says in all.
    #[test]
    fn usage_read_from_a_body_is_never_more_than_its_totals(
        prompt in any::<u32>(), completion in any::<u32>(), cached in any::<u64>(), audio in any::<u64>(), reasoning in any::<u64>()
    ) {
        let body = format!(
            r#"{{"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":{audio}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":{audio}}}}}}}"#,
            u64::from(prompt) + u64::from(completion)
        );
        let usage = wflo_gateway::dialect::openai::usage(body.as_bytes()).unwrap();
        prop_assert_eq!(usage.total_input(), u64::from(prompt));
        prop_assert!(usage.total_output() <= u64::from(completion).saturating_add(reasoning));
    }
}

#[test]
fn a_hostile_megabyte_is_bounded_without_being_tokenised() {
    let price = lookup("openai", "gpt-5.4").unwrap();
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for content in [
        "a".repeat(1 << 20),
        "\\u0000".repeat(170_000),
        format!("[{}1]", "{\"a\":1},".repeat(120_000)),
        nested,
    ] {
        let content = if content.starts_with('[') { content } else { format!("\"{content}\"") };
        let body = format!(
            r#"{{"model":"gpt-5.4","max_tokens":10,"messages":[{{"role":"user","content":{content}}}]}}"#
        );
        let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "").unwrap();
        let bound = upper_bound(&request, &price).unwrap();
        assert!(bound.input_tokens <= 1_050_000);
    }
}

/// The bound's output tokens at a server of the operator's own with a window of 4,096 tokens.
fn output_at_own_server(fields: &str, context_tokens: Option<u64>) -> Result<u64, String> {
    let own = ModelSettings {
        provider: Some("local".into()),
        input: Some("1".into()),
        output: Some("1000".into()),
        context_tokens,
        max_output_tokens: Some(2_048),
        ..ModelSettings::default()
    };
    let price = own.price("local", "m").unwrap().unwrap();
    let body = format!(r#"{{"model":"m","messages":[]{fields}}}"#);
    let request =
        Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "").map_err(|e| e.to_string())?;
    upper_bound(&request, &price).map(|bound| bound.output_tokens).map_err(|e| e.to_string())
}

#[test]
fn what_servers_have_beside_max_tokens_counts() {
    let tokens = |fields: &str| output_at_own_server(fields, Some(4_096));
    assert_eq!(tokens(r#","max_tokens":1"#), Ok(9));
    for name in ["n_predict", "num_predict", "max_new_tokens", "max_output_tokens", "max_completion_tokens"] {
        assert_eq!(tokens(&format!(r#","max_tokens":1,"{name}":50000"#)), Ok(50_008), "{name}");
        assert!(tokens(&format!(r#","max_tokens":1,"{name}":-1"#)).is_err(), "{name} without end");
        let other = name.to_uppercase();
        assert!(tokens(&format!(r#","max_tokens":1,"{other}":5"#)).is_err(), "{other}");
    }
    for name in ["n", "best_of", "n_cmpl", "num_return_sequences", "num_beams", "beam_width"] {
        assert_eq!(tokens(&format!(r#","max_tokens":1,"{name}":10"#)), Ok(90), "{name}");
    }
    assert_eq!(tokens(r#","max_tokens":1,"top_k":40,"grammar":"root ::= x","cache_prompt":true"#), Ok(9));
}

#[test]
fn a_field_that_nobody_knows_is_bounded_by_the_window_or_refused() {
    let odd = r#","max_tokens":1,"please_write":1000000"#;
    assert_eq!(output_at_own_server(odd, Some(4_096)), Ok(4_104));
    assert!(output_at_own_server(odd, None).is_err());
    assert_eq!(output_at_own_server(r#","max_tokens":1,"please_write":null"#, Some(4_096)), Ok(9));
    assert!(output_at_own_server(r#","max_tokens":1,"fallbacks":["m2"]"#, Some(4_096)).is_err());
    assert!(output_at_own_server(r#","max_tokens":1,"use_beam_search":true"#, Some(4_096)).is_err());
    // OpenAI itself refuses what it does not know, so nothing is held for it.
    let price = wflo_gateway::price::lookup("openai", "gpt-5-mini").unwrap();
    let body = format!(r#"{{"model":"gpt-5-mini","messages":[]{odd}}}"#);
    let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "").unwrap();
    assert_eq!(upper_bound(&request, &price).unwrap().output_tokens, 9);
}

#[test]
fn a_picture_is_bounded_as_one_where_its_own_provider_reads_it() {
    let data = "iVBORw0KGgoAAAANSUhEUgAA".repeat(40_000);
    let tokens = |at: &str, host: &str, name: &str| {
        let model = Model::at(at, name).unwrap();
        let price = model.price.at_host(host, Default::default());
        let (endpoint, body) = match model.dialect {
            Dialect::Anthropic => (
                Endpoint::Messages,
                format!(
                    r#"{{"model":"{name}","max_tokens":9,"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}]}}]}}"#
                ),
            ),
            Dialect::Google => (
                Endpoint::Generate,
                format!(
                    r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"image/png","data":"{data}"}}}}]}}],"generationConfig":{{"maxOutputTokens":9}}}}"#
                ),
            ),
            _ => (
                Endpoint::Chat,
                format!(
                    r#"{{"model":"{name}","max_tokens":9,"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}]}}"#
                ),
            ),
        };
        let suffix = format!("/models/{name}:generateContent");
        let wire = wflo_gateway::dialect::wire::Asked {
            dialect: model.dialect,
            endpoint,
            suffix: &suffix,
            query: None,
            beta: "",
        };
        let request = Request::read(&wire, body.as_bytes()).unwrap();
        upper_bound(&request, &price).unwrap().input_tokens
    };
    for (at, host, name, most) in [
        ("openai", "api.openai.com", "gpt-4o", 3_200),
        ("openai", "api.openai.com", "gpt-5-mini-2025-08-07", 7_900),
        ("openai", "api.openai.com", "gpt-4o-mini", 50_300),
        ("anthropic", "api.anthropic.com", "claude-sonnet-4-5", 6_400),
        ("gemini", "generativelanguage.googleapis.com", "gemini-2.5-flash", 26_300),
    ] {
        let bound = tokens(at, host, name);
        assert!(bound <= most && bound > most * 9 / 10, "{name}: {bound}");
        let elsewhere = tokens(at, "127.0.0.1", name);
        assert!(elsewhere >= 128_000, "{name}: anybody's server may read it as text: {elsewhere}");
    }
}

/// The bound's input tokens at a server of the operator's own, whose template they state or not.
fn input_at_own_server(
    template_tokens: Option<u64>,
    context_tokens: Option<u64>,
    rest: &str,
) -> Result<u64, String> {
    let own = ModelSettings {
        input: Some("1".into()),
        output: Some("2".into()),
        context_tokens,
        template_tokens,
        ..ModelSettings::default()
    };
    let price = own.price("local", "m").unwrap().unwrap();
    let body = format!(r#"{{"model":"m","max_tokens":9,{rest}}}"#);
    let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "").unwrap();
    upper_bound(&request, &price).map(|bound| bound.input_tokens).map_err(|error| error.to_string())
}

#[test]
fn a_template_that_its_operator_states_bounds_the_input_by_its_bytes() {
    let hello = r#""messages":[{"role":"user","content":"hello"}]"#;
    let window = Some(32_768);
    assert_eq!(input_at_own_server(None, window, hello), Ok(32_768));
    let stated = input_at_own_server(Some(300), window, hello).unwrap();
    assert!((300 + hello.len() as u64..500).contains(&stated), "{stated}");
    assert_eq!(input_at_own_server(Some(300), None, hello), Ok(stated), "without a window");
    assert!(input_at_own_server(None, None, hello).is_err());
    let long = format!(r#""messages":[{{"role":"user","content":"{}"}}]"#, "a".repeat(40_000));
    assert_eq!(input_at_own_server(Some(300), window, &long), Ok(32_768));
    let tool = r#""messages":[],"tools":[{"type":"function","function":{"name":"f"}}]"#;
    assert!(input_at_own_server(Some(300), window, tool).unwrap() > 300 + 1_024);
    let remote =
        r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a"}}]}]"#;
    assert_eq!(input_at_own_server(Some(300), window, remote), Ok(32_768), "it is not in the body");
}
