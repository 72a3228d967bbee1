//! Rows of a table before and after, and the values in them.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use console::measure_text_width;
use serde_json::{Map, Value};

use super::Room;
use crate::plain;
use crate::printer::{Paint, Table};

/// Characters of a column's name.
pub(super) const NAME: usize = 28;
/// Columns of a row, where nothing says how many fit.
const COLUMNS: usize = 8;
/// Characters before a difference that are shown with it.
const CONTEXT: usize = 8;

/// The rows of one table: whole rows for inserts and deletes, the changed columns for updates.
pub(super) fn rows(paint: Paint, table: &str, changes: &Value, room: Room, out: &mut Vec<String>) {
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

/// How many rows are left out.
pub(super) fn more(paint: Paint, count: usize, room: Room, out: &mut Vec<String>) {
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

/// A value in a row.
pub(super) fn cell(value: Option<&Value>, room: Room) -> String {
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
