//! Brokered databases: what `context.db` does, and how it is undone.
//!
//! A step's statements run here, in the trusted process; its credentials and files stay here too.
//! This crate owns the databases that a project names, what a statement may do, the record of
//! every write (`_wflo_effects`, in the user's own database), previews, and undo. It knows nothing
//! of runs, approvals or journals: the caller names effects and scopes by id.
//!
//! Everything is synchronous and may wait for a lock or the disk: call it from a thread that may
//! block. A [`Database`] is shared between threads.
//!
//! **Architecture Invariant:** a step's SQL is hostile. Nothing that it contains runs outside the
//! authorizer, and it can neither commit nor roll back the transaction that it runs in.
//! **Architecture Invariant:** a change and its record are one transaction. An effect id whose
//! record exists is never applied again.
//! **Architecture Invariant:** no transaction outlives a call.

#![deny(unsafe_code)]

pub mod change;
pub mod changeset;
pub mod class;
mod database;
mod databases;
pub mod error;
pub mod limits;
pub mod preview;
mod seal;
pub mod snapshot;
mod sqlite;
pub mod statement;
pub mod undo;
mod url;
pub mod value;

pub use change::{ChangeKind, DefinitionChange, Evidence, Record, RowChange, TableCounts};
pub use changeset::{Changeset, TableShape};
pub use class::{Class, NotHeld, Refusal};
pub use database::{Applied, Database, Effect, Forgotten, Known, Recording, Requirements};
pub use databases::Databases;
pub use error::DataError;
pub use limits::Limits;
pub use preview::{Committed, Preview};
pub use seal::{Resealed, Seal};
pub use snapshot::{Snapshot, TableCapability};
pub use statement::{Params, Rows, Statement, Write};
pub use undo::{ConflictKind, NotUndone, OnConflict, RowConflict, UndoReport, UndoRequest};
pub use url::DatabaseUrl;
pub use value::{Value, ValueError};
