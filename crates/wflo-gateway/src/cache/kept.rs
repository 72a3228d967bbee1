//! Whether an answer is one that may be given again: only what is certainly a finished good one.

mod finished;

use http::{HeaderMap, header};
use serde_json::Value;

use self::finished::is_finished;
use crate::dialect::json::Fields;
use crate::dialect::wire::wire;
use crate::dialect::{Dialect, Endpoint};
use crate::framing::{Framing, Piece};
use crate::ledger::Recorded;
use crate::secret::{REDACTED, Secret};
use crate::usage::Usage;

/// What was asked, as far as it decides what an answer looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    /// How many answers were asked for in one.
    pub(crate) choices: u64,
}

/// What a model or a client wrote: what is called an error in there is none of the answer's.
const THEIRS: [&str; 4] = ["args", "input", "metadata", "tools"];

/// Whether the head of an answer lets it be kept: its bytes are what they say, and its server does not forbid it.
pub(crate) fn may_keep(headers: &HeaderMap) -> bool {
    let says = |name, word: &str| {
        let values = headers.get_all(name).iter();
        values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(|part| {
            let name = part.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(word.as_bytes())
        })
    };
    let plain = headers.get_all(header::CONTENT_ENCODING).iter();
    let plain = plain.map(|value| value.as_bytes()).all(|value| value.eq_ignore_ascii_case(b"identity"));
    plain && !says(header::CACHE_CONTROL, "no-store")
}

/// Whether an answer is whole, was a success, has a bill that is known, and holds nothing of its provider's key
/// nor a mark where it stood.
pub(crate) fn is_kept(
    asked: Asked,
    recorded: &Recorded,
    usage: Option<&Usage>,
    uncertain: bool,
    key: Option<&Secret>,
) -> bool {
    let whole = recorded.status == 200 && !recorded.interrupted && recorded.broke.is_none();
    if !whole || uncertain || usage.is_none() || recorded.body.is_empty() {
        return false;
    }
    if memchr::memmem::find(&recorded.body, REDACTED.as_bytes()).is_some() {
        return false;
    }
    let content = recorded.headers.iter().find(|(name, _)| name == "content-type");
    let content = content.map_or("", |(_, value)| value.as_str());
    let Some((events, streamed)) = events(asked, content, &recorded.body) else { return false };
    events.iter().all(|event| !says_error(event) && !key.is_some_and(|key| holds(event, key.expose())))
        && is_finished(asked, &events, streamed)
}

/// What an answer says, in its order, and whether it came in pieces; `None` of what cannot be read, or says in
/// its framing that it failed.
fn events(asked: Asked, content: &str, body: &[u8]) -> Option<(Vec<Value>, bool)> {
    match wire(asked.dialect, asked.endpoint).framing(content) {
        Some(Framing::Events) => {
            let mut splitter = Framing::Events.splitter(usize::MAX);
            splitter.push(body);
            let mut events = Vec::new();
            while let Ok(Some(piece)) = splitter.next_piece() {
                events.extend(event(&piece)?);
            }
            if let Some(piece) = splitter.rest() {
                events.extend(event(&piece)?);
            }
            Some((events, true))
        }
        Some(Framing::Array) if body.trim_ascii_start().first() == Some(&b'[') => {
            Some((serde_json::from_slice(body).ok()?, true))
        }
        // A name that stands there twice is one thing to one reader and another to the next.
        _ if content.contains("json") && Fields::read(body).is_ok() => {
            Some((vec![serde_json::from_slice(body).ok()?], false))
        }
        _ => None,
    }
}

/// What an event says: nothing of a comment or an end mark; `None` of an error or of what cannot be read.
fn event(piece: &Piece) -> Option<Option<Value>> {
    let lines = piece.raw.split(|byte| matches!(byte, b'\n' | b'\r'));
    let named = lines.filter_map(|line| line.strip_prefix(b"event")).any(|name| {
        memchr::memmem::find(name, b"error").is_some() || memchr::memmem::find(name, b"fail").is_some()
    });
    let data = piece.data.trim_ascii();
    match data {
        _ if named => None,
        b"" | b"[DONE]" => Some(None),
        _ => serde_json::from_slice(data).ok().map(Some),
    }
}

/// Whether anything in it, as deep as it may be, is an error.
fn says_error(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(says_error),
        Value::Object(fields) => fields.iter().any(|(name, value)| match name.as_str() {
            "error" | "errors" => !says_nothing(value),
            "type" | "object" if value == "error" => true,
            name => !THEIRS.contains(&name) && says_error(value),
        }),
        _ => false,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Whether a text stands in it, however it is escaped.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found.contains(text),
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains(text) || holds(value, text)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
