//! A chat in OpenAI's shape said in Anthropic's.
//!
//! Owns the translation of a request. What has no counterpart is an error that names it; nothing is
//! left out silently. Parameters that only Anthropic has (`thinking`, `top_k` …) pass as they are.

use serde_json::{Map, Value, json};

use super::given::{self, Picture, Turn};
use super::{CallError, ChatCall};
use crate::dialect::Dialect;

/// Written when neither the request nor the price table limits the output: Anthropic wants a limit.
const DEFAULT_MAX_TOKENS: u64 = 4_096;

/// Anthropic's own parameters, and those that are the same in both dialects.
const SAME: [&str; 12] = [
    "temperature",
    "top_p",
    "top_k",
    "thinking",
    "metadata",
    "service_tier",
    "system",
    "stop_sequences",
    "output_config",
    "inference_geo",
    "speed",
    "cache_control",
];

fn cannot(what: impl Into<String>) -> CallError {
    given::cannot(Dialect::Anthropic, what)
}

pub(super) fn request(call: &ChatCall, most: Option<u64>) -> Result<Map<String, Value>, CallError> {
    let mut body = Map::new();
    body.insert("model".to_owned(), call.model.clone().into());
    body.insert("max_tokens".to_owned(), most.unwrap_or(DEFAULT_MAX_TOKENS).into());
    let mut parallel = true;
    for (name, value) in &call.request {
        match name.as_str() {
            "model" | "stream" | "stream_options" | "messages" => {}
            _ if value.is_null() => {}
            "max_tokens" | "max_completion_tokens" => {
                body.insert("max_tokens".to_owned(), value.clone());
            }
            "stop" => {
                let list = if value.is_string() { json!([value]) } else { value.clone() };
                body.insert("stop_sequences".to_owned(), list);
            }
            "user" => {
                body.insert("metadata".to_owned(), json!({"user_id": value}));
            }
            "n" if *value == json!(1) => {}
            "tools" => {
                body.insert("tools".to_owned(), tools(value)?);
            }
            "tool_choice" => {
                body.insert("tool_choice".to_owned(), tool_choice(value)?);
            }
            "parallel_tool_calls" => parallel = value.as_bool().unwrap_or(true),
            same if SAME.contains(&same) => {
                body.insert(same.to_owned(), value.clone());
            }
            other => return Err(cannot(format!("the parameter `{other}`"))),
        }
    }
    if !parallel {
        let choice = body.entry("tool_choice").or_insert_with(|| json!({"type": "auto"}));
        choice["disable_parallel_tool_use"] = true.into();
    }
    let (system, messages) = messages(call)?;
    if !system.is_empty() {
        if body.contains_key("system") {
            return Err(cannot("a system message beside the parameter `system`"));
        }
        body.insert("system".to_owned(), system.into());
    }
    body.insert("messages".to_owned(), messages.into());
    if call.stream {
        body.insert("stream".to_owned(), true.into());
    }
    Ok(body)
}

fn tools(given: &Value) -> Result<Value, CallError> {
    let list = given.as_array().ok_or_else(|| cannot("`tools` that is no list"))?;
    list.iter()
        .map(|tool| match given::function(tool, "input_schema") {
            Some(mut function) => {
                // It must have a schema.
                if !function["input_schema"].is_object() {
                    function["input_schema"] = json!({"type": "object"});
                }
                Ok(function)
            }
            // A tool already in Anthropic's shape has a name and no `function`.
            None if tool["name"].is_string() => Ok(tool.clone()),
            None => Err(cannot(format!("the tool type {}", tool["type"]))),
        })
        .collect::<Result<Vec<Value>, CallError>>()
        .map(Value::Array)
}

fn tool_choice(given: &Value) -> Result<Value, CallError> {
    match given {
        Value::String(word) => match word.as_str() {
            "auto" => Ok(json!({"type": "auto"})),
            "none" => Ok(json!({"type": "none"})),
            "required" => Ok(json!({"type": "any"})),
            other => Err(cannot(format!("the tool choice `{other}`"))),
        },
        Value::Object(choice) if given["type"] == "function" => {
            Ok(json!({"type": "tool", "name": choice["function"]["name"]}))
        }
        Value::Object(_) => Ok(given.clone()),
        _ => Err(cannot("this `tool_choice`")),
    }
}

type Blocks = Vec<Value>;

/// The system text and the messages.
fn messages(call: &ChatCall) -> Result<(Blocks, Vec<Value>), CallError> {
    let (given, turns) = given::turns(call, Dialect::Anthropic)?;
    let mut system = Vec::new();
    for message in given {
        system.extend(blocks(&message["content"])?);
    }
    let said = turns.into_iter().map(|turn| -> Result<Value, CallError> {
        let (role, content) = match turn {
            Turn::User(message) => ("user", blocks(&message["content"])?),
            Turn::Assistant(message) => ("assistant", assistant(message)?),
            Turn::Results(results) => ("user", results.into_iter().map(result).collect::<Result<_, _>>()?),
        };
        Ok(json!({"role": role, "content": content}))
    });
    Ok((system, said.collect::<Result<_, CallError>>()?))
}

fn result(message: &Value) -> Result<Value, CallError> {
    let content = blocks(&message["content"])?;
    Ok(json!({"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content}))
}

fn assistant(message: &Value) -> Result<Blocks, CallError> {
    let mut content = given::said(message, Dialect::Anthropic, block)?;
    for call in given::calls(message, Dialect::Anthropic)? {
        content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}));
    }
    Ok(content)
}

fn blocks(content: &Value) -> Result<Blocks, CallError> {
    given::content(content, Dialect::Anthropic, block)
}

fn block(part: &Value) -> Result<Value, CallError> {
    match part["type"].as_str() {
        Some("text") => Ok(part.clone()),
        Some("refusal") => Ok(json!({"type": "text", "text": part["refusal"]})),
        Some("image_url") => {
            let source = match given::picture(part) {
                Picture::Data(kind, data) => json!({"type": "base64", "media_type": kind, "data": data}),
                Picture::Elsewhere(url) if url.starts_with("https://") || url.starts_with("http://") => {
                    json!({"type": "url", "url": url})
                }
                Picture::Elsewhere(_) => {
                    return Err(cannot("an image that is neither a base64 data URL nor an address"));
                }
            };
            Ok(json!({"type": "image", "source": source}))
        }
        // Anthropic's own blocks.
        Some("image" | "document" | "tool_use" | "tool_result" | "thinking" | "redacted_thinking") => {
            Ok(part.clone())
        }
        _ => Err(cannot(format!("content of the type {}", part["type"]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(request: Value) -> Result<Value, CallError> {
        let Value::Object(request) = request else { panic!("not an object") };
        let call = ChatCall { model: "claude".into(), request, stream: false, positional: None };
        super::request(&call, Some(64)).map(Value::Object)
    }

    #[test]
    fn a_tool_conversation_is_translated_whole() {
        let body = translated(json!({
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
                {"role": "tool", "tool_call_id": "a", "content": "one"},
                {"role": "tool", "tool_call_id": "b", "content": "two"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
            "tool_choice": "required", "parallel_tool_calls": false, "stop": "END", "temperature": 0, "n": 1,
        }))
        .unwrap();
        assert_eq!(
            body,
            json!({
                "model": "claude", "max_tokens": 64, "temperature": 0, "stop_sequences": ["END"],
                "system": [{"type": "text", "text": "Be brief."}],
                "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
                "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Look"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                        {"type": "tool_use", "id": "b", "name": "g", "input": {}}]},
                    {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "one"}]},
                        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "two"}]}]},
                ],
            })
        );
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        for (request, what) in [
            (json!({"messages": [], "logprobs": true}), "logprobs"),
            (json!({"messages": [], "n": 2}), "`n`"),
            (json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}), "input_audio"),
            (
                json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
                "system",
            ),
            (json!({}), "messages"),
        ] {
            assert!(translated(request).unwrap_err().to_string().contains(what), "{what}");
        }
    }
}
