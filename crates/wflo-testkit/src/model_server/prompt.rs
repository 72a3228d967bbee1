//! What the mock makes of a request: what is said, what is billed, whether a tool is called.

use serde_json::Value;

use super::Answer;

/// What a dialect makes of a request: the pieces of its answer, and what it bills.
pub(super) struct Rendered {
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    /// One piece for an unstreamed answer, else one per event.
    pub(super) pieces: Vec<String>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) error_event: String,
}

/// What the dialects need of a request.
pub(super) struct Prompt<'a> {
    pub(super) request: &'a Value,
    pub(super) answer: Answer,
    pub(super) usage: bool,
    pub(super) usage_after_done: bool,
    /// Names by which the server is told where an answer ends.
    pub(super) limits: Vec<&'static str>,
    /// Of the body, in bytes.
    pub(super) length: usize,
    /// How many billed requests came before: makes ids unique.
    pub(super) serial: u64,
}

impl Prompt<'_> {
    pub(super) fn input_tokens(&self) -> u64 {
        self.answer
            .input_tokens
            .unwrap_or_else(|| (self.length as u64).div_ceil(4).max(self.answer.cached_tokens))
    }

    pub(super) fn output_tokens(&self, said: &str) -> u64 {
        let most =
            self.limits.iter().filter_map(|name| self.request[*name].as_u64()).max().unwrap_or(u64::MAX);
        self.answer.output_tokens.unwrap_or(said.split_whitespace().count() as u64 + 1).min(most)
    }

    /// The answer's text: as scripted, else an echo of the last user message.
    pub(super) fn text(&self) -> String {
        if let Some(text) = &self.answer.text {
            return text.clone();
        }
        let last = self.request["messages"].as_array().and_then(|messages| messages.last());
        let content = last.map(|message| &message["content"]);
        let said = match content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts
                .iter()
                .filter_map(|part| part["text"].as_str().or_else(|| part["content"].as_str()))
                .collect::<Vec<_>>()
                .join(" "),
            _ => String::new(),
        };
        format!("You said: {said}")
    }

    /// A call of the first tool, when there are tools and the conversation is the user's turn.
    pub(super) fn tool_call(&self) -> Option<(String, Value)> {
        if self.answer.text.is_some() || self.request["tool_choice"] == "none" {
            return None;
        }
        let tool = self.request["tools"].as_array()?.first()?;
        let last = self.request["messages"].as_array()?.last()?;
        let is_result = last["role"] == "tool" || last["content"][0]["type"] == "tool_result";
        if is_result {
            return None;
        }
        let function = if tool["function"].is_object() { &tool["function"] } else { tool };
        let schema = if function["parameters"].is_object() {
            &function["parameters"]
        } else {
            &function["input_schema"]
        };
        let arguments = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, property)| {
                let value = match property["type"].as_str() {
                    Some("integer" | "number") => 1.into(),
                    Some("boolean") => true.into(),
                    _ => "Paris".into(),
                };
                (name.clone(), value)
            })
            .collect();
        Some((function["name"].as_str()?.to_owned(), Value::Object(arguments)))
    }
}

/// Pieces of about a word, as providers stream them.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

/// A text as a JSON literal.
pub(super) fn literal(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
