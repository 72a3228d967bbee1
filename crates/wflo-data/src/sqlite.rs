//! SQLite as a brokered database.
//!
//! Owns the open file. One noun a module below: [`connection`] opens and hardens, [`authorizer`]
//! judges, [`run`] runs a statement on its [`leash`], [`schema`] knows the tables, [`update`] turns
//! rows into statements, [`effects`] is the record, [`capture`] takes changesets, [`session`] is
//! SQLite's own interface for them, [`replay`] puts them back; [`trial`] finds out what a write does that
//! no changeset holds, with [`rows`] and [`definitions`]; [`apply`], [`preview`], [`undo`] and [`snapshot`]
//! are the calls.

mod apply;
mod authorizer;
mod capture;
mod connection;
mod definitions;
mod effects;
mod evidence;
mod leash;
mod net;
mod preview;
mod replay;
mod rows;
mod run;
mod schema;
mod session;
mod snapshot;
mod trial;
mod undo;
mod update;

use std::path::{Path, PathBuf};

use crate::changeset::Changeset;
use crate::class::Class;
use crate::error::DataError;
use crate::limits::Limits;
use crate::statement::{Rows, Statement};
use connection::Pool;

/// An open SQLite database.
#[derive(Debug)]
pub(crate) struct Sqlite {
    pool: Pool,
    /// Whether its operator lets people approve writes of which a part is neither shown nor bound.
    pub(crate) allow_unseen: bool,
}

impl Sqlite {
    /// Opens the file, which must exist and be a database.
    pub(crate) fn open(name: &str, path: &Path, limits: Limits) -> Result<Self, DataError> {
        let pool = Pool::new(name, path, limits);
        pool.call(|_| Ok(()))?;
        Ok(Sqlite { pool, allow_unseen: false })
    }

    /// The file and its journals, as configured and with links resolved.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let path = self.pool.path();
        let mut files = Vec::new();
        for base in [Some(path.to_path_buf()), path.canonicalize().ok()].into_iter().flatten() {
            for suffix in ["", "-wal", "-shm", "-journal"] {
                let mut file = base.clone().into_os_string();
                file.push(suffix);
                files.push(PathBuf::from(file));
            }
        }
        files
    }

    /// See [`Database::classify`](crate::Database::classify).
    pub(crate) fn classify(&self, sql: &str) -> Result<Class, DataError> {
        self.pool.call(|call| {
            let inspected = match run::inspect(call, sql) {
                Err(DataError::Refused(refusal)) => return Ok(Class::Refused(refusal)),
                other => other?,
            };
            if inspected.reads_only {
                return Ok(Class::Read);
            }
            let not_held = schema::not_held(call, &inspected)?;
            Ok(Class::Write { tables: inspected.written.into_iter().collect(), not_held })
        })
    }

    /// See [`Database::query`](crate::Database::query) and
    /// [`Database::preview_query`](crate::Database::preview_query).
    pub(crate) fn query(&self, prior: &[&Changeset], statement: &Statement) -> Result<Rows, DataError> {
        self.pool.call(|call| {
            if prior.is_empty() {
                return run::query(call, statement);
            }
            call.rolled_back(|| {
                preview::replay_prior(call, prior)?;
                run::query(call, statement)
            })
        })
    }
}
