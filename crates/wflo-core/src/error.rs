//! Stable error codes and what a person sees of an error.
//!
//! Owns the shape of a user-facing error; each crate owns its variants and maps them here by
//! implementing [`Coded`]. Code ranges: 1xxx definitions, 2xxx storage, 3xxx runs and workers,
//! 4xxx gateway and budgets, 5xxx sandbox and workspace, 6xxx databases and undo, 7xxx approvals,
//! 8xxx settings and the command line, 9xxx internal. Every code has a page in `docs/errors/`.

use serde::{Deserialize, Serialize};

/// A stable error code, such as `WFLO-1004`. It never changes its meaning once released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WFLO-{:04}", self.0)
    }
}

/// An error that can be shown to a person: a code, a message, and what to do about it.
pub trait Coded: std::error::Error {
    /// The stable code.
    fn code(&self) -> Code;
    /// What the reader can do next, if there is something.
    fn hint(&self) -> Option<String> {
        None
    }
    /// The error as data, for events, JSON output and storage.
    fn to_failure(&self) -> Failure {
        Failure {
            code: self.code().to_string(),
            message: self.to_string(),
            hint: self.hint(),
            place: None,
            traceback: None,
        }
    }
}

/// A failure as data: what a run, a step or an effect ended with.
///
/// This is also the JSON that users see under `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `WFLO-1234`, or the user's exception class for an error raised by step code.
    pub code: String,
    /// One line, written for somebody in their first ten minutes.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the user's file or definition: `workflow.py:12` or `steps[2].depends_on`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The user's traceback, as their interpreter prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
}

impl Failure {
    /// A failure with a code and a message only.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failure { code: code.to_string(), message: message.into(), hint: None, place: None, traceback: None }
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with the place it concerns.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)?;
        match &self.place {
            Some(place) => write!(f, " at {place}"),
            None => Ok(()),
        }
    }
}
