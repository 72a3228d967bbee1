//! Pieces that a workflow and its steps are both made of.

use serde::Serialize;
use serde_json::{Map, Value};
use wflo_core::size::Millis;

use crate::document::{Field, Kind, Problem, Reader};
use crate::settings::{read_action, read_count, read_money, read_seconds, read_thresholds};

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
    fields.iter().map(read_budget).collect::<Result<_, _>>().map(Some)
}

fn read_budget(field: &Field<'_>) -> Result<Value, Problem> {
    const PERIODS: [&str; 8] = ["run", "step", "agent", "workflow", "hour", "day", "week", "month"];
    let mut reader = field.table()?;
    let mut out = Map::new();
    put(&mut out, "max_cost_usd", Some(read_money(&reader.required("max_cost_usd")?)?));
    let periods = PERIODS.map(|period| (period, period));
    put(&mut out, "per", reader.optional("per").map(|field| field.choice(&periods)).transpose()?);
    put(&mut out, "agent", text(&mut reader, "agent")?);
    let thresholds = reader.optional("alert_thresholds");
    put(&mut out, "alert_thresholds", thresholds.map(|field| read_thresholds(&field)).transpose()?);
    if let Some(field) = reader.optional("action_on_exceeded") {
        put(&mut out, "action_on_exceeded", Some(read_action(&field)?.name()));
    }
    let floor = reader.optional("min_output_tokens");
    put(&mut out, "min_output_tokens", floor.map(|field| read_count(&field)).transpose()?);
    reader.finish()?;
    Ok(out.into())
}
