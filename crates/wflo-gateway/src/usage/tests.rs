use serde_json::{Value, json};

use super::*;
use Dimension as D;

/// Reads a usage and says what is in it.
fn counts(dialect: Dialect, value: &Value) -> Vec<(&'static str, u64)> {
    let usage = read(dialect, value).unwrap();
    usage.counts().map(|(dimension, count)| (dimension.name(), count)).collect()
}

#[test]
fn the_details_of_an_openai_chat_are_parts_of_its_totals() {
    let value = json!({"prompt_tokens": 1_000, "completion_tokens": 300, "total_tokens": 1_300,
        "prompt_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 100, "audio_tokens": 50, "image_tokens": 25,
            "cached_tokens_details": {"audio_tokens": 10, "text_tokens": 390}},
        "completion_tokens_details": {"reasoning_tokens": 200, "audio_tokens": 30, "accepted_prediction_tokens": 4}});
    assert_eq!(
        counts(Dialect::OpenAi, &value),
        [
            ("input", 435),
            ("cache_read", 390),
            ("cache_write", 100),
            ("audio_input", 40),
            ("audio_cache_read", 10),
            ("image_input", 25),
            ("output", 70),
            ("reasoning", 200),
            ("audio_output", 30)
        ]
    );
}

#[test]
fn a_response_has_its_own_names_and_shows_what_ran() {
    let value = json!({"service_tier": "flex", "output": [{"type": "web_search_call"}, {"type": "file_search_call"}, {"type": "web_search_call"}],
        "usage": {"input_tokens": 100, "output_tokens": 60, "input_tokens_details": {"cached_tokens": 20,
            "cache_write_tokens": 30, "cache_write_tokens_details": {"ttl_30m_tokens": 20, "ttl_12h_tokens": 10}},
            "output_tokens_details": {"reasoning_tokens": 50}}});
    let wanted = [
        ("input", 50),
        ("cache_read", 20),
        ("cache_write", 20),
        ("cache_write_longest", 10),
        ("output", 10),
        ("reasoning", 50),
        ("web_searches", 2),
        ("file_searches", 1),
    ];
    assert_eq!(counts(Dialect::OpenAi, &value), wanted);
    assert_eq!(read(Dialect::OpenAi, &value).unwrap().tier, Some(Tier::Flex));
    let event = json!({"type": "response.completed", "response": value, "sequence_number": 9});
    assert_eq!(counts(Dialect::OpenAi, &event), wanted);
    assert_eq!(of_answer(Dialect::OpenAi, event.to_string().as_bytes()), read(Dialect::OpenAi, &event));
}

#[test]
fn embeddings_and_transcriptions_have_usage_too() {
    assert_eq!(counts(Dialect::OpenAi, &json!({"prompt_tokens": 8, "total_tokens": 8})), [("input", 8)]);
    assert_eq!(counts(Dialect::OpenAi, &json!({"total_tokens": 8})), [("input", 8)]);
    assert_eq!(
        counts(Dialect::OpenAi, &json!({"type": "duration", "seconds": 12.5})),
        [("input_seconds", 12_500)]
    );
}

#[test]
fn what_a_provider_says_that_it_cost_is_read() {
    let cost = |extra: Value| {
        let mut usage = json!({"prompt_tokens": 1, "completion_tokens": 1});
        usage.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        read(Dialect::OpenAi, &usage).unwrap().reported.map(|pico| pico.0)
    };
    assert_eq!(cost(json!({"cost": 0.00014})), Some(140_000_000));
    assert_eq!(cost(json!({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.007}})), Some(7_000_000_000));
    assert_eq!(cost(json!({"cost_in_usd_ticks": 37_756_000})), Some(3_775_600_000));
    assert_eq!(cost(json!({"cost": -1})), None);
    assert_eq!(cost(json!({"cost": "free"})), None);
}

#[test]
fn anthropic_counts_its_cache_beside_the_input() {
    let value = json!({"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 300, "cache_creation_input_tokens": 70,
        "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 20},
        "server_tool_use": {"web_search_requests": 3}, "service_tier": "priority", "inference_geo": "us", "speed": "fast"});
    assert_eq!(
        counts(Dialect::Anthropic, &value),
        [
            ("input", 10),
            ("cache_read", 300),
            ("cache_write", 50),
            ("cache_write_long", 20),
            ("output", 20),
            ("web_searches", 3)
        ]
    );
    let usage = read(Dialect::Anthropic, &value).unwrap();
    assert_eq!((usage.tier, usage.geo_us, usage.fast), (Some(Tier::Priority), true, true));
    assert_eq!(usage.total_input(), 380);
    let rounds = json!({"input_tokens": 1, "output_tokens": 2, "iterations": [
        {"input_tokens": 5, "output_tokens": 6}, {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 4}]});
    assert_eq!(counts(Dialect::Anthropic, &rounds), [("input", 6), ("cache_read", 4), ("output", 8)]);
}

#[test]
fn google_counts_by_modality_and_thoughts_beside_the_answer() {
    let value = json!({"promptTokenCount": 1_000, "candidatesTokenCount": 100, "thoughtsTokenCount": 40,
        "toolUsePromptTokenCount": 60, "cachedContentTokenCount": 300, "totalTokenCount": 1_200,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 500}, {"modality": "AUDIO", "tokenCount": 200},
            {"modality": "IMAGE", "tokenCount": 258}, {"modality": "VIDEO", "tokenCount": 42}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 250}, {"modality": "AUDIO", "tokenCount": 50}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 80}, {"modality": "IMAGE", "tokenCount": 20}],
        "trafficType": "ON_DEMAND_PRIORITY"});
    assert_eq!(
        counts(Dialect::Google, &value),
        [
            ("input", 310),
            ("cache_read", 250),
            ("audio_input", 150),
            ("audio_cache_read", 50),
            ("image_input", 258),
            ("video_input", 42),
            ("output", 80),
            ("reasoning", 40),
            ("image_output", 20)
        ]
    );
    assert_eq!(read(Dialect::Google, &value).unwrap().tier, Some(Tier::Priority));
    let inside = json!({"promptTokenCount": 10, "candidatesTokenCount": 50, "thoughtsTokenCount": 40, "totalTokenCount": 60});
    assert_eq!(counts(Dialect::Google, &inside), [("input", 10), ("output", 10), ("reasoning", 40)]);
}

#[test]
fn what_a_search_found_is_billed_by_the_search() {
    let grounding =
        json!({"webSearchQueries": ["a", "b", "a", ""], "groundingChunks": [{"web": {"uri": "https://x"}}]});
    let answer = json!({"candidates": [{"content": {"parts": [{"text": "long"}]}, "groundingMetadata": grounding}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "toolUsePromptTokenCount": 500, "totalTokenCount": 515}});
    let wanted = [("input", 10), ("output", 5), ("web_searches", 2)];
    assert_eq!(counts(Dialect::Google, &answer), wanted);
    assert_eq!(of_answer(Dialect::Google, answer.to_string().as_bytes()), read(Dialect::Google, &answer));
    let map = json!({"candidates": [{"groundingMetadata": {"groundingChunks": [{"maps": {"uri": "https://x"}}]}}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}});
    assert_eq!(counts(Dialect::Google, &map), [("input", 10), ("output", 5), ("map_searches", 1)]);
}

#[test]
fn cohere_bills_units() {
    let chat = json!({"billed_units": {"input_tokens": 5.0, "output_tokens": 418.0}, "tokens": {"input_tokens": 71, "output_tokens": 418}});
    assert_eq!(counts(Dialect::Cohere, &chat), [("input", 5), ("output", 418)]);
    assert_eq!(
        counts(Dialect::Cohere, &json!({"tokens": {"input_tokens": 71, "output_tokens": 2}})),
        [("input", 71), ("output", 2)]
    );
    let rerank = json!({"id": "x", "results": [], "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 2}}});
    assert_eq!(counts(Dialect::Cohere, &rerank), [("queries", 2)]);
    let embed = json!({"meta": {"billed_units": {"input_tokens": 3, "image_tokens": 1_000, "images": 1}}});
    assert_eq!(counts(Dialect::Cohere, &embed), [("input", 3), ("image_input", 1_000), ("images", 1)]);
}

#[test]
fn a_total_that_is_no_count_makes_the_usage_unknown() {
    for value in [json!(-1), json!("many"), json!([]), json!({"a": 1}), json!(true)] {
        let shapes = [
            (Dialect::OpenAi, json!({"prompt_tokens": value, "completion_tokens": 1})),
            (Dialect::OpenAi, json!({"input_tokens": 1, "output_tokens": value})),
            (Dialect::Anthropic, json!({"input_tokens": 1, "output_tokens": value})),
            (
                Dialect::Anthropic,
                json!({"input_tokens": 1, "output_tokens": 1, "cache_read_input_tokens": value}),
            ),
            (Dialect::Google, json!({"promptTokenCount": value, "candidatesTokenCount": 1})),
            (Dialect::Cohere, json!({"billed_units": {"input_tokens": value}})),
        ];
        for (dialect, usage) in shapes {
            assert_eq!(read(dialect, &usage), None, "{usage}");
        }
    }
    for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Google, Dialect::Cohere] {
        for value in [json!(null), json!({}), json!([]), json!(1), json!({"usage": null})] {
            assert_eq!(read(dialect, &value), None, "{value}");
        }
    }
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    /// Every name that a reader looks at.
    const NAMES: [&str; 44] = [
        "usage",
        "usageMetadata",
        "meta",
        "response",
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "input_tokens_details",
        "output_tokens_details",
        "cached_tokens",
        "cache_write_tokens",
        "audio_tokens",
        "image_tokens",
        "video_tokens",
        "reasoning_tokens",
        "cached_tokens_details",
        "cache_creation",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "ephemeral_1h_input_tokens",
        "ephemeral_5m_input_tokens",
        "server_tool_use",
        "web_search_requests",
        "iterations",
        "cost",
        "total_cost",
        "promptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "cachedContentTokenCount",
        "toolUsePromptTokenCount",
        "totalTokenCount",
        "promptTokensDetails",
        "tokenCount",
        "modality",
        "billed_units",
        "tokens",
        "search_units",
        "candidates",
        "output",
    ];

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0_u64..1_000).prop_map(Value::from),
            proptest::sample::select(vec!["AUDIO", "IMAGE", "flex", "12", "-1", "us"]).prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 60, 8, |inner| {
            let object = proptest::collection::btree_map(
                proptest::sample::select(NAMES.to_vec()),
                inner.clone(),
                0..8,
            );
            prop_oneof![
                object.prop_map(|object| {
                    Value::Object(object.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }),
                proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_panics_or_overflows_and_bytes_read_as_values_do(value in value()) {
            for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Google, Dialect::Cohere] {
                let usage = read(dialect, &value);
                if let Some(usage) = &usage {
                    let _ = (usage.total_input(), usage.total_output(), usage.cached_input());
                    let price = crate::price::lookup("openai", "gpt-5-mini").unwrap();
                    prop_assert!(!crate::price::settle(usage, &price).is_negative());
                }
            }
        }

        #[test]
        fn a_record_of_usage_reads_back(count in any::<u64>(), other in any::<u64>()) {
            let usage = Usage::of(&[(D::CacheRead, count), (D::WebSearches, other)]);
            let text = serde_json::to_string(&usage).unwrap();
            prop_assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), usage);
        }
    }
}
