//! What was asked of a model and what it answered, as messages of parts, whatever the dialect.
//!
//! Owns the reading of bodies. It goes by shapes: the dialects have different ones for different things, and a body
//! that is like none of them has no messages. The form is that of OpenTelemetry's `gen_ai.input.messages`.

use serde::Serialize;
use serde_json::Value;
use wflo_core::content::NOT_KEPT;

mod stream;

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
    /// Anything else: what it is.
    Other {
        content: String,
    },
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

/// Arguments that are JSON in a text, as JSON.
fn parsed(value: &Value) -> Value {
    match value.as_str().map(serde_json::from_str) {
        Some(Ok(parsed)) => parsed,
        _ => value.clone(),
    }
}

/// A request.
pub(crate) fn asked(body: &Value) -> Vec<Message> {
    let mut messages = Vec::new();
    for field in ["system", "instructions", "systemInstruction", "system_instruction"] {
        messages.extend(message(&body[field], "system"));
    }
    for field in ["messages", "contents"] {
        messages.extend(list(&body[field]).iter().filter_map(|one| message(one, "user")));
    }
    for field in ["input", "prompt", "query", "texts", "content"] {
        match &body[field] {
            Value::Array(items) => messages.extend(items.iter().filter_map(|item| message(item, "user"))),
            other => messages.extend(message(other, "user")),
        }
    }
    messages
}

/// An answer, whole or as the events of a stream.
pub(crate) fn answered(body: &str) -> Vec<Message> {
    match serde_json::from_str::<Value>(body) {
        Ok(Value::Array(chunks)) => stream::gathered(&chunks),
        Ok(whole) => said(&whole),
        Err(_) => stream::gathered(&stream::events(body)),
    }
}

/// A whole answer.
fn said(body: &Value) -> Vec<Message> {
    let mut messages = Vec::new();
    for choice in list(&body["choices"]) {
        messages.extend(message(&choice["message"], "assistant"));
        messages.extend(message(&choice["text"], "assistant"));
    }
    messages.extend(list(&body["output"]).iter().filter_map(|item| message(item, "assistant")));
    for candidate in list(&body["candidates"]) {
        messages.extend(message(&candidate["content"], "assistant"));
    }
    messages.extend(message(&body["message"], "assistant").filter(|_| body["message"].is_object()));
    if body["content"].is_array() {
        messages.extend(message(body, "assistant"));
    }
    if messages.is_empty() && !body["error"].is_null() {
        let error = text(&body["error"]["message"]).map_or_else(|| body["error"].to_string(), str::to_owned);
        let parts = vec![Part::Other { content: format!("error: {error}") }];
        messages.push(Message { role: "assistant".to_owned(), parts });
    }
    messages
}

/// A message of any dialect: a text, a list of parts, an item of a response.
pub(crate) fn message(value: &Value, role: &str) -> Option<Message> {
    if value.is_null() {
        return None;
    }
    let kind = value["type"].as_str().unwrap_or_default();
    let role = match (value["role"].as_str(), kind) {
        (Some("model"), _) | (None, "function_call" | "reasoning") => "assistant",
        (None, "function_call_output") => "tool",
        (Some(role), _) => role,
        (None, _) => role,
    };
    let mut parts = Vec::new();
    match (value, kind) {
        (Value::String(content), _) if content.is_empty() => {}
        (Value::String(content), _) => parts.push(Part::Text { content: content.clone() }),
        (Value::Array(blocks), _) => parts.extend(blocks.iter().filter_map(part)),
        (_, "function_call") => parts.push(Part::ToolCall {
            id: owned(&value["call_id"]),
            name: owned(&value["name"]),
            arguments: parsed(&value["arguments"]),
        }),
        (_, "function_call_output") => parts
            .push(Part::ToolCallResponse { id: owned(&value["call_id"]), response: plain(&value["output"]) }),
        (_, "reasoning") => {
            let summary = list(&value["summary"]).iter().chain(list(&value["content"]));
            let content: Vec<&str> = summary.filter_map(|part| text(&part["text"])).collect();
            parts.extend((!content.is_empty()).then(|| Part::Reasoning { content: content.join("\n") }));
        }
        _ if role == "tool" && value["tool_call_id"].is_string() => parts.push(Part::ToolCallResponse {
            id: owned(&value["tool_call_id"]),
            response: plain(&value["content"]),
        }),
        (Value::Object(_), _) => {
            for field in ["reasoning_content", "reasoning"] {
                parts.extend(
                    text(&value[field]).map(|content| Part::Reasoning { content: content.to_owned() }),
                );
            }
            match &value["content"] {
                Value::String(content) if content.is_empty() => {}
                Value::String(content) => parts.push(Part::Text { content: content.clone() }),
                Value::Array(blocks) => parts.extend(blocks.iter().filter_map(part)),
                _ => {}
            }
            parts.extend(list(&value["parts"]).iter().filter_map(part));
            parts.extend(text(&value["refusal"]).map(|content| Part::Text { content: content.to_owned() }));
            parts.extend(list(&value["tool_calls"]).iter().map(|call| Part::ToolCall {
                id: owned(&call["id"]),
                name: owned(&call["function"]["name"]),
                arguments: parsed(&call["function"]["arguments"]),
            }));
            if parts.is_empty() && value.get("content").is_none() {
                parts.extend(part(value));
            }
        }
        _ => parts.push(Part::Other { content: value.to_string() }),
    }
    (!parts.is_empty()).then(|| Message { role: role.to_owned(), parts })
}

/// A part of a message.
fn part(value: &Value) -> Option<Part> {
    if let Some(note) = value.get(NOT_KEPT) {
        let bytes = note["bytes"].as_u64().unwrap_or_default();
        return Some(Part::Other { content: format!("{bytes} bytes, which were not kept") });
    }
    let call = ["functionCall", "function_call"].map(|name| &value[name]);
    if let Some(call) = call.into_iter().find(|call| call.is_object()) {
        let name = owned(&call["name"]);
        let id = text(&call["id"]).map_or_else(|| name.clone(), str::to_owned);
        return Some(Part::ToolCall { id, name, arguments: call["args"].clone() });
    }
    let answer = ["functionResponse", "function_response"].map(|name| &value[name]);
    if let Some(answer) = answer.into_iter().find(|answer| answer.is_object()) {
        let id = text(&answer["id"]).map_or_else(|| owned(&answer["name"]), str::to_owned);
        return Some(Part::ToolCallResponse { id, response: answer["response"].clone() });
    }
    match value["type"].as_str().unwrap_or_default() {
        "tool_use" => Some(Part::ToolCall {
            id: owned(&value["id"]),
            name: owned(&value["name"]),
            arguments: value["input"].clone(),
        }),
        "tool_result" => Some(Part::ToolCallResponse {
            id: owned(&value["tool_use_id"]),
            response: plain(&value["content"]),
        }),
        "thinking" => text(&value["thinking"]).map(|content| Part::Reasoning { content: content.to_owned() }),
        kind => match value {
            Value::String(content) => Some(Part::Text { content: content.clone() }),
            _ => match text(&value["text"]) {
                Some(content) if value["thought"] == true => {
                    Some(Part::Reasoning { content: content.to_owned() })
                }
                Some(content) => Some(Part::Text { content: content.to_owned() }),
                None if value["text"].is_string() => None,
                None if !kind.is_empty() => Some(Part::Other { content: kind.to_owned() }),
                None => {
                    let names = value.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
                    names
                        .filter(|names| !names.is_empty())
                        .map(|names| Part::Other { content: names.join(", ") })
                }
            },
        },
    }
}

/// A tool's answer: blocks of text as the text.
fn plain(value: &Value) -> Value {
    let Some(blocks) = value.as_array() else { return value.clone() };
    let texts: Option<Vec<&str>> = blocks.iter().map(|block| block["text"].as_str()).collect();
    texts.map_or_else(|| value.clone(), |texts| Value::String(texts.join("\n")))
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
    let inner = piece.trim().trim_start_matches(['[', ',']).trim();
    let read = |inner: &str| serde_json::from_str::<Vec<Value>>(&format!("[{inner}]")).ok();
    let items = read(inner).or_else(|| read(inner.strip_suffix(']')?)).unwrap_or_default();
    let parts = items.iter().filter_map(|item| message(item, "user")).flat_map(|message| message.parts);
    parts
        .filter_map(|part| match part {
            Part::ToolCallResponse { id, .. } => Some(id),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
