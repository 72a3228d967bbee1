//! The reply that a provider's answer or stream makes.

use serde_json::{Value, json};
use wflo_core::money::NanoUsd;

use super::{CallError, ChatReply, Delta, ToolCall};
use crate::usage::Usage;

pub(super) fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn reply(raw: Value, asked: &str) -> ChatReply {
    ChatReply {
        text: String::new(),
        tool_calls: Vec::new(),
        finish_reason: None,
        usage: Usage::default(),
        cost: NanoUsd::ZERO,
        model: raw["model"].as_str().unwrap_or(asked).to_owned(),
        raw,
    }
}

/// Of an OpenAI chat completion: its first choice.
pub(super) fn of_completion(raw: Value, asked: &str) -> Result<ChatReply, CallError> {
    let choice = &raw["choices"][0];
    if !choice["message"].is_object() {
        return Err(CallError::Unreadable { reason: "it holds no message".to_owned() });
    }
    let text = text_of(&choice["message"]["content"]);
    let tool_calls = choice["message"]["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|call| ToolCall {
            id: text_of(&call["id"]),
            name: text_of(&call["function"]["name"]),
            arguments: text_of(&call["function"]["arguments"]),
        })
        .collect();
    let finish_reason = choice["finish_reason"].as_str().map(str::to_owned);
    Ok(ChatReply { text, tool_calls, finish_reason, ..reply(raw, asked) })
}

/// Of an Anthropic message.
pub(super) fn of_message(raw: Value, asked: &str) -> Result<ChatReply, CallError> {
    let Some(content) = raw["content"].as_array() else {
        return Err(CallError::Unreadable { reason: "it holds no content".to_owned() });
    };
    let text =
        content.iter().filter(|block| block["type"] == "text").map(|block| text_of(&block["text"])).collect();
    let tool_calls = content
        .iter()
        .filter(|block| block["type"] == "tool_use")
        .map(|block| ToolCall {
            id: text_of(&block["id"]),
            name: text_of(&block["name"]),
            arguments: block["input"].to_string(),
        })
        .collect();
    let finish_reason = raw["stop_reason"].as_str().map(finish_of);
    Ok(ChatReply { text, tool_calls, finish_reason, ..reply(raw, asked) })
}

/// Anthropic's stop reason in OpenAI's words.
fn finish_of(stop: &str) -> String {
    match stop {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        other => other,
    }
    .to_owned()
}

/// What the events of a stream said so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) id: String,
    pub(super) model: Option<String>,
    pub(super) text: String,
    pub(super) tool_calls: Vec<ToolCall>,
    /// Which tool call each of Anthropic's content blocks is.
    blocks: Vec<Option<usize>>,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Value,
}

/// More tool calls than this in one answer are not believed.
const MOST_CALLS: u64 = 1_024;

impl Gathered {
    fn call(&mut self, index: u64) -> Option<&mut ToolCall> {
        let index = usize::try_from(index).ok().filter(|_| index < MOST_CALLS)?;
        while self.tool_calls.len() <= index {
            self.tool_calls.push(ToolCall::default());
        }
        self.tool_calls.get_mut(index)
    }

    /// One chunk of an OpenAI stream.
    pub(super) fn completion_chunk(&mut self, data: &[u8]) -> Vec<Delta> {
        let Ok(chunk) = serde_json::from_slice::<Value>(data) else { return Vec::new() };
        if self.id.is_empty() {
            self.id = text_of(&chunk["id"]);
        }
        self.model = self.model.take().or_else(|| chunk["model"].as_str().map(str::to_owned));
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        if choice["index"].as_u64().unwrap_or(0) != 0 {
            return Vec::new();
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        let mut deltas = Vec::new();
        if let Some(text) = choice["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
            self.text.push_str(text);
            deltas.push(Delta::Text(text.to_owned()));
        }
        for piece in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = piece["index"].as_u64().unwrap_or(0);
            let id = piece["id"].as_str().map(str::to_owned);
            let name = piece["function"]["name"].as_str().map(str::to_owned);
            let arguments = text_of(&piece["function"]["arguments"]);
            if let Some(call) = self.call(index) {
                call.arguments.push_str(&arguments);
                if let Some(id) = &id {
                    call.id.clone_from(id);
                }
                if let Some(name) = &name {
                    call.name.clone_from(name);
                }
            }
            deltas.push(Delta::ToolCall { index, id, name, arguments });
        }
        deltas
    }

    /// One event of an Anthropic stream.
    pub(super) fn message_event(&mut self, data: &[u8]) -> Vec<Delta> {
        let Ok(event) = serde_json::from_slice::<Value>(data) else { return Vec::new() };
        match event["type"].as_str() {
            Some("message_start") => {
                self.id = text_of(&event["message"]["id"]);
                self.model = event["message"]["model"].as_str().map(str::to_owned);
                self.usage = event["message"]["usage"].clone();
                Vec::new()
            }
            Some("content_block_start") => {
                let block = &event["content_block"];
                let is_tool = block["type"] == "tool_use";
                self.blocks.push(is_tool.then_some(self.tool_calls.len()));
                if !is_tool {
                    return Vec::new();
                }
                let call = ToolCall {
                    id: text_of(&block["id"]),
                    name: text_of(&block["name"]),
                    arguments: String::new(),
                };
                let index = self.tool_calls.len() as u64;
                let (id, name) = (Some(call.id.clone()), Some(call.name.clone()));
                self.tool_calls.push(call);
                vec![Delta::ToolCall { index, id, name, arguments: String::new() }]
            }
            Some("content_block_delta") => self.block_delta(&event),
            Some("message_delta") => {
                if let Some(reason) = event["delta"]["stop_reason"].as_str() {
                    self.finish_reason = Some(finish_of(reason));
                }
                if !self.usage.is_object() {
                    self.usage = json!({});
                }
                for (name, value) in event["usage"].as_object().into_iter().flatten() {
                    self.usage[name.as_str()] = value.clone();
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn block_delta(&mut self, event: &Value) -> Vec<Delta> {
        let delta = &event["delta"];
        match delta["type"].as_str() {
            Some("text_delta") => {
                let text = text_of(&delta["text"]);
                self.text.push_str(&text);
                vec![Delta::Text(text)]
            }
            Some("input_json_delta") => {
                let block =
                    usize::try_from(event["index"].as_u64().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
                let Some(index) = self.blocks.get(block).copied().flatten() else { return Vec::new() };
                let arguments = text_of(&delta["partial_json"]);
                if let Some(call) = self.tool_calls.get_mut(index) {
                    call.arguments.push_str(&arguments);
                }
                vec![Delta::ToolCall { index: index as u64, id: None, name: None, arguments }]
            }
            _ => Vec::new(),
        }
    }

    /// The whole reply; `raw` is the OpenAI completion that the pieces make.
    pub(super) fn reply(mut self, asked: &str) -> ChatReply {
        for call in &mut self.tool_calls {
            if call.arguments.is_empty() {
                call.arguments.push_str("{}");
            }
        }
        let calls: Vec<Value> = self
            .tool_calls
            .iter()
            .map(|call| json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}))
            .collect();
        let mut message = json!({"role": "assistant", "content": self.text});
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let model = self.model.unwrap_or_else(|| asked.to_owned());
        let raw = json!({
            "id": self.id,
            "object": "chat.completion",
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason}],
            "usage": self.usage,
        });
        ChatReply {
            text: self.text,
            tool_calls: self.tool_calls,
            finish_reason: self.finish_reason,
            usage: Usage::default(),
            cost: NanoUsd::ZERO,
            model,
            raw,
        }
    }
}
