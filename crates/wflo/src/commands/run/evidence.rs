//! What an approval is about, as bounded lines for a terminal: the rows, the statement, the amounts,
//! the files.

use serde_json::{Map, Value};
use wflo_core::approval::{ApprovalRequest, Purpose};
use wflo_core::money::NanoUsd;

use crate::commands::plain;
use crate::printer::{Paint, Table, money};

/// Rows that are shown of each table.
const ROWS: usize = 12;
/// Columns that are shown of each row.
const COLUMNS: usize = 8;
/// Characters of a value.
const CELL: usize = 28;
/// Lines of a text.
const LINES: usize = 40;
/// Characters of a line.
const LINE: usize = 160;

/// The question and what it rests on.
pub(crate) fn lines(paint: Paint, request: &ApprovalRequest) -> Vec<String> {
    let mut out = vec![format!("{} {}", paint.careful("?"), paint.strong(plain::short(&request.title, 240)))];
    let evidence = &request.evidence;
    match &request.purpose {
        Purpose::Write { .. } => write(paint, evidence, &mut out),
        Purpose::Budget { .. } | Purpose::Policy { .. } => amounts(evidence, &mut out),
        Purpose::Output => text(evidence["output"].as_str().unwrap_or_default(), &mut out),
        Purpose::Asked { .. } => tree(&evidence["details"], &mut out),
        Purpose::Gate | Purpose::Start => {
            named("inputs", &evidence["inputs"], &mut out);
            named("outputs", &evidence["outputs"], &mut out);
        }
        Purpose::Apply => {
            for file in evidence["files"].as_array().into_iter().flatten().take(LINES) {
                let kind = file["kind"].as_str().unwrap_or_default();
                let path = file["path"].as_str().unwrap_or_default();
                out.push(format!("  {kind:<9} {}", plain::short(path, LINE)));
            }
            diff(paint, evidence["diff"].as_str().unwrap_or_default(), &mut out);
        }
    }
    if !request.approvers.is_empty() {
        let who = request.approvers.iter().map(|name| plain::short(name, 40)).collect::<Vec<_>>().join(", ");
        out.push(paint.faint(format_args!("  asked of {who} (here: whoever sits at this terminal)")));
    }
    if let Some(until) = request.expires_at {
        out.push(paint.faint(format_args!("  until {}", until.strftime("%Y-%m-%d %H:%M:%S UTC"))));
    }
    out
}

fn write(paint: Paint, evidence: &Value, out: &mut Vec<String>) {
    if let Some(statement) = evidence["statement"].as_str() {
        text(statement, out);
    }
    match &evidence["params"] {
        Value::Array(list) if list.is_empty() => {}
        Value::Object(map) if map.is_empty() => {}
        Value::Null => {}
        params => out.push(format!("  with {}", plain::short(&params.to_string(), LINE))),
    }
    let change = &evidence["change"];
    for (table, counts) in change["tables"].as_object().into_iter().flatten() {
        let count = |name: &str, word: &str| {
            let n = counts[name].as_u64().unwrap_or(0);
            (n > 0).then(|| format!("{n} {word}"))
        };
        let counts =
            [count("deleted", "deleted"), count("updated", "updated"), count("inserted", "inserted")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        out.push(format!("  {}: {}", plain::short(table, 60), paint.strong(counts.join(", "))));
        rows(paint, table, &change["changes"], out);
    }
    if evidence["previewed"] == false {
        let why = plain::short(&plain::value(&change["not_held"]), LINE);
        out.push(paint.careful(format_args!("  not previewed: {why}")));
    } else if change["tables"].as_object().is_none_or(Map::is_empty) {
        out.push("  no row would change".to_owned());
    }
    if change["truncated"] == true {
        out.push(paint.faint("  not all rows or values are shown; the counts cover everything"));
    }
}

/// The rows of one table: whole rows for inserts and deletes, the changed columns for updates.
fn rows(paint: Paint, table: &str, changes: &Value, out: &mut Vec<String>) {
    let mut of_table: Vec<&Value> =
        changes.as_array().into_iter().flatten().filter(|change| change["table"] == table).collect();
    // A changeset is in no order that means something to a person.
    of_table.sort_by(|a, b| by_key(&a["key"], &b["key"]));
    let keys: Vec<&String> = of_table
        .first()
        .and_then(|change| change["key"].as_object())
        .into_iter()
        .flatten()
        .map(|(k, _)| k)
        .collect();
    let whole = |kind: &str, side: &str| -> Vec<&Map<String, Value>> {
        of_table.iter().filter(|c| c["kind"] == kind).filter_map(|c| c[side].as_object()).collect()
    };
    for (kind, side, sign) in [("delete", "before", "-"), ("insert", "after", "+")] {
        let records = whole(kind, side);
        let Some(first) = records.first() else { continue };
        let others = first.keys().filter(|name| !keys.contains(name));
        let columns: Vec<&String> = keys.iter().copied().chain(others).take(COLUMNS).collect();
        let heads: Vec<String> = columns.iter().map(|name| plain::short(name, CELL)).collect();
        let heads: Vec<&str> = std::iter::once("   ").chain(heads.iter().map(String::as_str)).collect();
        let mut shown = Table::new(&heads);
        for record in records.iter().take(ROWS) {
            let cells = columns.iter().map(|name| cell(record.get(*name)));
            shown.row(std::iter::once(format!("  {sign}")).chain(cells).collect());
        }
        let colour = |line: &str| if sign == "-" { paint.bad(line) } else { paint.good(line) };
        let text = shown.to_string();
        out.extend(
            text.lines().enumerate().map(|(n, line)| if n == 0 { paint.faint(line) } else { colour(line) }),
        );
        more(paint, records.len(), out);
    }
    let updates: Vec<&&Value> = of_table.iter().filter(|c| c["kind"] == "update").collect();
    for change in updates.iter().take(ROWS) {
        let key = change["key"].as_object().into_iter().flatten();
        let key: Vec<String> = key.map(|(name, value)| format!("{name}={}", cell(Some(value)))).collect();
        let columns = change["changed"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let columns: Vec<String> = columns
            .take(COLUMNS)
            .map(|name| {
                let side = |side: &str| cell(change[side].get(name));
                format!(
                    "{}: {} → {}",
                    plain::short(name, CELL),
                    paint.bad(side("before")),
                    paint.good(side("after"))
                )
            })
            .collect();
        out.push(format!("  ~ {}  {}", plain::short(&key.join(", "), 60), columns.join("  ")));
    }
    more(paint, updates.len(), out);
}

/// Keys column by column: numbers by size, anything else as text.
fn by_key(a: &Value, b: &Value) -> std::cmp::Ordering {
    let columns =
        |key: &Value| key.as_object().into_iter().flatten().map(|(_, v)| v.clone()).collect::<Vec<_>>();
    let sides = columns(a).into_iter().zip(columns(b));
    let orders = sides.map(|(a, b)| match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => plain::value(&a).cmp(&plain::value(&b)),
    });
    orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
}

fn more(paint: Paint, count: usize, out: &mut Vec<String>) {
    if count > ROWS {
        out.push(paint.faint(format_args!("    … and {} more rows", count - ROWS)));
    }
}

fn cell(value: Option<&Value>) -> String {
    value.map_or_else(String::new, |value| plain::short(&plain::value(value), CELL))
}

/// What the arithmetic of a budget or a policy consists of, in the order in which it is read.
const AMOUNTS: [(&str, &str); 12] = [
    ("policy", "policy"),
    ("condition", "condition"),
    ("budget", "budget"),
    ("step", "step"),
    ("model", "model"),
    ("limit_usd", "limit"),
    ("settled_usd", "spent so far"),
    ("spent_usd", "spent so far"),
    ("held_usd", "held by calls"),
    ("wanted_usd", "this call, at most"),
    ("this_call_up_to_usd", "this call, at most"),
    ("missing_usd", "missing"),
];

/// The known parts by name; amounts of money as money.
fn amounts(evidence: &Value, out: &mut Vec<String>) {
    for (name, label) in AMOUNTS {
        let value = &evidence[name];
        if value.is_null() {
            continue;
        }
        let is_money = name.ends_with("_usd");
        let parsed = value.as_str().filter(|_| is_money).and_then(|text| text.parse::<NanoUsd>().ok());
        let value = parsed.map_or_else(|| plain::short(&plain::value(value), LINE), money);
        out.push(format!("  {label:<18}  {value}"));
    }
}

fn named(name: &str, value: &Value, out: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten().take(LINES) {
        out.push(format!("  {name}.{}: {}", plain::short(key, 40), plain::short(&plain::value(value), LINE)));
    }
}

fn tree(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map.iter().take(LINES) {
                out.push(format!(
                    "  {}: {}",
                    plain::short(key, 40),
                    plain::short(&plain::value(value), LINE)
                ));
            }
        }
        other => text(&plain::value(other), out),
    }
}

fn text(text: &str, out: &mut Vec<String>) {
    let count = text.lines().count();
    out.extend(text.lines().take(LINES).map(|line| format!("  {}", plain::short(line, LINE))));
    if count > LINES {
        out.push(format!("  … and {} more lines", count - LINES));
    }
}

fn diff(paint: Paint, text: &str, out: &mut Vec<String>) {
    let count = text.lines().count();
    for line in text.lines().take(LINES) {
        let safe = plain::short(line, LINE);
        out.push(match line.chars().next() {
            Some('+') => format!("  {}", paint.good(safe)),
            Some('-') => format!("  {}", paint.bad(safe)),
            _ => format!("  {safe}"),
        });
    }
    if count > LINES {
        out.push(format!("  … and {} more lines", count - LINES));
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::printer::Printer;

    fn shown(purpose: Value, evidence: Value) -> String {
        let mut request = json!({
            "step": "clean", "generation": 1, "title": "go on", "evidence": evidence, "approvers": ["ops"],
            "quorum": 1, "expires_at": null, "on_timeout": "hold", "notify": [],
            "binding": {"action": "0".repeat(64), "code": "0".repeat(64), "evidence": "0".repeat(64)},
        });
        request.as_object_mut().unwrap().extend(purpose.as_object().unwrap().clone());
        lines(Printer::mute().beside(), &serde_json::from_value(request).unwrap()).join("\n")
    }

    #[test]
    fn a_write_shows_its_statement_and_the_rows() {
        let effect = json!({"step": "clean", "generation": 1, "path": "0", "effect_seq": 0});
        let deleted: Vec<Value> = (1..=14)
            .rev()
            .map(|id| {
                let row =
                    json!({"id": id, "age": 400 + id, "note": "gone\u{1b}[2J".to_owned() + &"x".repeat(90)});
                json!({"table": "records", "kind": "delete", "key": {"id": id}, "before": row})
            })
            .chain([json!({
                "table": "records", "kind": "update", "key": {"id": 20}, "changed": ["age"],
                "before": {"id": 20, "age": 1}, "after": {"id": 20, "age": 2}
            })])
            .collect();
        let evidence = json!({
            "statement": "DELETE FROM records\nWHERE age > ?", "params": [365], "database": null, "previewed": true,
            "change": {
                "changes": deleted, "truncated": true, "digest": "",
                "tables": {"records": {"inserted": 0, "updated": 1, "deleted": 14}},
            },
        });
        assert_snapshot!(shown(json!({"purpose": "write", "effect": effect}), evidence));
    }

    #[test]
    fn a_budget_shows_the_arithmetic() {
        let purpose =
            json!({"purpose": "budget", "budget": "bud_01a1fe1eea157971a9ee952eebb5480f", "missing": "0.50"});
        let evidence = json!({
            "budget": "run budget", "limit_usd": "10.00", "settled_usd": "9.00", "held_usd": "0.00",
            "wanted_usd": "1.50", "missing_usd": "0.50", "model": "tiny", "step": "ask",
        });
        assert_snapshot!(shown(purpose, evidence));
    }
}
