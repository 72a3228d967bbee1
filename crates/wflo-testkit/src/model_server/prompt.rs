//! What the mock makes of a request: what is said, what is billed, whether a tool is called.

use serde_json::Value;

use super::Answer;

/// What a dialect makes of a request: the pieces of its answer, and what it bills.
pub(super) struct Rendered {
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    /// It comes piece by piece.
    pub(super) streams: bool,
    /// One piece for an unstreamed answer, else one per event.
    pub(super) pieces: Vec<String>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) error_event: String,
}

/// What the dialects need of a request.
pub(super) struct Prompt<'a> {
    pub(super) request: &'a Value,
    pub(super) path: &'a str,
    /// The query asks for server-sent events.
    pub(super) sse: bool,
    pub(super) answer: Answer,
    pub(super) usage: bool,
    /// Stands in place of the usage object.
    pub(super) usage_is: Option<&'static str>,
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
        let config = [self.request, &self.request["generationConfig"], &self.request["generation_config"]];
        let told = self.limits.iter().flat_map(|name| config.map(|config| config[*name].as_u64()));
        let most = told.flatten().max().unwrap_or(u64::MAX);
        let said = said.split_whitespace().count() as u64 + 1;
        self.answer.output_tokens.unwrap_or(said.max(self.answer.reasoning_tokens)).min(most)
    }

    /// The usage object: `usual`, or what the script says.
    pub(super) fn usage_object(&self, usual: String) -> String {
        self.usage_is.map_or(usual, str::to_owned)
    }

    /// The model that a path like `/v1beta/models/M:verb` names.
    pub(super) fn model_of_path(&self) -> &str {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        last.split_once(':').map_or(last, |(model, _)| model)
    }

    /// The last turn of the conversation, wherever the dialect keeps it.
    fn last(&self) -> Option<&Value> {
        ["messages", "contents", "input"]
            .into_iter()
            .find_map(|name| self.request[name].as_array().and_then(|turns| turns.last()))
    }

    /// The answer's text: as scripted, else an echo of the last user message.
    pub(super) fn text(&self) -> String {
        if let Some(text) = &self.answer.text {
            return text.clone();
        }
        let content = match self.last() {
            Some(turn) if turn["parts"].is_array() => Some(&turn["parts"]),
            Some(turn) if turn["output"].is_string() => Some(&turn["output"]),
            Some(turn) => Some(&turn["content"]),
            None => Some(&self.request["input"]),
        };
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
        let is_result = |last: &Value| {
            last["role"] == "tool"
                || last["content"][0]["type"] == "tool_result"
                || last["type"] == "function_call_output"
                || last["parts"][0]["functionResponse"].is_object()
        };
        if self.last().is_some_and(is_result) {
            return None;
        }
        let function =
            [&tool["function"], &tool["functionDeclarations"][0], &tool["function_declarations"][0]];
        let function = function.into_iter().find(|function| function.is_object()).unwrap_or(tool);
        let schema = ["parameters", "parametersJsonSchema", "parameters_json_schema", "input_schema"];
        let schema = schema.into_iter().map(|name| &function[name]).find(|schema| schema.is_object());
        let schema = schema.unwrap_or(&Value::Null);
        let arguments = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, property)| {
                let kind = property["type"].as_str().map(str::to_lowercase);
                let value = match kind.as_deref() {
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
