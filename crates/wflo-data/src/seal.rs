//! What binds an approval to a write that no changeset can hold.
//!
//! Owns the shape and the comparison. Such a write is run again once it is approved, and what it does then
//! must come to the same seal, part for part, or it is rolled back: what people saw is what happens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::class::NotHeld;
use crate::database::Applied;

/// The digest of each part of what a write did when it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Why no changeset holds it.
    pub(crate) reason: NotHeld,
    /// The time that it was shown with, in milliseconds of the Julian day: it is run again with the same.
    pub(crate) time: i64,
    /// Tables that are read before and after the write, because no changeset tells what became of them.
    pub(crate) read: BTreeMap<String, Reading>,
    /// BLAKE3 in hexadecimal, by what it covers.
    pub(crate) parts: BTreeMap<Part, String>,
}

/// How a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reading {
    /// The rows whose primary key is NULL: a changeset has the others.
    NullKeys,
    /// Every row; the difference is compared.
    Rows,
    /// Every row; the whole is compared, because the table's definition changes.
    Whole,
}

/// A part of what a write does. As text: `schema`, `result`, `table NAME`, `rows NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Part {
    /// Every definition, before and after.
    Schema,
    /// What the statement returns.
    Result,
    /// The captured changes of a table.
    Table(String),
    /// The rows of a table that is read.
    Rows(String),
}

impl From<Part> for String {
    fn from(part: Part) -> String {
        match part {
            Part::Schema => "schema".to_owned(),
            Part::Result => "result".to_owned(),
            Part::Table(name) => format!("table {name}"),
            Part::Rows(name) => format!("rows {name}"),
        }
    }
}

impl TryFrom<String> for Part {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(' ') {
            Some(("table", name)) => Ok(Part::Table(name.to_owned())),
            Some(("rows", name)) => Ok(Part::Rows(name.to_owned())),
            None if text == "schema" => Ok(Part::Schema),
            None if text == "result" => Ok(Part::Result),
            _ => Err(format!("`{text}` is no part of a seal")),
        }
    }
}

/// What became of a sealed write.
#[derive(Debug, Clone, PartialEq)]
pub enum Resealed {
    /// It did what was shown, and that is committed.
    Applied(Applied),
    /// It would do something else now; nothing was written. Preview it anew.
    Differs {
        /// In what, for people: `rows of docs`.
        parts: Vec<String>,
    },
}

impl Seal {
    /// BLAKE3 over all parts, in hexadecimal: what an approval binds to.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"wflo seal 1\0");
        // Into a hasher, of text: cannot fail.
        let _ = serde_json::to_writer(&mut hasher, self);
        hasher.finalize().to_hex().to_string()
    }

    /// In what another run of the same write differs, for people.
    pub(crate) fn differences(&self, now: &Seal) -> Vec<String> {
        let all = self.parts.keys().chain(now.parts.keys().filter(|part| !self.parts.contains_key(part)));
        let differing = all.filter(|part| self.parts.get(part) != now.parts.get(part));
        let mut words: Vec<String> = differing
            .map(|part| match part {
                Part::Schema => "the definitions of tables".to_owned(),
                Part::Result => "what the statement returns".to_owned(),
                Part::Table(name) | Part::Rows(name) => format!("rows of `{name}`"),
            })
            .collect();
        words.dedup();
        if words.is_empty() && self.read != now.read {
            words.push("the tables that it changes".to_owned());
        }
        words
    }
}
