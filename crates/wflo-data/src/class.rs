//! What a statement would do, found out without running it.
//!
//! Owns the three answers and their reasons. A refusal names what was tried; a write says whether
//! a changeset can hold it, which is what preview and undo need.

use serde::{Deserialize, Serialize};

/// The class of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// It changes nothing: run it with [`Database::query`](crate::Database::query).
    Read,
    /// It may change the database.
    Write {
        /// The tables that it may write, triggers and foreign-key actions included, sorted.
        tables: Vec<String>,
        /// Why it could not be undone, if that is already known. `None` is no promise: what a
        /// statement really changed is checked when it runs.
        not_held: Option<NotHeld>,
    },
    /// It is not allowed.
    Refused(Refusal),
}

/// Why a statement is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No statement in the text.
    #[error("there is no statement in it")]
    Empty,
    /// More than one statement.
    #[error("it holds more than one statement; make one call for each")]
    Several,
    /// A NUL character in the text.
    #[error("its text holds a NUL character")]
    Nul,
    /// Longer than [`Limits::sql_bytes`](crate::Limits::sql_bytes).
    #[error("its text is {bytes} bytes long, more than {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most allowed.
        limit: usize,
    },
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE.
    #[error("it controls transactions ({statement}); each write is a transaction of its own")]
    Transaction {
        /// What it tried.
        statement: String,
    },
    /// ATTACH or DETACH.
    #[error("it attaches or detaches a database")]
    Attach,
    /// VACUUM, with INTO or without.
    #[error("it vacuums the database")]
    Vacuum,
    /// A PRAGMA that is not on the list of harmless ones.
    #[error("PRAGMA {pragma} is not allowed")]
    Pragma {
        /// The pragma.
        pragma: String,
    },
    /// A table of wflo's own.
    #[error("it touches `{name}`: names that start with `_wflo_` are wflo's own")]
    Reserved {
        /// The name.
        name: String,
    },
    /// A table of the database engine's own.
    #[error("it changes `{name}`, a table of the database engine itself")]
    System {
        /// The name.
        name: String,
    },
    /// A function that reaches outside the database, or one in the definition of a table whose time
    /// has no good bound.
    #[error("the function {function}() is not allowed here")]
    Function {
        /// The function.
        function: String,
    },
    /// More calls of functions than one statement may make.
    #[error("it calls functions in {found} places, more than {limit}")]
    Functions {
        /// How many, views and triggers included.
        found: usize,
        /// The most allowed.
        limit: usize,
    },
    /// A temporary table, view, index or trigger.
    #[error("it makes or drops a temporary object; nothing is kept between two statements")]
    Temporary,
    /// A virtual table of a module that is not allowed.
    #[error("virtual tables of the module {module} are not allowed")]
    Module {
        /// The module.
        module: String,
    },
    /// Something that the database engine offers and this version does not know.
    #[error("it does something that is not known to be safe ({action})")]
    Unknown {
        /// The engine's name or number for it.
        action: String,
    },
}

/// Why a changeset cannot hold a write, so that it cannot be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum NotHeld {
    /// CREATE, DROP, ALTER, REINDEX, ANALYZE.
    #[error("it changes the schema")]
    Schema,
    /// A virtual table, such as a full-text index.
    #[error("it writes `{table}`, a virtual table")]
    VirtualTable {
        /// The table.
        table: String,
    },
    /// A table without a primary key.
    #[error("it writes `{table}`, which has no primary key")]
    NoPrimaryKey {
        /// The table.
        table: String,
    },
    /// A table without a primary key whose own column hides the row id.
    #[error("it writes `{table}`, which has no primary key, but a column named `_rowid_`")]
    HiddenRowid {
        /// The table.
        table: String,
    },
    /// A primary key under which values that differ are the same, such as COLLATE NOCASE: a
    /// changeset takes `a` and `A` for two rows.
    #[error("it writes `{table}`, whose primary key has a collation of its own")]
    LooseKey {
        /// The table.
        table: String,
    },
    /// Rows whose primary key is NULL.
    #[error("it changes rows of `{table}` whose primary key is NULL")]
    NullKey {
        /// The table.
        table: String,
    },
    /// The captured changes are larger than [`Limits::changeset_bytes`](crate::Limits).
    #[error("its changes take more than {limit} bytes")]
    TooLarge {
        /// The most that is kept.
        limit: usize,
    },
    /// A table whose rows would have to be read to see what changes, and that has too many.
    #[error("it changes `{table}`, which is too large to be compared row by row")]
    TooManyRows {
        /// The table.
        table: String,
    },
    /// Other tables each time it is run.
    #[error("it changes other tables each time it is run")]
    Unsteady,
    /// The database does not take wflo's record of effects.
    #[error("the database keeps no record of effects")]
    NoRecord,
}
