//! What is written into a request is read there, and nothing else of it changes: over generated requests of
//! every endpoint that writes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wflo_gateway::dialect::limit::OutputLimit;
use wflo_gateway::dialect::request::Request;
use wflo_gateway::dialect::wire::{Asked, wire};
use wflo_gateway::dialect::{Dialect, Endpoint, json as body_json};

/// The endpoints that write, the name of the limit that is sure to be read there, and what is generated.
const ENDPOINTS: [(Dialect, Endpoint, &[&str], &str); 5] = [
    (Dialect::OpenAi, Endpoint::Chat, &["max_tokens"], r#""messages":[]"#),
    (Dialect::OpenAi, Endpoint::Responses, &["max_output_tokens"], r#""input":"x""#),
    (Dialect::Anthropic, Endpoint::Messages, &["max_tokens"], r#""messages":[]"#),
    (Dialect::Google, Endpoint::Generate, &["maxOutputTokens", "max_output_tokens"], r#""contents":[]"#),
    (Dialect::Cohere, Endpoint::Chat, &["max_tokens"], r#""messages":[]"#),
];

fn asked(dialect: Dialect, endpoint: Endpoint) -> Asked<'static> {
    Asked { dialect, endpoint, suffix: "/v1beta/models/m:generateContent", query: None, beta: "" }
}

/// Names that requests have, of all dialects, in both spellings.
const NAMES: [&str; 16] = [
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "maxOutputTokens",
    "n_predict",
    "temperature",
    "generationConfig",
    "generation_config",
    "stream",
    "stream_options",
    "x_unknown",
    "caf\u{e9} \"",
    "tools",
    "thinkingConfig",
    "candidate_count",
    "user",
];

fn value(deep: bool) -> BoxedStrategy<Value> {
    let plain = prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        (1_u64..5_000).prop_map(Value::from),
        "[a-z\"\\\\{}é]{0,6}".prop_map(Value::from),
        Just(json!([])),
    ];
    if !deep {
        return plain.boxed();
    }
    let inner = proptest::collection::vec((proptest::sample::select(&NAMES[..]), value(false)), 0..4)
        .prop_map(|pairs| {
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
        });
    prop_oneof![3 => plain, 2 => inner.prop_map(Value::from)].boxed()
}

/// The limit as one of its names has it.
fn limit(body: &Value, dialect: Dialect, names: &[&str]) -> Option<u64> {
    let configs = ["generationConfig", "generation_config"].map(|name| &body[name]);
    let holders: &[&Value] = if dialect == Dialect::Google { &configs } else { &[body] };
    holders.iter().find_map(|holder| names.iter().find_map(|name| holder[*name].as_u64()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_limit_that_is_written_is_read_and_nothing_else_changes(
        at in 0_usize..ENDPOINTS.len(),
        pairs in proptest::collection::vec((proptest::sample::select(&NAMES[..]), value(true)), 0..6),
        pretty in any::<bool>(),
        most in 1_u64..10_000,
    ) {
        let (dialect, endpoint, names, rest) = ENDPOINTS[at];
        let mut body: Map<String, Value> = serde_json::from_str(&format!("{{\"model\":\"m\",{rest}}}")).unwrap();
        body.extend(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let text = Bytes::from(text.unwrap());
        let asked = asked(dialect, endpoint);
        // What is not read is refused, and nothing is written into it.
        let Ok(before) = Request::read(&asked, &text) else { return Ok(()) };
        let wire = wire(dialect, endpoint);
        let written = body_json::splice(&text, vec![wire.end_at(&text, OutputLimit::MaxTokens, most).unwrap()]);
        let after = Request::read(&asked, &written).unwrap();
        let parsed: Value = serde_json::from_slice(&written).unwrap();
        prop_assert_eq!(limit(&parsed, dialect, names), Some(most));
        prop_assert!(after.stated.max_tokens && after.max_output >= Some(most));
        prop_assert_eq!((after.model, after.stream, after.choices), (before.model, before.stream, before.choices));
        // The bytes around the one place are the same.
        let same = text.iter().zip(&written).take_while(|(a, b)| a == b).count();
        let tail = text.iter().rev().zip(written.iter().rev()).take_while(|(a, b)| a == b).count();
        let changed = written.len().saturating_sub(same + tail);
        prop_assert!(changed <= "\"generationConfig\":{\"maxOutputTokens\":9999},".len(), "{:?}", written);

        // Lowered, no limit that any server reads is above it; what cannot be lowered is not cut.
        let Ok(edits) = wire.lowered(&text, OutputLimit::MaxTokens, most) else { return Ok(()) };
        let lowered = body_json::splice(&text, edits);
        let cut = Request::read(&asked, &lowered).unwrap();
        prop_assert!(cut.stated.max_tokens);
        if before.max_output.is_none_or(|stated| stated >= most) {
            prop_assert_eq!(cut.max_output, Some(most));
        }
    }

    #[test]
    fn bytes_never_panic(at in 0_usize..ENDPOINTS.len(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (dialect, endpoint, ..) = ENDPOINTS[at];
        let _ = Request::read(&asked(dialect, endpoint), &body);
        let _ = wire(dialect, endpoint).usage(&body);
        let mut events = wire(dialect, endpoint).events(2);
        let _ = events.read(&body);
    }
}
