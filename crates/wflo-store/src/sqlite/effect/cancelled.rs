//! Effects that a step stopped waiting for, each with its place among the answers.

use rusqlite::{Connection, Row, params};
use wflo_core::effect::{CancelledWait, EffectKey};
use wflo_core::id::RunId;
use wflo_core::ports::store::OpResult;

use crate::sqlite::fault::Fault;
use crate::sqlite::tx::Tx;

/// The step stopped waiting for an effect; the first time counts.
pub(crate) fn cancel_wait(
    tx: &mut Tx<'_>,
    run: RunId,
    key: &EffectKey,
    after: u32,
) -> Result<OpResult, Fault> {
    let run = tx.key(run)?;
    insert(tx, run, (&key.step, key.generation, &key.path, key.seq), after)?;
    Ok(OpResult::Done)
}

pub(super) fn insert(
    tx: &mut Tx<'_>,
    run: i64,
    (step, generation, path, seq): (&str, u32, &str, u32),
    after: u32,
) -> Result<(), Fault> {
    tx.write(
        "INSERT INTO cancelled_waits (run, step, generation, path, seq, after) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (run, step, generation, path, seq) DO NOTHING",
        params![run, step, generation, path, seq, after],
    )?;
    Ok(())
}

/// The effects of one generation that the step stopped waiting for, by path and position.
pub(crate) fn cancelled_waits(
    conn: &Connection,
    run: RunId,
    step: &str,
    generation: u32,
) -> Result<Vec<CancelledWait>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT path, seq, after FROM cancelled_waits
         WHERE run = (SELECT n FROM runs WHERE id = ?1) AND step = ?2 AND generation = ?3
         ORDER BY path, seq",
    )?;
    let read = |row: &Row<'_>| Ok(CancelledWait { path: row.get(0)?, seq: row.get(1)?, after: row.get(2)? });
    let found = statement.query_map(params![run.to_string(), step, generation], read)?;
    Ok(found.collect::<Result<_, _>>()?)
}
