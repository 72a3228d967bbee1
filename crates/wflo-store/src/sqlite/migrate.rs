//! Migrations: numbered SQL files, each applied once, in one transaction with its number.
//!
//! Owns the schema number (`user_version`) and the application id. A file is never edited after a
//! release; a change is a new file.

use rusqlite::{Connection, TransactionBehavior};
use wflo_core::ports::store::StoreError;

use super::fault::Fault;
use super::open::Place;

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_retention.sql"),
    include_str!("migrations/0003_gateway.sql"),
    include_str!("migrations/0004_reports.sql"),
    include_str!("migrations/0005_budgets.sql"),
    include_str!("migrations/0006_corrections.sql"),
    include_str!("migrations/0007_cache.sql"),
    include_str!("migrations/0008_contents.sql"),
];

/// The schema that this program writes.
pub(crate) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// Makes an empty database one of this schema.
///
/// # Errors
/// As SQLite says.
pub(super) fn fill(conn: &Connection, schema: u32) -> Result<(), Fault> {
    for migration in MIGRATIONS.iter().take(schema as usize) {
        conn.execute_batch(migration)?;
    }
    Ok(())
}

/// Brings the schema to [`NEWEST`].
///
/// # Errors
/// [`StoreError::TooNew`] when another process was upgraded and went first.
pub(crate) fn run(place: &Place, conn: &mut Connection, application_id: i32) -> Result<(), Fault> {
    let schema = |conn: &Connection| conn.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0));
    if schema(conn)? == NEWEST {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Asked again under the lock: somebody else may have migrated meanwhile.
    let found = schema(&tx)?;
    if found > NEWEST {
        let path = place.file.display().to_string();
        return Err(StoreError::TooNew { path, found, known: NEWEST }.into());
    }
    for migration in MIGRATIONS.iter().skip(found as usize) {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", application_id)?;
    tx.pragma_update(None, "user_version", NEWEST)?;
    tx.commit()?;
    Ok(())
}
