//! Events: appended with their run's next numbers, read in order.

use jiff::Timestamp;
use rusqlite::{Connection, Params, params};
use wflo_core::event::{Event, Recorded};
use wflo_core::id::RunId;
use wflo_core::ports::store::{OpResult, StoreError};

use super::column::{self, Unsigned};
use super::fault::Fault;
use super::tx::Tx;

pub(crate) fn append(
    tx: &mut Tx<'_>,
    run: RunId,
    events: &[Event],
    bodies: &[String],
) -> Result<OpResult, Fault> {
    Ok(OpResult::Seq(tx.append(run, events, bodies)?))
}

/// Events of both families after `after`, at most `limit` (0 for all), in order.
pub(crate) fn after(conn: &Connection, run: RunId, after: u64, limit: u32) -> Result<Vec<Recorded>, Fault> {
    let after = column::signed(after)?;
    let limit = if limit == 0 { -1 } else { i64::from(limit) };
    let sql = "SELECT seq, body FROM events WHERE run = (SELECT n FROM runs WHERE id = ?1) AND seq > ?2
               ORDER BY seq LIMIT ?3";
    select(conn, run, sql, params![run.to_string(), after, limit])
}

/// The events that the fold needs, in order.
pub(crate) fn of_machine(conn: &Connection, run: RunId) -> Result<Vec<Recorded>, Fault> {
    let sql = "SELECT seq, body FROM events WHERE run = (SELECT n FROM runs WHERE id = ?1) AND journal = 0
               ORDER BY seq";
    select(conn, run, sql, params![run.to_string()])
}

fn select(conn: &Connection, run: RunId, sql: &str, params: impl Params) -> Result<Vec<Recorded>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, Unsigned>(0)?.0;
        let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let event = serde_json::from_str(body).map_err(|error| StoreError::Corrupt {
            path: "the store".to_owned(),
            detail: format!("event {seq} of run {run} cannot be read: {error}"),
        })?;
        found.push(Recorded { run_id: run, seq, event });
    }
    Ok(found)
}

/// How much of an event's text holds its time.
pub(crate) const TIME_PREFIX: u32 = 64;

/// The time of an event, from the beginning of its text: the time is the first key.
pub(crate) fn time_of(prefix: &str) -> Option<Timestamp> {
    prefix.strip_prefix("{\"time\":\"")?.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wflo_core::event::EventBody;

    #[test]
    fn an_events_time_stands_at_the_beginning_of_its_text() {
        for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
            let text = serde_json::to_string(&Event { at, body: EventBody::RunRunning {} }).unwrap();
            assert_eq!(time_of(&text[..text.len().min(TIME_PREFIX as usize)]), Some(at));
        }
        assert_eq!(time_of("{\"type\":\"x\"}"), None);
    }
}
