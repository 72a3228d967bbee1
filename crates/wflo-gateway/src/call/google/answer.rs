//! Google's answer read back as OpenAI's.
//!
//! Owns replies, whole and in pieces. The signature of a call's thoughts goes into its id.

use serde_json::Value;

use super::SIGNATURE;
use crate::call::reply::{Gathered, reply, text_of};
use crate::call::{CallError, ChatReply, Delta, ToolCall};

/// The call that a part makes, with the signature of its thoughts in its id.
fn tool_call(part: &Value, index: usize) -> Option<ToolCall> {
    let call = part.get("functionCall")?;
    let mut id = call["id"].as_str().map_or_else(|| format!("call_{index}"), str::to_owned);
    if let Some(signature) = part["thoughtSignature"].as_str() {
        id = format!("{id}{SIGNATURE}{signature}");
    }
    let arguments = if call["args"].is_object() { call["args"].to_string() } else { "{}".to_owned() };
    Some(ToolCall { id, name: text_of(&call["name"]), arguments })
}

fn is_said(part: &Value) -> bool {
    part["thought"] != true && part["text"].is_string()
}

/// Google's finish reason in OpenAI's words.
fn finish_of(finish: &str, calls: bool) -> String {
    match finish {
        "STOP" if calls => "tool_calls",
        "STOP" => "stop",
        "MAX_TOKENS" => "length",
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY"
        | "LANGUAGE" => "content_filter",
        other => return other.to_ascii_lowercase(),
    }
    .to_owned()
}

/// The reply of a whole answer: its first candidate.
pub(in crate::call) fn of_answer(raw: Value, asked: &str) -> Result<ChatReply, CallError> {
    let candidate = &raw["candidates"][0];
    if !candidate.is_object() && !raw["promptFeedback"]["blockReason"].is_string() {
        return Err(CallError::Unreadable { reason: "it holds no candidate".to_owned() });
    }
    let parts = candidate["content"]["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let text = parts.iter().filter(|part| is_said(part)).map(|part| text_of(&part["text"])).collect();
    let tool_calls: Vec<ToolCall> =
        parts.iter().enumerate().filter_map(|(index, part)| tool_call(part, index)).collect();
    let finish_reason = match candidate["finishReason"].as_str() {
        Some(finish) => Some(finish_of(finish, !tool_calls.is_empty())),
        None => raw["promptFeedback"]["blockReason"].is_string().then(|| "content_filter".to_owned()),
    };
    let model = raw["modelVersion"].as_str().unwrap_or(asked).to_owned();
    Ok(ChatReply { text, tool_calls, finish_reason, model, ..reply(raw, asked) })
}

/// One answer of a stream.
pub(in crate::call) fn piece(gathered: &mut Gathered, data: &[u8]) -> Vec<Delta> {
    let Ok(answer) = serde_json::from_slice::<Value>(data) else { return Vec::new() };
    if gathered.id.is_empty() {
        gathered.id = text_of(&answer["responseId"]);
    }
    gathered.model = gathered.model.take().or_else(|| answer["modelVersion"].as_str().map(str::to_owned));
    if answer["usageMetadata"].is_object() {
        gathered.usage = answer["usageMetadata"].clone();
    }
    let candidate = &answer["candidates"][0];
    let mut deltas = Vec::new();
    for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
        let index = gathered.tool_calls.len();
        if let Some(call) = tool_call(part, index) {
            deltas.push(Delta::ToolCall {
                index: index as u64,
                id: Some(call.id.clone()),
                name: Some(call.name.clone()),
                arguments: call.arguments.clone(),
            });
            gathered.tool_calls.push(call);
        } else if is_said(part) {
            let text = text_of(&part["text"]);
            gathered.text.push_str(&text);
            deltas.push(Delta::Text(text));
        }
    }
    if let Some(finish) = candidate["finishReason"].as_str() {
        gathered.finish_reason = Some(finish_of(finish, !gathered.tool_calls.is_empty()));
    } else if answer["promptFeedback"]["blockReason"].is_string() {
        gathered.finish_reason = Some("content_filter".to_owned());
    }
    deltas
}
