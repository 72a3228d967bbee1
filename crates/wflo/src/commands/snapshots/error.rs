//! Why there is no such snapshot.

use wflo_core::error::{Code, Coded};
use wflo_core::id::RunId;

use crate::printer::size;

/// A snapshot that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotsError {
    #[error("run {run} has no snapshot after a step `{step}`")]
    NoSnapshot { run: RunId, step: String },
    #[error("the files of {id} are gone")]
    Gone { id: String },
    #[error("the files that must stay take {}, more than {}", size(*left), size(*most))]
    Full { left: u64, most: u64 },
}

impl Coded for SnapshotsError {
    fn code(&self) -> Code {
        Code(match self {
            SnapshotsError::NoSnapshot { .. } => 5250,
            SnapshotsError::Gone { .. } => 5251,
            SnapshotsError::Full { .. } => 5253,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            SnapshotsError::NoSnapshot { run, .. } => {
                format!("`wflo snapshots list {run}` lists them; a step has one once it has succeeded")
            }
            SnapshotsError::Full { .. } => "those of runs that go on, or whose changes nobody decided about, never \
                 go: `wflo apply ID` or `wflo discard ID`; --keep-last keeps some, too"
                .to_owned(),
            SnapshotsError::Gone { .. } => {
                "they were discarded, or removed for their disk space; `wflo snapshots list` says which are there".to_owned()
            }
        })
    }
}
