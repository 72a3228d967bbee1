//! The inbox: messages for a run's driver, from any process.

use jiff::Timestamp;
use rusqlite::{Connection, Params, params};
use wflo_core::id::{EngineId, RunId};
use wflo_core::ports::store::{InboxMessage, OpResult};

use super::column::{self, Parsed};
use super::fault::Fault;
use super::tx::Tx;
use crate::blob::BlobStore;
use crate::cell;

pub(crate) fn push(tx: &mut Tx<'_>, run: RunId, text: &str, at: Timestamp) -> Result<OpResult, Fault> {
    let n = tx.key(run)?;
    tx.write("INSERT INTO inbox (run, message, at) VALUES (?1, ?2, ?3)", params![n, text, column::time(at)])?;
    Ok(OpResult::Done)
}

pub(crate) fn remove(tx: &Tx<'_>, ids: &[i64]) -> Result<OpResult, Fault> {
    for id in ids {
        tx.write("DELETE FROM inbox WHERE id = ?1", [id])?;
    }
    Ok(OpResult::Done)
}

/// Messages for the runs of one engine. The inbox is small, so it leads the join.
pub(crate) fn of_engine(
    conn: &Connection,
    blobs: &BlobStore,
    engine: EngineId,
) -> Result<Vec<InboxMessage>, Fault> {
    let sql = "SELECT inbox.id, runs.id, message FROM inbox CROSS JOIN runs ON runs.n = inbox.run
               WHERE runs.engine = ?1 ORDER BY inbox.id";
    select(conn, blobs, sql, [engine.to_string()])
}

pub(crate) fn of_run(conn: &Connection, blobs: &BlobStore, run: RunId) -> Result<Vec<InboxMessage>, Fault> {
    let sql = "SELECT inbox.id, runs.id, message FROM runs CROSS JOIN inbox ON inbox.run = runs.n
               WHERE runs.id = ?1 ORDER BY inbox.id";
    select(conn, blobs, sql, [run.to_string()])
}

fn select(
    conn: &Connection,
    blobs: &BlobStore,
    sql: &str,
    params: impl Params,
) -> Result<Vec<InboxMessage>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let message: String = row.get(2)?;
        found.push(InboxMessage {
            id: row.get(0)?,
            run: row.get::<_, Parsed<_>>(1)?.0,
            message: cell::read(blobs, &message)?,
        });
    }
    Ok(found)
}
