//! Why a run is ending, and what follows a failed generation.

use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// What follows a failed generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFailure {
    /// Undo its data changes, then retry.
    UndoThenRetry,
    /// Undo its data changes, then fail.
    UndoThenFail,
    /// Retry.
    Retry,
    /// The step has failed.
    Fail,
}

/// Why a run is ending before all its steps are done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum Ending {
    /// A person cancelled it.
    Cancelled {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// An approval or policy said no.
    Rejected {
        /// The refusal.
        error: Failure,
    },
    /// A budget ran out.
    Halted {
        /// The arithmetic.
        error: Failure,
    },
    /// A time-out.
    TimedOut {
        /// Which.
        error: Failure,
    },
    /// A step failed.
    Failed {
        /// The step's error.
        error: Failure,
    },
}
