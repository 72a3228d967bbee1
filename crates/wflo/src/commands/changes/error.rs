//! Why nothing can be done with a run's changes now.

use wflo_core::error::{Code, Coded};
use wflo_core::id::RunId;
use wflo_core::run::RunStatus;

/// A run whose changes cannot be applied or discarded.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangesError {
    #[error("run {run} is {status}, so its files are not final")]
    NotEnded { run: RunId, status: RunStatus },
    #[error("run {run} changed no files")]
    Nothing { run: RunId },
    #[error("the changes of run {run} are in the project already")]
    Applied { run: RunId },
    #[error("the changes of run {run} {}were discarded", if *rest { "that were not applied " } else { "" })]
    Discarded { run: RunId, rest: bool },
    #[error("nothing was written: all that is left of run {run} needs your word")]
    Unconfirmed { run: RunId },
}

impl ChangesError {
    /// They were thrown away, after so many files had been `applied`.
    pub(super) fn discarded(run: RunId, applied: u64) -> Self {
        ChangesError::Discarded { run, rest: applied > 0 }
    }
}

impl Coded for ChangesError {
    fn code(&self) -> Code {
        Code(match self {
            ChangesError::NotEnded { .. } => 5120,
            ChangesError::Nothing { .. } => 5121,
            ChangesError::Applied { .. } => 5122,
            ChangesError::Discarded { .. } => 5123,
            ChangesError::Unconfirmed { .. } => 5124,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ChangesError::NotEnded { run, status: RunStatus::Paused } => {
                format!("`wflo runs resume {run}` goes on with it; `wflo runs cancel {run}` ends it")
            }
            ChangesError::NotEnded { run, .. } => {
                format!(
                    "`wflo diff {run}` shows what it changed so far; wait for its end with `wflo runs events {run} --follow`"
                )
            }
            ChangesError::Nothing { .. } => return None,
            ChangesError::Applied { run } => format!("`wflo diff {run}` shows them"),
            ChangesError::Discarded { .. } => "`wflo run` starts afresh".to_owned(),
            ChangesError::Unconfirmed { run } => {
                format!(
                    "look at them with `wflo diff {run}`, then apply them on a terminal, or by name with `wflo apply {run} PATH --yes`"
                )
            }
        })
    }
}
