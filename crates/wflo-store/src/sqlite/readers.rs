//! Connections for reading.
//!
//! Owns a small stock of them. A read takes one, or opens one when all are busy, so no read waits for
//! another, and none waits for the writer: in WAL mode each sees the last commit as it began.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use wflo_core::ports::store::StoreError;

use super::fault::Fault;
use super::open::{self, Place};

/// How many idle connections are kept.
const KEPT: usize = 4;

pub(crate) struct Readers {
    place: Place,
    wait: Duration,
    idle: Mutex<Vec<Connection>>,
    /// Never used for anything else: `data_version` tells of every commit but the connection's own.
    watcher: Mutex<Option<Connection>>,
}

impl Readers {
    pub(crate) fn new(place: Place, wait: Duration) -> Self {
        Readers { place, wait, idle: Mutex::default(), watcher: Mutex::default() }
    }

    /// Reads in one consistent view.
    ///
    /// # Errors
    /// Whatever `read` fails with, named.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let outcome = match kept {
            Some(conn) => Ok(conn),
            None => self.open(),
        }
        .and_then(|conn| {
            let value = in_view(&conn, read)?;
            Ok((conn, value))
        });
        let (conn, value) = outcome.map_err(|fault| fault.named(&self.place.file))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(conn);
        }
        Ok(value)
    }

    /// A number that differs after any commit of any process, this one included.
    ///
    /// # Errors
    /// As SQLite says.
    pub(crate) fn version(&self) -> Result<u64, StoreError> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let conn = match watcher.take() {
            Some(conn) => Ok(conn),
            None => self.open(),
        };
        conn.and_then(|conn| {
            let version: u32 = conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
            *watcher = Some(conn);
            Ok(u64::from(version))
        })
        .map_err(|fault| fault.named(&self.place.file))
    }

    fn open(&self) -> Result<Connection, Fault> {
        let conn = open::further(&self.place, self.wait)?;
        conn.execute_batch("PRAGMA query_only = ON")?;
        Ok(conn)
    }
}

fn in_view<T>(conn: &Connection, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    conn.prepare_cached("BEGIN")?.execute([])?;
    let value = read(conn);
    conn.prepare_cached("COMMIT")?.execute([])?;
    value
}
