//! What can go wrong with a database, and what to do about it.
//!
//! Owns the codes WFLO-6001 to WFLO-6031; each has a page in `docs/errors/`.

use std::path::PathBuf;
use std::time::Duration;

use wflo_core::error::{Code, Coded};

use crate::class::{NotHeld, Refusal};
use crate::undo::RowConflict;
use crate::value::ValueError;

/// A failed call on a database. Nothing was written, save that [`DataError::CommitUnknown`] leaves it open.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file of a database does not exist.
    #[error("the database `{name}` has no file {}", path.display())]
    Missing {
        /// The database.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// An address that cannot be used.
    #[error("the database `{name}` has the address `{url}`: {reason}")]
    UrlInvalid {
        /// The database.
        name: String,
        /// The address, without credentials.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No database of that name, or no default.
    #[error("{}", unknown(wanted.as_deref(), known))]
    Unknown {
        /// The name asked for; `None` for the default.
        wanted: Option<String>,
        /// The names there are.
        known: Vec<String>,
    },
    /// The file is not a database, or is damaged.
    #[error("the database `{name}` cannot be read: {detail}")]
    NotADatabase {
        /// The database.
        name: String,
        /// What the database engine said.
        detail: String,
    },
    /// The file cannot be opened.
    #[error("the database `{name}` cannot be opened: {detail}")]
    CannotOpen {
        /// The database.
        name: String,
        /// What the system said.
        detail: String,
    },
    /// Somebody else holds the lock.
    #[error("the database `{name}` stayed locked by another program for {}", seconds(*waited))]
    Busy {
        /// The database.
        name: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The database cannot be written.
    #[error("the database `{name}` is read-only")]
    ReadOnly {
        /// The database.
        name: String,
    },
    /// The disk is full, or an input or output error.
    #[error("the database `{name}` could not be read or written: {detail}")]
    Io {
        /// The database.
        name: String,
        /// What the database engine said.
        detail: String,
    },
    /// The commit itself failed, and whether it happened shows only once the database is opened again.
    #[error("whether a write to the database `{name}` was made is not known: {detail}")]
    CommitUnknown {
        /// The database.
        name: String,
        /// What the database engine said.
        detail: String,
    },
    /// The statement is not allowed.
    #[error("the statement was refused: {0}")]
    Refused(Refusal),
    /// The statement is wrong, in the database's own words.
    #[error("the database refused the statement: {detail}")]
    Sql {
        /// What the database engine said.
        detail: String,
    },
    /// The change breaks a constraint.
    #[error("the change breaks a constraint: {detail}")]
    Constraint {
        /// What the database engine said.
        detail: String,
    },
    /// A request of the wrong shape.
    #[error("the database request is not valid: {reason}")]
    RequestInvalid {
        /// What is wrong.
        reason: &'static str,
    },
    /// A parameter that is not a database value.
    #[error("the parameter {param} cannot be used: {source}")]
    ParamInvalid {
        /// Which one.
        param: String,
        /// Why.
        source: ValueError,
    },
    /// Placeholders and parameters do not fit.
    #[error("{detail}")]
    ParamMismatch {
        /// How they differ.
        detail: String,
    },
    /// A statement that writes, where only reading is possible.
    #[error("the statement changes the database, and `query` only reads")]
    NotARead,
    /// More rows or bytes than one result may hold.
    #[error("the result is larger than {limit} {unit}")]
    ResultTooLarge {
        /// The limit met.
        limit: usize,
        /// `rows` or `bytes`.
        unit: &'static str,
    },
    /// The statement ran too long.
    #[error("the statement ran for more than {} and was stopped", seconds(*limit))]
    TooSlow {
        /// The time allowed.
        limit: Duration,
    },
    /// One write changed too much to be kept, or made the file too large.
    #[error("the write is too large: {detail}")]
    WriteTooLarge {
        /// Which limit was met.
        detail: String,
    },
    /// A text, blob or row that is longer than a statement may touch.
    #[error("a text, blob or row is longer than this statement may touch")]
    ValueTooLarge,
    /// The same effect id with another request.
    #[error("the effect {effect_id} was already carried out with another request")]
    EffectMismatch {
        /// The effect.
        effect_id: String,
        /// The fingerprint on record.
        recorded: String,
        /// The fingerprint given.
        given: String,
    },
    /// An undoable write was asked for, and this one is not.
    #[error("the write could not be undone: {0}")]
    NotUndoable(NotHeld),
    /// The table of an update is not clear.
    #[error("{detail}")]
    TableUnclear {
        /// Why.
        detail: String,
    },
    /// A row given to an update cannot be used.
    #[error("row {row} cannot be updated: {detail}")]
    RowInvalid {
        /// Its place in the list, from 1 on.
        row: usize,
        /// Why.
        detail: String,
    },
    /// Rows that an update did not find.
    #[error("`{table}` has no row with {}{}", keys.join(" / "), and_more(*missing, keys.len()))]
    RowsMissing {
        /// The table.
        table: String,
        /// The keys of the first ones.
        keys: Vec<String>,
        /// How many are missing.
        missing: usize,
    },
    /// Somebody else changed rows that an undo would change back.
    #[error("the undo was not done, because {}", conflicts(conflicts_found, *total))]
    UndoConflict {
        /// The first of them.
        conflicts_found: Vec<RowConflict>,
        /// How many there are.
        total: u64,
    },
    /// Rows changed under a chain of previews.
    #[error("the preview is out of date, because {}", conflicts(conflicts_found, conflicts_found.len() as u64))]
    PreviewStale {
        /// The first of them.
        conflicts_found: Vec<RowConflict>,
    },
    /// The preview cannot be committed as it was captured.
    #[error("the preview does not hold the whole change: {0}")]
    PreviewIncomplete(NotHeld),
    /// A part of the write can neither be shown nor bound to an approval.
    #[error("the write cannot be approved, because not all that it changes can be shown: {0}")]
    Unseen(NotHeld),
    /// A write that was shown does something else now.
    #[error("the write would do something else than was shown: {}", parts.join(", "))]
    SealBroken {
        /// In what, for people.
        parts: Vec<String>,
    },
    /// A table is no longer what it was when a change to it was captured.
    #[error("the table `{table}` was altered since the change was captured: {detail}")]
    SchemaChanged {
        /// The table.
        table: String,
        /// How it differs.
        detail: String,
    },
    /// A snapshot's text is not one.
    #[error("this is not a snapshot of a database")]
    SnapshotInvalid,
    /// A recorded change cannot be read.
    #[error("the record of the effect {effect_id} in `_wflo_effects` is damaged: {detail}")]
    RecordDamaged {
        /// The effect.
        effect_id: String,
        /// How.
        detail: String,
    },
}

impl DataError {
    /// Whether the same call may succeed later without any change: another program's lock.
    pub fn is_transient(&self) -> bool {
        matches!(self, DataError::Busy { .. })
    }
}

impl Coded for DataError {
    fn code(&self) -> Code {
        Code(match self {
            DataError::Missing { .. } => 6001,
            DataError::UrlInvalid { .. } => 6002,
            DataError::Unknown { .. } => 6003,
            DataError::NotADatabase { .. } => 6004,
            DataError::CannotOpen { .. } => 6005,
            DataError::Busy { .. } => 6006,
            DataError::ReadOnly { .. } => 6007,
            DataError::Io { .. } => 6008,
            DataError::Refused(_) => 6009,
            DataError::Sql { .. } => 6010,
            DataError::Constraint { .. } => 6011,
            DataError::RequestInvalid { .. } => 6012,
            DataError::ParamInvalid { .. } | DataError::ParamMismatch { .. } => 6013,
            DataError::NotARead => 6014,
            DataError::ResultTooLarge { .. } => 6015,
            DataError::TooSlow { .. } => 6016,
            DataError::WriteTooLarge { .. } => 6017,
            DataError::EffectMismatch { .. } => 6018,
            DataError::NotUndoable(_) => 6019,
            DataError::TableUnclear { .. } => 6020,
            DataError::RowInvalid { .. } => 6021,
            DataError::RowsMissing { .. } => 6022,
            DataError::UndoConflict { .. } => 6023,
            DataError::PreviewStale { .. } | DataError::SealBroken { .. } => 6024,
            DataError::PreviewIncomplete(_) => 6025,
            DataError::SchemaChanged { .. } => 6026,
            DataError::SnapshotInvalid => 6027,
            DataError::RecordDamaged { .. } => 6028,
            DataError::ValueTooLarge => 6029,
            DataError::Unseen(_) => 6030,
            DataError::CommitUnknown { .. } => 6031,
        })
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            DataError::Missing { name, .. } => {
                return Some(format!(
                    "create the file, or correct `url` under [databases.{name}] in wflo.toml; \
                     a relative path starts at the project's folder"
                ));
            }
            DataError::UrlInvalid { .. } => "write it as sqlite:data/app.db",
            DataError::Unknown { known, .. } if known.is_empty() => {
                "add one to wflo.toml: [databases.main] with url = \"sqlite:data/app.db\""
            }
            DataError::Unknown { wanted: None, .. } => "name the database, or call one of them `main`",
            DataError::Unknown { .. } => "use one of these names, or add it to wflo.toml",
            DataError::NotADatabase { .. } => {
                "check that the path is right; restore the file from a backup if it is damaged"
            }
            DataError::CannotOpen { .. } => "check the path, its owner and its permissions",
            DataError::Busy { .. } => {
                "end the other program's transaction, then `wflo runs retry ID`; `retries` of the step does it alone"
            }
            DataError::ReadOnly { .. } => "make the file and its folder writable for the user who runs wflo",
            DataError::Io { .. } => "check that the disk has room and is sound; nothing was written",
            DataError::Refused(Refusal::Several) => "await context.db.execute(...) once for each statement",
            DataError::Refused(Refusal::Transaction { .. }) => {
                "leave it out; take a snapshot with context.db.snapshot() and restore it to undo"
            }
            DataError::Refused(_) => "docs/guides/databases.md lists what statements may do",
            DataError::Sql { .. } | DataError::RequestInvalid { .. } | DataError::ParamMismatch { .. } => {
                return None;
            }
            DataError::Constraint { .. } => "the whole write was rolled back",
            DataError::ParamInvalid { .. } => "use null, a number, text, or bytes",
            DataError::NotARead => "use context.db.execute(...)",
            DataError::ResultTooLarge { .. } => "add LIMIT, or select fewer columns",
            DataError::TooSlow { .. } => "make the statement cheaper, or split the work into smaller ones",
            DataError::WriteTooLarge { .. } => "split it into smaller writes",
            DataError::ValueTooLarge => {
                "16 MiB is the most, and 128 KiB where the statement calls instr, replace, trim or json_patch"
            }
            DataError::EffectMismatch { .. } => {
                "the step's code changed between two attempts; retry the run on the new code"
            }
            DataError::NotUndoable(_) => {
                "leave out rollback_enabled for this step, or change the table as \
                 docs/guides/databases.md says"
            }
            DataError::TableUnclear { .. } => "name it: context.db.bulk_update(\"table\", rows)",
            DataError::RowInvalid { .. } => {
                "each row holds the whole primary key and at least one other column"
            }
            DataError::RowsMissing { .. } => {
                "no row was updated; insert them with context.db.execute(...) first"
            }
            DataError::UndoConflict { .. } => {
                "look at it with dry_run=True; on_conflict=\"skip\" keeps the later edits, \
                 \"force\" overwrites them"
            }
            DataError::PreviewStale { .. } | DataError::SealBroken { .. } => "preview the step anew",
            DataError::Unseen(NotHeld::TooLarge { .. }) => {
                "split it into smaller writes, or set allow_unseen = true for this database in wflo.toml"
            }
            DataError::Unseen(_) => {
                "change fewer rows at a time, or set allow_unseen = true for this database in wflo.toml"
            }
            DataError::CommitUnknown { .. } => {
                "check the disk, then `wflo runs resume ID`: it looks whether the write was made, and makes it once"
            }
            DataError::PreviewIncomplete(_) => "approve the statement itself, without a preview of its rows",
            DataError::SchemaChanged { .. } => "bring the table's columns back to what they were",
            DataError::SnapshotInvalid => "pass what context.db.snapshot() returned",
            DataError::RecordDamaged { .. } => "restore the database from a backup",
        };
        Some(hint.to_owned())
    }
}

fn unknown(wanted: Option<&str>, known: &[String]) -> String {
    match (wanted, known.is_empty()) {
        (_, true) => "the project has no database".to_owned(),
        (Some(name), false) => format!("there is no database `{name}`, only {}", list(known)),
        (None, false) => format!("which database is meant is not clear: there are {}", list(known)),
    }
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn and_more(total: usize, shown: usize) -> String {
    if total > shown { format!(" and {} more", total - shown) } else { String::new() }
}

fn conflicts(found: &[RowConflict], total: u64) -> String {
    match found.first() {
        None => "rows were changed since".to_owned(),
        Some(first) if total <= 1 => first.to_string(),
        Some(first) => format!("{first}, and {} more rows differ", total - 1),
    }
}
