//! OpenAI chat completions and embeddings, and everything compatible with them.
//!
//! Owns reading a request's facts, the usage of a body or of a stream's chunk, and which chunks the
//! gateway may not hand on before the call is settled.

use serde::Deserialize;

use super::errors::{self, Told};
use super::json::{BodyError, Edit, Fields};
use super::limit::Stated;
use super::request::{Request, RequestError, Tools, WantedTier};
use super::wire::{Asked, Event, Events, Wire};
use super::{Dialect, Endpoint, facts, foreign, thoughts};
use crate::framing::Framing;
use crate::usage::{self, Usage};

/// Fields that decide the cost, beside those of [`foreign`]: another spelling of one of them is refused.
const KNOWN: [&str; 18] = [
    "model",
    "messages",
    "input",
    "stream",
    "stream_options",
    "max_tokens",
    "tools",
    "functions",
    "response_format",
    "service_tier",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "plugins",
    "models",
    "include_usage",
    "reasoning_effort",
];

/// Fields that make the provider do paid work which nothing in the request bounds.
const UNBOUNDED: [(&str, &str); 4] = [
    ("web_search_options", "web searches are billed by the search"),
    ("plugins", "plugins are billed by their own rules"),
    ("fallbacks", "the server may call further models"),
    ("use_beam_search", "it writes many answers and returns one"),
];

/// Fields that change who answers, and so the price. The last ones are orders of a gateway that may stand
/// behind this one (LiteLLM): to another server, with a key of the client's choice, by rules of its own.
const ROUTING: [(&str, &str); 13] = [
    ("models", "the provider picks one of several models"),
    ("preset", "the provider picks by rules that are not in the request"),
    ("provider", "it chooses among hosts that each have a price of their own"),
    ("route", "the provider picks who serves the model"),
    ("api_base", ELSEWHERE),
    ("base_url", ELSEWHERE),
    ("api_key", ELSEWHERE),
    ("api_version", ELSEWHERE),
    ("custom_llm_provider", ELSEWHERE),
    ("model_list", ELSEWHERE),
    ("user_config", ELSEWHERE),
    ("extra_headers", ELSEWHERE),
    ("context_window_fallbacks", "the server may call further models"),
];

const ELSEWHERE: &str = "a server that obeys it asks somebody else";

/// `chat/completions` and `embeddings`.
pub(super) struct Chat;

impl Wire for Chat {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAi
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        let fields = Fields::read(body)?;
        for known in [&KNOWN[..], &foreign::LIMITS, &foreign::CHOICES] {
            fields.refuse_other_spellings(known)?;
        }
        refuse_unbounded(&fields)?;
        let model = fields.text("model")?.ok_or(RequestError::Missing("model"))?;
        let stream = asked.endpoint == Endpoint::Chat && fields.flag("stream")?.unwrap_or(false);
        let (wants_usage, usage_edit) = if stream { usage_option(&fields)? } else { (false, None) };
        let prediction = fields.get("prediction").is_some_and(|field| field.value != "null");
        Ok(Request {
            stream,
            wants_usage,
            max_output: fields.count("max_tokens")?.max(foreign::largest(&fields, &foreign::LIMITS)?),
            stated: Stated::read(&fields)?,
            unknown_field: foreign::unknown(&fields, &refused()),
            // Tokens of a prediction that were not used are billed as output.
            extra_output: if prediction { body.len() as u64 } else { 0 },
            thoughts: thoughts::read(&fields)?,
            choices: foreign::largest(&fields, &foreign::CHOICES)?.unwrap_or(1),
            messages: fields
                .get("messages")
                .map_or(0, |field| facts::elements(field.value))
                .max(fields.get("input").map_or(0, |field| facts::elements(field.value).max(1))),
            tools: tools(&fields, &["tools", "functions", "response_format"], &["function", "custom"])?,
            tier: tier(&fields)?,
            usage_edit,
            ..Request::of(asked, model, body)?
        })
    }

    fn events(&self, _: u64) -> Box<dyn Events> {
        Box::new(Chunks)
    }

    fn error_event(&self, _: Framing, told: Told<'_>) -> String {
        format!("data: {}\n\n", errors::body(Dialect::OpenAi, told))
    }
}

/// The names of what is refused when it is set.
pub(super) fn refused() -> Vec<&'static str> {
    UNBOUNDED.into_iter().chain(ROUTING).map(|(name, _)| name).collect()
}

/// Refuses what nothing in the request bounds.
pub(super) fn refuse_unbounded(fields: &Fields<'_>) -> Result<(), RequestError> {
    for (field, what) in UNBOUNDED.into_iter().chain(ROUTING) {
        if fields.get(field).is_some_and(|field| !matches!(field.value, "null" | "false")) {
            let routing = ROUTING.iter().any(|(name, _)| *name == field);
            let elsewhere = " Choose hosts in your account at the provider, and price the model under [models] in wflo.toml at the dearest of them.";
            return Err(RequestError::Unboundable {
                what: format!("`{field}` is set, and {what}"),
                instead: format!("Leave `{field}` out.{}", if routing { elsewhere } else { "" }),
            });
        }
    }
    Ok(())
}

/// The service tier that is asked for.
pub(super) fn tier(fields: &Fields<'_>) -> Result<WantedTier, BodyError> {
    Ok(match fields.text("service_tier")?.as_deref() {
        None => WantedTier::Any,
        Some(name) => WantedTier::of(name),
    })
}

/// Whether the client asked for usage in its stream, and the edit that asks when it did not.
fn usage_option(fields: &Fields<'_>) -> Result<(bool, Option<Edit>), BodyError> {
    let Some(options) = fields.get("stream_options").filter(|field| field.value != "null") else {
        let value = "{\"include_usage\":true}";
        let edit = match fields.get("stream_options") {
            Some(null) => Edit { at: null.at.clone(), text: value.to_owned() },
            None => fields.insert("stream_options", value),
        };
        return Ok((false, Some(edit)));
    };
    let inner = Fields::read(options.value.as_bytes())?;
    inner.refuse_other_spellings(&KNOWN)?;
    match inner.flag("include_usage")? {
        Some(true) => Ok((true, None)),
        _ => Ok((false, Some(inner.set("include_usage", "true").within(options)))),
    }
}

/// The tools and schemas that stand under these names, with tools of these kinds alone: any other runs at
/// the provider.
pub(super) fn tools(fields: &Fields<'_>, names: &[&str], kinds: &[&str]) -> Result<Tools, RequestError> {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let mut tools = Tools::default();
    for name in names {
        let Some(field) = fields.get(name).filter(|field| field.value != "null") else { continue };
        tools.bytes += field.value.len() as u64;
        tools.count += if *name == "response_format" { 1 } else { facts::elements(field.value) };
    }
    if let Some(field) = fields.get("tools").filter(|field| field.value != "null") {
        let all: Vec<Tool> = serde_json::from_str(field.value)
            .map_err(|_| BodyError::WrongKind { field: "tools".to_owned(), wanted: "a list of tools" })?;
        for kind in all.into_iter().filter_map(|tool| tool.kind) {
            if !kinds.contains(&kind.as_str()) {
                return Err(RequestError::Unboundable {
                    what: format!("the tool `{kind}` runs at the provider and is billed by use"),
                    instead: "Use tools of the type `function`, which your program runs.".to_owned(),
                });
            }
        }
    }
    Ok(tools)
}

/// The usage of a whole answer; `None` when it has none or is no JSON.
pub fn usage(body: &[u8]) -> Option<Usage> {
    usage::of_answer(Dialect::OpenAi, body)
}

/// The parts of a chunk that the gateway reads.
#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    usage: serde_json::Value,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    service_tier: serde_json::Value,
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Option<serde::de::IgnoredAny>,
}

/// Reads the chunks of a stream; each says by itself what it means.
struct Chunks;

impl Events for Chunks {
    fn read(&mut self, data: &[u8]) -> Event {
        chunk(data)
    }
}

fn chunk(data: &[u8]) -> Event {
    if data.trim_ascii() == b"[DONE]" {
        return Event { done: true, ..Event::default() };
    }
    // Most chunks have neither; a look at the bytes is cheaper than a parse, and `usage` of an
    // escaped name is one that no provider writes.
    if memchr::memmem::find(data, b"\"usage\"").is_none()
        && memchr::memmem::find(data, b"finish_reason").is_none()
        && memchr::memmem::find(data, b"\"error\"").is_none()
    {
        return Event::default();
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(data) else { return Event::default() };
    let choices = answer.choices.unwrap_or_default();
    let said = serde_json::json!({"usage": answer.usage, "service_tier": answer.service_tier});
    let usage = answer.usage.is_object().then(|| usage::read(Dialect::OpenAi, &said)).flatten();
    Event {
        only_usage: usage.is_some() && choices.is_empty(),
        usage,
        finished: choices.iter().filter(|choice| choice.finish_reason.is_some()).count() as u64,
        error: answer.error.is_some() && choices.is_empty(),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Dimension as D;
    use bytes::Bytes;

    fn request(body: &str) -> Result<Request, RequestError> {
        Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "")
    }

    #[test]
    fn usage_is_asked_for_by_the_smallest_change() {
        for (before, after) in [
            (
                r#"{"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":null}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options": {"x":1}}"#,
                r#"{"model":"m","stream":true,"stream_options": {"include_usage":true,"x":1}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{"include_usage": false}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage": true}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (r#"{"model":"m"}"#, r#"{"model":"m"}"#),
        ] {
            let body = Bytes::from_static(before.as_bytes());
            let request = request(before).unwrap();
            assert_eq!(request.outgoing(&body, None).unwrap(), after.as_bytes());
        }
    }

    #[test]
    fn what_runs_at_the_provider_is_refused() {
        for body in [
            r#"{"model":"m","web_search_options":{}}"#,
            r#"{"model":"m","tools":[{"type":"web_search"}]}"#,
            r#"{"model":"m","Web_Search_Options":{}}"#,
        ] {
            assert!(request(body).is_err(), "{body}");
        }
        assert!(request(r#"{"model":"m","tools":[{"type":"function","function":{"name":"f"}}]}"#).is_ok());
    }

    #[test]
    fn details_are_parts_of_the_total() {
        let body = br#"{"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"cached_tokens":80},"completion_tokens_details":{"reasoning_tokens":30}}}"#;
        let usage = usage(body).unwrap();
        let counts = [D::Input, D::CacheRead, D::Output, D::Reasoning].map(|dimension| usage.get(dimension));
        assert_eq!(counts, [20, 80, 20, 30]);
        let beside = super::usage(
            br#"{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":35,
            "completion_tokens_details":{"reasoning_tokens":20}}}"#,
        )
        .unwrap();
        assert_eq!((beside.get(D::Output), beside.get(D::Reasoning)), (5, 20));
    }

    #[test]
    fn chunks_say_what_they_end() {
        assert!(chunk(b"[DONE]").done);
        assert_eq!(chunk(br#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}"#).finished, 1);
        assert_eq!(chunk(br#"{"choices":[{"delta":{},"finish_reason":null}]}"#).finished, 0);
        assert!(chunk(br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#).only_usage);
    }
}
