//! Effects as they are read: one, a generation's, a run's, and their sums.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectRecord, EffectState, Kept};
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::StoreError;

use crate::blob::BlobStore;
use crate::cell;
use crate::sqlite::column::{Money, Named, Parsed};
use crate::sqlite::fault::Fault;

const SELECT: &str =
    "SELECT step, generation, path, seq, kind, effects.name, fingerprint, request, ord, result,
     error, hold, cost, uncertain, attributes, started_at, finished_at, after,
     active_ms
     FROM effects JOIN effect_requests ON effect_requests.n = effects.n
     WHERE run = (SELECT n FROM runs WHERE id = ?1)";

/// The journal of one generation, by path and position, without large values.
pub(crate) fn of_generation(
    conn: &Connection,
    blobs: &BlobStore,
    run: RunId,
    step: &str,
    generation: u32,
) -> Result<Vec<EffectRecord>, Fault> {
    let mut statement =
        conn.prepare_cached(&format!("{SELECT} AND step = ?2 AND generation = ?3 ORDER BY path, seq"))?;
    let mut rows = statement.query(params![run.to_string(), step, generation])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row, blobs, small)?);
    }
    Ok(found)
}

/// All effects of a run, oldest first, without large values.
pub(crate) fn of_run(conn: &Connection, blobs: &BlobStore, run: RunId) -> Result<Vec<EffectRecord>, Fault> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} ORDER BY effects.n"))?;
    let mut rows = statement.query([run.to_string()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row, blobs, small)?);
    }
    Ok(found)
}

/// One effect, with all its values.
pub(crate) fn get(
    conn: &Connection,
    blobs: &BlobStore,
    run: RunId,
    key: &EffectKey,
) -> Result<Option<EffectRecord>, Fault> {
    let mut statement = conn
        .prepare_cached(&format!("{SELECT} AND step = ?2 AND generation = ?3 AND path = ?4 AND seq = ?5"))?;
    let mut rows = statement.query(params![run.to_string(), key.step, key.generation, key.path, key.seq])?;
    rows.next()?.map(|row| read(row, blobs, whole)).transpose()
}

/// What all effects of a step were billed.
pub(crate) fn cost_of_step(conn: &Connection, run: RunId, step: &str) -> Result<NanoUsd, Fault> {
    let cost: Money = conn
        .prepare_cached(
            "SELECT coalesce(sum(cost), 0) FROM effects
             WHERE run = (SELECT n FROM runs WHERE id = ?1) AND step = ?2",
        )?
        .query_row(params![run.to_string(), step], |row| row.get(0))?;
    Ok(cost.0)
}

/// What the effects of a run take: the JSON of each one's values, four times its path, and at least `least`.
pub(crate) fn bytes_of_run(conn: &Connection, run: RunId, least: u64) -> Result<u64, Fault> {
    let length = |column: &str| {
        // As `cell::pointer` reads it; a column that begins so is a pointer and nothing else.
        format!(
            "CASE WHEN {column} IS NULL THEN 0
                  WHEN substr({column}, 1, 8) = '{{\"$blob\"' THEN {column} ->> '$.bytes'
                  ELSE octet_length({column}) END"
        )
    };
    let columns = ["request", "result", "error", "attributes"].map(length).join(" + ");
    let sql = format!(
        "SELECT coalesce(sum(max(?2, {columns} + 4 * length(path))), 0)
         FROM effects JOIN effect_requests ON effect_requests.n = effects.n
         WHERE run = (SELECT n FROM runs WHERE id = ?1)"
    );
    let sum: i64 = conn
        .prepare_cached(&sql)?
        .query_row(params![run.to_string(), i64::try_from(least).unwrap_or(i64::MAX)], |row| row.get(0))?;
    Ok(u64::try_from(sum).unwrap_or_default())
}

/// What all effects of a run were billed.
pub(crate) fn cost_of_run(conn: &Connection, run: RunId) -> Result<NanoUsd, Fault> {
    let cost: Option<Money> = conn
        .prepare_cached(
            "SELECT coalesce(sum(cost), 0) FROM effects WHERE run = (SELECT n FROM runs WHERE id = ?1)",
        )?
        .query_row([run.to_string()], |row| row.get(0))
        .optional()?;
    Ok(cost.map_or(NanoUsd::ZERO, |cost| cost.0))
}

/// A column's value, if it is small.
fn small(blobs: &BlobStore, text: &str) -> Result<Kept, StoreError> {
    match cell::bytes(text)? {
        bytes if bytes > Kept::SMALL => Ok(Kept::Stored { bytes }),
        _ => whole(blobs, text),
    }
}

/// A column's value.
fn whole(blobs: &BlobStore, text: &str) -> Result<Kept, StoreError> {
    cell::read(blobs, text).map(Kept::Here)
}

fn read(
    row: &Row<'_>,
    blobs: &BlobStore,
    value: fn(&BlobStore, &str) -> Result<Kept, StoreError>,
) -> Result<EffectRecord, Fault> {
    let text = |at: usize| -> Result<String, Fault> { Ok(row.get(at)?) };
    let (order, result, error): (Option<u32>, Option<String>, Option<String>) =
        (row.get(8)?, row.get(9)?, row.get(10)?);
    let finished_at = row.get::<_, Option<Parsed<_>>>(16)?.map(|at| at.0);
    let outcome = match (result, error) {
        (Some(result), _) => Some(Ok(value(blobs, &result)?)),
        (None, Some(error)) => Some(Err(cell::read(blobs, &error)?)),
        (None, None) => None,
    };
    let state = match (order, outcome) {
        (None, _) => EffectState::Intent,
        (Some(order), Some(outcome)) if finished_at.is_none() => EffectState::Previewed { order, outcome },
        (Some(order), Some(Ok(result))) => EffectState::Finished { order, result },
        (Some(order), Some(Err(error))) => EffectState::Failed { order, error },
        (Some(_), None) => {
            let detail = "a finished effect has neither result nor error".to_owned();
            return Err(StoreError::Corrupt { path: "the store".to_owned(), detail }.into());
        }
    };
    Ok(EffectRecord {
        key: EffectKey { step: row.get(0)?, generation: row.get(1)?, path: row.get(2)?, seq: row.get(3)? },
        kind: row.get::<_, Named<_>>(4)?.0,
        name: row.get(5)?,
        fingerprint: Digest::from_hex(text(6)?),
        request: value(blobs, &text(7)?)?,
        state,
        hold: row.get::<_, Option<Parsed<_>>>(11)?.map(|hold| hold.0),
        cost: row.get::<_, Money>(12)?.0,
        uncertain: row.get::<_, Money>(13)?.0,
        attributes: cell::read(blobs, &text(14)?)?,
        after: row.get(17)?,
        active_ms: u64::try_from(row.get::<_, i64>(18)?).unwrap_or_default(),
        started_at: row.get::<_, Parsed<_>>(15)?.0,
        finished_at,
    })
}
