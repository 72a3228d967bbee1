//! The invariant of `reserve`: no response that a provider can return costs more than the bound.
//!
//! Responses are generated as providers bill: at most a token per byte of text, at most the context
//! window, at most `max_tokens` for each choice, at any tier and split over cache, reasoning and
//! audio that the request makes possible. Every chat model of the map is tried.

use proptest::prelude::*;
use wflo_gateway::dialect::request::Request;
use wflo_gateway::dialect::{Dialect, Endpoint};
use wflo_gateway::price::{Kind, ModelSettings, Price, Template, Tier, known_models, lookup, settle};
use wflo_gateway::reserve::upper_bound;
use wflo_gateway::usage::{Dimension as D, Usage};

#[derive(Debug, Clone)]
struct Asked {
    text: String,
    max_tokens: Option<u64>,
    n: u64,
    tier: Option<&'static str>,
    tools: usize,
    cached: Option<&'static str>,
    image: bool,
    fast: bool,
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        "[ -~é中😀\\n]{0,200}",
        proptest::option::of(1_u64..200_000),
        1_u64..4,
        proptest::option::of(proptest::sample::select(vec![
            "auto",
            "default",
            "flex",
            "priority",
            "ultrafast",
        ])),
        0_usize..4,
        proptest::option::of(proptest::sample::select(vec!["5m", "1h"])),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(text, max_tokens, n, tier, tools, cached, image, fast)| Asked {
            text,
            max_tokens,
            n,
            tier,
            tools,
            cached,
            image,
            fast,
        })
}

/// Shares of each total, in 255ths, and which of the reachable tiers answers.
#[derive(Debug, Clone)]
struct Billed {
    input: u8,
    output: u8,
    split: [u8; 5],
    tier: u8,
    geo_us: bool,
}

fn billed() -> impl Strategy<Value = Billed> {
    let share = prop_oneof![Just(0_u8), Just(255), any::<u8>()];
    (share.clone(), share, any::<[u8; 5]>(), any::<u8>(), any::<bool>())
        .prop_map(|(input, output, split, tier, geo_us)| Billed { input, output, split, tier, geo_us })
}

fn body(asked: &Asked, model: &str, dialect: Dialect) -> String {
    let mut body = serde_json::json!({"model": model});
    let mut content = vec![serde_json::json!({"type": "text", "text": asked.text})];
    if let (Some(ttl), Dialect::Anthropic) = (asked.cached, dialect) {
        content[0]["cache_control"] = serde_json::json!({"type": "ephemeral", "ttl": ttl});
    }
    if asked.image {
        content.push(match dialect {
            Dialect::Anthropic => {
                serde_json::json!({"type": "image", "source": {"type": "base64", "data": "AAAA"}})
            }
            _ => serde_json::json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
        });
    }
    body["messages"] = serde_json::json!([{"role": "user", "content": content}]);
    if let Some(limit) = asked.max_tokens {
        body["max_tokens"] = limit.into();
    }
    let tool = serde_json::json!({"name": "f", "description": asked.text});
    let tools: Vec<_> = (0..asked.tools)
        .map(|_| {
            if dialect == Dialect::Anthropic {
                tool.clone()
            } else {
                serde_json::json!({"type": "function", "function": tool})
            }
        })
        .collect();
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
    if dialect == Dialect::Anthropic {
        if asked.fast {
            body["speed"] = "fast".into();
        }
    } else {
        body["n"] = asked.n.into();
        if let Some(tier) = asked.tier {
            body["service_tier"] = tier.into();
        }
    }
    body.to_string()
}

fn share(total: u64, part: u8) -> u64 {
    u64::try_from(u128::from(total) * u128::from(part) / 255).unwrap()
}

/// A usage that the provider may report for this request.
fn usage(asked: &Asked, billed: &Billed, request: &Request, price: &Price) -> Usage {
    // Independent of the bound: text is at most a token a byte, tools at most three, an image and
    // the preamble as documented; an unknown template may fill the window.
    let by_text = match price.template {
        Template::Unknown => u64::MAX,
        template => {
            let (image, preamble) = if template == Template::OpenAi { (48_169, 30) } else { (4_784, 804) };
            let texts = asked.text.len() as u64 * (1 + 3 * asked.tools as u64) + 20;
            texts + if asked.image { image } else { 0 } + if asked.tools > 0 { preamble } else { 0 }
        }
    };
    let mut most_input = by_text.min(price.context_tokens.unwrap_or(u64::MAX));
    if most_input == u64::MAX {
        most_input = 0;
    }
    let each = request.max_output.or(price.max_output_tokens).or(price.context_tokens).unwrap_or(0);
    let mut input = share(most_input, billed.input);
    let mut output = share(each * request.choices, billed.output);
    let take = |from: &mut u64, part: usize| {
        let taken = share(*from, billed.split[part]);
        *from -= taken;
        taken
    };
    let cache_read = take(&mut input, 0);
    let is_anthropic = request.dialect == Dialect::Anthropic;
    let cache_write = if !is_anthropic || request.facts.cached { take(&mut input, 1) } else { 0 };
    let cache_write_long = if is_anthropic && request.facts.cached_long { take(&mut input, 2) } else { 0 };
    let reasoning = take(&mut output, 3);
    let tiers: &[Tier] = match (is_anthropic, asked.tier) {
        (true, _) | (_, Some("default")) => &[Tier::Standard],
        (_, None | Some("auto")) => &[Tier::Standard, Tier::Flex, Tier::Priority],
        (_, Some(named)) => &[Tier::Standard, Tier::named(named)],
    };
    let mut usage = Usage::of(&[
        (D::Input, input),
        (D::CacheRead, cache_read),
        (D::CacheWrite, cache_write),
        (D::CacheWriteLong, cache_write_long),
        (D::Output, output),
        (D::Reasoning, reasoning),
    ]);
    usage.tier = Some(tiers[usize::from(billed.tier) % tiers.len()]);
    usage.geo_us = is_anthropic && billed.geo_us;
    usage.fast = is_anthropic && asked.fast;
    usage
}

/// Every (provider, model) that has a price and answers chats.
fn chat_models() -> Vec<(String, String, Price)> {
    known_models()
        .filter_map(|(provider, name)| {
            let model = name.strip_prefix(&format!("{provider}/")).unwrap_or(name);
            let price = lookup(provider, model)?;
            (price.kind == Kind::Chat).then(|| (provider.to_owned(), model.to_owned(), price))
        })
        .collect()
}

fn check(
    asked: &Asked,
    billed: &Billed,
    provider: &str,
    model: &str,
    price: &Price,
) -> Result<bool, TestCaseError> {
    let dialect = if provider == "anthropic" { Dialect::Anthropic } else { Dialect::OpenAi };
    let endpoint = if provider == "anthropic" { Endpoint::Messages } else { Endpoint::Chat };
    let body = body(asked, model, dialect);
    let request = Request::parse(dialect, endpoint, body.as_bytes(), "").unwrap();
    // A request without a bound is refused, which keeps the promise.
    let Ok(bound) = upper_bound(&request, price) else { return Ok(false) };
    let usage = usage(asked, billed, &request, price);
    let cost = settle(&usage, price);
    prop_assert!(cost <= bound.cost, "{provider} {model}: {cost} > {}: {usage:?} of {body}", bound.cost);
    Ok(true)
}

#[test]
fn no_response_of_any_chat_model_costs_more_than_its_bound() {
    let models = chat_models();
    assert!(models.len() > 2_500, "{}", models.len());
    let config = ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() };
    let mut bounded = std::collections::BTreeSet::new();
    for (provider, model, price) in &models {
        let seen = std::cell::Cell::new(false);
        // A runner counts its cases over all its runs, so each model has one of its own.
        proptest::test_runner::TestRunner::new(config.clone())
            .run(&(asked(), billed()), |(asked, billed)| {
                seen.set(seen.get() | check(&asked, &billed, provider, model, price)?);
                Ok(())
            })
            .unwrap();
        if seen.get() {
            bounded.insert(model.clone());
        }
    }
    // Most of the map can be bounded; what cannot lacks a window, or searches on its own.
    assert!(bounded.len() > 1_500, "{}", bounded.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_response_of_a_much_used_model_costs_more_than_its_bound(
        asked in asked(), billed in billed(),
        model in proptest::sample::select(vec![
            ("openai", "gpt-5-mini"), ("openai", "gpt-5.4"), ("openai", "gpt-4o"), ("openai", "gpt-4.1"),
            ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-opus-4-6"), ("anthropic", "claude-opus-5-5"),
        ])
    ) {
        let price = lookup(model.0, model.1).unwrap();
        prop_assert!(check(&asked, &billed, model.0, model.1, &price)?);
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
