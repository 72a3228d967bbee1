//! What a suspended step waits for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::ApprovalId;

/// What a suspended step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Wait {
    /// People.
    Approval {
        /// Which question.
        approval_id: ApprovalId,
    },
    /// A time.
    Timer {
        /// The sleeping effect's branch.
        path: String,
        /// The sleeping effect's position.
        seq: u32,
        /// When it ends.
        due: Timestamp,
    },
    /// A message from outside.
    Signal {
        /// Its name.
        name: String,
    },
}
