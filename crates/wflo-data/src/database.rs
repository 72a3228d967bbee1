//! One database: the calls that the engine makes.
//!
//! Owns the face that every backend has; the work is done at the same place in each backend's
//! folder.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::changeset::Changeset;
use crate::class::{Class, NotHeld};
use crate::error::DataError;
use crate::limits::Limits;
use crate::preview::{Committed, Preview};
use crate::seal::{Resealed, Seal};
use crate::snapshot::Snapshot;
use crate::sqlite;
use crate::statement::{Rows, Statement, Write};
use crate::undo::{UndoReport, UndoRequest};
use crate::url::DatabaseUrl;

/// One open database. Shared between threads; every call may block.
#[derive(Debug)]
pub struct Database {
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Sqlite(sqlite::Sqlite),
}

/// Which effect a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect<'a> {
    /// Its id; a write with this id happens at most once, ever.
    pub id: &'a str,
    /// Digest of the canonical request; guards the id.
    pub fingerprint: &'a str,
}

/// What a write must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requirements {
    /// Refuse the write unless it can be undone (`rollback_enabled`).
    pub undoable: bool,
}

/// A write that is in the database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// What the statement returned.
    pub result: Rows,
    /// Digest of the captured change; `None` when none was kept.
    pub digest: Option<String>,
    /// Why it cannot be undone, if so.
    pub not_held: Option<NotHeld>,
    /// Whether it had already been carried out: `result` is then the recorded one.
    pub replayed: bool,
    /// Whether it is on record. If not (see [`Recording::Guarded`]), a second call writes again.
    pub recorded: bool,
}

/// What became of the records of one owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// How many were removed.
    pub removed: u64,
    /// How many are still there: the newest of the database, to be removed later.
    pub left: u64,
}

/// Whether the database keeps the record that makes writes exactly-once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recording {
    /// It does, or will from the first write on.
    ExactlyOnce,
    /// It cannot: the effect class of its writes is `guarded`.
    Guarded {
        /// Why.
        reason: String,
    },
    /// It cannot be written at all.
    ReadOnly,
}

/// What a database can say about an effect that it may have been asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// It was carried out: its answer, as it is recorded.
    Made(serde_json::Value),
    /// It was not.
    NotMade,
    /// Nobody can know: the database keeps no record.
    Unrecorded {
        /// Why.
        reason: String,
    },
}

macro_rules! backend {
    ($self:ident, $database:ident => $call:expr) => {
        match &$self.backend {
            Backend::Sqlite($database) => $call,
        }
    };
}

impl Database {
    /// Opens the database `name` at `url`. It must exist.
    ///
    /// # Errors
    /// [`DataError::Missing`], [`DataError::NotADatabase`], [`DataError::CannotOpen`].
    pub fn open(name: &str, url: &DatabaseUrl, limits: Limits) -> Result<Self, DataError> {
        match url {
            DatabaseUrl::Sqlite(path) => {
                Ok(Database { backend: Backend::Sqlite(sqlite::Sqlite::open(name, path, limits)?) })
            }
        }
    }

    /// Its files, as [`Databases::hidden_files`](crate::Databases::hidden_files) wants them.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        backend!(self, database => database.files())
    }

    /// What a statement would do; it is not run.
    ///
    /// # Errors
    /// [`DataError::Sql`] when the database does not understand it, [`DataError::Busy`].
    pub fn classify(&self, sql: &str) -> Result<Class, DataError> {
        backend!(self, database => database.classify(sql))
    }

    /// Runs a statement that only reads.
    ///
    /// # Errors
    /// [`DataError::NotARead`], [`DataError::Refused`], and what statements can meet:
    /// [`DataError::Sql`], [`DataError::ParamMismatch`], [`DataError::ResultTooLarge`],
    /// [`DataError::TooSlow`], [`DataError::Busy`].
    pub fn query(&self, statement: &Statement) -> Result<Rows, DataError> {
        backend!(self, database => database.query(&[], statement))
    }

    /// Whether writes can be made exactly once here.
    ///
    /// # Errors
    /// [`DataError::Busy`], [`DataError::NotADatabase`].
    pub fn recording(&self) -> Result<Recording, DataError> {
        backend!(self, database => database.recording())
    }

    /// Carries out a write and records it, in one transaction. An effect that is on record is not
    /// carried out again; its recorded result comes back.
    ///
    /// # Errors
    /// [`DataError::EffectMismatch`] for the same id with another fingerprint,
    /// [`DataError::NotUndoable`], [`DataError::RowsMissing`], [`DataError::TableUnclear`], and all
    /// that [`Database::query`] can meet. After any error nothing was written, save that
    /// [`DataError::CommitUnknown`] leaves it open: calling again settles it.
    pub fn apply(
        &self,
        effect: Effect,
        write: &Write,
        requirements: Requirements,
    ) -> Result<Applied, DataError> {
        backend!(self, database => database.apply(effect, write, requirements))
    }

    /// The recorded outcome of an effect, if it was carried out.
    ///
    /// # Errors
    /// [`DataError::EffectMismatch`], [`DataError::RecordDamaged`], [`DataError::Busy`].
    pub fn recorded(&self, effect: Effect) -> Result<Option<Applied>, DataError> {
        backend!(self, database => database.recorded(effect))
    }

    /// What this database can say about an effect, a write or an undo.
    ///
    /// # Errors
    /// As [`Database::recorded`].
    pub fn known(&self, effect: Effect) -> Result<Known, DataError> {
        backend!(self, database => database.known(effect))
    }

    /// Runs a write after the changes of the same chain and rolls everything back.
    ///
    /// # Errors
    /// [`DataError::PreviewStale`] when `prior` no longer fits; [`DataError::Unseen`] when a part of it can
    /// neither be shown nor bound to an approval, and nobody [allowed](Database::allow_unseen) that; all that [`Database::apply`] can meet.
    pub fn preview(
        &self,
        prior: &[&Changeset],
        write: &Write,
        requirements: Requirements,
    ) -> Result<Preview, DataError> {
        backend!(self, database => database.preview(prior, write, requirements))
    }

    /// Runs a statement that only reads, seeing the changes of a chain of previews.
    ///
    /// # Errors
    /// [`DataError::PreviewStale`]; all that [`Database::query`] can meet.
    pub fn preview_query(&self, prior: &[&Changeset], statement: &Statement) -> Result<Rows, DataError> {
        backend!(self, database => database.query(prior, statement))
    }

    /// Commits a chain of previewed changes as they were captured, in their order and in one transaction,
    /// each with its record; what is on record already is not done again. Triggers do not run: what they
    /// did is in the changes. A dry run says what would come of it.
    ///
    /// # Errors
    /// [`DataError::PreviewIncomplete`], [`DataError::EffectMismatch`], [`DataError::SchemaChanged`],
    /// [`DataError::Busy`]. After any error nothing was written, save that
    /// [`DataError::CommitUnknown`] leaves it open: calling again settles it.
    pub fn commit_previews(
        &self,
        chain: &[(Effect<'_>, &Preview)],
        dry_run: bool,
    ) -> Result<Committed, DataError> {
        backend!(self, database => database.commit_previews(chain, dry_run))
    }

    /// Carries out a write that was shown under a seal, and records it, in one transaction: it is run again,
    /// and committed if it does what was shown. An effect that is on record is not carried out again.
    ///
    /// # Errors
    /// All that [`Database::apply`] can meet.
    pub fn apply_sealed(&self, effect: Effect, write: &Write, seal: &Seal) -> Result<Resealed, DataError> {
        backend!(self, database => database.apply_sealed(effect, write, seal))
    }

    /// Lets writes be previewed of which a part can neither be shown nor bound to an approval.
    #[must_use]
    pub fn allow_unseen(mut self) -> Self {
        match &mut self.backend {
            Backend::Sqlite(database) => database.allow_unseen = true,
        }
        self
    }

    /// Undoes the net change of the effects in the request's scope, once.
    ///
    /// # Errors
    /// [`DataError::UndoConflict`] under `abort` (a dry run reports instead),
    /// [`DataError::NotUndoable`] under `abort` when the scope holds an effect without a changeset,
    /// [`DataError::SchemaChanged`], [`DataError::EffectMismatch`], [`DataError::Busy`].
    pub fn undo(&self, request: &UndoRequest, dry_run: bool) -> Result<UndoReport, DataError> {
        backend!(self, database => database.undo(None, request, dry_run))
    }

    /// Marks a point to come back to. Nothing is copied.
    ///
    /// # Errors
    /// [`DataError::TableUnclear`] for a table that does not exist, [`DataError::Busy`].
    pub fn snapshot(&self, tables: Option<&[String]>) -> Result<Snapshot, DataError> {
        backend!(self, database => database.snapshot(tables))
    }

    /// Undoes those effects of the request's scope that were committed after the snapshot, in the
    /// snapshot's tables.
    ///
    /// # Errors
    /// As [`Database::undo`].
    pub fn restore(
        &self,
        snapshot: &Snapshot,
        request: &UndoRequest,
        dry_run: bool,
    ) -> Result<UndoReport, DataError> {
        backend!(self, database => database.undo(Some(snapshot), request, dry_run))
    }

    /// Runs a restore after the changes of the same chain and rolls everything back: what it would write, as
    /// a preview that is committed with the chain. The chain's own writes are undone with the recorded ones,
    /// as far as the request's scope names them. A dry run reports what stands in its way instead of failing,
    /// and is not for being committed.
    ///
    /// # Errors
    /// As [`Database::undo`]; [`DataError::PreviewStale`] when `prior` no longer fits.
    pub fn preview_restore(
        &self,
        prior: &[(&str, &Changeset)],
        snapshot: &Snapshot,
        request: &UndoRequest,
        dry_run: bool,
    ) -> Result<Preview, DataError> {
        backend!(self, database => database.preview_restore(prior, snapshot, request, dry_run))
    }

    /// Removes the records of effects that nobody will resume, retry or undo: those whose ids begin with
    /// `owner` and a slash. The newest record of the database stays until there is a newer one, because
    /// snapshots count from it.
    ///
    /// # Errors
    /// [`DataError::Busy`], [`DataError::ReadOnly`], [`DataError::Missing`].
    pub fn forget(&self, owner: &str) -> Result<Forgotten, DataError> {
        backend!(self, database => database.forget(owner))
    }
}
