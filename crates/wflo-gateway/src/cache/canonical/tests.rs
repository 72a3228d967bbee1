//! Over generated requests: what is said otherwise is the same, and what says something else is not.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// JSON whose order is kept.
#[derive(Debug, Clone)]
enum Json {
    Object(Vec<(String, Json)>),
    List(Vec<Json>),
    Text(String),
    /// As it is written.
    Plain(String),
}

fn object(pairs: Vec<(&str, Json)>) -> Json {
    Json::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn any_text() -> impl Strategy<Value = Json> {
    "[a-zé\"\\\\\n☃ ]{1,8}".prop_map(Json::Text)
}

fn any_number() -> impl Strategy<Value = Json> {
    prop_oneof![
        (0_u32..100).prop_map(|n| n.to_string()),
        (0_u32..100).prop_map(|n| format!("{n}.0")),
        (1_u32..100).prop_map(|n| format!("{n}e1")),
    ]
    .prop_map(Json::Plain)
}

/// Anything that a model reads in its own order.
fn any_data() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![any_text(), any_number(), Just(Json::Plain("true".into()))];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..4).prop_map(Json::List),
            proptest::collection::btree_map("[a-f]{1,3}", inner, 1..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

fn any_part() -> impl Strategy<Value = Json> {
    prop_oneof![
        any_text().prop_map(|text| object(vec![("type", Json::Text("text".into())), ("text", text)])),
        (any_text(), any_data()).prop_map(|(id, input)| {
            object(vec![("type", Json::Text("tool_use".into())), ("id", id), ("input", input)])
        }),
    ]
}

fn any_message() -> impl Strategy<Value = Json> {
    let content = prop_oneof![any_text(), proptest::collection::vec(any_part(), 1..3).prop_map(Json::List)];
    (any_text(), content).prop_map(|(role, content)| object(vec![("role", role), ("content", content)]))
}

fn any_body() -> impl Strategy<Value = Json> {
    let messages = proptest::collection::vec(any_message(), 1..4);
    (messages, any_number(), any_data(), proptest::option::of(any_text())).prop_map(
        |(messages, temperature, parameters, stop)| {
            let function = object(vec![("name", Json::Text("f".into())), ("parameters", parameters)]);
            let tool = object(vec![("type", Json::Text("function".into())), ("function", function)]);
            let mut pairs = vec![
                ("model", Json::Text("m".into())),
                ("messages", Json::List(messages)),
                ("temperature", temperature),
                ("tools", Json::List(vec![tool])),
            ];
            pairs.extend(stop.map(|stop| ("stop", stop)));
            object(pairs)
        },
    )
}

/// How deep something stands, as far as the order of names depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Body,
    Message,
    Part,
    Data,
}

impl At {
    fn below(self, name: &str) -> At {
        match (self, name) {
            (At::Body, "messages") => At::Message,
            (At::Message, "content") => At::Part,
            _ => At::Data,
        }
    }
}

/// Writes it in one of the ways in which it can be written.
fn write(json: &Json, at: At, draw: &mut impl FnMut() -> usize, out: &mut String) {
    let space = |out: &mut String, drawn: usize| out.push_str(["", " ", "\n\t", "  \r\n"][drawn % 4]);
    space(out, draw());
    match json {
        Json::Plain(text) => out.push_str(text),
        Json::Text(text) => quoted(text, draw, out),
        Json::List(items) => {
            out.push('[');
            for (nth, item) in items.iter().enumerate() {
                out.push_str(if nth > 0 { "," } else { "" });
                write(item, at, draw, out);
            }
            out.push(']');
        }
        Json::Object(pairs) => {
            let mut order: Vec<usize> = (0..pairs.len()).collect();
            if at != At::Data {
                for from in (1..order.len()).rev() {
                    order.swap(from, draw() % (from + 1));
                }
            }
            out.push('{');
            for (nth, pair) in order.into_iter().enumerate() {
                out.push_str(if nth > 0 { "," } else { "" });
                space(out, draw());
                let (name, value) = &pairs[pair];
                quoted(name, draw, out);
                space(out, draw());
                out.push(':');
                write(value, at.below(name), draw, out);
            }
            out.push('}');
        }
    }
    space(out, draw());
}

fn quoted(text: &str, draw: &mut impl FnMut() -> usize, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        let must = matches!(c, '"' | '\\') || c.is_control();
        if must || draw().is_multiple_of(5) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out.push('"');
}

fn written(json: &Json, drawn: &[usize]) -> String {
    let (mut at, mut out) = (0, String::new());
    let mut draw = || {
        at += 1;
        drawn[at % drawn.len()]
    };
    write(json, At::Body, &mut draw, &mut out);
    out
}

fn of(dialect: Dialect, endpoint: Endpoint, body: &str) -> Result<Vec<u8>, Why> {
    let request = Request::parse(dialect, endpoint, body.as_bytes(), "").unwrap();
    canonical(&request, body.as_bytes(), false)
}

fn chat(body: &str) -> Result<Vec<u8>, Why> {
    of(Dialect::OpenAi, Endpoint::Chat, body)
}

/// The places at which something can be changed, in their order; what stands at the wanted one is.
fn change(json: &mut Json, at: At, left: &mut usize) -> bool {
    if *left == 0 {
        match json {
            Json::Plain(text) if text == "true" => "false".clone_into(text),
            Json::Plain(text) => text.push('1'),
            Json::Text(text) => text.push('x'),
            Json::List(items) => items.push(Json::Plain("0".into())),
            Json::Object(pairs) if at == At::Data && pairs.len() > 1 => pairs.reverse(),
            Json::Object(pairs) => pairs.push(("zzz".into(), Json::Plain("0".into()))),
        }
        return true;
    }
    *left -= 1;
    match json {
        Json::Object(pairs) => pairs.iter_mut().any(|(name, value)| change(value, at.below(name), left)),
        Json::List(items) => items.iter_mut().any(|item| change(item, at, left)),
        _ => false,
    }
}

fn places(json: &Json) -> usize {
    1 + match json {
        Json::Object(pairs) => pairs.iter().map(|(_, value)| places(value)).sum(),
        Json::List(items) => items.iter().map(places).sum(),
        _ => 0,
    }
}

/// The body without the model, which is no part of what is written here.
fn members(body: &mut Json) -> &mut Json {
    let Json::Object(pairs) = body else { unreachable!() };
    &mut pairs[1].1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_said_otherwise_is_the_same(
        body in any_body(),
        one in proptest::collection::vec(any::<usize>(), 97),
        other in proptest::collection::vec(any::<usize>(), 101),
    ) {
        let (one, other) = (written(&body, &one), written(&body, &other));
        prop_assert_eq!(chat(&one).unwrap(), chat(&other).unwrap(), "{} {}", one, other);
    }

    #[test]
    fn what_says_something_else_is_not(
        body in any_body(),
        at in any::<Index>(),
        which in 0_usize..3,
        drawn in proptest::collection::vec(any::<usize>(), 97),
    ) {
        let mut changed = body.clone();
        // The messages, the temperature, or the tools.
        let Json::Object(pairs) = &mut changed else { unreachable!() };
        let (name, value) = &mut pairs[1 + which];
        let mut left = at.index(places(value));
        prop_assert!(change(value, At::Body.below(name), &mut left));
        let (before, after) = (written(&body, &drawn), written(&changed, &drawn));
        // A number that is none any more, or a tool that is none, is refused before it comes here.
        let parsed = Request::parse(Dialect::OpenAi, Endpoint::Chat, after.as_bytes(), "");
        prop_assume!(parsed.is_ok() && serde_json::from_str::<serde_json::Value>(&after).is_ok());
        prop_assert_ne!(chat(&before).ok(), chat(&after).ok(), "{} {}", before, after);
    }

    #[test]
    fn bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), rest in "[ -~]{0,60}") {
        let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, br#"{"model":"m"}"#, "").unwrap();
        let _ = canonical(&request, &body, false);
        let _ = canonical(&request, format!("{{\"messages\":[{rest}]}}").as_bytes(), false);
        let _ = is_certain(&request, &body);
    }
}

#[test]
fn a_change_of_any_kind_is_made_by_the_tests() {
    let mut body = object(vec![
        ("model", Json::Text("m".into())),
        ("messages", Json::List(vec![object(vec![("role", Json::Text("user".into()))])])),
    ]);
    let all = places(members(&mut body));
    let made: Vec<bool> =
        (0..=all).map(|mut left| change(&mut members(&mut body).clone(), At::Message, &mut left)).collect();
    assert_eq!(made.iter().filter(|made| **made).count(), all);
}

#[test]
fn numbers_and_the_order_of_what_a_model_reads_count() {
    let body = |rest: &str| chat(&format!(r#"{{"model":"m","messages":[],{rest}}}"#)).unwrap();
    assert_ne!(body(r#""temperature":1"#), body(r#""temperature":1.0"#));
    assert_ne!(body(r#""seed":10"#), body(r#""seed":1e1"#));
    let schema =
        |pairs: &str| body(&format!(r#""response_format":{{"json_schema":{{"properties":{{{pairs}}}}}}}"#));
    assert_ne!(schema(r#""a":{},"b":{}"#), schema(r#""b":{},"a":{}"#), "answers are written in this order");
    assert_ne!(body(r#""stop":null"#), chat(r#"{"model":"m","messages":[]}"#).unwrap());
    assert_ne!(body(r#""stop":"a\u0000""#), body(r#""stop":"a""#));
}

#[test]
fn what_is_listed_is_ignored_and_nothing_else() {
    let plain = chat(r#"{"model":"m","messages":[]}"#).unwrap();
    for name in ["user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"] {
        let body = format!(r#"{{"model":"m","messages":[],"{name}":"x"}}"#);
        assert_eq!(chat(&body).unwrap(), plain, "{name}");
    }
    assert_eq!(chat(r#"{"metadata":{"a":"b"},"model":"m","messages":[]}"#).unwrap(), plain);
    assert_eq!(chat(r#"{"model":"m","messages":[],"store":false,"stream":false}"#).unwrap(), plain);
    for rest in [r#""seed":1"#, r#""n":2"#, r#""service_tier":"flex""#, r#""stream_options":{"x":1}"#] {
        assert_ne!(chat(&format!(r#"{{"model":"m","messages":[],{rest}}}"#)).unwrap(), plain, "{rest}");
    }
    let messages = |rest: &str| {
        let body = format!(r#"{{"model":"m","max_tokens":1,"messages":[]{rest}}}"#);
        of(Dialect::Anthropic, Endpoint::Messages, &body).unwrap()
    };
    assert_eq!(messages(r#","metadata":{"user_id":"u"}"#), messages(""));
    assert_ne!(messages(r#","system":"x""#), messages(""));
    let google = |body: &str| {
        let asked = crate::dialect::wire::Asked {
            dialect: Dialect::Google,
            endpoint: Endpoint::Generate,
            suffix: "/v1beta/models/m:generateContent",
            query: None,
            beta: "",
        };
        canonical(&Request::read(&asked, body.as_bytes()).unwrap(), body.as_bytes(), false).unwrap()
    };
    let camel = google(r#"{"contents":[],"systemInstruction":{"parts":[{"text":"x"}]}}"#);
    assert_eq!(google(r#"{"system_instruction":{"parts":[{"text":"x"}]},"contents":[]}"#), camel);
}

#[test]
fn what_the_body_alone_does_not_decide_is_not_kept() {
    for rest in [
        r#""store":true"#,
        r#""modalities":["text","audio"],"audio":{"voice":"x","format":"wav"}"#,
        r#""unheard_of":1"#,
        r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/a.png"}}]}]"#,
        r#""messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]"#,
        r#""messages":[{"role":"assistant","audio":{"id":"a"}}]"#,
        r#""messages":[{"content":[{"type":"image_url","image_url":{"ur\u006c":"https://x"}}]}]"#,
    ] {
        assert!(chat(&format!(r#"{{"model":"m",{rest}}}"#)).is_err(), "{rest}");
    }
    for rest in [
        r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}]"#,
        r#""messages":[{"role":"user","content":"see https://x/a.png, {\"file_id\": \"f\"}"}]"#,
        r#""messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"url\":\"https://x\"}"}}]}]"#,
        r#""tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"url":{"type":"string"}}}}}]"#,
        r#""store":null,"modalities":null"#,
    ] {
        assert!(chat(&format!(r#"{{"model":"m",{rest}}}"#)).is_ok(), "{rest}");
    }
    let responses = |rest: &str| {
        of(Dialect::OpenAi, Endpoint::Responses, &format!(r#"{{"model":"m","input":"x"{rest}}}"#))
    };
    assert!(responses("").is_err(), "it is stored");
    assert!(responses(r#","store":false"#).is_ok());
    assert!(responses(r#","store":false,"previous_response_id":"r""#).is_err());
    assert!(responses(r#","store":false,"max_tool_calls":1,"tools":[{"type":"web_search"}]"#).is_err());
    let messages = |rest: &str| {
        of(Dialect::Anthropic, Endpoint::Messages, &format!(r#"{{"model":"m","max_tokens":1,{rest}}}"#))
    };
    let searches =
        r#""messages":[],"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":1}]"#;
    assert!(messages(searches).is_err());
    let source = |source: &str| {
        messages(&format!(
            r#""messages":[{{"role":"user","content":[{{"type":"image","source":{source}}}]}}]"#
        ))
    };
    assert!(source(r#"{"type":"url","url":"https://x"}"#).is_err());
    assert!(source(r#"{"type":"file","file_id":"f"}"#).is_err());
    assert!(source(r#"{"type":"base64","media_type":"image/png","data":"AA=="}"#).is_ok());
    let called = r#""messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"open","input":{"url":"https://x"}}]}]"#;
    assert!(messages(called).is_ok(), "a tool's input is text");
}

#[test]
fn what_is_not_known_to_be_contained_is_not_kept() {
    let chat_part = |part: &str| {
        chat(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#)).is_ok()
    };
    for part in [
        r#"{"type":"document_url","document_url":"https://e.x/a"}"#,
        r#"{"type":"audio_url","audio_url":{"url":"https://e.x/a"}}"#,
        r#"{"type":"image","image":"https://e.x/a"}"#,
        r#"{"type":"video","video":["https://e.x/a"]}"#,
        r#"{"type":"input_audio","input_audio":{"data":"https://e.x/a","format":"mp3"}}"#,
        r#"{"type":"file","file":{"uri":"https://e.x/a"}}"#,
        r#"{"type":"file","file":{"file_data":"https://e.x/a"}}"#,
        r#"{"type":"file","file":{"file_id":"f"}}"#,
        r#"{"type":"image_url","image_url":{"URL":"https://e.x/a"}}"#,
        r#"{"type":"image_url","image_url":"https://e.x/a"}"#,
        r#"{"type":"image_url","image_url":{"url":"https://e.x/a","url":"data:,x"}}"#,
        r#"{"type":"image","type":"text","text":"x"}"#,
        r#"{"type":"text","text":"x","unheard":"of"}"#,
        r#"{"file":"x"}"#,
    ] {
        assert!(!chat_part(part), "{part}");
    }
    for part in [
        r#"{"type":"text","text":"see https://e.x/a"}"#,
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}}"#,
        r#"{"type":"input_audio","input_audio":{"data":"AAAA","format":"mp3"}}"#,
        r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,AA==","filename":"a.pdf"}}"#,
    ] {
        assert!(chat_part(part), "{part}");
    }
    let item = |item: &str| {
        let body = format!(r#"{{"model":"m","store":false,"input":[{item}]}}"#);
        of(Dialect::OpenAi, Endpoint::Responses, &body).is_ok()
    };
    for wrong in [
        r#"{"id":"msg_1"}"#,
        r#"{"type":"message","id":"msg_1"}"#,
        r#"{"type":"item_reference","id":"x"}"#,
        r#"{"type":"reasoning","id":"rs_1","summary":[]}"#,
        r#"{"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_url":"https://x"}]}"#,
        r#"{"role":"user","content":[{"type":"input_image","image_url":"https://x"}]}"#,
    ] {
        assert!(!item(wrong), "{wrong}");
    }
    for right in [
        r#"{"role":"user","content":"x"}"#,
        r#"{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"x","annotations":[]}]}"#,
        r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#,
        r#"{"type":"function_call_output","call_id":"c","output":""}"#,
        r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"}"#,
    ] {
        assert!(item(right), "{right}");
    }
}

#[test]
fn where_callers_share_nothing_is_ignored() {
    let all = |rest: &str| {
        let body = format!(r#"{{"model":"m","messages":[]{rest}}}"#);
        let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "").unwrap();
        canonical(&request, body.as_bytes(), true).unwrap()
    };
    for (_, names) in IGNORED_FIELDS.iter().filter(|(dialect, _)| *dialect == Dialect::OpenAi) {
        for name in *names {
            assert_ne!(all(&format!(r#","{name}":"x""#)), all(""), "{name}");
        }
    }
}

#[test]
fn only_zero_leaves_nothing_to_chance() {
    let certain = |rest: &str| {
        let body = format!(r#"{{"model":"m","messages":[]{rest}}}"#);
        is_certain(
            &Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "").unwrap(),
            body.as_bytes(),
        )
    };
    assert!(certain(r#","temperature":0"#) && certain(r#","temperature":0.0"#));
    assert!(!certain("") && !certain(r#","temperature":0.1"#) && !certain(r#","temperature":null"#));
    let body = br#"{"model":"m","input":"x"}"#;
    assert!(is_certain(&Request::parse(Dialect::OpenAi, Endpoint::Embeddings, body, "").unwrap(), body));
}
