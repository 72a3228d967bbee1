//! The fields of an object, and which of them have been read.

use serde_json::{Map, Value};
use wflo_core::effect::json_bytes;

use super::{Part, notes};

/// So many fields that were not read are named; of more there is the number.
const NAMED: usize = 8;
/// The longest text that is a label, in bytes.
const LABEL: usize = 128;

/// The fields of an object, and which of them have been read.
pub(super) struct Fields<'a> {
    all: &'a Map<String, Value>,
    read: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(all: &'a Map<String, Value>) -> Fields<'a> {
        Fields { all, read: Vec::new() }
    }

    /// What a field says that has not been read, without reading it; a null is none.
    pub(super) fn peek(&self, name: &str) -> Option<&'a Value> {
        self.all.get(name).filter(|value| !value.is_null() && !self.read.contains(&name))
    }

    /// Reads a field; a null is none.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        let found = self.peek(name)?;
        self.read.push(name);
        Some(found)
    }

    /// Reads a field if it is a text; one that is something else stays.
    pub(super) fn take_text(&mut self, name: &'static str) -> Option<&'a str> {
        let found = self.peek(name)?.as_str()?;
        self.read.push(name);
        Some(found)
    }

    /// The text of a field that tells things apart; one that is no label stays, so that it is named.
    pub(super) fn take_id(&mut self, name: &'static str) -> &'a str {
        let Some(id) = self.peek(name).and_then(Value::as_str) else { return "" };
        if is_label(id) {
            self.read.push(name);
        }
        id
    }

    /// Reads a field if it is an object; one that is something else stays.
    pub(super) fn take_object(&mut self, name: &'static str) -> Option<&'a Map<String, Value>> {
        let found = self.peek(name)?.as_object()?;
        self.read.push(name);
        Some(found)
    }

    /// How many bytes were not kept where it stands, if it is a note that says so.
    pub(super) fn note(&self) -> Option<u64> {
        notes::read(self.all)
    }

    /// What has not been read and says something, by name.
    pub(super) fn rest(self) -> Option<Part> {
        let says = |(name, value): &(&String, &Value)| {
            !self.read.contains(&name.as_str()) && !says_nothing(name, value)
        };
        let rest: Vec<(&String, &Value)> = self.all.iter().filter(says).collect();
        if rest.is_empty() {
            return None;
        }
        let quoted = |(name, _): &(&String, &Value)| {
            Value::from(name.chars().take(40).collect::<String>()).to_string()
        };
        let mut what = rest.iter().take(NAMED).map(quoted).collect::<Vec<_>>().join(", ");
        if rest.len() > NAMED {
            what.push_str(&format!(" and {} more fields", rest.len() - NAMED));
        }
        Some(Part::NotShown { what, bytes: rest.iter().map(|(_, value)| json_bytes(value)).sum() })
    }
}

/// Whether nobody misses a field: it is empty, or a mark that every dialect sets.
fn says_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.is_empty() || is_mark(name) && is_label(text),
        Value::Array(list) => list.is_empty(),
        Value::Object(all) => {
            let is_plain = |(key, value): (&String, &Value)| {
                is_label(key) && value.as_str().map_or(!value.is_array() && !value.is_object(), is_label)
            };
            all.is_empty() || name == "cache_control" && all.len() <= 2 && all.iter().all(is_plain)
        }
    }
}

fn is_mark(name: &str) -> bool {
    matches!(name, "id" | "type" | "status" | "object" | "model" | "call_id" | "service_tier" | "stop_reason")
}

/// Whether a text is a name or an id, and nothing that could be a sentence.
pub(crate) fn is_label(text: &str) -> bool {
    let is_of_one =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'/' | b'@');
    !text.is_empty() && text.len() <= LABEL && text.bytes().all(is_of_one)
}
