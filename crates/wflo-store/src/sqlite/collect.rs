//! Giving back what nothing refers to: blobs, definitions, accounts of the past, free pages.
//!
//! A blob is referred to by pointers in columns only. A pass, on a connection of its own:
//! 1. take the blobs' lock alone and, for a moment, the database's write lock. Both at once: who writes
//!    a blob before its commit holds the first, who writes one within a commit holds the second. Neither
//!    is waited for while the other is held, so nobody waits for this pass in turn;
//! 2. let the write lock go and read all pointers: every blob that was written has its pointer now;
//! 3. remove the others; a crash before or after any of them leaves the rest to the next pass.
//!
//! **Architecture Invariant:** commits wait for a pass only as long as a commit takes, those with large
//! values as long as reading the pointers takes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan as _};
use rusqlite::Connection;
use wflo_core::ports::store::{Reclaimed, StoreError};

use super::column;
use super::fault::Fault;
use super::open::{self, Place};
use crate::blob::{Alone, BlobStore};
use crate::cell;

/// Every column that may hold a pointer.
const POINTERS: [(&str, &str); 11] = [
    ("definitions", "definition"),
    ("run_details", "inputs"),
    ("run_details", "options"),
    ("run_details", "outputs"),
    ("run_details", "error"),
    ("effects", "attributes"),
    ("effects", "result"),
    ("effects", "error"),
    ("effect_requests", "request"),
    ("approvals", "request"),
    ("approvals", "evidence"),
];
/// The same, of tables whose rows come and go.
const PASSING: (&str, &str) = ("inbox", "message");
/// Between two tries for both locks.
const PAUSE: Duration = Duration::from_millis(2);
/// How long writers of large values are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Free pages that are kept for the next rows: 1 MiB.
const SPARE: i64 = 256;
/// Pages given back in one transaction.
const STEP: i64 = 512;
/// Accounts of hours, days, weeks and months are removed after so many days: no clock that is a month
/// wrong brings one back.
const PAST_DAYS: i64 = 62;

/// Makes one pass.
pub(crate) fn run(
    place: &Place,
    blobs: &BlobStore,
    wait: Duration,
    now: Timestamp,
) -> Result<Reclaimed, StoreError> {
    let named = |fault: Fault| fault.named(&place.file);
    let mut conn = open::further(place, wait).map_err(named)?;
    drop_unused(&mut conn, now).map_err(named)?;
    let mut freed = Reclaimed::default();
    match alone(&conn, blobs, wait).map_err(named)? {
        Some(alone) => {
            let referred = referred(&mut conn).map_err(named)?;
            (freed.blobs, freed.blob_bytes) = blobs.remove_all_but(&alone, &referred)?;
        }
        None => freed.busy = true,
    }
    freed.database_bytes = shrink(&conn).map_err(named)?;
    Ok(freed)
}

/// Rows that nothing refers to. A definition is put in the commit of a run that has it.
fn drop_unused(conn: &mut Connection, now: Timestamp) -> Result<(), Fault> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    tx.execute("DELETE FROM definitions WHERE digest NOT IN (SELECT definition FROM run_details)", [])?;
    if let Ok(past) = now.checked_sub((PAST_DAYS * 24).hours()) {
        tx.execute(
            // What was counted stays: a clock that was wrong must not open a period anew, and it is history.
            "DELETE FROM budgets WHERE period <> 'total' AND held_nanos = 0 AND settled_nanos = 0
             AND julianday(period_start) < julianday(?1)",
            [column::time(past)],
        )?;
    }
    tx.commit()?;
    Ok(())
}

/// Both locks at the same moment; then only the blobs' is kept. `None` when it was not to be had.
fn alone(conn: &Connection, blobs: &BlobStore, wait: Duration) -> Result<Option<Alone>, Fault> {
    let until = Instant::now() + wait.min(PATIENCE);
    loop {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let alone = blobs.alone();
        conn.execute_batch("ROLLBACK")?;
        if let Some(alone) = alone? {
            return Ok(Some(alone));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The digests of all blobs that a row points to, in one view.
fn referred(conn: &mut Connection) -> Result<BTreeSet<String>, Fault> {
    let view = conn.transaction()?;
    let mut found = BTreeSet::new();
    for (table, column) in POINTERS.into_iter().chain([PASSING]) {
        // `#` is the character after the quotation mark that ends the pointer's key.
        let sql = format!(
            "SELECT {column} FROM {table} WHERE {column} >= '{{\"$blob\"' AND {column} < '{{\"$blob#'"
        );
        let mut statement = view.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            found.extend(cell::pointer(text)?.map(|digest| digest.to_string()));
        }
    }
    view.finish()?;
    Ok(found)
}

/// Gives free pages back to the file system, a few in each transaction; how many bytes.
fn shrink(conn: &Connection) -> Result<u64, Fault> {
    let number = |pragma: &str| conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let before = number("page_count")?;
    loop {
        let spare = number("freelist_count")? - SPARE;
        if spare <= 0 || number("auto_vacuum")? != 2 {
            break;
        }
        // It answers a row for each page: the work is done while they are read.
        let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({})", spare.min(STEP)))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    let freed = before.saturating_sub(number("page_count")?).saturating_mul(number("page_size")?);
    // The file becomes shorter when the log has been copied into it.
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(u64::try_from(freed).unwrap_or(0))
}
