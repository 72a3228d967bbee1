//! Why there is no such snapshot.

use wflo_core::error::{Code, Coded};
use wflo_core::id::RunId;

/// A snapshot that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotsError {
    #[error("run {run} has no snapshot after a step `{step}`")]
    NoSnapshot { run: RunId, step: String },
    #[error("the files of {id} are gone")]
    Gone { id: String },
}

impl Coded for SnapshotsError {
    fn code(&self) -> Code {
        Code(match self {
            SnapshotsError::NoSnapshot { .. } => 5250,
            SnapshotsError::Gone { .. } => 5251,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            SnapshotsError::NoSnapshot { run, .. } => {
                format!("`wflo snapshots list {run}` lists them; a step has one once it has succeeded")
            }
            SnapshotsError::Gone { .. } => {
                "they were discarded or removed; `wflo snapshots list` says which are there".to_owned()
            }
        })
    }
}
