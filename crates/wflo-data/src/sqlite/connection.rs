//! Connections to one SQLite file: opened, hardened, kept for the next call.
//!
//! Owns the settings that make a connection safe to run hostile statements on, the pool, the
//! transactions, and what SQLite's errors mean.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::authorizer::Sentry;
use super::leash::Reins;
use super::session;
use crate::class::Refusal;
use crate::error::DataError;
use crate::limits::Limits;

/// How many idle connections are kept. Writers wait for each other anyway.
const IDLE: usize = 4;

/// The connections of one database.
#[derive(Debug)]
pub(super) struct Pool {
    name: String,
    path: PathBuf,
    limits: Limits,
    idle: Mutex<Vec<Guarded>>,
}

/// Which file a path stands for. After a file was replaced, an old connection would write to the
/// one that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

/// A connection with its guards.
#[derive(Debug)]
struct Guarded {
    file: FileId,
    connection: Connection,
    sentry: Sentry,
    reins: Reins,
}

/// One call: a connection for its length, and its limits.
pub(super) struct Call<'pool> {
    pub connection: &'pool Connection,
    pub limits: &'pool Limits,
    /// Judges statements while a watch is on.
    pub sentry: &'pool Sentry,
    /// Ends statements while a leash is on.
    pub reins: &'pool Reins,
    name: &'pool str,
}

impl Pool {
    /// A pool without connections yet.
    pub(super) fn new(name: &str, path: &Path, limits: Limits) -> Self {
        Pool { name: name.to_owned(), path: path.to_path_buf(), limits, idle: Mutex::default() }
    }

    /// The database file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a connection of its own. Whatever it leaves open is rolled back.
    pub(super) fn call<T>(
        &self,
        work: impl FnOnce(&Call<'_>) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        let file = self.file_id()?;
        let pooled = {
            let mut idle = self.idle();
            idle.retain(|guarded| guarded.file == file);
            idle.pop()
        };
        let guarded = match pooled {
            Some(guarded) => guarded,
            None => self.connect(file)?,
        };
        let result = work(&Call {
            connection: &guarded.connection,
            limits: &self.limits,
            sentry: &guarded.sentry,
            reins: &guarded.reins,
            name: &self.name,
        });
        if is_clean(&guarded.connection) && result.as_ref().map_or_else(keeps_connection, |_| true) {
            let mut idle = self.idle();
            if idle.len() < IDLE {
                idle.push(guarded);
            }
        }
        result
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Guarded>> {
        // A panic elsewhere leaves a list of connections, which is whole at any moment.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_id(&self) -> Result<FileId, DataError> {
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DataError::Missing { name: self.name.clone(), path: self.path.clone() });
            }
            Err(error) => {
                return Err(DataError::CannotOpen { name: self.name.clone(), detail: error.to_string() });
            }
        };
        if !metadata.is_file() {
            let detail = format!("{} is not a file", self.path.display());
            return Err(DataError::CannotOpen { name: self.name.clone(), detail });
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            Ok(FileId(metadata.dev(), metadata.ino()))
        }
        #[cfg(not(unix))]
        Ok(FileId(0, 0))
    }

    fn connect(&self, file: FileId) -> Result<Guarded, DataError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = session::register_clock()
            .and_then(|()| Connection::open_with_flags_and_vfs(&self.path, flags, session::LAYER));
        let guarded = opened.and_then(|mut connection| {
            harden(&connection, &self.limits)?;
            let sentry = Sentry::install(&mut connection)?;
            let reins = Reins::install(&mut connection)?;
            Ok(Guarded { file, connection, sentry, reins })
        });
        guarded.map_err(|error| meaning(error, &self.name, &self.limits))
    }
}

/// Settings of every connection. None of them is stored in the file.
fn harden(connection: &Connection, limits: &Limits) -> rusqlite::Result<()> {
    connection.busy_timeout(limits.lock_wait)?;
    connection.set_prepared_statement_cache_capacity(0);
    for (config, on) in [
        // Neither the schema table nor the shadow tables of virtual tables can be written.
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        // Functions and virtual tables that are not known to be harmless cannot hide in the schema.
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
    ] {
        connection.set_db_config(config, on)?;
    }
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 500),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 250),
        (Limit::SQLITE_LIMIT_VDBE_OP, 500_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 500),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    // EXTRA is FULL in WAL mode; in DELETE mode it also syncs the folder after a commit, without
    // which a loss of power can bring a finished transaction's journal back, and undo it.
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Reads the header and the schema: says at once that a file is no database.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Leaves no transaction and no setting of a call behind.
fn is_clean(connection: &Connection) -> bool {
    (connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok())
        && connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true).is_ok()
}

/// Whether a connection can be trusted after this error.
fn keeps_connection(error: &DataError) -> bool {
    !matches!(
        error,
        DataError::NotADatabase { .. }
            | DataError::Io { .. }
            | DataError::CommitUnknown { .. }
            | DataError::CannotOpen { .. }
    )
}

impl Call<'_> {
    /// A result of the wrapper as one of this crate.
    pub(super) fn ok<T>(&self, result: rusqlite::Result<T>) -> Result<T, DataError> {
        result.map_err(|error| meaning(error, self.name, self.limits))
    }

    /// The database's name, for errors.
    pub(super) fn name(&self) -> String {
        self.name.to_owned()
    }

    /// Whether the file can be written at all.
    pub(super) fn is_read_only(&self) -> Result<bool, DataError> {
        self.ok(self.connection.is_readonly("main"))
    }

    /// Runs `work` in a transaction that holds the write lock from its start, and commits it. The
    /// lock is taken first, so that nothing that was read can be out of date.
    pub(super) fn committed<T>(&self, work: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
        self.ok(self.connection.execute_batch("BEGIN IMMEDIATE"))?;
        let result = work();
        match result {
            Ok(value) => match self.connection.execute_batch("COMMIT") {
                Ok(()) => Ok(value),
                Err(error) => {
                    let unknown = is_unknown(&error);
                    let error = meaning(error, self.name, self.limits);
                    self.roll_back();
                    Err(match error {
                        DataError::Io { name, detail } if unknown => {
                            DataError::CommitUnknown { name, detail }
                        }
                        error => error,
                    })
                }
            },
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    /// Runs `work` in such a transaction and rolls it back whatever happens.
    pub(super) fn rolled_back<T>(&self, work: impl FnOnce() -> Result<T, DataError>) -> Result<T, DataError> {
        self.ok(self.connection.execute_batch("BEGIN IMMEDIATE"))?;
        let result = work();
        self.roll_back();
        result
    }

    fn roll_back(&self) {
        // SQLite may have rolled back by itself. A transaction that cannot be rolled back ends with
        // its connection, which `is_clean` then refuses to keep.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(database = self.name, %error, "a rollback failed; the connection is closed");
        }
    }

    /// Runs `work` with triggers off, for changes that hold what triggers did.
    pub(super) fn without_triggers<T>(
        &self,
        work: impl FnOnce() -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        self.ok(self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false))?;
        let result = work();
        self.ok(self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true))?;
        result
    }
}

/// Whether a failed COMMIT may have happened all the same: what was written can be found whole by whoever
/// opens the file next, although its flush failed. A full disk is none: then something was not written.
fn is_unknown(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

/// What an error of SQLite means to the user.
fn meaning(error: rusqlite::Error, name: &str, limits: &Limits) -> DataError {
    let (failure, detail) = match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            (failure, message.unwrap_or_else(|| failure.to_string()))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => (error, msg),
        other => return DataError::Sql { detail: other.to_string() },
    };
    let name = name.to_owned();
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            DataError::Busy { name, waited: limits.lock_wait }
        }
        ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => DataError::NotADatabase { name, detail },
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => DataError::CannotOpen { name, detail },
        ErrorCode::ReadOnly => DataError::ReadOnly { name },
        ErrorCode::SystemIoFailure | ErrorCode::DiskFull | ErrorCode::OutOfMemory => {
            DataError::Io { name, detail }
        }
        ErrorCode::ConstraintViolation => DataError::Constraint { detail },
        ErrorCode::OperationInterrupted => DataError::TooSlow { limit: limits.statement_time },
        ErrorCode::AuthorizationForStatementDenied => DataError::Refused(Refusal::Unknown { action: detail }),
        ErrorCode::TooBig => DataError::ValueTooLarge,
        // The words for tables that DEFENSIVE protects.
        ErrorCode::Unknown if detail.ends_with("may not be modified") => {
            let table = detail.strip_prefix("table ").and_then(|rest| rest.split(' ').next());
            DataError::Refused(Refusal::System { name: table.unwrap_or_default().to_owned() })
        }
        _ => DataError::Sql { detail },
    }
}
