//! What an apply did, and why it could not.

use serde::{Deserialize, Serialize};

use super::super::diff::Change;
use super::super::error::WorkspaceError;
use super::super::hidden::Reason;
use super::super::path::RelPath;
use super::sensitive::Sensitive;

/// Why a path cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictReason {
    /// Both changed it since submission.
    BothChanged,
    /// The run took its file over from the one that it retries, and it was changed before the run was submitted.
    TakenOver,
    /// The folder it belongs in is not there (any more), or is not a folder.
    NoFolder,
    /// A folder that must give way holds files that the run did not see. `force` does not help.
    FolderNotEmpty,
    /// It lies on another file system than the project. `force` does not help.
    OtherFileSystem,
    /// The project's file system takes its name and another one, of the project or of the run, for one. `force` does
    /// not help.
    SameName,
    /// A branch, an index or the like of Git that may name objects of the run which are left out. `force` does not
    /// help.
    ObjectsLeft,
}

impl ConflictReason {
    /// Whether `force` takes the run's version.
    #[must_use]
    pub const fn yields(self) -> bool {
        matches!(self, ConflictReason::BothChanged | ConflictReason::TakenOver)
    }
}

/// A path that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Where.
    pub path: RelPath,
    /// Why.
    pub reason: ConflictReason,
}

/// What apply did, or with `dry_run` would do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Written.
    pub applied: Vec<Change>,
    /// The project has these already.
    pub already: Vec<RelPath>,
    /// When there is one, nothing at all was written.
    pub conflicts: Vec<Conflict>,
    /// Brought in before, and changed here since: they stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edited: Vec<RelPath>,
    /// Changes to hidden paths: never applied.
    pub hidden: Vec<(RelPath, Reason)>,
    /// Left because they need the user's word.
    pub unconfirmed: Vec<(Change, Sensitive)>,
    /// Folders that the run removed and that stay, because they hold something it did not see.
    pub kept_folders: Vec<RelPath>,
    /// What is written without the extended attributes that the run gave it: the project's file system, or the
    /// folder itself, does not take them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_attributes: Vec<RelPath>,
}

impl Report {
    /// The report, or the conflicts as an error.
    ///
    /// # Errors
    /// [`WorkspaceError::Conflict`].
    pub fn or_conflict(self) -> Result<Report, WorkspaceError> {
        if self.conflicts.is_empty() {
            return Ok(self);
        }
        Err(WorkspaceError::Conflict { conflicts: self.conflicts })
    }
}
