//! How much one call may take.
//!
//! Owns the numbers; the backends hold to them. Each limit that is met is a named error, never a
//! silent truncation.

use std::time::Duration;

/// Bounds of one call on a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long one call's statements may run.
    pub statement_time: Duration,
    /// How long a call waits for somebody else's lock on the database.
    pub lock_wait: Duration,
    /// The most rows that one statement may return.
    pub rows: usize,
    /// The most bytes that the rows of one statement may take as JSON. The worker protocol's frame
    /// is 8 MiB, which this must stay below.
    pub result_bytes: usize,
    /// The longest statement text, in bytes.
    pub sql_bytes: usize,
    /// The longest text, blob or row that a statement may touch, in bytes.
    pub value_bytes: usize,
    /// The most memory that the captured changes of one write may take, in bytes.
    pub changeset_bytes: usize,
    /// How much larger one write may make the database file, in bytes.
    pub growth_bytes: u64,
    /// The most rows of a table that are compared one by one, where no changeset holds its changes.
    pub compared_rows: usize,
    /// The most bytes of such a table.
    pub compared_bytes: usize,
    /// The most bytes of a table that is compared as a whole, because its definition changes.
    pub digested_bytes: usize,
    /// How many changed rows are shown in full (evidence, undo reports); the counts are always full.
    pub shown_rows: usize,
    /// How many bytes of JSON the shown rows may take.
    pub shown_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            statement_time: Duration::from_secs(10),
            lock_wait: Duration::from_secs(5),
            rows: 100_000,
            result_bytes: 6 << 20,
            sql_bytes: 1 << 20,
            value_bytes: 16 << 20,
            changeset_bytes: 64 << 20,
            growth_bytes: 1 << 30,
            compared_rows: 20_000,
            compared_bytes: 16 << 20,
            digested_bytes: 256 << 20,
            shown_rows: 1_000,
            shown_bytes: 512 << 10,
        }
    }
}
