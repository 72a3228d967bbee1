//! A captured change: the net difference that one write made, and the tables it is about.
//!
//! Owns the container and its digest; only the backend that made it reads inside. The shape of
//! each table travels with it, because column numbers alone would fit a table whose columns were
//! since renamed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A captured change. Serialised, it can wait for an approval or stand in a journal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changeset {
    #[serde(rename = "changes", serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(crate) bytes: Vec<u8>,
    pub(crate) tables: Vec<TableShape>,
}

/// A table as it was when a change to it was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableShape {
    /// The table.
    pub name: String,
    /// Its stored columns in order (generated ones have no place in a changeset).
    pub columns: Vec<String>,
    /// For each column, its position in the primary key from 1 on, or 0.
    pub key: Vec<u8>,
    /// Whether the table has no primary key, so that the key is its row id (the first column here).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_rowid: bool,
}

impl Changeset {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The tables it is about.
    pub fn tables(&self) -> &[TableShape] {
        &self.tables
    }

    /// BLAKE3 over the changes and the shapes of their tables, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(b"wflo changeset 1");
        part(&self.bytes);
        for table in &self.tables {
            part(table.name.as_bytes());
            part(&table.key);
            part(&[u8::from(table.by_rowid)]);
            for column in &table.columns {
                part(column.as_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    pub(crate) fn shape(&self, table: &str) -> Option<&TableShape> {
        self.tables.iter().find(|shape| shape.name.eq_ignore_ascii_case(table))
    }
}

pub(crate) fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

pub(crate) fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
