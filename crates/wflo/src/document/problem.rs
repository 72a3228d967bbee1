//! What can be wrong with a file, and where.

use super::Origin;

/// Which sort of mistake it is; the owner of the file maps it to an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The file is not TOML or not YAML.
    Syntax,
    /// A key that does not exist.
    UnknownKey,
    /// A key that must be there and is not.
    Missing,
    /// A value of the wrong type, or out of its range.
    WrongValue,
    /// Something that exists in the format but belongs to a later release.
    Later,
}

/// One mistake in a file.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) origin: Origin,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, origin: &Origin, message: impl Into<String>) -> Self {
        Problem { kind, origin: origin.clone(), message: message.into(), hint: None }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
