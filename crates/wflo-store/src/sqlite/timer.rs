//! Durable timers.

use jiff::Timestamp;
use rusqlite::{Connection, params, params_from_iter};
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

const ALL: &str = "SELECT runs.id, key, due, set_wall, set_boot_ms, set_boot_id
     FROM timers JOIN runs ON runs.n = timers.run ORDER BY timers.run, key";
const ONE_RUN: &str = "SELECT runs.id, key, due, set_wall, set_boot_ms, set_boot_id
     FROM runs CROSS JOIN timers ON timers.run = runs.n WHERE runs.id = ?1 ORDER BY key";
const ONE_ENGINE: &str = "SELECT runs.id, key, due, set_wall, set_boot_ms, set_boot_id
     FROM runs CROSS JOIN timers ON timers.run = runs.n WHERE runs.engine = ?1 ORDER BY timers.run, key";

/// Timers of one run, else of one engine's runs, else of all runs.
pub(crate) fn list(
    conn: &Connection,
    engine: Option<EngineId>,
    run: Option<RunId>,
) -> Result<Vec<Timer>, Fault> {
    // Each shape has its own statement, so that each finds its rows by an index.
    let (sql, key) = match (engine, run) {
        (_, Some(run)) => (ONE_RUN, Some(run.to_string())),
        (Some(engine), None) => (ONE_ENGINE, Some(engine.to_string())),
        (None, None) => (ALL, None),
    };
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(key))?;
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
