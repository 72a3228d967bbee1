//! What a write, or several of one step, would do: statements, counts, definitions, and the rows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Room;
use super::rows::{NAME, cell, more, rows};
use crate::plain;
use crate::printer::Paint;

/// Columns of a statement above a prompt. It is what runs where there is no preview, so it is not cut
/// to a line.
const STATEMENT: usize = 2_000;

/// Whether this is evidence of a write to a database.
pub(super) fn is_known(evidence: &Value) -> bool {
    evidence["writes"].is_array() || evidence["change"].is_object()
}

/// One write, or each of several, and what changed since they were asked about before.
pub(super) fn lines(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    if let Some(writes) = evidence["writes"].as_array() {
        several(paint, writes, room, out);
    } else {
        one(paint, evidence, room, out);
    }
    changed_since(paint, &evidence["changed_since"], room, out);
}

fn several(paint: Paint, writes: &[Value], room: Room, out: &mut Vec<String>) {
    if writes.len() > 1 {
        out.push(format!("  {} writes; {}", writes.len(), paint.strong(totals(writes))));
    }
    for (index, write) in writes.iter().take(room.writes).enumerate() {
        if writes.len() > 1 {
            let place = format!("write {} of {}{}", index + 1, writes.len(), in_database(write));
            out.push(format!("  {}", paint.strong(place)));
        }
        one(paint, write, room, out);
    }
    if writes.len() > room.writes {
        let left = &writes[room.writes..];
        let text = format!("  … and {} more writes; {}", left.len(), totals(left));
        out.push(paint.careful(text));
    }
}

fn in_database(write: &Value) -> String {
    write["database"]
        .as_str()
        .map_or_else(String::new, |name| format!(", database {}", plain::short(name, NAME)))
}

/// All rows of some writes, counted by table, and by database where there are several.
fn totals(writes: &[Value]) -> String {
    let databases: BTreeSet<&str> = writes.iter().filter_map(|write| write["database"].as_str()).collect();
    let mut all: BTreeMap<(&str, &String), BTreeMap<&str, u64>> = BTreeMap::new();
    for write in writes {
        let database = write["database"].as_str().filter(|_| databases.len() > 1).unwrap_or_default();
        for (table, counts) in write["change"]["tables"].as_object().into_iter().flatten() {
            let of_table = all.entry((database, table)).or_default();
            for (key, _) in COUNTS {
                *of_table.entry(key).or_default() += counts[key].as_u64().unwrap_or(0);
            }
        }
    }
    let table = |((database, name), counts): ((&str, &String), BTreeMap<&str, u64>)| {
        let dot = if database.is_empty() { "" } else { "." };
        let name = plain::short(&format!("{database}{dot}{name}"), 60);
        format!("{name}: {}", in_words(|key| counts.get(key).copied()))
    };
    let all: Vec<String> = all.into_iter().map(table).collect();
    if all.is_empty() { "no row would change".to_owned() } else { all.join("; ") }
}

/// The kinds of changes, and how they are called.
const COUNTS: [(&str, &str); 3] = [("deleted", "deleted"), ("updated", "changed"), ("inserted", "new")];

fn in_words(count: impl Fn(&str) -> Option<u64>) -> String {
    let words = COUNTS.into_iter().filter_map(|(key, word)| {
        let count = count(key).filter(|count| *count > 0)?;
        Some(format!("{count} {word}"))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// What others did to the rows between the question before and this one.
fn changed_since(paint: Paint, changed: &Value, room: Room, out: &mut Vec<String>) {
    let Some(changed) = changed.as_array().filter(|changed| !changed.is_empty()) else { return };
    out.push(paint.careful("  asked again, because somebody else has changed what was shown before:"));
    conflict_lines(paint, changed, room, out);
}

/// Rows that are not as they were left, or what else is not.
fn conflict_lines(paint: Paint, conflicts: &[Value], room: Room, out: &mut Vec<String>) {
    for row in conflicts.iter().take(room.rows) {
        if let Some(detail) = row["detail"].as_str() {
            out.push(format!("  ! {}", plain::short(detail, room.line)));
            continue;
        }
        let key = row["key"].as_object().into_iter().flatten();
        let key: Vec<String> =
            key.map(|(name, value)| format!("{name}={}", cell(Some(value), room))).collect();
        let table = plain::short(row["table"].as_str().unwrap_or_default(), 60);
        let what = plain::short(&plain::value(&row["conflict"]).replace('_', " "), NAME);
        out.push(format!("  ! {table}  {}  {what}", plain::short(&key.join(", "), 60)));
    }
    more(paint, conflicts.len(), room, out);
}

fn one(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    match (evidence["statement"].as_str(), evidence["rows"].as_u64()) {
        (Some(text), _) => statement(paint, text, room, out),
        (None, Some(rows)) => {
            let name = plain::short(evidence["name"].as_str().unwrap_or("update"), NAME);
            out.push(format!("  {name} of {rows} rows"));
        }
        (None, None) if evidence["restore"].is_object() => {
            out.push("  restore of a snapshot: takes back what this step has written since".to_owned());
        }
        (None, None) => {}
    }
    match &evidence["params"] {
        Value::Array(list) if list.is_empty() => {}
        Value::Object(map) if map.is_empty() => {}
        Value::Null => {}
        params => out.push(format!("  with {}", plain::short(&params.to_string(), room.line))),
    }
    let change = &evidence["change"];
    for (table, counts) in change["tables"].as_object().into_iter().flatten() {
        let counts = in_words(|key| counts[key].as_u64());
        out.push(format!("  {}: {}", plain::short(table, 60), paint.strong(counts)));
        rows(paint, table, &change["changes"], room, out);
    }
    restore(paint, &evidence["restore"], room, out);
    definitions(paint, &change["definitions"], room, out);
    internal(paint, &change["internal"], out);
    if let Some(why) = evidence["unseen"].as_str() {
        requested(paint, evidence, room, out);
        let why = plain::short(why, room.line);
        out.push(paint.careful(format_args!("  NOT ALL IS SHOWN: {why}")));
        out.push(paint.careful("  approving runs it as it is, on whatever it finds then"));
    } else if let Some(why) = evidence["runs_again"].as_str() {
        if is_empty(change) {
            out.push("  nothing would change".to_owned());
        }
        let why = plain::short(why, room.line);
        out.push(
            paint.faint(format_args!("  {why}: it is run again, and kept only if it does exactly this")),
        );
    } else if is_empty(change) {
        out.push("  no row would change".to_owned());
    }
    if change["truncated"] == true {
        out.push(paint.careful(not_shown(change)));
    }
    if let Some(digest) = change["digest"].as_str().filter(|digest| room.is_page() && !digest.is_empty()) {
        out.push(paint.faint(format_args!("  change {}", digest.get(..16).unwrap_or(digest))));
    }
}

/// What a step wrote, behind a bar: nothing in it can be taken for what wflo says about it. What does not
/// fit is left out in the middle, so that neither end can be pushed out of sight.
fn statement(paint: Paint, text: &str, room: Room, out: &mut Vec<String>) {
    let safe = plain::block(text);
    let lines: Vec<&str> = safe.lines().filter(|line| room.is_page() || !line.trim().is_empty()).collect();
    let bar = paint.faint("│");
    let most = if room.is_page() { usize::MAX } else { STATEMENT };
    let put = |line: &&str| format!("  {bar} {}", plain::short(line, most));
    if lines.len() <= room.lines {
        return out.extend(lines.iter().map(put));
    }
    let (head, tail) = (room.lines / 2, room.lines / 4);
    out.extend(lines[..head].iter().map(put));
    out.push(paint.careful(format_args!("  … {} lines are left out", lines.len() - head - tail)));
    out.extend(lines[lines.len() - tail..].iter().map(put));
}

/// What a restore makes of the edits of others.
fn restore(paint: Paint, restore: &Value, room: Room, out: &mut Vec<String>) {
    let Some(conflicts) = restore["conflicts"].as_array().filter(|conflicts| !conflicts.is_empty()) else {
        return;
    };
    out.push(match restore["on_conflict"].as_str() {
        Some("force") => {
            paint.bad("  OVERWRITES what others have written since, which stands on the left above:")
        }
        _ => paint.careful("  leaves as they are, because others have changed them since:"),
    });
    conflict_lines(paint, conflicts, room, out);
}

/// Whether nothing is known to change.
fn is_empty(change: &Value) -> bool {
    ["tables", "internal"].iter().all(|part| change[part].as_object().is_none_or(Map::is_empty))
        && change["definitions"].as_array().is_none_or(Vec::is_empty)
}

/// What the engine kept no more of than a count.
fn not_shown(change: &Value) -> String {
    let tables = change["tables"].as_object().into_iter().flatten();
    let all: u64 =
        tables.flat_map(|(_, counts)| COUNTS.map(|(key, _)| counts[key].as_u64().unwrap_or(0))).sum();
    let kept = change["changes"].as_array().map_or(0, |changes| u64::try_from(changes.len()).unwrap_or(0));
    match all.saturating_sub(kept) {
        0 => "  long values are not shown whole: their length and digest are".to_owned(),
        rows => format!("  {rows} OF {all} ROWS ARE NOT SHOWN; the counts cover everything"),
    }
}

/// Tables, indexes, views and triggers that come, go or change.
fn definitions(paint: Paint, definitions: &Value, room: Room, out: &mut Vec<String>) {
    let all = definitions.as_array().map_or(&[][..], Vec::as_slice);
    for definition in all.iter().take(room.rows) {
        let kind = plain::short(definition["kind"].as_str().unwrap_or_default(), NAME);
        let name = plain::short(definition["name"].as_str().unwrap_or_default(), 60);
        let (before, after) = (definition["before"].as_str(), definition["after"].as_str());
        let text = |sql: &str| plain::short(&sql.split_whitespace().collect::<Vec<_>>().join(" "), room.line);
        let word = match (before, after) {
            (None, _) => paint.good("new"),
            (_, None) => paint.bad("gone"),
            _ => paint.careful("changed"),
        };
        out.push(format!("  {kind} {name}: {word}"));
        out.extend(before.map(|sql| format!("    {}", paint.bad(format_args!("- {}", text(sql))))));
        out.extend(after.map(|sql| format!("    {}", paint.good(format_args!("+ {}", text(sql))))));
    }
    if all.len() > room.rows {
        out.push(paint.faint(format_args!("    … and {} more definitions", all.len() - room.rows)));
    }
}

/// Rows in which virtual tables keep what they hold: bytes that tell a person nothing.
fn internal(paint: Paint, internal: &Value, out: &mut Vec<String>) {
    for (table, counts) in internal.as_object().into_iter().flatten() {
        let counts = in_words(|key| counts[key].as_u64());
        let table = plain::short(table, 60);
        out.push(paint.faint(format_args!("  {table} (inside of a virtual table): {counts}")));
    }
}

/// The rows that an update was asked for, where what it does is not known whole.
fn requested(paint: Paint, evidence: &Value, room: Room, out: &mut Vec<String>) {
    let Some(rows) = evidence["requested"].as_array() else { return };
    for row in rows.iter().take(room.rows) {
        out.push(format!("  = {}", plain::short(&row.to_string(), room.line)));
    }
    let all = usize::try_from(evidence["rows"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
    let shown = rows.len().min(room.rows);
    if all > shown {
        out.push(paint.faint(format_args!("    … and {} more rows that it asks to update", all - shown)));
    }
}
