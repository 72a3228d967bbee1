//! Effects: intents, results in delivery order, and what a retry keeps.
//!
//! A row without `ord` is an intent, one without `finished_at` is previewed, any other is finished.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;
use wflo_core::canonical::Digest;
use wflo_core::effect::{CancelledWait, EffectKey, EffectRecord, EffectState, Kept};
use wflo_core::id::{HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{OpResult, StoreError};

use super::column::{self, Money, Named, Parsed};
use super::fault::Fault;
use super::tx::Tx;
use crate::blob::BlobStore;
use crate::cell::{self, CellWriter};

/// An intent, its JSON encoded.
pub(crate) struct NewEffect {
    pub(crate) run: RunId,
    pub(crate) effect: EffectRecord,
    pub(crate) request: String,
    pub(crate) attributes: String,
}

/// A result, its JSON encoded; one of `result` and `error` is there.
pub(crate) struct EffectResult {
    pub(crate) run: RunId,
    pub(crate) key: EffectKey,
    pub(crate) result: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) cost: NanoUsd,
    pub(crate) uncertain: bool,
    pub(crate) attributes: Value,
    pub(crate) at: Timestamp,
}

/// A provisional answer, its JSON encoded; one of `result` and `error` is there.
pub(crate) struct EffectPreview {
    pub(crate) run: RunId,
    pub(crate) key: EffectKey,
    pub(crate) result: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) attributes: Value,
}

pub(crate) fn put(tx: &mut Tx<'_>, new: &NewEffect) -> Result<OpResult, Fault> {
    let (n, effect) = (tx.key(new.run)?, &new.effect);
    let inserted = tx.write(
        "INSERT INTO effects (run, step, generation, path, seq, kind, name, fingerprint, hold, cost,
             uncertain, attributes, started_at, after, active_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (run, step, generation, path, seq) DO NOTHING",
        params![
            n,
            effect.key.step,
            effect.key.generation,
            effect.key.path,
            effect.key.seq,
            effect.kind.as_str(),
            effect.name,
            effect.fingerprint.as_str(),
            effect.hold.map(|hold| hold.to_string()),
            Money(effect.cost),
            Money(effect.uncertain),
            new.attributes,
            column::time(effect.started_at),
            effect.after,
            i64::try_from(effect.active_ms).unwrap_or(i64::MAX),
        ],
    )?;
    if inserted == 0 {
        return Err(StoreError::EffectExists(effect.key.clone()).into());
    }
    let effect_n = tx.last_key();
    tx.write("INSERT INTO effect_requests (n, request) VALUES (?1, ?2)", params![effect_n, new.request])?;
    Ok(OpResult::Done)
}

pub(crate) fn finish(tx: &mut Tx<'_>, end: &EffectResult) -> Result<OpResult, Fault> {
    let (run, key) = (tx.key(end.run)?, &end.key);
    let (n, attributes) = intent(tx, run, key)?;
    let order = last_order(tx, run, &key.step, key.generation)? + 1;
    // Earlier tries whose results were lost may have left a bill, which stays.
    tx.write(
        "UPDATE effects SET ord = ?2, result = ?3, error = ?4, cost = cost + ?5, uncertain = uncertain + CASE WHEN ?6 THEN ?5 ELSE 0 END,
             attributes = ?7, finished_at = ?8 WHERE n = ?1",
        params![
            n,
            order,
            end.result,
            end.error,
            Money(end.cost),
            end.uncertain,
            merged(tx.blobs, attributes, &end.attributes)?,
            column::time(end.at),
        ],
    )?;
    Ok(OpResult::Order(order))
}

/// Answers an intent on top of changes that are not made yet.
pub(crate) fn preview(tx: &mut Tx<'_>, preview: &EffectPreview) -> Result<OpResult, Fault> {
    let (run, key) = (tx.key(preview.run)?, &preview.key);
    let (n, attributes) = intent(tx, run, key)?;
    let order = last_order(tx, run, &key.step, key.generation)? + 1;
    tx.write(
        "UPDATE effects SET ord = ?2, result = ?3, error = ?4, attributes = ?5 WHERE n = ?1",
        params![n, order, preview.result, preview.error, merged(tx.blobs, attributes, &preview.attributes)?],
    )?;
    Ok(OpResult::Order(order))
}

/// A previewed effect's answer stands.
pub(crate) fn confirm(
    tx: &mut Tx<'_>,
    run: RunId,
    key: &EffectKey,
    at: Timestamp,
) -> Result<OpResult, Fault> {
    let run = tx.key(run)?;
    let (n, _) = previewed(tx, run, key)?;
    tx.write("UPDATE effects SET finished_at = ?2 WHERE n = ?1", params![n, column::time(at)])?;
    Ok(OpResult::Done)
}

/// Makes `first` an intent again and drops the other previewed effects of its generation.
pub(crate) fn rewind(
    tx: &mut Tx<'_>,
    run: RunId,
    first: &EffectKey,
    attributes: &Value,
) -> Result<OpResult, Fault> {
    let run = tx.key(run)?;
    let (n, stored) = previewed(tx, run, first)?;
    // What the step stopped waiting for after it had been told something of this, it may not again.
    tx.write(
        "DELETE FROM cancelled_waits WHERE run = ?1 AND step = ?2 AND generation = ?3
         AND after >= (SELECT ord FROM effects WHERE n = ?4)",
        params![run, first.step, first.generation, n],
    )?;
    tx.write(
        "UPDATE effects SET ord = NULL, result = NULL, error = NULL, attributes = ?2 WHERE n = ?1",
        params![n, merged(tx.blobs, stored, attributes)?],
    )?;
    let others = "SELECT n FROM effects WHERE run = ?1 AND step = ?2 AND generation = ?3
                  AND ord IS NOT NULL AND finished_at IS NULL";
    let requests = format!("DELETE FROM effect_requests WHERE n IN ({others})");
    tx.write(&requests, params![run, first.step, first.generation])?;
    let rows = format!("DELETE FROM effects WHERE n IN ({others})");
    tx.write(&rows, params![run, first.step, first.generation])?;
    Ok(OpResult::Done)
}

/// The row and attributes of a previewed effect.
fn previewed(tx: &Tx<'_>, run: i64, key: &EffectKey) -> Result<(i64, String), Fault> {
    let found = tx.row(
        "SELECT n, attributes FROM effects
         WHERE run = ?1 AND step = ?2 AND generation = ?3 AND path = ?4 AND seq = ?5
         AND ord IS NOT NULL AND finished_at IS NULL",
        params![run, key.step, key.generation, key.path, key.seq],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    found.ok_or_else(|| StoreError::EffectNotOpen(key.clone()).into())
}

/// Opens an intent for another try; what the lost one was billed stays, uncertain.
pub(crate) fn reopen(
    tx: &mut Tx<'_>,
    run: RunId,
    key: &EffectKey,
    hold: Option<HoldId>,
    carried: NanoUsd,
    attributes: &Value,
) -> Result<OpResult, Fault> {
    let run = tx.key(run)?;
    let (n, stored) = intent(tx, run, key)?;
    tx.write(
        "UPDATE effects SET hold = ?2, cost = cost + ?3, uncertain = uncertain + ?3, attributes = ?4
         WHERE n = ?1",
        params![n, hold.map(|hold| hold.to_string()), Money(carried), merged(tx.blobs, stored, attributes)?],
    )?;
    Ok(OpResult::Done)
}

/// Copies finished effects of one generation into another, which may be another run's: those are marked as
/// carried.
pub(crate) fn copy(
    tx: &mut Tx<'_>,
    step: &str,
    (source, from): (RunId, u32),
    (run, to): (RunId, u32),
    keep: &[(String, u32)],
) -> Result<OpResult, Fault> {
    let (run_n, new_n) = (tx.key(source)?, tx.key(run)?);
    let (mut kept, mut cancelled) = (Vec::with_capacity(keep.len()), Vec::new());
    for (path, seq) in keep {
        let found: Option<(u32, i64, u32)> = tx.row(
            "SELECT ord, n, after FROM effects WHERE run = ?1 AND step = ?2 AND generation = ?3 AND path = ?4
                 AND seq = ?5 AND finished_at IS NOT NULL",
            params![run_n, step, from, path, seq],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let after: Option<u32> = tx.row(
            "SELECT after FROM cancelled_waits
             WHERE run = ?1 AND step = ?2 AND generation = ?3 AND path = ?4 AND seq = ?5",
            params![run_n, step, from, path, seq],
            |row| row.get(0),
        )?;
        if found.is_none() && after.is_none() {
            let id = format!("{step}/{from}/{path}/{seq}");
            return Err(StoreError::NotFound { noun: "finished effect", id }.into());
        }
        kept.extend(found);
        cancelled.extend(after.map(|after| (path, *seq, after)));
    }
    kept.sort_unstable();
    kept.dedup();
    let base = last_order(tx, new_n, step, to)?;
    let orders: Vec<u32> = kept.iter().map(|(order, ..)| *order).collect();
    // An old place among the answers, as a place among those that are kept.
    let place =
        |after: u32| base + u32::try_from(orders.partition_point(|o| *o <= after)).unwrap_or(u32::MAX);
    for (order, (_, old, after)) in (base + 1..).zip(&kept) {
        let inserted = tx.write(
            "INSERT INTO effects (run, step, generation, path, seq, ord, kind, name, fingerprint, hold, cost,
                 uncertain, attributes, after, active_ms, started_at, finished_at, result, error)
             SELECT ?5, step, ?2, path, seq, ?3, kind, name, fingerprint, NULL, 0, 0, attributes,
                 ?4, 0, started_at, finished_at, result, error
             FROM effects WHERE n = ?1 ON CONFLICT (run, step, generation, path, seq) DO NOTHING",
            params![old, to, order, place(*after), new_n],
        )?;
        if inserted == 0 {
            return Err(StoreError::EffectExists(key_of(tx, *old, to)?).into());
        }
        let new = tx.last_key();
        tx.write(
            "INSERT INTO effect_requests (n, request) SELECT ?2, request FROM effect_requests WHERE n = ?1",
            params![old, new],
        )?;
        if source != run {
            mark_carried(tx, new)?;
        }
    }
    for (path, seq, after) in cancelled {
        insert_cancelled(tx, new_n, (step, to, path, seq), place(after))?;
    }
    Ok(OpResult::Done)
}

fn mark_carried(tx: &mut Tx<'_>, n: i64) -> Result<(), Fault> {
    let stored: Option<String> =
        tx.row("SELECT attributes FROM effects WHERE n = ?1", [n], |row| row.get(0))?;
    let carried = serde_json::json!({ "carried": true });
    let marked = merged(tx.blobs, stored.unwrap_or_default(), &carried)?;
    tx.write("UPDATE effects SET attributes = ?2 WHERE n = ?1", params![n, marked])?;
    Ok(())
}

/// The step stopped waiting for an effect; the first time counts.
pub(crate) fn cancel_wait(
    tx: &mut Tx<'_>,
    run: RunId,
    key: &EffectKey,
    after: u32,
) -> Result<OpResult, Fault> {
    let run = tx.key(run)?;
    insert_cancelled(tx, run, (&key.step, key.generation, &key.path, key.seq), after)?;
    Ok(OpResult::Done)
}

fn insert_cancelled(
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

/// The row and attributes of an effect that has no result yet.
fn intent(tx: &Tx<'_>, run: i64, key: &EffectKey) -> Result<(i64, String), Fault> {
    let open = tx.row(
        "SELECT n, attributes FROM effects
         WHERE run = ?1 AND step = ?2 AND generation = ?3 AND path = ?4 AND seq = ?5 AND ord IS NULL",
        params![run, key.step, key.generation, key.path, key.seq],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    open.ok_or_else(|| StoreError::EffectNotOpen(key.clone()).into())
}

fn key_of(tx: &Tx<'_>, n: i64, generation: u32) -> Result<EffectKey, Fault> {
    let key = tx.row("SELECT step, path, seq FROM effects WHERE n = ?1", [n], |row| {
        Ok(EffectKey { step: row.get(0)?, generation, path: row.get(1)?, seq: row.get(2)? })
    })?;
    key.ok_or_else(|| StoreError::Failed("an effect vanished".to_owned()).into())
}

fn last_order(tx: &Tx<'_>, run: i64, step: &str, generation: u32) -> Result<u32, Fault> {
    let last: Option<Option<u32>> = tx.row(
        "SELECT max(ord) FROM effects WHERE run = ?1 AND step = ?2 AND generation = ?3 AND ord IS NOT NULL",
        params![run, step, generation],
        |row| row.get(0),
    )?;
    Ok(last.flatten().unwrap_or(0))
}

/// The intent's attributes with the result's over them, by key.
fn merged(blobs: &BlobStore, stored: String, over: &Value) -> Result<String, StoreError> {
    let over = match over {
        Value::Null => return Ok(stored),
        Value::Object(over) if over.is_empty() => return Ok(stored),
        other => other,
    };
    let mut cells = CellWriter::default();
    let text = match (cell::read(blobs, &stored)?, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            base.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
            cells.text(&base)?
        }
        (_, over) => cells.text(over)?,
    };
    // Attributes are a few numbers; a blob here is the exception that must still be right. The write
    // lock, held already, keeps it until it is referred to: see `collect`.
    if !cells.pending.is_empty() {
        drop(CellWriter::flush(&cells.pending, blobs)?);
    }
    Ok(text)
}

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
