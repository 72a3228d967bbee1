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

/// What a program left although it failed: its files are looked at all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeftBehind {
    /// What it ended with: its own code, or what stands for a signal or a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The workspace layer, if it changed files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
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
