//! Events: appended with their run's next numbers, read in order.

use rusqlite::{Connection, OptionalExtension as _, params};
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
    let Some(n) = key(conn, run)? else { return Ok(Vec::new()) };
    // Numbers are dense, so a limit is a range of them, over both families.
    let after = column::signed(after)?;
    let last = if limit == 0 { i64::MAX } else { after.saturating_add(i64::from(limit)) };
    let machine = family(conn, run, n, false, after, last)?;
    let journal = family(conn, run, n, true, after, last)?;
    Ok(merge(machine, journal))
}

/// The events that the fold needs, in order.
pub(crate) fn of_machine(conn: &Connection, run: RunId) -> Result<Vec<Recorded>, Fault> {
    match key(conn, run)? {
        Some(n) => family(conn, run, n, false, 0, i64::MAX),
        None => Ok(Vec::new()),
    }
}

fn key(conn: &Connection, run: RunId) -> Result<Option<i64>, Fault> {
    Ok(conn
        .prepare_cached("SELECT n FROM runs WHERE id = ?1")?
        .query_row([run.to_string()], |row| row.get(0))
        .optional()?)
}

fn family(
    conn: &Connection,
    run: RunId,
    n: i64,
    journal: bool,
    after: i64,
    last: i64,
) -> Result<Vec<Recorded>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, body FROM events WHERE run = ?1 AND journal = ?2 AND seq > ?3 AND seq <= ?4 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![n, journal, after, last])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, Unsigned>(0)?.0;
        let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let event: Event = serde_json::from_str(body).map_err(|error| StoreError::Corrupt {
            path: "the store".to_owned(),
            detail: format!("event {seq} of run {run} cannot be read: {error}"),
        })?;
        found.push(Recorded { run_id: run, seq, event });
    }
    Ok(found)
}

fn merge(machine: Vec<Recorded>, journal: Vec<Recorded>) -> Vec<Recorded> {
    let mut merged = Vec::with_capacity(machine.len() + journal.len());
    let (mut machine, mut journal) = (machine.into_iter().peekable(), journal.into_iter().peekable());
    loop {
        let next = match (machine.peek(), journal.peek()) {
            (Some(left), Some(right)) if left.seq < right.seq => machine.next(),
            (_, Some(_)) => journal.next(),
            (_, None) => machine.next(),
        };
        match next {
            Some(event) => merged.push(event),
            None => return merged,
        }
    }
}
