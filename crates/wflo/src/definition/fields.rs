//! Pieces that a workflow and its steps are both made of.

use serde::Serialize;
use serde_json::{Map, Value};
use wflo_core::size::Millis;

use crate::document::{Field, Kind, Problem, Reader};
use crate::settings::{read_budget, read_seconds};

/// Puts a value that is there.
pub(super) fn put(out: &mut Map<String, Value>, key: &str, value: Option<impl Serialize>) {
    if let Some(value) = value.and_then(|value| serde_json::to_value(value).ok()) {
        out.insert(key.to_owned(), value);
    }
}

/// Optional text.
pub(super) fn text(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<String>, Problem> {
    reader.optional(key).map(|field| field.name().map(str::to_owned)).transpose()
}

/// An optional list of texts.
pub(super) fn texts(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<Vec<String>>, Problem> {
    reader.optional(key).map(|field| field.texts()).transpose()
}

/// An optional truth value.
pub(super) fn boolean(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<bool>, Problem> {
    reader.optional(key).map(|field| field.boolean()).transpose()
}

/// `timeout: 5m` or `timeout_seconds: 300`, not both.
pub(super) fn timeout(reader: &mut Reader<'_>) -> Result<Option<Millis>, Problem> {
    match (reader.optional("timeout"), reader.optional("timeout_seconds")) {
        (Some(_), Some(second)) => {
            Err(second.problem(Kind::WrongValue, "says the same as `timeout`; keep one"))
        }
        (Some(field), None) | (None, Some(field)) => read_seconds(&field).map(Some),
        (None, None) => Ok(None),
    }
}

/// `budget: {…}` or `budgets: [{…}, …]`, together.
pub(super) fn budgets(reader: &mut Reader<'_>) -> Result<Option<Vec<Value>>, Problem> {
    let one = reader.optional("budget");
    let several = reader.optional("budgets");
    if one.is_none() && several.is_none() {
        return Ok(None);
    }
    let mut fields: Vec<Field<'_>> = one.into_iter().collect();
    if let Some(list) = several {
        fields.extend(list.list()?);
    }
    let budget =
        |field: &Field<'_>| read_budget(field).map(|budget| serde_json::to_value(budget).unwrap_or_default());
    fields.iter().map(budget).collect::<Result<_, _>>().map(Some)
}
