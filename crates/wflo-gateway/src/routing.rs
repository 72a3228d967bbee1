//! What the operator says about the way of calls: again, elsewhere, later, or not at all.
//!
//! Owns the settings as the gateway wants them, checked. What is done with them belongs to the module
//! of each: `retry`, `exchange`. Without any of them a call is made once, at the one provider that
//! [`crate::route::Routes::find`] gives.

use std::time::Duration;

use crate::retry::Retry;
use crate::upstream::Deadlines;

/// How calls find their way. The default sends each once, to one provider.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// When a failed attempt is followed by another.
    pub retry: Retry,
}

/// How long to wait, where a provider or a model differs from the gateway's own [`Deadlines`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// From the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of an answer.
    pub idle: Option<Duration>,
}

impl Waits {
    /// The deadlines with these in their place.
    pub(crate) fn over(self, deadlines: Deadlines) -> Deadlines {
        Deadlines {
            first_byte: self.first_byte.unwrap_or(deadlines.first_byte),
            idle: self.idle.unwrap_or(deadlines.idle),
            ..deadlines
        }
    }
}
