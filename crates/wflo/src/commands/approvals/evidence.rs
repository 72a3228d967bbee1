//! What a question is about, as lines for people: rows before and after, statements, amounts.

use serde_json::{Map, Value};
use wflo_core::approval::{ApprovalRequest, Purpose};

use crate::commands::plain;
use crate::printer::Paint;

/// Longer cells are cut, with a mark.
const CELL: usize = 80;

/// The evidence of a question.
pub(crate) fn lines(paint: Paint, request: &ApprovalRequest) -> Vec<String> {
    let evidence = &request.evidence;
    match &request.purpose {
        Purpose::Write { .. } if evidence["change"].is_object() => write(paint, evidence),
        Purpose::Budget { .. } => budget(evidence),
        Purpose::Gate | Purpose::Start => {
            let mut all = named(paint, "inputs", &evidence["inputs"]);
            all.extend(named(paint, "outputs of the steps before", &evidence["outputs"]));
            if all.is_empty() {
                all.push(paint.faint("Nothing was computed before it."));
            }
            all
        }
        _ => tree(evidence, 0),
    }
}

fn write(paint: Paint, evidence: &Value) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(statement) = evidence["statement"].as_str() {
        for line in plain::block(statement).lines() {
            all.push(paint.link(line));
        }
    }
    let params = &evidence["params"];
    let empty = params.as_array().is_some_and(Vec::is_empty) || params.as_object().is_some_and(Map::is_empty);
    if !params.is_null() && !empty {
        all.push(format!("with {}", plain::short(&params.to_string(), 400)));
    }
    let change = &evidence["change"];
    let mut counts = Vec::new();
    for (table, count) in change["tables"].as_object().into_iter().flatten() {
        let mut parts = Vec::new();
        for (key, word) in [("inserted", "new"), ("updated", "changed"), ("deleted", "removed")] {
            if let Some(number @ 1..) = count[key].as_u64() {
                parts.push(format!("{number} {word}"));
            }
        }
        if !parts.is_empty() {
            counts.push(format!("{}: {}", plain::line(table), parts.join(", ")));
        }
    }
    all.push(String::new());
    all.push(match counts.as_slice() {
        [] => "No rows would change.".to_owned(),
        counts => paint.strong(format_args!("Rows in {}", counts.join("; "))),
    });
    for row in change["changes"].as_array().into_iter().flatten() {
        all.extend(row_lines(paint, row));
    }
    if change["truncated"] == true {
        all.push(paint.faint("… not every row or value is shown; the approval covers all of them"));
    }
    if evidence["previewed"] == false {
        let why = match &change["not_held"] {
            Value::Null => String::new(),
            why => format!(" ({})", plain::value(why)),
        };
        all.push(paint.careful(format_args!(
            "This is not the whole change: a part of it cannot be shown in advance{why}."
        )));
    }
    if let Some(digest) = change["digest"].as_str() {
        all.push(paint.faint(format_args!("change {}", digest.get(..16).unwrap_or(digest))));
    }
    all
}

/// One row: removed, new, or its changed columns before and after.
fn row_lines(paint: Paint, row: &Value) -> Vec<String> {
    let table = row["table"].as_str().map(plain::line).unwrap_or_default();
    match row["kind"].as_str() {
        Some("delete") => vec![paint.bad(format_args!("- {table}  {}", cells(&row["before"])))],
        Some("insert") => vec![paint.good(format_args!("+ {table}  {}", cells(&row["after"])))],
        _ => {
            let mut all = vec![paint.careful(format_args!("~ {table}  {}", cells(&row["key"])))];
            for column in row["changed"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let side = |name: &str| plain::short(&cell(&row[name][column]), CELL);
                let (before, after) = (paint.bad(side("before")), paint.good(side("after")));
                all.push(format!("    {}: {before} → {after}", plain::line(column)));
            }
            all
        }
    }
}

fn cells(record: &Value) -> String {
    let columns = record.as_object().into_iter().flatten();
    let cells: Vec<String> = columns
        .map(|(name, value)| format!("{}={}", plain::line(name), plain::short(&cell(value), CELL)))
        .collect();
    cells.join("  ")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Object(bytes) if bytes.contains_key("$bytes") => "(bytes)".to_owned(),
        // Quoted where a reader could not tell text from a number or an end from a space.
        Value::String(text) if text.contains(' ') || text.is_empty() || text.parse::<f64>().is_ok() => {
            format!("{text:?}")
        }
        value => plain::value(value),
    }
}

fn budget(evidence: &Value) -> Vec<String> {
    let usd = |name: &str| plain::value(&evidence[name]);
    vec![
        format!("budget  {}", usd("budget")),
        format!("limit   ${}", usd("limit_usd")),
        format!("spent   ${}", usd("settled_usd")),
        format!("held    ${} by running calls", usd("held_usd")),
        format!("call    up to ${} ({}, step {})", usd("wanted_usd"), usd("model"), usd("step")),
        format!("missing ${}", usd("missing_usd")),
    ]
}

fn named(paint: Paint, name: &str, value: &Value) -> Vec<String> {
    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
    if empty {
        return Vec::new();
    }
    let mut all = vec![paint.strong(name)];
    all.extend(tree(value, 1));
    all
}

/// Any evidence: one line for each leaf.
fn tree(value: &Value, depth: usize) -> Vec<String> {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .flat_map(|(name, value)| branch(&plain::line(name), value, depth))
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| branch("-", item, depth)).collect(),
        Value::String(text) => plain::block(text).lines().map(|line| format!("{indent}{line}")).collect(),
        leaf => vec![format!("{indent}{leaf}")],
    }
}

fn branch(name: &str, value: &Value, depth: usize) -> Vec<String> {
    let indent = "  ".repeat(depth);
    let is_leaf = match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.iter().all(|item| !item.is_object() && !item.is_array()),
        Value::String(text) => !text.trim_end().contains('\n'),
        _ => true,
    };
    if is_leaf {
        return vec![format!("{indent}{name}: {}", plain::short(&plain::value(value), 400))];
    }
    let mut all = vec![format!("{indent}{name}:")];
    all.extend(tree(value, depth + 1));
    all
}
