//! What was asked of a model and what it answered, as messages of parts, whatever the dialect.
//!
//! Owns the reading of bodies. It goes by shapes: the dialects have different ones for different things, and a body
//! that is like none of them has no messages. The form is that of OpenTelemetry's `gen_ai.input.messages`.
//!
//! **Architecture Invariant:** whatever of a message is not read is named as not shown: a program writes its requests
//! as it likes, and what a person does not see must not look as if it were not there.

use serde::Serialize;
use serde_json::{Map, Value};
use wflo_core::content::mended;
use wflo_core::effect::json_bytes;

mod fields;
mod notes;
mod parts;
mod stream;

use self::fields::Fields;
pub(crate) use self::fields::is_label;
pub(crate) use self::notes::Doubled;
use self::parts::Parts;

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) parts: Vec<Part>,
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Part {
    Text {
        content: String,
    },
    Reasoning {
        content: String,
    },
    ToolCall {
        id: String,
        name: String,
        arguments: Value,
    },
    ToolCallResponse {
        id: String,
        response: Value,
    },
    /// What a provider says went wrong.
    Error {
        content: String,
    },
    /// Something that was not kept, and how many bytes it had.
    NotKept {
        bytes: u64,
    },
    /// Something that is not read: what it is called, and how many bytes it has.
    NotShown {
        what: String,
        bytes: u64,
    },
}

impl Part {
    /// About how much it says, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Part::Text { content } | Part::Reasoning { content } | Part::Error { content } => {
                content.len() as u64
            }
            Part::ToolCall { name, arguments, .. } => name.len() as u64 + json_bytes(arguments),
            Part::ToolCallResponse { response, .. } => json_bytes(response),
            Part::NotKept { .. } | Part::NotShown { .. } => 0,
        }
    }
}

/// So many messages and parts are read of one body; of more there is the number.
const MOST: usize = 10_000;

/// The messages of one body.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) messages: Vec<Message>,
    /// How many more there are.
    pub(crate) more: u64,
    /// What stands beside them, and is not shown.
    pub(crate) beside: Option<Part>,
    /// A field stands twice in it, so that two readers read two things.
    pub(crate) is_doubled: bool,
    /// How many messages and parts there are.
    count: usize,
}

impl Said {
    fn add(&mut self, message: Message) {
        if self.count < MOST {
            self.count += message.parts.len().max(1);
            self.messages.push(message);
        } else {
            self.more += 1;
        }
    }

    /// Something that is not read.
    pub(crate) fn not_shown(what: &str, bytes: u64) -> Said {
        Said { beside: Some(Part::NotShown { what: what.to_owned(), bytes }), ..Said::default() }
    }

    fn of(messages: Vec<Message>) -> Said {
        let mut said = Said::default();
        messages.into_iter().filter(|message| !message.parts.is_empty()).for_each(|m| said.add(m));
        said
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn owned(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Arguments that are JSON in a text, as JSON; as they are written where two readers would read two things.
fn parsed(value: &Value) -> Value {
    let Some(text) = value.as_str().filter(|text| !Doubled::is_in(text)) else { return value.clone() };
    serde_json::from_str(text).unwrap_or_else(|_| value.clone())
}

/// A request, of which `not_kept` parts stand there as notes; none where it is no JSON that can be read.
pub(crate) fn asked(request: &str, not_kept: u64) -> Option<Said> {
    let request = mended(request);
    let body: Value = serde_json::from_str(&request).ok()?;
    let mut said = Said { is_doubled: Doubled::is_in(&request), ..Said::default() };
    // A program may write such notes of its own: then nobody knows which is which, and none is taken for one.
    let trusts_notes = !said.is_doubled && notes::count(&body) == not_kept;
    let Value::Object(all) = &body else {
        said.beside = Parts::not_shown(&body);
        return Some(said);
    };
    let mut fields = Fields::of(all);
    let message = |value: &Value, role| message(value, role, trusts_notes);
    for field in ["system", "instructions", "systemInstruction", "system_instruction"] {
        fields.take(field).into_iter().for_each(|value| said.add(message(value, "system")));
    }
    for field in ["messages", "contents", "input", "prompt", "query", "texts", "content"] {
        match fields.take(field) {
            // Numbers are one message, not as many.
            Some(Value::Array(items)) if !items.is_empty() && !items.iter().any(is_said) => {
                let mut parts = Parts::default();
                items.iter().for_each(|item| parts.add(item));
                said.add(Message { role: "user".to_owned(), parts: parts.done() });
            }
            Some(Value::Array(items)) => items.iter().for_each(|item| said.add(message(item, "user"))),
            Some(other) => said.add(message(other, "user")),
            None => {}
        }
    }
    said.beside = fields.rest();
    Some(said)
}

/// Whether a value can say something: all but numbers, truths and lists of those.
fn is_said(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Object(_) => true,
        Value::Array(items) => items.iter().any(is_said),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An answer, whole or as the events of a stream.
pub(crate) fn answered(body: &str) -> Said {
    let body = mended(body);
    let messages = match serde_json::from_str::<Value>(&body) {
        Ok(Value::Array(chunks)) => stream::gathered(&chunks),
        Ok(whole) => said(&whole),
        Err(_) => stream::gathered(&stream::events(&body)),
    };
    let mut said = Said::of(messages);
    said.is_doubled = Doubled::is_in(&body);
    if said.messages.is_empty() && !body.trim().is_empty() {
        said.beside = Some(Part::NotShown { what: "the answer".to_owned(), bytes: body.len() as u64 });
    }
    said
}

/// A whole answer.
fn said(body: &Value) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut add = |value: &Value| {
        if !value.is_null() {
            messages.push(message(value, "assistant", false));
        }
    };
    for choice in list(&body["choices"]) {
        add(&choice["message"]);
        add(&choice["text"]);
    }
    list(&body["output"]).iter().for_each(&mut add);
    list(&body["candidates"]).iter().for_each(|candidate| add(&candidate["content"]));
    if body["message"].is_object() {
        add(&body["message"]);
    }
    if body["content"].is_array() {
        messages.push(message(&body["content"], body["role"].as_str().unwrap_or("assistant"), false));
    }
    if messages.is_empty() && !body["error"].is_null() {
        let content =
            text(&body["error"]["message"]).map_or_else(|| body["error"].to_string(), str::to_owned);
        messages.push(Message { role: "assistant".to_owned(), parts: vec![Part::Error { content }] });
    }
    messages
}

/// A message of any dialect: a text, a list of parts, an item of a response.
pub(crate) fn message(value: &Value, role: &str, trusts_notes: bool) -> Message {
    let mut parts = Parts::trusting(trusts_notes);
    let mut own = None;
    match value {
        Value::Object(all) => {
            let mut fields = Fields::of(all);
            own = fields.take_text("role").map(|role| if role == "model" { "assistant" } else { role });
            own = own.or(match all.get("type").and_then(Value::as_str) {
                Some("function_call" | "reasoning") => Some("assistant"),
                Some("function_call_output") => Some("tool"),
                _ => None,
            });
            parts.object(fields, own.unwrap_or(role));
        }
        other => parts.add(other),
    }
    Message { role: own.unwrap_or(role).to_owned(), parts: parts.done() }
}

/// The tools that messages ask for: id, name and arguments.
pub(crate) fn tool_calls(messages: &[Message]) -> impl Iterator<Item = (&str, &str, &Value)> {
    messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::ToolCall { id, name, arguments } => Some((id.as_str(), name.as_str(), arguments)),
        _ => None,
    })
}

/// The calls whose results stand in a piece of a list.
pub(crate) fn results(piece: &str) -> Vec<String> {
    let piece = mended(piece);
    let inner = piece.trim().trim_start_matches(['[', ',']).trim();
    let read = |inner: &str| serde_json::from_str::<Vec<Value>>(&format!("[{inner}]")).ok();
    let items = read(inner).or_else(|| read(inner.strip_suffix(']')?)).unwrap_or_default();
    let parts = items.iter().flat_map(|item| message(item, "user", false).parts);
    parts
        .filter_map(|part| match part {
            Part::ToolCallResponse { id, .. } => Some(id),
            _ => None,
        })
        .collect()
}

/// A tool's answer: blocks of nothing but text as the text.
fn plain(value: &Value) -> Value {
    let Some(blocks) = value.as_array() else { return value.clone() };
    let of_block = |block: &Map<String, Value>| {
        let mut fields = Fields::of(block);
        let text = fields.take("text")?.as_str()?.to_owned();
        fields.rest().is_none().then_some(text)
    };
    let texts: Option<Vec<String>> = blocks.iter().map(|block| of_block(block.as_object()?)).collect();
    texts.map_or_else(|| value.clone(), |texts| Value::String(texts.join("\n")))
}

#[cfg(test)]
mod tests;
