//! Undoing what one step changed, and nothing that others changed.
//!
//! Owns the request and the report; how net changes are computed and applied is the backend's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::change::{ChangeKind, Record, RowChange, TableCounts};
use crate::class::NotHeld;

/// What to undo, and as which effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoRequest {
    /// The id under which the undo itself is recorded.
    pub effect_id: String,
    /// Guards that id, as for any effect.
    pub fingerprint: String,
    /// The ids of the effects to undo: writes and earlier undos of one generation of one step. Their
    /// order is that in which the database committed them, whatever the order here.
    pub scope: Vec<String>,
    /// What to do about rows that somebody else changed since.
    pub on_conflict: OnConflict,
}

/// What to do about a row that somebody else changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// Undo nothing at all.
    #[default]
    Abort,
    /// Leave that row as it is and undo the others.
    Skip,
    /// Overwrite the later edit.
    Force,
}

/// What an undo did, or would do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct UndoReport {
    /// The first rows that it changed back.
    pub diff: Vec<RowChange>,
    /// All rows that it changed back, counted by table.
    pub tables: BTreeMap<String, TableCounts>,
    /// Whether rows were left out of `diff` or `conflicts`, or long values shortened.
    pub truncated: bool,
    /// Rows that somebody else changed since; with `force` those that were overwritten.
    pub conflicts: Vec<RowConflict>,
    /// How many rows keep what somebody else wrote.
    pub skipped: u64,
    /// Effects in the scope that no changeset holds, with the reason.
    pub not_undone: Vec<NotUndone>,
    /// Ids in the scope of which this database has no record: never committed, or forgotten.
    pub absent: Vec<String>,
    /// What stays as it is although the rows are back, in words.
    pub notes: Vec<String>,
    /// Whether this was a question only.
    pub dry_run: bool,
    /// Whether the undo had already been done under the same effect id: then this is its report.
    #[serde(default)]
    pub replayed: bool,
}

/// An effect that cannot be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotUndone {
    /// The effect.
    pub effect_id: String,
    /// Why.
    #[serde(flatten)]
    pub reason: NotHeld,
}

/// A row that is not as it was left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowConflict {
    /// The table.
    pub table: String,
    /// What happened to it.
    pub conflict: ConflictKind,
    /// What was to be done to the row.
    pub kind: ChangeKind,
    /// The row's primary key.
    pub key: Record,
    /// The columns as they were expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Record>,
    /// The row as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Record>,
}

/// How a row differs from what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// It was edited.
    Changed,
    /// It is gone.
    Missing,
    /// It exists although it should not.
    Exists,
    /// Putting it back would break a constraint, such as a value that is now taken.
    Constraint,
    /// Rows that refer to others would be left without them.
    ForeignKey,
    /// It was edited by somebody else between two of the effects.
    ChangedBetween,
}

impl std::fmt::Display for RowConflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.conflict {
            ConflictKind::Changed => "was changed since",
            ConflictKind::Missing => "was deleted since",
            ConflictKind::Exists => "exists already",
            ConflictKind::Constraint => "would break a constraint",
            ConflictKind::ForeignKey => return write!(f, "foreign keys would be left dangling"),
            ConflictKind::ChangedBetween => "was changed by somebody else between two effects",
        };
        write!(f, "`{}` ({}) {what}", self.table, self.key)
    }
}
