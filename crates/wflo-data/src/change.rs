//! Changed rows as people see them: evidence for an approval, the diff of an undo.
//!
//! Owns the shapes. Counts and digests always cover everything; the rows shown are bounded and say
//! so when they are cut.

use std::collections::BTreeMap;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::class::NotHeld;
use crate::value::Value;

/// Columns with their values, in the table's order; a JSON object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record(pub Vec<(String, Value)>);

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The row is new.
    Insert,
    /// Some of its columns changed.
    Update,
    /// The row is gone.
    Delete,
}

/// One changed row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowChange {
    /// The table.
    pub table: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The primary key.
    pub key: Record,
    /// The row before: absent for an insert. Whole in evidence, only the changed columns in a diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Record>,
    /// The row after: absent for a delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Record>,
    /// The columns that an update changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

/// How many rows of one table changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableCounts {
    /// New rows.
    pub inserted: u64,
    /// Changed rows.
    pub updated: u64,
    /// Removed rows.
    pub deleted: u64,
}

impl TableCounts {
    /// Counts one more change.
    pub(crate) fn add(&mut self, kind: ChangeKind) {
        self.add_many(kind, 1);
    }

    /// Counts more changes of a kind.
    pub(crate) fn add_many(&mut self, kind: ChangeKind, many: u64) {
        match kind {
            ChangeKind::Insert => self.inserted += many,
            ChangeKind::Update => self.updated += many,
            ChangeKind::Delete => self.deleted += many,
        }
    }
}

/// A definition that a write changes: of a table, an index, a view or a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionChange {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its text before: absent when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its text after: absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What an approval shows: exactly the rows that would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The first rows, in the order of the changeset.
    pub changes: Vec<RowChange>,
    /// All rows, counted by table.
    pub tables: BTreeMap<String, TableCounts>,
    /// Whether rows were left out of `changes`, or long values in them shortened.
    pub truncated: bool,
    /// Definitions that change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub definitions: Vec<DefinitionChange>,
    /// Rows in which virtual tables keep what they hold, counted by table. They say nothing to people and
    /// are not among `changes`; the digest covers them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub internal: BTreeMap<String, TableCounts>,
    /// BLAKE3 over the whole change, in hexadecimal: what an approval binds to.
    pub digest: String,
    /// Why the changeset does not hold the whole change, if so: then the write is run again once it is
    /// approved, and must do the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_held: Option<NotHeld>,
    /// Why a part of the change is neither shown nor bound, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<NotHeld>,
}

impl Evidence {
    /// Whether nothing would change, and nothing is unseen.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.definitions.is_empty()
            && self.internal.is_empty()
            && self.unseen.is_none()
    }
}

impl Record {
    /// The value of a column.
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, value)| value)
    }
}

impl std::fmt::Display for Record {
    /// `id=5, region="eu"`, for messages.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (column, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{column}={}", value.to_json())?;
        }
        Ok(())
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (column, value) in &self.0 {
            map.serialize_entry(column, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = Record;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of columns")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
                let mut columns = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    columns.push(entry);
                }
                Ok(Record(columns))
            }
        }
        deserializer.deserialize_map(Columns)
    }
}
