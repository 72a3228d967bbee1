//! What can go wrong inside, and what it is called outside.
//!
//! Owns the mapping of SQLite's result codes to [`StoreError`]. Nothing else looks at a code.

use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi;
use wflo_core::ports::store::StoreError;

/// An error of a noun's statement: already named, or SQLite's own.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A refusal that the port names.
    Store(StoreError),
    /// Whatever SQLite says.
    Sql(rusqlite::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::Store(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl Fault {
    /// The error as the port names it, for the database at `path`.
    pub(crate) fn named(self, path: &Path) -> StoreError {
        match self {
            Fault::Store(error) => error,
            Fault::Sql(error) => named(path, &error),
        }
    }

    /// Whether another connection's lock is in the way, so that waiting may help.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Fault::Sql(rusqlite::Error::SqliteFailure(error, _))
            if matches!(error.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed))
    }

    /// Whether there is no room left.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Fault::Store(StoreError::DiskFull { .. }))
            || matches!(self, Fault::Sql(rusqlite::Error::SqliteFailure(error, _)) if is_full(error))
    }

    /// Whether a flush failed: what is on the disk is then unknown until the log is read anew.
    pub(crate) fn is_lost_flush(&self) -> bool {
        matches!(self, Fault::Sql(rusqlite::Error::SqliteFailure(error, _))
            if matches!(error.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
    }
}

/// SQLite's own word for it, or that the index of the log could not grow.
fn is_full(error: &ffi::Error) -> bool {
    error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
}

fn named(path: &Path, error: &rusqlite::Error) -> StoreError {
    let at = path.display().to_string();
    let detail = error.to_string();
    let rusqlite::Error::SqliteFailure(code, _) = error else {
        // A column that does not hold what the schema says.
        return StoreError::Corrupt { path: at, detail };
    };
    match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            StoreError::Locked { path: at }
        }
        _ if is_full(code) => StoreError::DiskFull { path: at },
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt { path: at, detail },
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            StoreError::Failed(format!("{at} cannot be opened for writing: {detail}"))
        }
        _ => StoreError::Failed(format!("{at}: {detail}")),
    }
}
