//! Cohere's API v2: chat, embed and rerank.
//!
//! Owns reading a request's facts and the event that ends a chat. What is billed is `billed_units`; the
//! tokens of its template, which nobody documents, are not among them, and are within the window all the
//! same.

use serde::Deserialize;

use super::errors::Told;
use super::json::{BodyError, Fields};
use super::limit::Stated;
use super::request::{Request, RequestError, WantedTier};
use super::wire::{Asked, Event, Events, Wire};
use super::{Dialect, facts, openai};
use crate::framing::Framing;
use crate::price::Tier;
use crate::usage;

/// Every field of a chat that is known.
const FIELDS: [&str; 24] = [
    "model",
    "messages",
    "stream",
    "max_tokens",
    "tools",
    "strict_tools",
    "tool_choice",
    "documents",
    "citation_options",
    "response_format",
    "safety_mode",
    "stop_sequences",
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "k",
    "p",
    "logprobs",
    "thinking",
    "priority",
    "return_prompt",
    "raw_prompting",
    "connectors",
];

/// `chat`.
pub(super) struct Chat;

impl Wire for Chat {
    fn dialect(&self) -> Dialect {
        Dialect::Cohere
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        let fields = Fields::read(body)?;
        fields.refuse_other_spellings(&FIELDS)?;
        if fields.get("connectors").is_some_and(|field| !matches!(field.value, "null" | "[]")) {
            return Err(RequestError::Unboundable {
                what: "`connectors` lets the provider search on its own".to_owned(),
                instead: "Leave `connectors` out, and search in your program.".to_owned(),
            });
        }
        let max_output = fields.count("max_tokens")?;
        let unknown =
            fields.iter().find(|field| field.value != "null" && !FIELDS.contains(&field.name.as_str()));
        Ok(Request {
            stream: fields.flag("stream")?.unwrap_or(false),
            max_output,
            stated: Stated::read(&fields)?,
            unknown_field: unknown.map(|field| field.name.clone()),
            extra_output: thinking(&fields)?.saturating_sub(max_output.unwrap_or(0)),
            messages: fields.get("messages").map_or(0, |field| facts::elements(field.value)),
            tools: openai::tools(&fields, &["tools", "response_format", "documents"], &["function"])?,
            tier: WantedTier::Named(Tier::Standard),
            ..named(asked, &fields, body)?
        })
    }

    fn events(&self, _: u64) -> Box<dyn Events> {
        Box::new(Stream)
    }

    fn error_event(&self, _: Framing, told: Told<'_>) -> String {
        let said = told.text();
        let end =
            serde_json::json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": said}});
        format!("event: message-end\ndata: {end}\n\n")
    }
}

/// `embed`.
pub(super) struct Embed;

impl Wire for Embed {
    fn dialect(&self) -> Dialect {
        Dialect::Cohere
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        let fields = Fields::read(body)?;
        fields.refuse_other_spellings(&["model", "texts", "images", "inputs"])?;
        let count = |name: &str| fields.get(name).map_or(0, |field| facts::elements(field.value));
        let images = count("images");
        let mut request = Request {
            messages: count("texts") + images + count("inputs"),
            tier: WantedTier::Named(Tier::Standard),
            ..named(asked, &fields, body)?
        };
        // As data URLs in a list of their own, which the walk over the body does not know.
        request.facts.inline_images += images;
        Ok(request)
    }

    fn events(&self, _: u64) -> Box<dyn Events> {
        Box::new(Stream)
    }

    fn error_event(&self, framing: Framing, told: Told<'_>) -> String {
        Chat.error_event(framing, told)
    }
}

/// `rerank`.
pub(super) struct Rerank;

impl Wire for Rerank {
    fn dialect(&self) -> Dialect {
        Dialect::Cohere
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        let fields = Fields::read(body)?;
        fields.refuse_other_spellings(&["model", "query", "documents", "max_tokens_per_doc"])?;
        let documents = fields.get("documents").filter(|field| field.value != "null");
        let documents: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(documents.map_or("[]", |field| field.value)).map_err(|_| {
                BodyError::WrongKind { field: "documents".to_owned(), wanted: "a list of documents" }
            })?;
        let query = fields.get("query").map_or(0, |field| field.value.len() as u64);
        let most = fields.count("max_tokens_per_doc")?.unwrap_or(MOST_PER_DOCUMENT).max(MOST_PER_DOCUMENT);
        let lengths = documents.iter().map(|document| document.get().len() as u64);
        Ok(Request {
            messages: documents.len() as u64,
            queries: search_units(query, lengths, most),
            tier: WantedTier::Named(Tier::Standard),
            ..named(asked, &fields, body)?
        })
    }

    fn events(&self, _: u64) -> Box<dyn Events> {
        Box::new(Stream)
    }

    fn error_event(&self, framing: Framing, told: Told<'_>) -> String {
        Chat.error_event(framing, told)
    }
}

/// Documents of more tokens than this are cut, unless the request says more.
const MOST_PER_DOCUMENT: u64 = 4_096;

/// Tokens of a chunk, the query's included, and chunks of a search unit, as Cohere's pricing states them.
const CHUNK: u64 = 500;
const UNIT: u64 = 100;

/// The most search units of a rerank: a unit is a query with up to a hundred documents, and a document that
/// is longer than 500 tokens together with the query counts once for each such piece. A token is at least a
/// byte.
fn search_units(query: u64, documents: impl Iterator<Item = u64>, most: u64) -> u64 {
    let room = CHUNK.saturating_sub(query).max(1);
    let pieces =
        documents.fold(0_u64, |sum, bytes| sum.saturating_add(bytes.min(most).div_ceil(room).max(1)));
    pieces.div_ceil(UNIT).max(1)
}

fn named(asked: &Asked<'_>, fields: &Fields<'_>, body: &[u8]) -> Result<Request, RequestError> {
    let model = fields.text("model")?.ok_or(RequestError::Missing("model"))?;
    Ok(Request::of(asked, model, body)?)
}

/// The thinking budget, which may be larger than `max_tokens`.
fn thinking(fields: &Fields<'_>) -> Result<u64, BodyError> {
    let Some(field) = fields.get("thinking").filter(|field| field.value != "null") else { return Ok(0) };
    let inner = Fields::read(field.value.as_bytes())?;
    inner.refuse_other_spellings(&["token_budget"])?;
    Ok(inner.count("token_budget")?.unwrap_or(0))
}

/// Reads the typed events of a chat. The last one holds usage.
struct Stream;

impl Events for Stream {
    fn read(&mut self, data: &[u8]) -> Event {
        #[derive(Deserialize)]
        struct Any {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            delta: serde_json::Value,
        }
        if data.trim_ascii() == b"[DONE]" {
            return Event { done: true, ..Event::default() };
        }
        if memchr::memmem::find(data, b"message-end").is_none() {
            return Event::default();
        }
        match serde_json::from_slice::<Any>(data) {
            Ok(any) if any.kind == "message-end" => {
                let usage = usage::read(Dialect::Cohere, &any.delta);
                let error = any.delta["finish_reason"] == "ERROR" || any.delta["error"].is_string();
                Event { usage, finished: 1, complete: true, error, ..Event::default() }
            }
            _ => Event::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Endpoint;
    use crate::usage::Dimension as D;

    fn request(endpoint: Endpoint, body: &str) -> Result<Request, RequestError> {
        Request::parse(Dialect::Cohere, endpoint, body.as_bytes(), "")
    }

    #[test]
    fn what_bounds_a_chat_is_read() {
        let read = request(
            Endpoint::Chat,
            r#"{"model":"m","stream":true,"max_tokens":10,"thinking":{"type":"enabled","token_budget":25},"messages":[{}]}"#,
        )
        .unwrap();
        assert_eq!((read.max_output, read.extra_output, read.messages), (Some(10), 15, 1));
        assert!(read.stream && read.unknown_field.is_none());
        for refused in [
            r#"{"model":"m","tools":[{"type":"web_search"}]}"#,
            r#"{"model":"m","connectors":[{"id":"web-search"}]}"#,
            r#"{"model":"m","Max_Tokens":1}"#,
            r#"{"messages":[]}"#,
        ] {
            assert!(request(Endpoint::Chat, refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn search_units_count_the_pieces_of_long_documents() {
        assert_eq!(search_units(10, [100; 100].into_iter(), 4_096), 1);
        assert_eq!(search_units(10, [100; 101].into_iter(), 4_096), 2);
        assert_eq!(search_units(10, [4_900; 50].into_iter(), 4_096), 5, "nine pieces each");
        assert_eq!(search_units(600, [4_096].into_iter(), 4_096), 41, "no room beside the query");
        assert_eq!(search_units(1, std::iter::empty(), 4_096), 1);
        let read =
            request(Endpoint::Rerank, r#"{"model":"m","query":"q","documents":["a",{"text":"b"}]}"#).unwrap();
        assert_eq!((read.messages, read.queries), (2, 1));
    }

    #[test]
    fn the_last_event_holds_usage_or_an_error() {
        let mut stream = Stream;
        let delta = br#"{"type":"content-delta","delta":{"message":{"content":{"text":"message-end"}}}}"#;
        assert_eq!(stream.read(delta), Event::default());
        let end = stream.read(
            br#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":5,"output_tokens":7},"tokens":{"input_tokens":71,"output_tokens":7}}}}"#,
        );
        let usage = end.usage.unwrap();
        assert_eq!((usage.get(D::Input), usage.get(D::Output), end.complete), (5, 7, true));
        assert!(
            stream.read(br#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"x"}}"#).error
        );
        assert!(stream.read(b"[DONE]").done);
    }
}
