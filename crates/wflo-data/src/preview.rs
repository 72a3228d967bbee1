//! A write that was run and rolled back, to be looked at before it is committed.
//!
//! Owns the shape. What is committed later is the captured changeset itself, not the statement
//! again; where no changeset holds the change, the statement runs again under its [`Seal`]. What people
//! approved is what happens, or it does not happen.

use serde::{Deserialize, Serialize};

use crate::change::Evidence;
use crate::changeset::{Changeset, from_base64, to_base64};
use crate::database::Applied;
use crate::seal::Seal;
use crate::statement::Rows;
use crate::undo::{RowConflict, UndoReport};

/// A previewed write. It can be serialised and committed days later, by another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// What the statement returned; recorded as the result when the preview is committed. Empty for an undo.
    pub result: Rows,
    /// What to show.
    pub evidence: Evidence,
    /// The captured change. Hand it to the previews that follow in the same chain.
    pub changeset: Changeset,
    /// One 16-byte digest a changed row, in the changeset's order, of the whole row before: a row
    /// that somebody edits in a column that the change does not touch was still not the one shown.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(crate) guards: Vec<u8>,
    /// What binds the write where the changeset does not hold all that it changes: it is run again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// Of an undo: its report, which is recorded as its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoReport>,
}

impl Preview {
    /// Whether [`Database::commit_previews`](crate::Database::commit_previews) can commit it; if not,
    /// `evidence.not_held` says why.
    pub fn is_complete(&self) -> bool {
        self.evidence.not_held.is_none()
    }

    /// What the step is told: rows, or the report of an undo.
    ///
    /// # Errors
    /// When it is no JSON, which values of a database always are.
    pub fn answer(&self) -> Result<serde_json::Value, serde_json::Error> {
        match &self.undo {
            Some(report) => serde_json::to_value(report),
            None => serde_json::to_value(&self.result),
        }
    }

    /// Whether nothing would change, so that there is nothing to approve. What it would do is known whole.
    pub fn changes_nothing(&self) -> bool {
        (self.is_complete() || self.seal.is_some()) && self.evidence.is_empty()
    }
}

/// The outcome of committing a chain of previews.
#[derive(Debug, Clone, PartialEq)]
pub enum Committed {
    /// Every previewed change is in the database; one for each.
    Applied(Vec<Applied>),
    /// Somebody changed rows since they were shown; nothing was written. Preview them anew.
    Conflict {
        /// The first of the chain that no longer fits.
        at: usize,
        /// Its rows that are not as they were.
        rows: Vec<RowConflict>,
    },
}
