//! One batch inside the writer's transaction.
//!
//! Owns the statements' common ground: what a run's row says now ([`Head`]), the numbers that events
//! get, and what has been recorded. The hot row of a run is written once a batch, at its end.
//!
//! **Architecture Invariant:** a head in memory is used only while no other connection has committed
//! since it was read, and its row is rewritten only where it still says what the head says.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use wflo_core::event::{Event, Recorded};
use wflo_core::id::RunId;
use wflo_core::ports::store::StoreError;
use wflo_core::run::RunStatus;

use super::column::{self, Unsigned};
use super::fault::Fault;
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
    /// As the row has it.
    stored: Head,
    status: Option<RunStatus>,
    updated_at: Option<Timestamp>,
}

/// A batch being executed.
pub(crate) struct Tx<'w> {
    conn: &'w Connection,
    heads: &'w mut Heads,
    /// For the rare value that the writer itself must merge.
    pub(crate) blobs: &'w BlobStore,
    touched: Vec<Touched>,
    /// What is announced after the commit; `None` when nobody listens.
    recorded: Option<Vec<Recorded>>,
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
        self.touched.push(Touched { run, head, stored: head, status: None, updated_at: None });
    }

    /// The lease was changed in the row itself.
    pub(crate) fn leased(&mut self, run: RunId, epoch: u64) -> Result<(), Fault> {
        let at = self.touch(run)?;
        if let Some(touched) = self.touched.get_mut(at) {
            touched.head.epoch = epoch;
            touched.stored.epoch = epoch;
        }
        Ok(())
    }

    /// The run's status and time, written with its row at the batch's end.
    pub(crate) fn set_status(&mut self, run: RunId, status: RunStatus, at: Timestamp) -> Result<(), Fault> {
        let index = self.touch(run)?;
        if let Some(touched) = self.touched.get_mut(index) {
            touched.status = Some(status);
            touched.updated_at = Some(at);
        }
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
            touched.updated_at = Some(event.at);
            insert.execute(params![
                touched.head.n,
                column::signed(touched.head.seq)?,
                event.body.is_journal(),
                body
            ])?;
            if let Some(recorded) = &mut self.recorded {
                recorded.push(Recorded { run_id: run, seq: touched.head.seq, event: event.clone() });
            }
        }
        Ok(first)
    }

    /// Ends the batch: writes the rows of its runs. What it recorded, in order.
    pub(crate) fn finish(self) -> Result<Vec<Recorded>, Fault> {
        for touched in &self.touched {
            if touched.updated_at.is_some() || touched.head.seq != touched.stored.seq {
                self.rewrite(touched)?;
            }
        }
        for touched in self.touched {
            self.heads.known.insert(touched.run, touched.head);
        }
        Ok(self.recorded.unwrap_or_default())
    }

    fn rewrite(&self, touched: &Touched) -> Result<(), Fault> {
        let (n, old) = (touched.head.n, column::signed(touched.stored.seq)?);
        let (seq, epoch) = (column::signed(touched.head.seq)?, column::signed(touched.stored.epoch)?);
        let at = touched.updated_at.map(column::time);
        let changed = match touched.status {
            Some(status) if status.is_terminal() => self.write(
                "UPDATE runs SET seq = ?1, updated_at = coalesce(?2, updated_at), status = ?3,
                     finished_at = coalesce(finished_at, ?2) WHERE n = ?4 AND seq = ?5 AND lease_epoch = ?6",
                params![seq, at, status.as_str(), n, old, epoch],
            )?,
            Some(status) => self.write(
                "UPDATE runs SET seq = ?1, updated_at = coalesce(?2, updated_at), status = ?3
                 WHERE n = ?4 AND seq = ?5 AND lease_epoch = ?6 AND finished_at IS NULL",
                params![seq, at, status.as_str(), n, old, epoch],
            )?,
            None => self.write(
                "UPDATE runs SET seq = ?1, updated_at = coalesce(?2, updated_at)
                 WHERE n = ?3 AND seq = ?4 AND lease_epoch = ?5",
                params![seq, at, n, old, epoch],
            )?,
        };
        match changed {
            1 => Ok(()),
            _ => Err(StoreError::Failed(format!(
                "run {} is not where this writer left it, or has ended",
                touched.run
            ))
            .into()),
        }
    }

    fn touch(&mut self, run: RunId) -> Result<usize, Fault> {
        if let Some(at) = self.touched.iter().position(|touched| touched.run == run) {
            return Ok(at);
        }
        let head = match self.heads.known.get(&run) {
            Some(head) => *head,
            None => self
                .row("SELECT n, seq, lease_epoch FROM runs WHERE id = ?1", [run.to_string()], |row| {
                    Ok(Head {
                        n: row.get(0)?,
                        seq: row.get::<_, Unsigned>(1)?.0,
                        epoch: row.get::<_, Unsigned>(2)?.0,
                    })
                })?
                .ok_or_else(|| missing(run))?,
        };
        self.created(run, head);
        Ok(self.touched.len() - 1)
    }
}

fn missing(run: RunId) -> Fault {
    StoreError::NotFound { noun: "run", id: run.to_string() }.into()
}
