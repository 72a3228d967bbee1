//! Effects: intents, and results in delivery order.
//!
//! A row without `ord` is an intent, one without `finished_at` is previewed, any other is finished.

mod cancelled;
mod carry;
mod read;

use jiff::Timestamp;
use rusqlite::params;
use serde_json::Value;
use wflo_core::effect::{EffectKey, EffectRecord};
use wflo_core::id::{HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{OpResult, StoreError};

pub(crate) use self::cancelled::{cancel_wait, cancelled_waits};
pub(crate) use self::carry::copy;
pub(crate) use self::read::{bytes_of_run, cost_of_run, cost_of_step, get, of_generation, of_run};
use super::column::{self, Money};
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
