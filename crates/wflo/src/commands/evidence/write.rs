//! The rows that a write, or several of one step, would change.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use console::measure_text_width;
use serde_json::{Map, Value};

use super::Room;
use crate::plain;
use crate::printer::{Paint, Table};

/// Characters of a column's name.
const NAME: usize = 28;
/// Columns of a row, where nothing says how many fit.
const COLUMNS: usize = 8;
/// Characters before a difference that are shown with it.
const CONTEXT: usize = 8;
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
    if !room.is_page() && out.iter().any(|line| line.contains('…')) {
        out.push(paint.careful("  … is left out here; `wflo approvals show` has it whole"));
    }
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

/// The rows of one table: whole rows for inserts and deletes, the changed columns for updates.
fn rows(paint: Paint, table: &str, changes: &Value, room: Room, out: &mut Vec<String>) {
    let mut of_table: Vec<&Value> =
        changes.as_array().into_iter().flatten().filter(|change| change["table"] == table).collect();
    // A changeset is in no order that means something to a person.
    of_table.sort_by(|a, b| by_key(&a["key"], &b["key"]));
    for (kind, side, sign) in [("delete", "before", "-"), ("insert", "after", "+")] {
        let own = || of_table.iter().filter(|change| change["kind"] == kind);
        let records: Vec<&Map<String, Value>> = own().filter_map(|change| change[side].as_object()).collect();
        let keys = own().next().and_then(|change| change["key"].as_object());
        whole(paint, &records, keys, sign, room, out);
        more(paint, records.len(), room, out);
    }
    let updates: Vec<&&Value> = of_table.iter().filter(|change| change["kind"] == "update").collect();
    for change in updates.iter().take(room.rows) {
        let key = change["key"].as_object().into_iter().flatten();
        let key: Vec<String> =
            key.map(|(name, value)| format!("{name}={}", cell(Some(value), room))).collect();
        let columns = change["changed"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let columns: Vec<String> = columns
            .map(|name| {
                let (before, after) = pair(change["before"].get(name), change["after"].get(name), room);
                format!("{}: {} → {}", plain::short(name, NAME), paint.bad(before), paint.good(after))
            })
            .collect();
        let widest = if room.is_page() { super::WHOLE } else { 60 };
        out.push(format!("  ~ {}  {}", plain::short(&key.join(", "), widest), columns.join("  ")));
    }
    more(paint, updates.len(), room, out);
}

/// Records under the names of their columns, the key first. Columns that do not fit are named.
fn whole(
    paint: Paint,
    records: &[&Map<String, Value>],
    keys: Option<&Map<String, Value>>,
    sign: &str,
    room: Room,
    out: &mut Vec<String>,
) {
    let Some(first) = records.first() else { return };
    let is_key = |name: &String| keys.is_some_and(|keys| keys.contains_key(name));
    let key_names = first.keys().filter(|name| is_key(name));
    let names: Vec<&String> = key_names.chain(first.keys().filter(|name| !is_key(name))).collect();
    let shown = &records[..records.len().min(room.rows)];
    let fitting = fitting(&names, shown, room);
    let columns = &names[..fitting];
    let heads: Vec<String> = columns.iter().map(|name| plain::short(name, NAME)).collect();
    let heads: Vec<&str> = std::iter::once("   ").chain(heads.iter().map(String::as_str)).collect();
    let mut table = Table::new(&heads);
    for record in shown {
        let cells = columns.iter().map(|name| cell(record.get(*name), room));
        table.row(std::iter::once(format!("  {sign}")).chain(cells).collect());
    }
    for (index, line) in table.to_string().lines().enumerate() {
        out.push(match (index, sign) {
            (0, _) => paint.faint(line),
            (_, "-") => paint.bad(line),
            _ => paint.good(line),
        });
    }
    if fitting < names.len() {
        let others = names[fitting..].iter().map(|name| plain::short(name, NAME)).collect::<Vec<_>>();
        let others = plain::short(&others.join(", "), room.line);
        out.push(paint.faint(format_args!("    … and {} more columns: {others}", names.len() - fitting)));
    }
}

/// How many columns there is room for; at least two.
fn fitting(names: &[&String], records: &[&Map<String, Value>], room: Room) -> usize {
    let Some(width) = room.width else {
        return if room.is_page() { names.len() } else { names.len().min(COLUMNS) };
    };
    let mut used = 3;
    let fits = names.iter().take_while(|name| {
        let cells = records.iter().map(|record| measure_text_width(&cell(record.get(**name), room)));
        used += 2 + cells.max().unwrap_or(0).max(measure_text_width(name).min(NAME));
        used <= width
    });
    fits.count().max(2).min(names.len())
}

/// Keys column by column: numbers by size, anything else as text.
fn by_key(a: &Value, b: &Value) -> Ordering {
    let columns =
        |key: &Value| key.as_object().into_iter().flatten().map(|(_, v)| v.clone()).collect::<Vec<_>>();
    let sides = columns(a).into_iter().zip(columns(b));
    let orders = sides.map(|(a, b)| match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => plain::value(&a).cmp(&plain::value(&b)),
    });
    orders.fold(Ordering::Equal, Ordering::then)
}

fn more(paint: Paint, count: usize, room: Room, out: &mut Vec<String>) {
    if count > room.rows {
        out.push(paint.faint(format_args!("    … and {} more rows", count - room.rows)));
    }
}

/// A value before and after. Where both look the same when cut, each begins shortly before it differs.
fn pair(before: Option<&Value>, after: Option<&Value>, room: Room) -> (String, String) {
    let (before, after) = (whole_cell(before), whole_cell(after));
    let cut = (plain::short(&before, room.cell), plain::short(&after, room.cell));
    if cut.0 != cut.1 || before == after {
        return cut;
    }
    let same = before.chars().zip(after.chars()).take_while(|(b, a)| b == a).count();
    let from = |text: &str| {
        let rest: String = text.chars().skip(same.saturating_sub(CONTEXT)).collect();
        plain::short(&format!("…{rest}"), room.cell)
    };
    (from(&before), from(&after))
}

fn cell(value: Option<&Value>, room: Room) -> String {
    plain::short(&whole_cell(value), room.cell)
}

/// Bytes as SQL writes them, and as text where they are one.
fn bytes(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.is_empty() => format!("x'{hex}' = {}", plain::line(&format!("{text:?}"))),
        _ => format!("x'{hex}'"),
    }
}

fn whole_cell(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::Null) => "NULL".to_owned(),
        Some(Value::Object(tagged)) if tagged.contains_key("$bytes") => tagged["$bytes"]
            .as_str()
            .and_then(|text| BASE64.decode(text).ok())
            .map_or("(bytes)".to_owned(), |b| bytes(&b)),
        // Quoted where a reader could not tell text from a number, or an end from a space.
        Some(Value::String(text))
            if text.is_empty()
                || text.trim() != text
                || text.contains(['\n', '\r', '\t'])
                || text.parse::<f64>().is_ok()
                || text == "NULL" =>
        {
            plain::line(&format!("{text:?}"))
        }
        Some(value) => plain::value(value),
    }
}
