//! What a retry keeps: finished effects, copied into the generation that goes on with them.

use rusqlite::params;
use wflo_core::effect::EffectKey;
use wflo_core::id::RunId;
use wflo_core::ports::store::{OpResult, StoreError};

use super::{cancelled, last_order, merged};
use crate::sqlite::fault::Fault;
use crate::sqlite::tx::Tx;

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
    let (mut kept, mut given_up) = (Vec::with_capacity(keep.len()), Vec::new());
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
        given_up.extend(after.map(|after| (path, *seq, after)));
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
    for (path, seq, after) in given_up {
        cancelled::insert(tx, new_n, (step, to, path, seq), place(after))?;
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

fn key_of(tx: &Tx<'_>, n: i64, generation: u32) -> Result<EffectKey, Fault> {
    let key = tx.row("SELECT step, path, seq FROM effects WHERE n = ?1", [n], |row| {
        Ok(EffectKey { step: row.get(0)?, generation, path: row.get(1)?, seq: row.get(2)? })
    })?;
    key.ok_or_else(|| StoreError::Failed("an effect vanished".to_owned()).into())
}
