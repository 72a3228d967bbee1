//! Durable timers.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use wflo_core::id::{EngineId, RunId};
use wflo_core::ports::clock::Moment;
use wflo_core::ports::store::{OpResult, Timer};

use super::column::{self, Parsed, Unsigned};
use super::fault::Fault;
use super::tx::Tx;

pub(crate) fn put(
    tx: &mut Tx<'_>,
    run: RunId,
    key: &str,
    due: Timestamp,
    set: &Moment,
) -> Result<OpResult, Fault> {
    let n = tx.key(run)?;
    tx.write(
        "INSERT OR REPLACE INTO timers (run, key, due, set_wall, set_boot_ms, set_boot_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![n, key, column::time(due), column::time(set.wall), column::signed(set.boot_ms)?, set.boot_id],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn remove(tx: &mut Tx<'_>, run: RunId, key: &str) -> Result<OpResult, Fault> {
    let n = tx.key(run)?;
    tx.write("DELETE FROM timers WHERE run = ?1 AND key = ?2", params![n, key])?;
    Ok(OpResult::Done)
}

/// Timers of one engine's runs, or of one run, or of both conditions; of all runs without either.
pub(crate) fn list(
    conn: &Connection,
    engine: Option<EngineId>,
    run: Option<RunId>,
) -> Result<Vec<Timer>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT runs.id, key, due, set_wall, set_boot_ms, set_boot_id
         FROM timers JOIN runs ON runs.n = timers.run
         WHERE (?1 IS NULL OR runs.engine = ?1) AND (?2 IS NULL OR runs.id = ?2)
         ORDER BY timers.run, key",
    )?;
    let mut rows = statement.query(params![engine.map(|id| id.to_string()), run.map(|id| id.to_string())])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Timer {
            run: row.get::<_, Parsed<_>>(0)?.0,
            key: row.get(1)?,
            due: row.get::<_, Parsed<_>>(2)?.0,
            set: Moment {
                wall: row.get::<_, Parsed<_>>(3)?.0,
                boot_ms: row.get::<_, Unsigned>(4)?.0,
                boot_id: row.get(5)?,
            },
        });
    }
    Ok(found)
}
