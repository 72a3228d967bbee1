//! The events of a streamed answer, put together.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Message, list, message, owned, parsed, said};

/// The JSON of each event of a stream.
pub(super) fn events(body: &str) -> Vec<Value> {
    let data = body.lines().filter_map(|line| line.trim_start().strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
}

/// What they say.
pub(super) fn gathered(events: &[Value]) -> Vec<Message> {
    let kind = |event: &Value, kind: &str| event["type"] == kind;
    // OpenAI's responses end with the whole of it.
    let whole = |event: &&Value| {
        event["response"]["output"].is_array() && !list(&event["response"]["output"]).is_empty()
    };
    if let Some(last) = events.iter().rev().find(whole) {
        return said(&last["response"]);
    }
    let items = events.iter().filter(|event| kind(event, "response.output_item.done"));
    let items: Vec<Message> = items.map(|event| message(&event["item"], "assistant", false)).collect();
    if !items.is_empty() {
        return items;
    }
    let made = if events.iter().any(|event| event["choices"].is_array()) {
        choices(events)
    } else if events.iter().any(|event| kind(event, "content_block_start")) {
        vec![blocks(events)]
    } else if events.iter().any(|event| event["candidates"].is_array()) {
        vec![candidate(events)]
    } else {
        vec![cohere(events)]
    };
    made.iter().map(|made| message(made, "assistant", false)).collect()
}

/// Adds a piece to a text.
fn append(text: &mut Value, piece: &Value) {
    if let Some(piece) = piece.as_str() {
        *text = Value::String(text.as_str().unwrap_or_default().to_owned() + piece);
    }
}

/// Adds a piece of a tool call, as OpenAI and Cohere have it.
fn add_call(calls: &mut BTreeMap<u64, Value>, index: u64, piece: &Value) {
    let call = calls.entry(index).or_insert_with(|| json!({ "function": {} }));
    if let Some(id) = piece["id"].as_str().filter(|id| !id.is_empty()) {
        call["id"] = json!(id);
    }
    append(&mut call["function"]["name"], &piece["function"]["name"]);
    append(&mut call["function"]["arguments"], &piece["function"]["arguments"]);
}

/// Chunks of OpenAI's chat completions, and of completions.
fn choices(events: &[Value]) -> Vec<Value> {
    let mut made: BTreeMap<u64, (Value, BTreeMap<u64, Value>)> = BTreeMap::new();
    for choice in events.iter().flat_map(|event| list(&event["choices"])) {
        let (message, calls) = made.entry(choice["index"].as_u64().unwrap_or(0)).or_default();
        let delta = &choice["delta"];
        for field in ["content", "reasoning_content", "reasoning", "refusal"] {
            append(&mut message[field], &delta[field]);
        }
        append(&mut message["content"], &choice["text"]);
        if delta["function_call"].is_object() {
            add_call(calls, u64::MAX, &json!({ "function": delta["function_call"] }));
        }
        for call in list(&delta["tool_calls"]) {
            add_call(calls, call["index"].as_u64().unwrap_or(0), call);
        }
    }
    let with_calls = |(mut message, calls): (Value, BTreeMap<u64, Value>)| {
        message["tool_calls"] = calls.into_values().collect();
        message
    };
    made.into_values().map(with_calls).collect()
}

/// Blocks of Anthropic's messages.
fn blocks(events: &[Value]) -> Value {
    let mut made: BTreeMap<u64, (Value, Value)> = BTreeMap::new();
    for event in events {
        let index = event["index"].as_u64().unwrap_or(0);
        let delta = &event["delta"];
        match event["type"].as_str() {
            // What is no object has no parts.
            Some("content_block_start") if event["content_block"].is_object() => {
                made.insert(index, (event["content_block"].clone(), Value::Null));
            }
            Some("content_block_delta") => {
                let Some((block, input)) = made.get_mut(&index) else { continue };
                for field in ["text", "thinking"] {
                    append(&mut block[field], &delta[field]);
                }
                append(input, &delta["partial_json"]);
            }
            _ => {}
        }
    }
    let blocks = made.into_values().map(|(mut block, input)| {
        if input.is_string() {
            block["input"] = parsed(&input);
        }
        block
    });
    json!({ "content": blocks.collect::<Vec<_>>() })
}

/// Chunks of Google's contents: texts that follow each other are one.
fn candidate(events: &[Value]) -> Value {
    let mut parts: Vec<Value> = Vec::new();
    for part in events.iter().flat_map(|event| list(&event["candidates"][0]["content"]["parts"])) {
        // One that has anything else beside its text stays by itself.
        let is_text = |part: &Value| {
            let known =
                |all: &Map<String, Value>| all.keys().all(|key| matches!(key.as_str(), "text" | "thought"));
            part["text"].is_string() && part.as_object().is_some_and(known)
        };
        match parts.last_mut() {
            Some(last) if is_text(last) && is_text(part) && last["thought"] == part["thought"] => {
                append(&mut last["text"], &part["text"]);
            }
            _ => parts.push(part.clone()),
        }
    }
    json!({ "parts": parts })
}

/// Events of Cohere's chat.
fn cohere(events: &[Value]) -> Value {
    let (mut content, mut calls) = (Value::Null, BTreeMap::new());
    for event in events {
        let delta = &event["delta"]["message"];
        append(&mut content, &delta["content"]["text"]);
        if delta["tool_calls"].is_object() {
            add_call(&mut calls, event["index"].as_u64().unwrap_or(0), &delta["tool_calls"]);
        }
    }
    let mut message = Map::new();
    message.insert("content".to_owned(), json!(owned(&content)));
    message.insert("tool_calls".to_owned(), calls.into_values().collect());
    Value::Object(message)
}
