//! The names by which a server is told where an answer ends.
//!
//! Owns which name a server is sure to read. A limit under a name that the server does not know bounds
//! nothing, so the gateway relies on the names here, and writes one of them where a request has none.

use super::foreign;
use super::json::{BodyError, Edit, Fields};

/// What a server is sure to read as the limit of one answer's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputLimit {
    /// `max_tokens` alone: every server of the OpenAI dialect has it, and Anthropic's requires it.
    #[default]
    MaxTokens,
    /// OpenAI's two: `max_completion_tokens` is written, because its reasoning models refuse
    /// `max_tokens`, and a `max_tokens` of the client's own is left, because both together are refused.
    MaxCompletionTokens,
}

impl OutputLimit {
    /// The name that is written, and that settings have.
    pub const fn name(self) -> &'static str {
        match self {
            OutputLimit::MaxTokens => "max_tokens",
            OutputLimit::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    /// Whether a request says where its answer ends by a name that the server is sure to read.
    pub(crate) const fn is_in(self, stated: Stated) -> bool {
        match self {
            OutputLimit::MaxTokens => stated.max_tokens,
            OutputLimit::MaxCompletionTokens => stated.max_tokens || stated.max_completion_tokens,
        }
    }

    /// The edit that tells the server to end at `limit`.
    pub(crate) fn edit(self, fields: &Fields<'_>, limit: u64) -> Edit {
        fields.set(self.name(), &limit.to_string())
    }

    /// The edits after which no limit that the request states is above `limit`, and a name that the server
    /// is sure to read says so.
    pub(crate) fn lowered(self, fields: &Fields<'_>, limit: u64) -> Result<Vec<Edit>, BodyError> {
        let mut edits = foreign::lowered(fields, limit)?;
        if !self.is_in(Stated::read(fields)?) {
            edits.push(self.edit(fields, limit));
        }
        Ok(edits)
    }
}

/// Which of the known names a request has; a `null` says nothing. An endpoint with one name of its own for
/// it counts that one as `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stated {
    /// `max_tokens`.
    pub max_tokens: bool,
    /// `max_completion_tokens`.
    pub max_completion_tokens: bool,
}

impl Stated {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Stated, BodyError> {
        Ok(Stated {
            max_tokens: fields.count("max_tokens")?.is_some(),
            max_completion_tokens: fields.count("max_completion_tokens")?.is_some(),
        })
    }
}
