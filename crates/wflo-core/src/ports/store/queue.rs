//! What waits in the store for a driver: messages and timers; and who announced itself to take them.

use jiff::Timestamp;
use serde_json::Value;

use crate::id::{EngineId, RunId};
use crate::ports::clock::Moment;

/// A message for a run's driver.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxMessage {
    /// Its number, ascending.
    pub id: i64,
    /// The run.
    pub run: RunId,
    /// The message.
    pub message: Value,
}

/// A durable timer.
#[derive(Debug, Clone, PartialEq)]
pub struct Timer {
    /// The run.
    pub run: RunId,
    /// Its name within the run.
    pub key: String,
    /// When by wall time.
    pub due: Timestamp,
    /// Both clocks when it was set.
    pub set: Moment,
}

/// An engine that announced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineRow {
    /// Its id.
    pub id: EngineId,
    /// Its process.
    pub pid: u32,
    /// Since when.
    pub started_at: Timestamp,
}
