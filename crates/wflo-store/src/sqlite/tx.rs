//! One batch inside the writer's transaction.
//!
//! Owns the statements' common ground: what is known of a run ([`Head`]), the numbers that events get,
//! and what has been recorded. A batch that changes neither status nor lease writes its events and
//! nothing else of its run: each page less in a commit is time saved on every flush.
//!
//! **Architecture Invariant:** a head in memory is used only while no other connection has committed
//! since it was read.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use wflo_core::event::Event;
use wflo_core::id::RunId;
use wflo_core::ports::store::StoreError;
use wflo_core::run::RunStatus;

use super::column::{self, Named, Unsigned};
use super::fault::Fault;
use crate::announced::{ANNOUNCED, Announced};
use crate::blob::BlobStore;

/// Heads kept in memory: about 100 bytes each.
const HEADS: usize = 32 * 1024;

/// What the next batch of a run needs to know of its row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// The run's key in other tables.
    pub(crate) n: i64,
    /// The last event's number.
    pub(crate) seq: u64,
    /// The lease.
    pub(crate) epoch: u64,
    /// Where it stands.
    pub(crate) status: RunStatus,
}

/// The heads that this process's writer knows.
#[derive(Default)]
pub(crate) struct Heads {
    known: HashMap<RunId, Head>,
    version: Option<u32>,
}

impl Heads {
    /// Forgets everything if somebody else has committed; `version` is the writer's `data_version`.
    pub(crate) fn as_of(&mut self, version: u32) {
        if self.version != Some(version) || self.known.len() > HEADS {
            self.forget();
            self.version = Some(version);
        }
    }

    /// Forgets everything: a transaction was rolled back.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }
}

struct Touched {
    run: RunId,
    head: Head,
    /// When the status became another one.
    changed_at: Option<Timestamp>,
}

/// A batch being executed.
pub(crate) struct Tx<'w> {
    conn: &'w Connection,
    heads: &'w mut Heads,
    /// For the rare value that the writer itself must merge.
    pub(crate) blobs: &'w BlobStore,
    touched: Vec<Touched>,
    /// What is announced after the commit; `None` when nobody listens.
    recorded: Option<Vec<Announced>>,
}

impl<'w> Tx<'w> {
    pub(crate) fn new(
        conn: &'w Connection,
        heads: &'w mut Heads,
        blobs: &'w BlobStore,
        listened: bool,
    ) -> Self {
        Tx { conn, heads, blobs, touched: Vec::new(), recorded: listened.then(Vec::new) }
    }

    /// Executes a statement; how many rows it changed.
    pub(crate) fn write(&self, sql: &str, params: impl Params) -> Result<usize, Fault> {
        Ok(self.conn.prepare_cached(sql)?.execute(params)?)
    }

    /// The first row of a query.
    pub(crate) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        Ok(self.conn.prepare_cached(sql)?.query_row(params, read).optional()?)
    }

    /// The rows of a query.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        Ok(self.conn.prepare_cached(sql)?.query_map(params, read)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The last row's key.
    pub(crate) fn last_key(&self) -> i64 {
        self.conn.last_insert_rowid()
    }

    /// What a run's row says within this batch.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub(crate) fn head(&mut self, run: RunId) -> Result<&mut Head, Fault> {
        let at = self.touch(run)?;
        match self.touched.get_mut(at) {
            Some(touched) => Ok(&mut touched.head),
            None => Err(missing(run)),
        }
    }

    /// A run's key in other tables.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub(crate) fn key(&mut self, run: RunId) -> Result<i64, Fault> {
        self.head(run).map(|head| head.n)
    }

    /// Makes a run that was just inserted known.
    pub(crate) fn created(&mut self, run: RunId, head: Head) {
        self.touched.push(Touched { run, head, changed_at: None });
    }

    /// Makes a run unknown whose rows were deleted.
    pub(crate) fn removed(&mut self, run: RunId) {
        self.touched.retain(|touched| touched.run != run);
        self.heads.known.remove(&run);
    }

    /// The lease was changed in the row itself.
    pub(crate) fn leased(&mut self, run: RunId, epoch: u64) -> Result<(), Fault> {
        let at = self.touch(run)?;
        if let Some(touched) = self.touched.get_mut(at) {
            touched.head.epoch = epoch;
        }
        Ok(())
    }

    /// The run's status; its row is written at the batch's end, if it changed.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the run has ended in another way: terminal is never reopened.
    pub(crate) fn set_status(&mut self, run: RunId, status: RunStatus, at: Timestamp) -> Result<(), Fault> {
        let index = self.touch(run)?;
        let Some(touched) = self.touched.get_mut(index) else { return Err(missing(run)) };
        let before = touched.head.status;
        if before == status {
            return Ok(());
        }
        if before.is_terminal() {
            return Err(
                StoreError::Failed(format!("run {run} is {before} and cannot become {status}")).into()
            );
        }
        touched.head.status = status;
        touched.changed_at = Some(at);
        Ok(())
    }

    /// Appends events with their JSON; the first one's number.
    pub(crate) fn append(&mut self, run: RunId, events: &[Event], bodies: &[String]) -> Result<u64, Fault> {
        let index = self.touch(run)?;
        let Some(touched) = self.touched.get_mut(index) else { return Err(missing(run)) };
        let first = touched.head.seq + 1;
        let mut insert = self
            .conn
            .prepare_cached("INSERT INTO events (run, seq, journal, body) VALUES (?1, ?2, ?3, ?4)")?;
        for (event, body) in events.iter().zip(bodies) {
            touched.head.seq += 1;
            insert.execute(params![
                touched.head.n,
                column::signed(touched.head.seq)?,
                event.body.is_journal(),
                body
            ])?;
            if let Some(recorded) = &mut self.recorded {
                let event = (body.len() <= ANNOUNCED).then(|| event.clone());
                recorded.push(Announced { run_id: run, seq: touched.head.seq, event });
            }
        }
        Ok(first)
    }

    /// Ends the batch: writes the rows of its runs. What it recorded, in order.
    pub(crate) fn finish(self) -> Result<Vec<Announced>, Fault> {
        for touched in &self.touched {
            if let Some(at) = touched.changed_at {
                self.rewrite(touched, at)?;
            }
        }
        for touched in self.touched {
            self.heads.known.insert(touched.run, touched.head);
        }
        Ok(self.recorded.unwrap_or_default())
    }

    fn rewrite(&self, touched: &Touched, at: Timestamp) -> Result<(), Fault> {
        let (status, at) = (touched.head.status, column::time(at));
        // The condition says again what the head was trusted for.
        let changed = self.write(
            "UPDATE runs SET status = ?1, updated_at = ?2, finished_at = ?3
             WHERE n = ?4 AND lease_epoch = ?5 AND finished_at IS NULL",
            params![
                status.as_str(),
                at,
                status.is_terminal().then_some(&at),
                touched.head.n,
                column::signed(touched.head.epoch)?
            ],
        )?;
        match changed {
            1 => Ok(()),
            _ => {
                Err(StoreError::Failed(format!("run {} is not where this writer left it", touched.run))
                    .into())
            }
        }
    }

    fn touch(&mut self, run: RunId) -> Result<usize, Fault> {
        if let Some(at) = self.touched.iter().position(|touched| touched.run == run) {
            return Ok(at);
        }
        let head = match self.heads.known.get(&run) {
            Some(head) => *head,
            None => self
                .row(
                    "SELECT n, coalesce((SELECT max(seq) FROM events WHERE events.run = runs.n), 0), lease_epoch, status
                     FROM runs WHERE id = ?1",
                    [run.to_string()],
                    |row| {
                        let (Unsigned(seq), Unsigned(epoch)) = (row.get(1)?, row.get(2)?);
                        Ok(Head { n: row.get(0)?, seq, epoch, status: row.get::<_, Named<_>>(3)?.0 })
                    },
                )?
                .ok_or_else(|| missing(run))?,
        };
        self.created(run, head);
        Ok(self.touched.len() - 1)
    }
}

fn missing(run: RunId) -> Fault {
    StoreError::NotFound { noun: "run", id: run.to_string() }.into()
}
