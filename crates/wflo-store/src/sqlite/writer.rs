//! The writer: one thread, one connection, group commit.
//!
//! Owns the queue's far end. It takes what is queued, bounded by count and bytes, commits it as one
//! group, and answers everybody; while it flushes, the next group gathers. A lone committer never waits
//! for company.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use wflo_core::ports::store::{OpResult, StoreError};

use super::broken::Broken;
use super::fault::Fault;
use super::group::Ground;
use super::turn::Turn;
use super::tx::Heads;
use super::wal::Wal;
use super::write::Writes;
use crate::announced::Announced;
use crate::blob::BlobStore;

/// A batch and who waits for it.
pub(crate) struct Job {
    pub(crate) writes: Writes,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// What a committer is told.
pub(crate) type Answer = Result<Vec<OpResult>, StoreError>;

/// The thread's belongings.
pub(crate) struct Writer {
    pub(crate) conn: Connection,
    pub(crate) wal: Wal,
    pub(crate) turn: Turn,
    pub(crate) blobs: BlobStore,
    pub(crate) path: PathBuf,
    pub(crate) wait: Duration,
    pub(crate) sync_delay: Duration,
    pub(crate) most_batches: usize,
    pub(crate) most_bytes: usize,
    pub(crate) queue: mpsc::Receiver<Job>,
    pub(crate) commits: watch::Sender<u64>,
    pub(crate) recorded: broadcast::Sender<Announced>,
    /// Why the thread ended early, for everybody who comes later.
    pub(crate) ended: Arc<OnceLock<StoreError>>,
}

impl Writer {
    /// Commits until the queue is closed and empty, or until a flush was lost.
    pub(crate) fn run(mut self) {
        let (mut heads, mut broken) = (Heads::default(), Broken::default());
        while let Some(first) = self.queue.blocking_recv() {
            let group = self.gather(first);
            if let Err(error) = self.commit(group, &mut heads, &mut broken) {
                tracing::error!(%error, "the log could not be flushed; the store is closed");
                let _ = self.ended.set(error);
                return;
            }
            if self.wal.tend(&self.conn) {
                slow(self.sync_delay);
            }
        }
    }

    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut bytes = first.writes.bytes;
        let mut group = vec![first];
        while group.len() < self.most_batches && bytes < self.most_bytes {
            let Ok(job) = self.queue.try_recv() else { break };
            bytes += job.writes.bytes;
            group.push(job);
        }
        group
    }

    /// Commits a group and answers it. Fails only when it is unknown what is on the disk: a log whose
    /// flush failed must be read anew before anything is appended to it.
    fn commit(&mut self, group: Vec<Job>, heads: &mut Heads, broken: &mut Broken) -> Result<(), StoreError> {
        let mut ground = Ground {
            conn: &self.conn,
            heads,
            broken,
            blobs: &self.blobs,
            path: &self.path,
            turn: &mut self.turn,
            wait: self.wait,
            listened: self.recorded.receiver_count() > 0,
        };
        let batches: Vec<&Writes> = group.iter().map(|job| &job.writes).collect();
        let (wal, delay) = (&mut self.wal, self.sync_delay);
        if wal.is_tight() {
            wal.relieve(&self.conn);
        }
        let mut outcomes = ground.commit(&batches, || {
            wal.reserve();
            // Here, as a slow flush would: the write lock is held meanwhile.
            slow(delay);
        });
        if outcomes.as_ref().is_err_and(Fault::is_full) && wal.relieve(&self.conn) {
            outcomes = ground.commit(&batches, || slow(delay));
        }
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(fault) => {
                let lost = fault.is_lost_flush();
                let error = fault.named(&self.path);
                for job in group {
                    broken.note(&job.writes, &error);
                    let _ = job.reply.send(Err(error.clone()));
                }
                return if lost { Err(error) } else { Ok(()) };
            }
        };
        if outcomes.iter().any(Result::is_ok) {
            self.commits.send_modify(|commits| *commits += 1);
        }
        for (job, outcome) in group.into_iter().zip(outcomes) {
            let answer = outcome.map(|(results, recorded)| {
                for event in recorded {
                    // Nobody listening is no failure.
                    let _ = self.recorded.send(event);
                }
                results
            });
            let _ = job.reply.send(answer);
        }
        Ok(())
    }
}

/// What a slower disk would cost, for measurements.
fn slow(delay: Duration) {
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
}
