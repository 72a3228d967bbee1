//! Why files could not be restored: codes 5240 to 5249.

use std::path::PathBuf;

use wflo_core::error::{Code, Coded};

use super::super::error::WorkspaceError;
use super::super::manifest::Digest;
use super::super::path::RelPath;

/// A restore that did not happen. But for [`RestoreError::Workspace`] nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Something is there already (WFLO-5240).
    #[error("{} is there already", target.display())]
    TargetExists {
        /// The folder that was to be made.
        target: PathBuf,
    },
    /// A path that the snapshot does not have (WFLO-5241).
    #[error("the snapshot has nothing at {path}")]
    NotThere {
        /// The path as selected.
        path: RelPath,
    },
    /// A folder stands where a file belongs (WFLO-5242).
    #[error("a folder is at {path}, where the snapshot has a file")]
    InTheWay {
        /// The path.
        path: RelPath,
    },
    /// Another process restores to the same place (WFLO-5243).
    #[error("another restore to {} is under way", target.display())]
    UnderWay {
        /// The folder.
        target: PathBuf,
    },
    /// A stored content is gone or not what it was (WFLO-5244).
    #[error("the stored content of {path} is damaged: it does not have its recorded hash")]
    Lost {
        /// The file whose content is lost.
        path: RelPath,
        /// The stored tree that held it.
        tree: Digest,
    },
    /// A run wrote what `wflo apply` would ask about, and the target is, or lies in, a project (WFLO-5245).
    #[error("{} lies in a project, which takes {} from a run by `wflo apply` alone", target.display(), named(paths))]
    AsksFirst {
        /// The folder.
        target: PathBuf,
        /// What would be asked about; never empty.
        paths: Vec<RelPath>,
    },
    /// Something else about the files.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

/// The first few of them.
fn named(paths: &[RelPath]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = paths.iter().take(SHOWN).map(ToString::to_string).collect();
    match paths.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl Coded for RestoreError {
    fn code(&self) -> Code {
        match self {
            RestoreError::TargetExists { .. } => Code(5240),
            RestoreError::NotThere { .. } => Code(5241),
            RestoreError::InTheWay { .. } => Code(5242),
            RestoreError::UnderWay { .. } => Code(5243),
            RestoreError::Lost { .. } => Code(5244),
            RestoreError::AsksFirst { .. } => Code(5245),
            RestoreError::Workspace(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            RestoreError::TargetExists { .. } => {
                "name a folder that is not there yet; --force writes into this one, over files of the same names"
            }
            RestoreError::NotThere { .. } => "`wflo snapshots show ID` lists what it has",
            RestoreError::InTheWay { .. } => {
                "nothing was written; move the folder away, or restore to another place"
            }
            RestoreError::UnderWay { .. } => "wait for its end, or restore to another place",
            RestoreError::Lost { .. } => {
                "nothing was written; check the disk. Other files can still be restored by naming them, and an \
                 earlier or later snapshot may have this one with another content"
            }
            RestoreError::AsksFirst { .. } => {
                "nothing was written; `wflo snapshots rollback RUN STEP` and then `wflo apply` bring a run's earlier \
                 files into the project, or restore to a folder outside of it (--to ../out)"
            }
            RestoreError::Workspace(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}
