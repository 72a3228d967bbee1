//! What subscribers are told of a commit.

use wflo_core::event::{Event, Recorded};
use wflo_core::id::RunId;

/// The longest JSON of an event that is told whole, in bytes: a slow subscriber makes many of them wait.
pub(crate) const ANNOUNCED: usize = 4 << 10;

/// An event that is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Announced {
    /// The run.
    pub run_id: RunId,
    /// Its position in the run.
    pub seq: u64,
    /// The event itself, unless it is large: the store has it.
    pub event: Option<Event>,
}

impl Announced {
    /// The whole event, if it was told.
    pub fn recorded(self) -> Option<Recorded> {
        let Announced { run_id, seq, event } = self;
        event.map(|event| Recorded { run_id, seq, event })
    }
}
