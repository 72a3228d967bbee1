//! A group of batches in one transaction and one flush.
//!
//! Owns atomicity: a batch is whole or absent, and does not touch its neighbours. Batches are first run
//! without savepoints, since nearly all succeed and most refusals come before the batch has written
//! anything. Only when one fails half-way is the group rolled back and run again with a savepoint each.
//!
//! **Architecture Invariant:** no answer is given before the COMMIT that it speaks of has returned.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use wflo_core::ports::store::{OpResult, StoreError};

use super::broken::Broken;
use super::fault::Fault;
use super::turn::Turn;
use super::tx::{Heads, Tx};
use super::write::Writes;
use crate::announced::Announced;
use crate::blob::BlobStore;

/// What a batch gave: its results, and what it recorded.
pub(crate) type Outcome = Result<(Vec<OpResult>, Vec<Announced>), StoreError>;

/// What groups are run on.
pub(crate) struct Ground<'w> {
    pub(crate) conn: &'w Connection,
    pub(crate) heads: &'w mut Heads,
    pub(crate) broken: &'w mut Broken,
    pub(crate) blobs: &'w BlobStore,
    pub(crate) path: &'w Path,
    pub(crate) turn: &'w mut Turn,
    /// How long another process may keep the write lock.
    pub(crate) wait: Duration,
    /// Whether anybody wants to hear what was recorded.
    pub(crate) listened: bool,
}

impl Ground<'_> {
    /// Commits a group; one outcome for each batch, in order. `before_commit` runs while the write lock
    /// is held.
    ///
    /// # Errors
    /// When the transaction as a whole failed: then nothing of any batch is there.
    pub(crate) fn commit(
        &mut self,
        batches: &[&Writes],
        before_commit: impl FnOnce(),
    ) -> Result<Vec<Outcome>, Fault> {
        let outcome = self.attempt(batches, before_commit);
        if outcome.is_err() {
            self.heads.forget();
            if !self.conn.is_autocommit() {
                // Already failing: what matters is that the transaction is gone.
                let _ = self.statement("ROLLBACK");
            }
        }
        outcome
    }

    fn attempt(&mut self, batches: &[&Writes], before_commit: impl FnOnce()) -> Result<Vec<Outcome>, Fault> {
        self.begin()?;
        let before = self.broken.clone();
        let outcomes = match self.run(batches, false)? {
            Some(outcomes) => outcomes,
            None => {
                self.statement("ROLLBACK")?;
                self.heads.forget();
                *self.broken = before;
                self.begin()?;
                self.run(batches, true)?.unwrap_or_default()
            }
        };
        before_commit();
        self.statement("COMMIT")?;
        Ok(outcomes)
    }

    /// Takes the write lock, waiting for other processes within the bound.
    fn begin(&mut self) -> Result<(), Fault> {
        self.turn.give();
        if let Err(fault) = self.statement("BEGIN IMMEDIATE") {
            if !fault.is_busy() {
                return Err(fault);
            }
            self.turn.ask();
            let waited = self.keep_asking();
            self.turn.taken();
            waited?;
        }
        let version: u32 =
            self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        self.heads.as_of(version);
        Ok(())
    }

    fn keep_asking(&self) -> Result<(), Fault> {
        let deadline = Instant::now() + self.wait;
        let mut tries = 0;
        loop {
            std::thread::sleep(Turn::pause(tries));
            match self.statement("BEGIN IMMEDIATE") {
                Err(fault) if fault.is_busy() && Instant::now() < deadline => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Runs the batches; `None` when one failed half-way and there is no savepoint to go back to.
    fn run(&mut self, batches: &[&Writes], savepoints: bool) -> Result<Option<Vec<Outcome>>, Fault> {
        let mut outcomes = Vec::with_capacity(batches.len());
        for writes in batches {
            if let Some(error) = self.broken.under(writes) {
                outcomes.push(Err(error));
                continue;
            }
            if savepoints {
                self.statement("SAVEPOINT batch")?;
            }
            let changes = self.conn.total_changes();
            let mut tx = Tx::new(self.conn, self.heads, self.blobs, self.listened);
            let outcome = writes.execute(&mut tx).and_then(|results| Ok((results, tx.finish()?)));
            match outcome {
                Ok(done) => outcomes.push(Ok(done)),
                // SQLite itself gave the whole transaction up (disk full, I/O error).
                Err(fault) if self.conn.is_autocommit() => return Err(fault),
                Err(fault) => {
                    if savepoints {
                        self.statement("ROLLBACK TO batch")?;
                    } else if self.conn.total_changes() != changes {
                        return Ok(None);
                    }
                    let error = fault.named(self.path);
                    self.broken.note(writes, &error);
                    outcomes.push(Err(error));
                }
            }
            if savepoints {
                self.statement("RELEASE batch")?;
            }
        }
        Ok(Some(outcomes))
    }

    fn statement(&self, sql: &str) -> Result<(), Fault> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
