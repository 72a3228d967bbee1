//! Anthropic messages and count_tokens.
//!
//! Owns reading a request's facts, the usage of a body or of a stream's events, and which events
//! the gateway may not hand on before the call is settled.

use serde::Deserialize;

use super::errors::{self, Told};
use super::json::{BodyError, Fields};
use super::limit::Stated;
use super::request::{Request, RequestError, Tools, WantedTier};
use super::wire::{Asked, Event, Events, Wire};
use super::{Dialect, facts, foreign, openai, thoughts};
use crate::framing::Framing;
use crate::usage::{self, Usage};

/// Fields that decide the cost: another spelling of one of them is refused.
const KNOWN: [&str; 14] = [
    "model",
    "messages",
    "system",
    "stream",
    "max_tokens",
    "tools",
    "thinking",
    "service_tier",
    "inference_geo",
    "speed",
    "mcp_servers",
    "container",
    "context_management",
    "cache_control",
];

/// Fields of Anthropic's own that are in no other server's table.
const OWN: [&str; 9] = [
    "system",
    "stop_sequences",
    "mcp_servers",
    "container",
    "context_management",
    "cache_control",
    "output_config",
    "inference_geo",
    "speed",
];

/// Tool types that the client runs itself; any other type runs at the provider.
const CLIENT_TOOLS: [&str; 5] = ["bash_", "text_editor_", "computer_", "memory_", "custom"];

/// Tools that run at the provider, at most as often as their `max_uses` says. Later versions of them run
/// code of the model's, which nothing bounds.
const BOUNDED_TOOLS: [&str; 2] = ["web_search_20250305", "web_fetch_20250910"];

/// `messages` and `messages/count_tokens`.
pub(super) struct Messages {
    /// What is asked generates, and is billed.
    pub(super) billed: bool,
}

impl Wire for Messages {
    fn dialect(&self) -> Dialect {
        Dialect::Anthropic
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        let fields = Fields::read(body)?;
        for known in [&KNOWN[..], &foreign::LIMITS, &foreign::CHOICES] {
            fields.refuse_other_spellings(known)?;
        }
        if self.billed {
            refuse_unbounded(&fields)?;
            // Other servers speak this dialect as well, and read what they read elsewhere.
            openai::refuse_unbounded(&fields)?;
        }
        let model = fields.text("model")?.ok_or(RequestError::Missing("model"))?;
        let max_output = fields.count("max_tokens")?.max(foreign::largest(&fields, &foreign::LIMITS)?);
        Ok(Request {
            stream: self.billed && fields.flag("stream")?.unwrap_or(false),
            max_output,
            stated: Stated::read(&fields)?,
            unknown_field: foreign::unknown(&fields, &[&OWN[..], &openai::refused()].concat()),
            choices: foreign::largest(&fields, &foreign::CHOICES)?.unwrap_or(1),
            thoughts: thoughts::read(&fields)?,
            extra_output: thinking(&fields)?.saturating_sub(max_output.unwrap_or(0)),
            messages: fields.get("messages").map_or(0, |field| facts::elements(field.value)),
            tools: tools(&fields, self.billed)?,
            // Anthropic's priority tier is paid by commitment; its rates per token are the same.
            tier: match fields.text("service_tier")?.as_deref() {
                None | Some("auto" | "standard_only") => WantedTier::Named(crate::price::Tier::Standard),
                Some(name) => WantedTier::of(name),
            },
            geo_us: fields.text("inference_geo")?.as_deref() != Some("global"),
            fast: fields.text("speed")?.as_deref() == Some("fast"),
            longer_context: asked.beta.contains("context-1m").then_some(1_000_000),
            ..Request::of(asked, model, body)?
        })
    }

    fn events(&self, _: u64) -> Box<dyn Events> {
        Box::new(Stream::default())
    }

    fn error_event(&self, _: Framing, told: Told<'_>) -> String {
        format!("event: error\ndata: {}\n\n", errors::body(Dialect::Anthropic, told))
    }
}

fn refuse_unbounded(fields: &Fields<'_>) -> Result<(), RequestError> {
    let present = |name: &str| fields.get(name).filter(|field| field.value != "null" && field.value != "[]");
    for name in ["mcp_servers", "container"] {
        if present(name).is_some() {
            return Err(RequestError::Unboundable {
                what: format!("`{name}` lets the provider work on its own, billed by use"),
                instead: format!("Leave `{name}` out, and run tools in your program."),
            });
        }
    }
    if present("context_management")
        .is_some_and(|field| field.value.contains("compact") || field.value.contains('\\'))
    {
        return Err(RequestError::Unboundable {
            what: "`context_management` asks for compaction, a further model call inside this one".to_owned(),
            instead: "Leave compaction out, or compact in your program.".to_owned(),
        });
    }
    Ok(())
}

/// The thinking budget, which may be larger than `max_tokens` when thinking is interleaved.
fn thinking(fields: &Fields<'_>) -> Result<u64, RequestError> {
    let Some(field) = fields.get("thinking").filter(|field| field.value != "null") else { return Ok(0) };
    let inner = Fields::read(field.value.as_bytes())?;
    Ok(inner.count("budget_tokens")?.unwrap_or(0))
}

fn tools(fields: &Fields<'_>, billed: bool) -> Result<Tools, RequestError> {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        max_uses: Option<u64>,
    }
    let mut tools = Tools::default();
    for name in ["output_format", "output_config"] {
        tools.bytes += fields.get(name).map_or(0, |field| field.value.len() as u64);
    }
    let Some(field) = fields.get("tools").filter(|field| field.value != "null") else { return Ok(tools) };
    tools.bytes += field.value.len() as u64;
    let all: Vec<Tool> = serde_json::from_str(field.value)
        .map_err(|_| BodyError::WrongKind { field: "tools".to_owned(), wanted: "a list of tools" })?;
    tools.count = all.len() as u64;
    for Tool { kind, max_uses } in all {
        let Some(kind) = kind else { continue };
        let at_provider = !CLIENT_TOOLS.iter().any(|prefix| kind.starts_with(prefix));
        match max_uses.filter(|_| BOUNDED_TOOLS.contains(&kind.as_str())) {
            Some(uses) if at_provider => {
                tools.rounds = tools.rounds.saturating_add(uses);
                if kind.starts_with("web_search") {
                    tools.searches = tools.searches.saturating_add(uses);
                }
            }
            _ if at_provider && billed => {
                let instead = match BOUNDED_TOOLS.contains(&kind.as_str()) {
                    true => "Say how often at most: `max_uses` of the tool.",
                    false => "Use tools that your program runs.",
                };
                return Err(RequestError::Unboundable {
                    what: format!("the tool `{kind}` runs at the provider and is billed by use"),
                    instead: instead.to_owned(),
                });
            }
            _ => {}
        }
        tools.predefined += u64::from(kind != "custom");
    }
    Ok(tools)
}

/// The usage of a message, or of one event of its stream, as the provider writes it.
#[derive(Deserialize, Default, Clone)]
pub struct Counts(serde_json::Map<String, serde_json::Value>);

impl Counts {
    /// These counts with what a later event says in their place: the counts of a stream are
    /// cumulative.
    #[must_use]
    pub fn then(mut self, later: Counts) -> Counts {
        usage::merge_anthropic(&mut self.0, &later.0);
        self
    }

    /// As usage, once input and output are known.
    pub fn usage(&self) -> Option<Usage> {
        usage::read(Dialect::Anthropic, &serde_json::Value::Object(self.0.clone()))
    }
}

/// The usage of a whole message; `None` when it has none or is no JSON.
pub fn usage(body: &[u8]) -> Option<Usage> {
    usage::of_answer(Dialect::Anthropic, body)
}

/// The counts of a stream's events, which are cumulative.
#[derive(Default)]
struct Stream {
    counts: Counts,
}

impl Events for Stream {
    fn read(&mut self, data: &[u8]) -> Event {
        #[derive(Deserialize)]
        struct Start {
            #[serde(default)]
            usage: Option<Counts>,
        }
        #[derive(Deserialize)]
        struct Any {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            usage: Option<Counts>,
            #[serde(default)]
            message: Option<Start>,
        }
        // Deltas of content are nearly all events, and hold nothing that is wanted here.
        if memchr::memmem::find(data, b"message").is_none() && memchr::memmem::find(data, b"error").is_none()
        {
            return Event::default();
        }
        let Ok(any) = serde_json::from_slice::<Any>(data) else { return Event::default() };
        let mut counted = |counts: Option<Counts>| {
            self.counts = std::mem::take(&mut self.counts).then(counts?);
            self.counts.usage()
        };
        match any.kind.as_str() {
            "message_start" => {
                Event { usage: counted(any.message.and_then(|message| message.usage)), ..Event::default() }
            }
            "message_delta" => Event { usage: counted(any.usage), finished: 1, ..Event::default() },
            "message_stop" => Event { finished: 1, complete: true, done: true, ..Event::default() },
            "error" => Event { error: true, ..Event::default() },
            _ => Event::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Dimension as D;

    fn request(body: &str) -> Result<Request, RequestError> {
        Request::parse(Dialect::Anthropic, crate::dialect::Endpoint::Messages, body.as_bytes(), "")
    }

    #[test]
    fn counts_of_a_stream_are_cumulative() {
        let mut stream = Stream::default();
        let start = stream.read(br#"{"type":"message_start","message":{"usage":{"input_tokens":25,"cache_read_input_tokens":7,"output_tokens":1}}}"#);
        assert_eq!(start.finished, 0);
        let end = stream.read(
            br#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#,
        );
        assert!(end.finished == 1 && !end.done);
        let usage = end.usage.unwrap();
        assert_eq!([D::Input, D::CacheRead, D::Output].map(|dimension| usage.get(dimension)), [25, 7, 15]);
        assert!(stream.read(br#"{"type":"message_stop"}"#).done);
        assert_eq!(
            stream.read(br#"{"type":"content_block_delta","delta":{"text":"a message"}}"#),
            Event::default()
        );
    }

    #[test]
    fn hour_long_cache_writes_are_counted_apart() {
        let usage = usage(
            br#"{"usage":{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":10,
            "cache_creation":{"ephemeral_1h_input_tokens":4,"ephemeral_5m_input_tokens":6}}}"#,
        )
        .unwrap();
        assert_eq!((usage.get(D::CacheWrite), usage.get(D::CacheWriteLong)), (6, 4));
    }

    #[test]
    fn what_runs_at_the_provider_is_refused() {
        assert!(
            request(
                r#"{"model":"m","max_tokens":1,"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#
            )
            .is_err()
        );
        assert!(request(r#"{"model":"m","max_tokens":1,"mcp_servers":[{"url":"x"}]}"#).is_err());
        let bash = request(
            r#"{"model":"m","max_tokens":1,"tools":[{"type":"bash_20250124","name":"bash"},{"name":"f"}]}"#,
        )
        .unwrap();
        assert_eq!((bash.tools.count, bash.tools.predefined), (2, 1));
    }

    #[test]
    fn a_thinking_budget_above_max_tokens_counts() {
        let request =
            request(r#"{"model":"m","max_tokens":100,"thinking":{"type":"enabled","budget_tokens":250}}"#)
                .unwrap();
        assert_eq!((request.max_output, request.extra_output), (Some(100), 150));
    }
}
