//! Rows of tables whose changes no changeset holds, read before and after a write.
//!
//! Owns the reading, its bounds and the difference. Generated columns are not read: what they compute has a
//! cost that somebody else chose.

use std::collections::BTreeMap;

use super::connection::Call;
use super::schema::{self, Kind, Table, quoted};
use crate::change::{ChangeKind, Record, RowChange};
use crate::error::DataError;
use crate::seal::Reading;
use crate::value::Value;

/// A table as it was read.
pub(super) enum RowSet {
    /// There is no such table, or it is a view.
    Absent,
    /// It is too large to be read.
    TooLarge,
    /// Each row by its identity, to be compared one by one.
    Each(BTreeMap<Vec<u8>, Row>),
    /// All rows together.
    Whole {
        digest: blake3::Hash,
        count: u64,
        /// The first rows, for showing.
        first: Vec<Row>,
    },
}

/// One row.
#[derive(Clone, PartialEq)]
pub(super) struct Row {
    key: Record,
    stored: Record,
}

/// What became of the rows of one table.
pub(super) enum Difference {
    /// A side is too large to be compared.
    Unknown,
    /// The changes row by row; those of a table that came or went are its first ones, with the number of all.
    Known { digest: blake3::Hash, changes: Vec<RowChange>, all: u64 },
}

/// Reads a table.
pub(super) fn read(call: &Call<'_>, name: &str, reading: Reading) -> Result<RowSet, DataError> {
    let Some(table) = schema::table(call, name)?.filter(is_stored) else { return Ok(RowSet::Absent) };
    let columns: Vec<&str> = table.columns.iter().filter(|c| !c.computed).map(|c| c.name.as_str()).collect();
    let keys: Vec<&str> = table.columns.iter().filter(|c| c.key > 0).map(|c| c.name.as_str()).collect();
    let rowid = table.rowid();
    let mut selected: Vec<String> = rowid.iter().map(|name| (*name).to_owned()).collect();
    selected.extend(columns.iter().map(|name| quoted(name)));
    let identity = match rowid {
        Some(name) => vec![name.to_owned()],
        None if keys.is_empty() => columns.iter().map(|name| quoted(name)).collect(),
        None => keys.iter().map(|name| quoted(name)).collect(),
    };
    let condition = match reading {
        Reading::NullKeys => {
            let null: Vec<String> = keys.iter().map(|name| format!("{} IS NULL", quoted(name))).collect();
            format!(" WHERE {}", null.join(" OR "))
        }
        Reading::Rows | Reading::Whole => String::new(),
    };
    let sql = format!(
        "SELECT {} FROM {}{condition} ORDER BY {}",
        selected.join(", "),
        quoted(&table.name),
        identity.join(", ")
    );
    let mut statement = call.ok(call.connection.prepare(&sql))?;
    let mut rows = call.ok(statement.query([]))?;
    let (mut each, mut hasher, mut first) = (BTreeMap::new(), blake3::Hasher::new(), Vec::new());
    let (mut count, mut bytes, mut encoded) = (0_u64, 0_usize, Vec::new());
    let (most_rows, most_bytes) = match reading {
        Reading::Whole => (u64::MAX, call.limits.digested_bytes),
        _ => (call.limits.compared_rows as u64, call.limits.compared_bytes),
    };
    while let Some(row) = call.ok(rows.next())? {
        encoded.clear();
        let mut values = Vec::with_capacity(selected.len());
        for column in 0..selected.len() {
            let value = Value::from(call.ok(row.get_ref(column))?);
            value.encode(&mut encoded);
            values.push(value);
        }
        count += 1;
        bytes += encoded.len();
        if count > most_rows || bytes > most_bytes {
            return Ok(RowSet::TooLarge);
        }
        if reading == Reading::Whole {
            hasher.update(&(encoded.len() as u64).to_be_bytes());
            hasher.update(&encoded);
            if first.len() < call.limits.shown_rows {
                first.push(shaped(&columns, &keys, rowid, values));
            }
        } else {
            let shaped = shaped(&columns, &keys, rowid, values);
            each.insert(identity_of(&shaped, &keys, rowid, &encoded, count), shaped);
        }
    }
    Ok(match reading {
        Reading::Whole => RowSet::Whole { digest: hasher.finalize(), count, first },
        _ => RowSet::Each(each),
    })
}

fn is_stored(table: &Table) -> bool {
    matches!(table.kind, Kind::Ordinary | Kind::Shadow)
}

fn shaped(columns: &[&str], keys: &[&str], rowid: Option<&str>, mut values: Vec<Value>) -> Row {
    let number = rowid.map(|name| (name.to_owned(), values.remove(0)));
    let stored: Vec<(String, Value)> = columns.iter().map(|name| (*name).to_owned()).zip(values).collect();
    let mut key: Vec<(String, Value)> =
        stored.iter().filter(|(n, _)| keys.contains(&n.as_str())).cloned().collect();
    // A key that is NULL, or none, tells no row from another.
    if key.is_empty() || key.iter().any(|(_, value)| *value == Value::Null) {
        key.extend(number);
    }
    Row { key: Record(key), stored: Record(stored) }
}

/// What tells a row from the others of its table: the row id, the whole key, else its place among all.
fn identity_of(row: &Row, keys: &[&str], rowid: Option<&str>, encoded: &[u8], place: u64) -> Vec<u8> {
    let mut identity = Vec::new();
    match (rowid, keys.is_empty()) {
        (Some(_), _) => {
            // Tag, length and eight bytes of the first value.
            identity.extend_from_slice(encoded.get(..17).unwrap_or(encoded));
        }
        (None, false) => row.key.0.iter().for_each(|(_, value)| value.encode(&mut identity)),
        (None, true) => {
            identity.extend_from_slice(encoded);
            identity.extend_from_slice(&place.to_be_bytes());
        }
    }
    identity
}

/// Compares a table before and after.
pub(super) fn difference(name: &str, before: &RowSet, after: &RowSet) -> Difference {
    match (before, after) {
        (RowSet::TooLarge, _) | (_, RowSet::TooLarge) => Difference::Unknown,
        (RowSet::Each(before), RowSet::Each(after)) => by_row(name, before, after),
        (RowSet::Each(before), _) => by_row(name, before, &BTreeMap::new()),
        (_, RowSet::Each(after)) => by_row(name, &BTreeMap::new(), after),
        (before, after) => as_wholes(name, before, after),
    }
}

fn by_row(name: &str, before: &BTreeMap<Vec<u8>, Row>, after: &BTreeMap<Vec<u8>, Row>) -> Difference {
    let (mut changes, mut hasher) = (Vec::new(), blake3::Hasher::new());
    let gone_or_new = after.keys().filter(|identity| !before.contains_key(*identity));
    let mut identities: Vec<&Vec<u8>> = before.keys().chain(gone_or_new).collect();
    identities.sort();
    for identity in identities {
        let (old, new) = (before.get(identity), after.get(identity));
        if old == new {
            continue;
        }
        hasher.update(&(identity.len() as u64).to_be_bytes());
        hasher.update(identity);
        for side in [old, new] {
            let mut encoded = Vec::new();
            side.iter().flat_map(|row| &row.stored.0).for_each(|(_, value)| value.encode(&mut encoded));
            hasher.update(&side.map_or(u64::MAX, |_| encoded.len() as u64).to_be_bytes());
            hasher.update(&encoded);
        }
        changes.extend(changed(name, old, new));
    }
    let all = changes.len() as u64;
    Difference::Known { digest: hasher.finalize(), changes, all }
}

fn as_wholes(name: &str, before: &RowSet, after: &RowSet) -> Difference {
    let mut hasher = blake3::Hasher::new();
    for side in [before, after] {
        match side {
            RowSet::Whole { digest, .. } => hasher.update(digest.as_bytes()),
            _ => hasher.update(b"absent"),
        };
    }
    let (changes, all) = match (before, after) {
        (RowSet::Whole { first, count, .. }, RowSet::Absent) => {
            (first.iter().filter_map(|row| changed(name, Some(row), None)).collect(), *count)
        }
        (RowSet::Absent, RowSet::Whole { first, count, .. }) => {
            (first.iter().filter_map(|row| changed(name, None, Some(row))).collect(), *count)
        }
        // Its columns are others now: the definitions say how.
        _ => (Vec::new(), 0),
    };
    Difference::Known { digest: hasher.finalize(), changes, all }
}

fn changed(table: &str, old: Option<&Row>, new: Option<&Row>) -> Option<RowChange> {
    let kind = match (old, new) {
        (Some(_), Some(_)) => ChangeKind::Update,
        (Some(_), None) => ChangeKind::Delete,
        (None, Some(_)) => ChangeKind::Insert,
        (None, None) => return None,
    };
    let differs = |name: &String| old.map(|row| row.stored.get(name)) != new.map(|row| row.stored.get(name));
    let names = new.iter().flat_map(|row| row.stored.0.iter().map(|(name, _)| name));
    let changed =
        if kind == ChangeKind::Update { names.filter(|n| differs(n)).cloned().collect() } else { Vec::new() };
    Some(RowChange {
        table: table.to_owned(),
        kind,
        key: old.or(new)?.key.clone(),
        before: old.map(|row| row.stored.clone()),
        after: new.map(|row| row.stored.clone()),
        changed,
    })
}
