//! What people are shown of a chain of writes: each statement with the rows that it changes.

use serde_json::{Value, json};
use wflo_core::approval::{ApprovalRequest, Purpose};
use wflo_data::Preview;

use super::{Chain, Open, Unapproved};
use crate::broker::question;
use crate::error::EngineError;

/// The most of the rows that an update asks for which are shown, in bytes.
const MOST_REQUESTED: usize = 128 << 10;

impl Chain {
    /// The question about everything that is open.
    pub(super) fn request(&self, open: &Open) -> Result<ApprovalRequest, EngineError> {
        let Some(first) = open.writes.first() else {
            return Err(EngineError::Unreadable("a question about no write".to_owned()));
        };
        let shown = open.writes.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
        let step = &self.attempt.step;
        let (title, mut evidence) = match &open.writes[..] {
            [one] => {
                let title = format!(
                    "step `{step}` changes database `{}`: {}",
                    one.database,
                    one_line(&one.request, &one.name)
                );
                (title, shown.into_iter().next().unwrap_or_default())
            }
            several => {
                let databases = in_words(&databases(several));
                let title = format!("step `{step}` makes {} changes to {databases}", several.len());
                (title, json!({ "previewed": true, "writes": shown }))
            }
        };
        // What others did between an earlier question and this one.
        if let Some(row) = self.journal.get(&first.key.path, first.key.seq)
            && row.attributes["conflicts"].is_array()
        {
            evidence["changed_since"] = row.attributes["conflicts"].clone();
        }
        let purpose = Purpose::Write { effect: first.key.clone() };
        question::request(&self.attempt, &*self.services.clock, purpose, title, &action(open), evidence)
    }
}

/// What an approval of everything that is open is for.
pub(super) fn action(open: &Open) -> Value {
    let one = |write: &Unapproved| json!(["db", write.name, write.request]);
    match &open.writes[..] {
        [single] => one(single),
        several => Value::Array(several.iter().map(one).collect()),
    }
}

/// The databases of writes, in the order of their first ones.
pub(super) fn databases<'a>(writes: impl IntoIterator<Item = &'a Unapproved>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for write in writes {
        if !names.contains(&write.database) {
            names.push(write.database.clone());
        }
    }
    names
}

fn in_words(databases: &[String]) -> String {
    let named: Vec<String> = databases.iter().map(|name| format!("`{name}`")).collect();
    let noun = if named.len() == 1 { "database" } else { "databases" };
    format!("{noun} {}", named.join(", "))
}

fn shown(write: &Unapproved) -> Result<Value, EngineError> {
    evidence(&write.name, &write.request, &write.database, &write.preview)
}

/// One write as people see it.
pub(crate) fn evidence(
    name: &str,
    request: &Value,
    database: &str,
    preview: &Preview,
) -> Result<Value, EngineError> {
    let change =
        serde_json::to_value(&preview.evidence).map_err(|e| EngineError::Unreadable(e.to_string()))?;
    let mut shown = json!({
        "name": name,
        "statement": request["sql"],
        "params": request["params"],
        "database": database,
        "previewed": preview.evidence.unseen.is_none(),
        "change": change,
    });
    if let Some(reason) = &preview.evidence.not_held {
        shown["runs_again"] = json!(reason.to_string());
    }
    if let Some(reason) = &preview.evidence.unseen {
        shown["unseen"] = json!(reason.to_string());
    }
    if let Some(report) = &preview.undo {
        shown["restore"] = json!({
            "on_conflict": request["on_conflict"].as_str().unwrap_or("abort"),
            "conflicts": report.conflicts,
            "skipped": report.skipped,
            "not_undone": report.not_undone,
            "notes": report.notes,
        });
    }
    if let Some(rows) = request["rows"].as_array() {
        shown["table"] = request["table"].clone();
        shown["rows"] = json!(rows.len());
        if preview.evidence.unseen.is_some() {
            // What it does is not known whole, so what it is asked to do is shown.
            let mut room = MOST_REQUESTED;
            let fitting = rows.iter().take_while(|row| {
                let size = row.to_string().len();
                room.checked_sub(size).map(|left| room = left).is_some()
            });
            shown["requested"] = fitting.cloned().collect();
        }
    }
    Ok(shown)
}

/// A write on one line.
pub(crate) fn one_line(request: &Value, name: &str) -> String {
    let text = match (request["sql"].as_str(), request["on_conflict"].as_str()) {
        (Some(sql), _) => sql.split_whitespace().collect::<Vec<_>>().join(" "),
        (None, Some("force")) if name == "restore" => "restore a snapshot by force".to_owned(),
        (None, _) if name == "restore" => "restore a snapshot".to_owned(),
        (None, _) => format!("{name} of {} rows", request["rows"].as_array().map_or(0, Vec::len)),
    };
    text.chars().take(160).collect()
}
