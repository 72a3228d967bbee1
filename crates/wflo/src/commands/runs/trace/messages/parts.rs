//! The parts of one message, gathered from whatever its dialect calls them.

use serde_json::{Map, Value};
use wflo_core::effect::json_bytes;

use super::fields::Fields;
use super::{MOST, Part, parsed, plain};

/// The parts of one message.
#[derive(Default)]
pub(super) struct Parts {
    all: Vec<Part>,
    /// Those beyond the most that are read, and their bytes.
    more: (usize, u64),
    /// Numbers and truths that follow each other, and their bytes.
    numbers: (usize, u64),
    trusts_notes: bool,
}

impl Parts {
    /// `trusts_notes` is whether notes in place of what was not kept are wflo's own.
    pub(super) fn trusting(trusts_notes: bool) -> Parts {
        Parts { trusts_notes, ..Parts::default() }
    }

    /// A value that is not read, as that.
    pub(super) fn not_shown(value: &Value) -> Option<Part> {
        let what = match value {
            Value::Null => return None,
            Value::Bool(_) | Value::Number(_) => "a number or a truth",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Some(Part::NotShown { what: what.to_owned(), bytes: json_bytes(value) })
    }

    fn push(&mut self, part: Part) {
        self.end_numbers();
        if self.all.len() < MOST {
            self.all.push(part);
        } else {
            self.more.0 += 1;
            self.more.1 += part.bytes();
        }
    }

    fn end_numbers(&mut self) {
        let (count, bytes) = std::mem::take(&mut self.numbers);
        if count > 0 {
            let what = if count == 1 { "a number".to_owned() } else { format!("{count} numbers") };
            self.push(Part::NotShown { what, bytes });
        }
    }

    /// All of them.
    pub(super) fn done(mut self) -> Vec<Part> {
        self.end_numbers();
        let (count, bytes) = self.more;
        if count > 0 {
            self.all.push(Part::NotShown { what: format!("{count} more parts"), bytes });
        }
        self.all
    }

    fn text(&mut self, content: &str) {
        if !content.is_empty() {
            self.push(Part::Text { content: content.to_owned() });
        }
    }

    fn reasoning(&mut self, content: &str) {
        if !content.is_empty() {
            self.push(Part::Reasoning { content: content.to_owned() });
        }
    }

    /// What stands where a message's content does.
    pub(super) fn add(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::String(content) => self.text(content),
            Value::Bool(_) | Value::Number(_) => {
                self.numbers.0 += 1;
                self.numbers.1 += json_bytes(value);
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(all) => self.object(Fields::of(all), "user"),
        }
    }

    /// A message, an item of a response, a block: whatever of it is not read here is named as not shown.
    pub(super) fn object(&mut self, mut fields: Fields<'_>, role: &str) {
        if let Some(bytes) = fields.note().filter(|_| self.trusts_notes) {
            return self.push(Part::NotKept { bytes });
        }
        for name in ["reasoning_content", "reasoning"] {
            fields.take_text(name).into_iter().for_each(|content| self.reasoning(content));
        }
        let kind = fields.peek("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "function_call" => self.call(&mut fields, "call_id", "arguments"),
            "tool_use" => self.call(&mut fields, "id", "input"),
            "function_call_output" => self.response(&mut fields, "call_id", "output"),
            "tool_result" => self.response(&mut fields, "tool_use_id", "content"),
            "reasoning" => self.thoughts(&mut fields),
            "thinking" => {
                fields.take_text("thinking").into_iter().for_each(|content| self.reasoning(content))
            }
            _ if role == "tool" && fields.peek("tool_call_id").is_some_and(Value::is_string) => {
                self.response(&mut fields, "tool_call_id", "content");
            }
            _ => {}
        }
        if fields.peek("text").is_some_and(Value::is_string) {
            let thought = fields.take("thought").is_some_and(|thought| thought == true);
            let content = fields.take_text("text").unwrap_or_default();
            if thought { self.reasoning(content) } else { self.text(content) }
        }
        for name in ["content", "parts"] {
            fields.take(name).into_iter().for_each(|value| self.add(value));
        }
        fields.take_text("refusal").into_iter().for_each(|content| self.text(content));
        for name in ["functionCall", "function_call"] {
            fields.take_object(name).into_iter().for_each(|call| self.google_call(call));
        }
        for name in ["functionResponse", "function_response"] {
            fields.take_object(name).into_iter().for_each(|answer| self.google_response(answer));
        }
        if let Some(Value::Array(calls)) = fields.peek("tool_calls") {
            fields.take("tool_calls");
            calls.iter().for_each(|call| self.listed_call(call));
        }
        self.rest(fields);
    }

    fn rest(&mut self, fields: Fields<'_>) {
        fields.rest().into_iter().for_each(|rest| self.push(rest));
    }

    /// A call whose parts stand in the object itself.
    fn call(&mut self, fields: &mut Fields<'_>, id: &'static str, arguments: &'static str) {
        let id = fields.take_id(id).to_owned();
        let name = fields.take_text("name").unwrap_or_default().to_owned();
        let arguments = fields.take(arguments).map_or(Value::Null, parsed);
        self.push(Part::ToolCall { id, name, arguments });
    }

    fn response(&mut self, fields: &mut Fields<'_>, id: &'static str, response: &'static str) {
        let id = fields.take_id(id).to_owned();
        let response = fields.take(response).map_or(Value::Null, plain);
        self.push(Part::ToolCallResponse { id, response });
    }

    /// Texts of a summary and of what it sums up, where they are nothing else.
    fn thoughts(&mut self, fields: &mut Fields<'_>) {
        for name in ["summary", "content"] {
            let texts = fields.peek(name).filter(|value| value.is_array()).map(plain);
            if let Some(Value::String(texts)) = texts {
                fields.take(name);
                self.reasoning(&texts);
            }
        }
    }

    /// A call of OpenAI's or Cohere's list.
    fn listed_call(&mut self, call: &Value) {
        let Some(call) = call.as_object() else { return self.all_of(call) };
        let mut fields = Fields::of(call);
        let id = fields.take_id("id").to_owned();
        let function = fields.take_object("function");
        let mut inner = function.map(Fields::of);
        let name = inner.as_mut().and_then(|inner| inner.take_text("name")).unwrap_or_default().to_owned();
        let arguments = inner.as_mut().and_then(|inner| inner.take("arguments")).map_or(Value::Null, parsed);
        self.push(Part::ToolCall { id, name, arguments });
        inner.into_iter().for_each(|inner| self.rest(inner));
        self.rest(fields);
    }

    fn all_of(&mut self, value: &Value) {
        Parts::not_shown(value).into_iter().for_each(|part| self.push(part));
    }

    fn google_call(&mut self, call: &Map<String, Value>) {
        let mut fields = Fields::of(call);
        let name = fields.take_text("name").unwrap_or_default().to_owned();
        let id = Some(fields.take_id("id")).filter(|id| !id.is_empty()).unwrap_or(name.as_str()).to_owned();
        // The older form of OpenAI's has them as a text.
        let arguments = fields.take("args").or_else(|| fields.take("arguments")).map_or(Value::Null, parsed);
        self.push(Part::ToolCall { id, name, arguments });
        self.rest(fields);
    }

    fn google_response(&mut self, answer: &Map<String, Value>) {
        let mut fields = Fields::of(answer);
        let name = fields.take_id("name");
        let id = Some(fields.take_id("id")).filter(|id| !id.is_empty()).unwrap_or(name).to_owned();
        let response = fields.take("response").cloned().unwrap_or_default();
        self.push(Part::ToolCallResponse { id, response });
        self.rest(fields);
    }
}
