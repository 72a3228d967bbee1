//! Calls outside of runs: each of them in the batch that it was folded with, and sums by the hour.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use wflo_core::cost::{PromptCache, Sum};
use wflo_core::id::{EngineId, KeyId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{OpResult, StoreError};
use wflo_core::slice::{CallRecord, CallsLine};

use super::column::{self, Money, Parsed, Unsigned};
use super::fault::Fault;
use super::tx::Tx;
use crate::cell;

/// What a sum is of: hour (in seconds since 1970), key, provider, model.
type Of<'a> = (i64, Option<KeyId>, &'a str, &'a str);

/// Where a sum stops: two of them still fit into a column. A record of a call that says more than anything
/// can be must not keep the others from being stored.
const MOST: i64 = i64::MAX / 2;

fn tokens(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(MOST).min(MOST)
}

fn money(sum: NanoUsd) -> Money {
    Money(sum.min(NanoUsd::from_nanos(MOST)))
}

pub(crate) fn put(tx: &Tx<'_>, spender: EngineId, at: Timestamp, calls: &[CallRecord]) -> Result<(), Fault> {
    if calls.is_empty() {
        return Ok(());
    }
    let uncertain = calls.iter().filter(|call| call.uncertain).count() as u64;
    tx.write(
        "INSERT INTO calls (spender, at, uncertain, calls) VALUES (?1, ?2, ?3, ?4)",
        params![spender.to_string(), column::time(at), column::signed(uncertain)?, cell::plain(calls)?],
    )?;
    let mut sums: BTreeMap<Of<'_>, Sum> = BTreeMap::new();
    for call in calls {
        let hour = call.at_ms.div_euclid(3_600_000).saturating_mul(3_600);
        let uncertain = if call.uncertain { call.cost } else { NanoUsd::ZERO };
        sums.entry((hour, call.key, &call.provider, &call.model)).or_default().add(&Sum {
            calls: 1,
            hits: u64::from(call.saved.is_some()),
            input_tokens: call.input_tokens,
            cached_tokens: call.cached_tokens,
            output_tokens: call.output_tokens,
            cost: call.cost,
            uncertain,
            saved: call.saved.unwrap_or_default(),
            prompt_cache: call.prompt_cache,
        });
    }
    for ((hour, key, provider, model), sum) in sums {
        let hour = Timestamp::from_second(hour)
            .map_err(|error| StoreError::Failed(format!("a call has no time: {error}")))?;
        tx.write(
            "INSERT INTO calls_by_hour
                 (hour, key, provider, model, calls, input_tokens, cached_tokens, output_tokens, cost_nanos,
                  uncertain_nanos, hits, saved_nanos, cache_write_tokens, prompt_cache_nanos)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?12, ?13, ?14, ?15)
             ON CONFLICT (hour, key, provider, model) DO UPDATE SET calls = calls + excluded.calls,
                 input_tokens = MIN(input_tokens + excluded.input_tokens, ?11),
                 cached_tokens = MIN(cached_tokens + excluded.cached_tokens, ?11),
                 output_tokens = MIN(output_tokens + excluded.output_tokens, ?11),
                 cost_nanos = MIN(cost_nanos + excluded.cost_nanos, ?11),
                 uncertain_nanos = MIN(uncertain_nanos + excluded.uncertain_nanos, ?11),
                 hits = hits + excluded.hits,
                 saved_nanos = MIN(saved_nanos + excluded.saved_nanos, ?11),
                 cache_write_tokens = MIN(cache_write_tokens + excluded.cache_write_tokens, ?11),
                 prompt_cache_nanos = MAX(MIN(prompt_cache_nanos + excluded.prompt_cache_nanos, ?11), -?11)",
            params![
                column::time(hour),
                key.map(|key| key.to_string()).unwrap_or_default(),
                provider,
                model,
                column::signed(sum.calls)?,
                tokens(sum.input_tokens),
                tokens(sum.cached_tokens),
                tokens(sum.output_tokens),
                money(sum.cost),
                money(sum.uncertain),
                MOST,
                column::signed(sum.hits)?,
                money(sum.saved),
                tokens(sum.prompt_cache.written_tokens),
                money(sum.prompt_cache.saved.max(NanoUsd::from_nanos(-MOST))),
            ],
        )?;
    }
    Ok(())
}

/// Rows that are removed in one commit.
const STEP: i64 = 1_000;

/// Removes what was brought in before then and has no lost bill. Rows stand in the order in which they came, so
/// nothing is read behind the first that is younger.
pub(crate) fn forget(tx: &Tx<'_>, before: Timestamp) -> Result<OpResult, Fault> {
    tx.write(
        "DELETE FROM calls WHERE n IN (
             SELECT n FROM calls WHERE uncertain = 0 AND at < ?1
             AND n < (SELECT coalesce(min(young.n), ?3) FROM
                         (SELECT n FROM calls WHERE at >= ?1 ORDER BY n LIMIT 1) AS young)
             ORDER BY n LIMIT ?2)",
        params![column::time(before), STEP, i64::MAX],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn lines(conn: &Connection) -> Result<Vec<CallsLine>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT hour, key, provider, model, calls, input_tokens, output_tokens, cost_nanos, uncertain_nanos,
             cached_tokens, hits, saved_nanos, cache_write_tokens, prompt_cache_nanos
         FROM calls_by_hour ORDER BY hour, key, provider, model",
    )?;
    let rows = statement.query_map([], |row| {
        let key: String = row.get(1)?;
        Ok(CallsLine {
            hour: row.get(0)?,
            key: match key.is_empty() {
                true => None,
                false => Some(row.get::<_, Parsed<KeyId>>(1)?.0),
            },
            provider: row.get(2)?,
            model: row.get(3)?,
            sum: Sum {
                calls: row.get::<_, Unsigned>(4)?.0,
                input_tokens: row.get::<_, Unsigned>(5)?.0,
                cached_tokens: row.get::<_, Unsigned>(9)?.0,
                output_tokens: row.get::<_, Unsigned>(6)?.0,
                cost: row.get::<_, Money>(7)?.0,
                uncertain: row.get::<_, Money>(8)?.0,
                hits: row.get::<_, Unsigned>(10)?.0,
                saved: row.get::<_, Money>(11)?.0,
                prompt_cache: PromptCache {
                    written_tokens: row.get::<_, Unsigned>(12)?.0,
                    saved: row.get::<_, Money>(13)?.0,
                },
            },
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Calls whose bill was lost, with the process that made them.
pub(crate) fn uncertain(conn: &Connection) -> Result<Vec<(EngineId, CallRecord)>, Fault> {
    let mut found = Vec::new();
    let mut statement =
        conn.prepare_cached("SELECT spender, calls FROM calls WHERE uncertain > 0 ORDER BY n")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let spender = row.get::<_, Parsed<EngineId>>(0)?.0;
        let calls = list(&row.get::<_, String>(1)?)?;
        found.extend(calls.into_iter().filter(|call| call.uncertain).map(|call| (spender, call)));
    }
    Ok(found)
}

/// Every call of one process.
pub(crate) fn of(conn: &Connection, spender: EngineId) -> Result<Vec<CallRecord>, Fault> {
    let mut found = Vec::new();
    let mut statement = conn.prepare_cached("SELECT calls FROM calls WHERE spender = ?1 ORDER BY n")?;
    let mut rows = statement.query([spender.to_string()])?;
    while let Some(row) = rows.next()? {
        found.extend(list(&row.get::<_, String>(0)?)?);
    }
    Ok(found)
}

fn list(text: &str) -> Result<Vec<CallRecord>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
        path: "the store".to_owned(),
        detail: format!("a list of calls cannot be read: {error}"),
    })
}
