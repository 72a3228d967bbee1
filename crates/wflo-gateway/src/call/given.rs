//! A chat in OpenAI's shape, as it is given to be said in another dialect.
//!
//! Owns what every such translation reads in the same way: whose turn it is, which tools were called with what,
//! which functions there are, and where a picture is. How it is said is each dialect's own.

use serde_json::{Value, json};

use super::{CallError, ChatCall};
use crate::dialect::Dialect;

/// What has no counterpart in a dialect.
pub(super) fn cannot(dialect: Dialect, what: impl Into<String>) -> CallError {
    CallError::Untranslatable { what: what.into(), dialect }
}

/// The messages of a request.
pub(super) fn messages(call: &ChatCall, dialect: Dialect) -> Result<&[Value], CallError> {
    let list = call.request.get("messages").and_then(Value::as_array);
    list.map(Vec::as_slice).ok_or_else(|| cannot(dialect, "a request without a list of `messages`"))
}

/// Messages that belong together where turns alternate.
#[derive(Debug, PartialEq)]
pub(super) enum Turn<'a> {
    User(&'a Value),
    Assistant(&'a Value),
    /// The results of the tools that one turn called.
    Results(Vec<&'a Value>),
}

/// The system's messages, which must come first, and the turns.
pub(super) fn turns(call: &ChatCall, dialect: Dialect) -> Result<(Vec<&Value>, Vec<Turn<'_>>), CallError> {
    let (mut system, mut turns) = (Vec::new(), Vec::new());
    for message in messages(call, dialect)? {
        match message["role"].as_str() {
            Some("system" | "developer") if turns.is_empty() => system.push(message),
            Some("system" | "developer") => {
                return Err(cannot(dialect, "a system message after the first other message"));
            }
            Some("user") => turns.push(Turn::User(message)),
            Some("assistant") => turns.push(Turn::Assistant(message)),
            Some("tool") => match turns.last_mut() {
                Some(Turn::Results(results)) => results.push(message),
                _ => turns.push(Turn::Results(vec![message])),
            },
            _ => return Err(cannot(dialect, format!("a message of the role {}", message["role"]))),
        }
    }
    Ok((system, turns))
}

/// A tool that an assistant called.
pub(super) struct Called<'a> {
    pub(super) id: &'a Value,
    pub(super) name: &'a Value,
    pub(super) arguments: Value,
}

/// The calls in an assistant's message.
pub(super) fn calls(message: &Value, dialect: Dialect) -> Result<Vec<Called<'_>>, CallError> {
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    calls
        .map(|call| {
            // OpenAI's own shape, or the one of a reply's `tool_calls`.
            let function = if call["function"].is_object() { &call["function"] } else { call };
            let text = function["arguments"].as_str().unwrap_or_default().trim();
            let arguments = if text.is_empty() { Ok(json!({})) } else { serde_json::from_str(text) };
            let arguments =
                arguments.map_err(|_| cannot(dialect, "a tool call whose arguments are no JSON"))?;
            Ok(Called { id: &call["id"], name: &function["name"], arguments })
        })
        .collect()
}

/// The parts of a message's content, each said by `part`; a text alone is a part of its own.
pub(super) fn content(
    content: &Value,
    dialect: Dialect,
    part: impl Fn(&Value) -> Result<Value, CallError>,
) -> Result<Vec<Value>, CallError> {
    match content {
        Value::String(text) => Ok(vec![part(&json!({ "type": "text", "text": text }))?]),
        Value::Array(parts) => parts.iter().map(part).collect(),
        _ => Err(cannot(dialect, "a message without content")),
    }
}

/// What an assistant said; it may have called tools alone.
pub(super) fn said(
    message: &Value,
    dialect: Dialect,
    part: impl Fn(&Value) -> Result<Value, CallError>,
) -> Result<Vec<Value>, CallError> {
    let mut parts = match &message["content"] {
        Value::Null => Vec::new(),
        given => content(given, dialect, part)?,
    };
    // An empty text is refused.
    parts.retain(|part| part["text"] != "");
    Ok(parts)
}

/// A tool of the type `function`, under the dialect's name for its parameters.
pub(super) fn function(tool: &Value, parameters: &str) -> Option<Value> {
    let function = &tool["function"];
    if tool["type"] != "function" || !function["name"].is_string() {
        return None;
    }
    let mut out = json!({ "name": function["name"] });
    if function["description"].is_string() {
        out["description"] = function["description"].clone();
    }
    if function["parameters"].is_object() {
        out[parameters] = function["parameters"].clone();
    }
    Some(out)
}

/// Where a picture is.
pub(super) enum Picture<'a> {
    /// In the request: its media type, and its base64.
    Data(&'a str, &'a str),
    Elsewhere(&'a str),
}

/// The picture of a part of the type `image_url`.
pub(super) fn picture(part: &Value) -> Picture<'_> {
    let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str()).unwrap_or_default();
    match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
        Some((kind, data)) => Picture::Data(kind, data),
        None => Picture::Elsewhere(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_one_turn_are_one_and_the_system_speaks_first() {
        let of = |messages: Value| ChatCall {
            model: "m".into(),
            request: json!({ "messages": messages }).as_object().cloned().unwrap_or_default(),
            stream: false,
            positional: None,
        };
        let given =
            of(json!([{"role": "developer"}, {"role": "system"}, {"role": "user"}, {"role": "assistant"},
            {"role": "tool", "tool_call_id": "a"}, {"role": "tool", "tool_call_id": "b"}, {"role": "user"},
            {"role": "tool", "tool_call_id": "c"}]));
        let (system, turns) = turns(&given, Dialect::Google).unwrap();
        let results = turns.iter().map(|turn| match turn {
            Turn::Results(results) => results.len(),
            _ => 0,
        });
        assert_eq!((system.len(), results.collect::<Vec<_>>()), (2, vec![0, 0, 2, 0, 1]));
        for bad in [json!([{"role": "user"}, {"role": "system"}]), json!([{"role": "critic"}]), json!("a")] {
            assert!(super::turns(&of(bad), Dialect::Google).is_err());
        }
    }
}
