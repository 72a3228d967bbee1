//! Engines that announced themselves. Whether one lives, its lock file says.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use wflo_core::id::EngineId;
use wflo_core::ports::store::{EngineRow, OpResult};

use super::column::{self, Parsed};
use super::fault::Fault;
use super::tx::Tx;

pub(crate) fn put(tx: &Tx<'_>, id: EngineId, pid: u32, at: Timestamp) -> Result<OpResult, Fault> {
    tx.write(
        "INSERT INTO engines (id, pid, started_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, started_at = excluded.started_at",
        params![id.to_string(), pid, column::time(at)],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn remove(tx: &Tx<'_>, id: EngineId) -> Result<OpResult, Fault> {
    tx.write("DELETE FROM engines WHERE id = ?1", [id.to_string()])?;
    Ok(OpResult::Done)
}

pub(crate) fn list(conn: &Connection) -> Result<Vec<EngineRow>, Fault> {
    let mut statement = conn.prepare_cached("SELECT id, pid, started_at FROM engines ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(EngineRow {
            id: row.get::<_, Parsed<_>>(0)?.0,
            pid: row.get(1)?,
            started_at: row.get::<_, Parsed<_>>(2)?.0,
        });
    }
    Ok(found)
}
