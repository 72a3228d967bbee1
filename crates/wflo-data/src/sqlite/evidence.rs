//! Changesets as rows that people can read, and the guards of whole rows.
//!
//! Owns the reading of a changeset against the shapes that travel with it, and the bounds on what
//! is shown. Whole rows are read from the database, because an update's changeset holds only the
//! key and the changed columns.

use std::collections::BTreeMap;

use super::connection::Call;
use super::run::Counter;
use super::schema::{ROWID, quoted};
use super::session::{Change, Changes};
use crate::change::{ChangeKind, Record, RowChange, TableCounts};
use crate::changeset::{Changeset, TableShape};
use crate::error::DataError;
use crate::value::Value;

/// Bytes of a guard.
pub(super) const GUARD: usize = 16;
/// The longest text, in characters, and the longest blob, in bytes, that is shown whole.
const LONGEST: usize = 2_000;

/// A changeset made readable.
#[derive(Default)]
pub(super) struct Shown {
    pub changes: Vec<RowChange>,
    pub tables: BTreeMap<String, TableCounts>,
    pub truncated: bool,
    /// One a changed row, when whole rows were asked for.
    pub guards: Vec<u8>,
}

/// Which columns are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What the changeset holds: key and changed columns of an update.
    Changed,
    /// Whole rows. The changes must be in the database, in the open transaction.
    Whole,
}

/// Reads a changeset.
pub(super) fn show(call: &Call<'_>, changeset: &Changeset, detail: Detail) -> Result<Shown, DataError> {
    let mut shown = Shown::default();
    let mut budget = Budget::new(call);
    let mut reader = WholeRows::new(call);
    let mut changes = call.ok(Changes::of(&changeset.bytes))?;
    while call.ok(changes.advance())? {
        let (table, kind) = call.ok(changes.head())?;
        shown.tables.entry(table).or_default().add(kind);
        if detail == Detail::Changed && budget.is_spent() {
            shown.truncated = true;
            continue;
        }
        let change = call.ok(changes.decode())?;
        let shape = shape_of(changeset, &change)?;
        let mut row = row_change(shape, &change);
        if detail == Detail::Whole && kind == ChangeKind::Update {
            let after = reader.read(shape, &change)?;
            let before = after.as_ref().map(|after| overlaid(after, &change.old));
            shown.guards.extend_from_slice(&guard(before.as_deref()));
            row.after = after.map(|after| record(shape, after.iter().map(Some)));
            row.before = before.map(|before| record(shape, before.iter().map(Some)));
        }
        if !budget.is_spent() {
            let shortened = shorten(&mut row);
            if budget.pay(&row) {
                shown.truncated |= shortened;
                shown.changes.push(row);
                continue;
            }
        }
        shown.truncated = true;
    }
    Ok(shown)
}

/// A change whose row is not as it was shown, and the row as it is.
pub(super) type Differing = (Change, Option<Vec<Value>>);

/// Checks that the rows which an update changes are still whole as they were when they were shown;
/// gives those that are not.
pub(super) fn check_guards(
    call: &Call<'_>,
    changeset: &Changeset,
    guards: &[u8],
) -> Result<Vec<Differing>, DataError> {
    let mut differing = Vec::new();
    let mut expected = guards.chunks_exact(GUARD);
    let mut reader = WholeRows::new(call);
    let mut changes = call.ok(Changes::of(&changeset.bytes))?;
    while call.ok(changes.advance())? {
        if call.ok(changes.head())?.1 != ChangeKind::Update {
            continue;
        }
        let change = call.ok(changes.decode())?;
        let now = reader.read(shape_of(changeset, &change)?, &change)?;
        if expected.next() != Some(guard(now.as_deref()).as_slice()) {
            differing.push((change, now));
        }
    }
    Ok(differing)
}

/// The shape that travels with the changeset.
pub(super) fn shape_of<'a>(changeset: &'a Changeset, change: &Change) -> Result<&'a TableShape, DataError> {
    let shape = changeset.shape(&change.table).filter(|shape| shape.columns.len() >= change.key.len());
    shape.ok_or_else(|| DataError::SchemaChanged {
        table: change.table.clone(),
        detail: "the captured change does not describe it".to_owned(),
    })
}

/// Known values as a record.
pub(super) fn record<'a>(shape: &TableShape, values: impl Iterator<Item = Option<&'a Value>>) -> Record {
    let known = shape.columns.iter().zip(values);
    Record(known.filter_map(|(name, value)| Some((name.clone(), value?.clone()))).collect())
}

/// The primary key of a change.
pub(super) fn key(shape: &TableShape, change: &Change) -> Record {
    let values = if change.kind == ChangeKind::Insert { &change.new } else { &change.old };
    let of_key = change.key.iter().zip(values).map(|(place, value)| value.as_ref().filter(|_| *place > 0));
    record(shape, of_key)
}

/// A change as far as the changeset tells.
fn row_change(shape: &TableShape, change: &Change) -> RowChange {
    let changed = match change.kind {
        ChangeKind::Update => {
            let new = shape.columns.iter().zip(&change.new);
            new.filter(|(_, value)| value.is_some()).map(|(name, _)| name.clone()).collect()
        }
        _ => Vec::new(),
    };
    let side = |values: &[Option<Value>]| record(shape, values.iter().map(Option::as_ref));
    RowChange {
        table: change.table.clone(),
        kind: change.kind,
        key: key(shape, change),
        before: (change.kind != ChangeKind::Insert).then(|| side(&change.old)),
        after: (change.kind != ChangeKind::Delete).then(|| side(&change.new)),
        changed,
    }
}

/// A row with some of its values replaced.
fn overlaid(row: &[Value], known: &[Option<Value>]) -> Vec<Value> {
    row.iter().zip(known).map(|(value, known)| known.as_ref().unwrap_or(value).clone()).collect()
}

fn guard(row: Option<&[Value]>) -> [u8; GUARD] {
    let mut encoded = Vec::new();
    for value in row.unwrap_or_default() {
        value.encode(&mut encoded);
    }
    let mut guard = [0; GUARD];
    guard.copy_from_slice(&blake3::hash(&encoded).as_bytes()[..GUARD]);
    guard
}

/// Reads whole rows by key, one prepared statement a table.
struct WholeRows<'call> {
    call: &'call Call<'call>,
    statements: BTreeMap<String, rusqlite::Statement<'call>>,
}

impl<'call> WholeRows<'call> {
    fn new(call: &'call Call<'_>) -> Self {
        WholeRows { call, statements: BTreeMap::new() }
    }

    /// The stored columns of the row that an update is about, as they are now.
    fn read(&mut self, shape: &TableShape, change: &Change) -> Result<Option<Vec<Value>>, DataError> {
        if !self.statements.contains_key(&shape.name) {
            let name = |column: &String| match shape.by_rowid && column == ROWID {
                true => ROWID.to_owned(),
                false => quoted(column),
            };
            let columns: Vec<String> = shape.columns.iter().map(name).collect();
            let of_key = columns.iter().zip(&shape.key).filter(|(_, place)| **place > 0);
            let matched: Vec<String> = of_key.map(|(column, _)| format!("{column} = ?")).collect();
            let sql = format!(
                "SELECT {} FROM {} WHERE {}",
                columns.join(", "),
                quoted(&shape.name),
                matched.join(" AND ")
            );
            let statement = self.call.ok(self.call.connection.prepare(&sql))?;
            self.statements.insert(shape.name.clone(), statement);
        }
        let Some(statement) = self.statements.get_mut(&shape.name) else { return Ok(None) };
        let of_key = change.key.iter().zip(&change.old).filter(|(place, _)| **place > 0);
        let key = of_key.map(|(_, value)| value.clone().unwrap_or(Value::Null));
        let columns = shape.columns.len();
        let mut rows = self.call.ok(statement.query(rusqlite::params_from_iter(key)))?;
        let Some(row) = self.call.ok(rows.next())? else { return Ok(None) };
        let values = (0..columns).map(|column| row.get_ref(column).map(Value::from));
        self.call.ok(values.collect::<rusqlite::Result<_>>()).map(Some)
    }
}

/// How much may still be shown.
pub(super) struct Budget {
    rows: usize,
    bytes: usize,
    spent: bool,
}

impl Budget {
    /// The whole of it.
    pub(super) fn new(call: &Call<'_>) -> Self {
        Budget { rows: call.limits.shown_rows, bytes: call.limits.shown_bytes, spent: false }
    }

    /// Whether nothing more fits.
    pub(super) fn is_spent(&self) -> bool {
        self.spent || self.rows == 0
    }

    /// Takes what one row needs; the first that does not fit ends it, so that what is shown is a
    /// prefix.
    pub(super) fn pay(&mut self, row: &impl serde::Serialize) -> bool {
        let mut size = Counter(0);
        size.add(row);
        if self.is_spent() || size.0 > self.bytes {
            self.spent = true;
            return false;
        }
        self.rows -= 1;
        self.bytes -= size.0;
        true
    }
}

/// Shortens long values; says whether there were any.
pub(super) fn shorten(row: &mut RowChange) -> bool {
    let sides = [Some(&mut row.key), row.before.as_mut(), row.after.as_mut()];
    let values = sides.into_iter().flatten().flat_map(|record| &mut record.0);
    values.map(|(_, value)| shorten_value(value)).fold(false, |any, one| any | one)
}

/// Shortens a long value, keeping its digest, so that two that differ look different.
pub(super) fn shorten_value(value: &mut Value) -> bool {
    let digest = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
    let short = match &*value {
        Value::Text(text) if text.len() > LONGEST => {
            let start: String = text.chars().take(LONGEST / 2).collect();
            format!("{start}… [{} bytes, blake3 {}]", text.len(), digest(text.as_bytes()))
        }
        Value::Blob(bytes) if bytes.len() > LONGEST => {
            format!("[blob of {} bytes, blake3 {}]", bytes.len(), digest(bytes))
        }
        _ => return false,
    };
    *value = Value::Text(short);
    true
}
