//! What can go wrong with a workspace, as data: codes 5100 to 5199.
//!
//! Paths inside a workspace are shown escaped (see [`RelPath`]); file contents never appear here.

use std::io;
use std::path::{Path, PathBuf};

use wflo_core::error::{Code, Coded};

use super::apply::Conflict;
use super::path::RelPath;

/// So many paths of conflicts are named in a hint.
const MOST_NAMED: usize = 5;

/// A failed workspace operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The operating system refused something (WFLO-5100).
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `create the folder`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A path that does not name a place inside a workspace (WFLO-5101).
    #[error("`{shown}` is not a path inside the workspace")]
    BadPath {
        /// The path, escaped.
        shown: String,
    },
    /// A `[sandbox] hide` pattern that cannot be read (WFLO-5102).
    #[error("the hide pattern `{glob}` is not valid: {reason}")]
    BadGlob {
        /// The pattern as written.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file was written again and again while it was being copied (WFLO-5103).
    #[error("{path} kept changing while it was being copied")]
    KeepsChanging {
        /// The file.
        path: RelPath,
    },
    /// A layer exceeds what may be captured (WFLO-5104).
    #[error("the changes of the step are too large: {what} above {limit} at {path}")]
    TooLarge {
        /// What was counted: `entries`, `bytes`, `bytes in one file`, `nested folders`.
        what: &'static str,
        /// The bound that was passed.
        limit: u64,
        /// Where it was passed.
        path: RelPath,
    },
    /// A sealed tree or layer that is not in the state folder any more (WFLO-5105).
    #[error("the {what} {id} is not in the state folder {}", root.display())]
    Missing {
        /// `sealed workspace` or `tree`.
        what: &'static str,
        /// Its id.
        id: String,
        /// The state folder searched.
        root: PathBuf,
    },
    /// Stored content that does not have its hash any more (WFLO-5106).
    #[error("the stored {what} is damaged: its content does not have the recorded hash")]
    Damaged {
        /// What was read: a tree's id, or a file of it.
        what: String,
    },
    /// An overlay mark that has no meaning without the mount that made it (WFLO-5107).
    #[error("{path} carries the overlay mark `{mark}`, which cannot be stored")]
    UnsupportedMark {
        /// The file or folder.
        path: RelPath,
        /// The extended attribute.
        mark: &'static str,
    },
    /// A path given to apply that the run did not change (WFLO-5108).
    #[error("the run changed nothing at {path}")]
    NotChanged {
        /// The path as selected.
        path: RelPath,
    },
    /// An earlier apply was cut short (WFLO-5109).
    #[error("an earlier apply to this project was interrupted ({id})")]
    ApplyInterrupted {
        /// The journal's id.
        id: String,
    },
    /// The project changed in the very moment of applying (WFLO-5110).
    #[error(
        "the project changed while the run's changes were being written, first at {}",
        paths_first(paths)
    )]
    ChangedWhileApplying {
        /// The paths left as the project has them.
        paths: Vec<RelPath>,
    },
    /// Some paths cannot be applied: most often the project and the run changed the same files (WFLO-5111).
    #[error("{}", conflicts_named(conflicts))]
    Conflict {
        /// The paths, each with its reason.
        conflicts: Vec<Conflict>,
    },
    /// A state folder inside the folder that is to be a lower (WFLO-5112).
    #[error("the state folder {} lies inside {}", root.display(), project.display())]
    StateInside {
        /// The state folder.
        root: PathBuf,
        /// The folder it must not be in.
        project: PathBuf,
    },
}

/// `notes.txt changed in the project …`, or `3 paths, the first of them notes.txt, changed …`.
fn conflicts_named(conflicts: &[Conflict]) -> String {
    let first = conflicts.first().map_or_else(String::new, |conflict| conflict.path.to_string());
    let which = match conflicts {
        [_] => first,
        conflicts => format!("{} paths, the first of them {first},", conflicts.len()),
    };
    match conflicts.iter().all(|conflict| conflict.reason.yields()) {
        true => format!("{which} changed in the project since the run was submitted"),
        false => format!("{which} cannot be applied"),
    }
}

/// What to do about them.
fn conflicts_hint(conflicts: &[Conflict]) -> String {
    if !conflicts.iter().all(|conflict| conflict.reason.yields()) {
        return "nothing was written; apply the other paths by their names: `wflo apply ID PATH`".to_owned();
    }
    let named: Vec<String> =
        conflicts.iter().take(MOST_NAMED).map(|conflict| format!("--force {}", conflict.path)).collect();
    let more = if conflicts.len() > MOST_NAMED { " and so on" } else { "" };
    let them = if conflicts.len() == 1 { "it" } else { "them" };
    format!(
        "nothing was written; `wflo diff ID` shows the run's version, and `wflo apply ID {}`{more} takes {them}",
        named.join(" ")
    )
}

fn paths_first(paths: &[RelPath]) -> String {
    paths.first().map_or_else(String::new, ToString::to_string)
}

impl Coded for WorkspaceError {
    fn code(&self) -> Code {
        Code(match self {
            WorkspaceError::Io { .. } => 5100,
            WorkspaceError::BadPath { .. } => 5101,
            WorkspaceError::BadGlob { .. } => 5102,
            WorkspaceError::KeepsChanging { .. } => 5103,
            WorkspaceError::TooLarge { .. } => 5104,
            WorkspaceError::Missing { .. } => 5105,
            WorkspaceError::Damaged { .. } => 5106,
            WorkspaceError::UnsupportedMark { .. } => 5107,
            WorkspaceError::NotChanged { .. } => 5108,
            WorkspaceError::ApplyInterrupted { .. } => 5109,
            WorkspaceError::ChangedWhileApplying { .. } => 5110,
            WorkspaceError::Conflict { .. } => 5111,
            WorkspaceError::StateInside { .. } => 5112,
        })
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            WorkspaceError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space on that disk, then try again"
            }
            WorkspaceError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "check who owns that file and its folders, or hide it with `[sandbox] hide` in wflo.toml"
            }
            WorkspaceError::Io { .. } => return None,
            WorkspaceError::BadPath { .. } => "give a path relative to the project, without `..`",
            WorkspaceError::BadGlob { .. } => {
                "write it as a line of a .gitignore file, e.g. `secrets/` or `*.sql`"
            }
            WorkspaceError::KeepsChanging { .. } => {
                "stop the program that writes it, or let Git ignore it, and submit again"
            }
            WorkspaceError::TooLarge { .. } => {
                "write large scratch data to /tmp, or split it into several steps"
            }
            WorkspaceError::Missing { .. } => {
                "it was pruned or removed; `wflo runs retry` starts from the project"
            }
            WorkspaceError::Damaged { .. } => {
                "check the disk; `wflo runs retry` starts again from the project as it is now"
            }
            WorkspaceError::UnsupportedMark { .. } => "run the step again; report it if it happens twice",
            WorkspaceError::NotChanged { .. } => "`wflo diff ID` lists what the run changed",
            WorkspaceError::ApplyInterrupted { .. } => {
                "finish or undo it first: `wflo apply --resume` or `--undo`"
            }
            WorkspaceError::ChangedWhileApplying { .. } => {
                "nothing of yours was overwritten; stop other writers, then `wflo apply --resume` or `--undo`"
            }
            WorkspaceError::Conflict { conflicts } => return Some(conflicts_hint(conflicts)),
            WorkspaceError::StateInside { .. } => "set XDG_STATE_HOME to a folder outside of it",
        };
        Some(hint.to_owned())
    }
}

/// Turns a system error into a [`WorkspaceError::Io`] that names the file.
pub(crate) trait IoAt<T> {
    /// Says what was tried on which file.
    fn at(self, action: &'static str, path: &Path) -> Result<T, WorkspaceError>;
}

impl<T, E: Into<io::Error>> IoAt<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, WorkspaceError> {
        self.map_err(|error| WorkspaceError::Io { action, path: path.to_owned(), source: error.into() })
    }
}
