//! A chat in OpenAI's shape said in Cohere's, and its answer read back.
//!
//! Owns both ways of the translation. What has no counterpart is an error that names it; nothing is left out
//! silently. Parameters that only Cohere has (`documents`, `safety_mode`, `thinking` …) pass as they are.

use serde_json::{Map, Value, json};

use super::given;
use super::reply::{Gathered, reply, text_of};
use super::{CallError, ChatCall, ChatReply, Delta, ToolCall};
use crate::dialect::Dialect;

/// Parameters by their names here and there.
const NAMES: [(&str, &str); 4] =
    [("max_completion_tokens", "max_tokens"), ("top_p", "p"), ("top_k", "k"), ("stop", "stop_sequences")];

/// Cohere's own parameters, and those that are the same in both dialects.
const SAME: [&str; 16] = [
    "max_tokens",
    "temperature",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "k",
    "p",
    "stop_sequences",
    "tools",
    "strict_tools",
    "documents",
    "citation_options",
    "safety_mode",
    "thinking",
    "priority",
];

fn cannot(what: impl Into<String>) -> CallError {
    given::cannot(Dialect::Cohere, what)
}

pub(super) fn request(call: &ChatCall) -> Result<Map<String, Value>, CallError> {
    let mut body = Map::new();
    body.insert("model".to_owned(), call.model.clone().into());
    for (name, value) in &call.request {
        if value.is_null() || matches!(name.as_str(), "model" | "stream" | "stream_options" | "messages") {
            continue;
        }
        if let Some((_, theirs)) = NAMES.iter().find(|(ours, _)| ours == name) {
            let list = name == "stop" && value.is_string();
            let value = if list { json!([value]) } else { value.clone() };
            body.insert((*theirs).to_owned(), value);
            continue;
        }
        match name.as_str() {
            "n" if *value == json!(1) => {}
            "parallel_tool_calls" if *value == json!(true) => {}
            "tool_choice" => match value.as_str() {
                Some("auto") => {}
                Some(word @ ("none" | "required")) => {
                    body.insert("tool_choice".to_owned(), word.to_ascii_uppercase().into());
                }
                _ => return Err(cannot(format!("the tool choice {value}"))),
            },
            "response_format" => {
                body.insert("response_format".to_owned(), format(value)?);
            }
            same if SAME.contains(&same) => {
                body.insert(same.to_owned(), value.clone());
            }
            other => return Err(cannot(format!("the parameter `{other}`"))),
        }
    }
    let list = given::messages(call, Dialect::Cohere)?;
    let messages = list.iter().map(message).collect::<Result<Vec<Value>, CallError>>()?;
    body.insert("messages".to_owned(), messages.into());
    if call.stream {
        body.insert("stream".to_owned(), true.into());
    }
    Ok(body)
}

fn format(wanted: &Value) -> Result<Value, CallError> {
    match wanted["type"].as_str() {
        Some("text" | "json_object") => Ok(wanted.clone()),
        Some("json_schema") => {
            Ok(json!({ "type": "json_object", "json_schema": wanted["json_schema"]["schema"] }))
        }
        _ => Err(cannot(format!("the response format {}", wanted["type"]))),
    }
}

fn message(given: &Value) -> Result<Value, CallError> {
    match given["role"].as_str() {
        Some("developer") => Ok(json!({ "role": "system", "content": given["content"] })),
        Some("system" | "user" | "tool") => Ok(given.clone()),
        Some("assistant") => {
            let mut out = given.clone();
            let calls = given["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
            if !calls.is_empty() {
                out["tool_calls"] = calls.iter().map(tool_call).collect();
            }
            if let Some(fields) = out.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
            }
            Ok(out)
        }
        _ => Err(cannot(format!("a message of the role {}", given["role"]))),
    }
}

/// A call in OpenAI's own shape, which is Cohere's too, or in the one of a reply's `tool_calls`.
fn tool_call(call: &Value) -> Value {
    if call["function"].is_object() {
        return call.clone();
    }
    let function = json!({ "name": call["name"], "arguments": call["arguments"] });
    json!({ "id": call["id"], "type": "function", "function": function })
}

/// Cohere's finish reason in OpenAI's words.
fn finish_of(finish: &str) -> String {
    match finish {
        "COMPLETE" | "STOP_SEQUENCE" => "stop",
        "MAX_TOKENS" => "length",
        "TOOL_CALL" => "tool_calls",
        other => return other.to_ascii_lowercase(),
    }
    .to_owned()
}

/// The reply of a whole answer.
pub(super) fn of_answer(raw: Value, asked: &str) -> Result<ChatReply, CallError> {
    let message = &raw["message"];
    if !message.is_object() {
        return Err(CallError::Unreadable { reason: "it holds no message".to_owned() });
    }
    let content = message["content"].as_array().into_iter().flatten();
    let text = content.filter(|part| part["type"] == "text").map(|part| text_of(&part["text"])).collect();
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let tool_calls = calls
        .map(|call| ToolCall {
            id: text_of(&call["id"]),
            name: text_of(&call["function"]["name"]),
            arguments: text_of(&call["function"]["arguments"]),
        })
        .collect();
    let finish_reason = raw["finish_reason"].as_str().map(finish_of);
    Ok(ChatReply { text, tool_calls, finish_reason, ..reply(raw, asked) })
}

/// One event of a stream.
pub(super) fn event(gathered: &mut Gathered, data: &[u8]) -> Vec<Delta> {
    let Ok(event) = serde_json::from_slice::<Value>(data) else { return Vec::new() };
    let said = &event["delta"]["message"];
    match event["type"].as_str() {
        Some("message-start") => gathered.id = text_of(&event["id"]),
        Some("content-delta") => {
            // A thought has another field, and is not said.
            if let Some(text) = said["content"]["text"].as_str().filter(|text| !text.is_empty()) {
                gathered.text.push_str(text);
                return vec![Delta::Text(text.to_owned())];
            }
        }
        Some("tool-call-start") => {
            let call = &said["tool_calls"];
            let index = gathered.tool_calls.len() as u64;
            let call = ToolCall {
                id: text_of(&call["id"]),
                name: text_of(&call["function"]["name"]),
                arguments: text_of(&call["function"]["arguments"]),
            };
            let (id, name, arguments) =
                (Some(call.id.clone()), Some(call.name.clone()), call.arguments.clone());
            gathered.tool_calls.push(call);
            return vec![Delta::ToolCall { index, id, name, arguments }];
        }
        Some("tool-call-delta") => {
            let arguments = text_of(&said["tool_calls"]["function"]["arguments"]);
            let index = (gathered.tool_calls.len() as u64).saturating_sub(1);
            if let Some(call) = gathered.tool_calls.last_mut() {
                call.arguments.push_str(&arguments);
                return vec![Delta::ToolCall { index, id: None, name: None, arguments }];
            }
        }
        Some("message-end") => {
            gathered.finish_reason = event["delta"]["finish_reason"].as_str().map(finish_of);
            gathered.usage = event["delta"]["usage"].clone();
        }
        _ => {}
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(request: Value) -> Result<Value, CallError> {
        let Value::Object(request) = request else { panic!("not an object") };
        let call = ChatCall { model: "command".into(), request, stream: true, positional: None };
        super::request(&call).map(Value::Object)
    }

    #[test]
    fn a_tool_conversation_is_translated_whole() {
        let tools =
            json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
        let body = translated(json!({
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "Look"},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "name": "f", "arguments": "{}"}]},
                {"role": "tool", "tool_call_id": "a", "content": "one"},
            ],
            "tools": tools, "tool_choice": "required", "stop": "END", "top_p": 0.5, "n": 1, "max_completion_tokens": 64,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
        }))
        .unwrap();
        assert_eq!(
            body,
            json!({
                "model": "command", "stream": true, "tools": tools, "tool_choice": "REQUIRED",
                "stop_sequences": ["END"], "p": 0.5, "max_tokens": 64,
                "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Look"},
                    {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                    {"role": "tool", "tool_call_id": "a", "content": "one"},
                ],
            })
        );
        for (request, what) in [
            (json!({"messages": [], "logit_bias": {}}), "logit_bias"),
            (json!({"messages": [], "tool_choice": {"type": "function"}}), "tool choice"),
            (json!({"messages": [{"role": "bard", "content": "x"}]}), "bard"),
            (json!({}), "messages"),
        ] {
            assert!(translated(request).unwrap_err().to_string().contains(what), "{what}");
        }
    }

    #[test]
    fn thoughts_are_not_said() {
        let raw = json!({"message": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}]}, "finish_reason": "MAX_TOKENS"});
        let reply = of_answer(raw, "c").unwrap();
        assert_eq!((reply.text.as_str(), reply.finish_reason.as_deref()), ("yes", Some("length")));
        let mut gathered = Gathered::default();
        let thought = br#"{"type":"content-delta","delta":{"message":{"content":{"thinking":"hm"}}}}"#;
        assert!(event(&mut gathered, thought).is_empty());
        assert!(of_answer(json!({}), "c").is_err());
    }
}
