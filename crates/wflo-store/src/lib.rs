//! The store's ports implemented: SQLite today.
//!
//! Owns everything durable of a data directory except workspaces: the database, the blobs beside it,
//! and the lock files by which engines prove that they live. It knows what a run, an effect or a
//! budget *is* from `wflo-core` and decides nothing about them: which events follow which command is
//! the machine's business, what a message in the inbox means is the engine's.
//!
//! **Architecture Invariant:** whatever [`Store::commit`](wflo_core::ports::store::Store::commit)
//! answered with `Ok` survives the loss of power, and nothing of a batch that failed is ever seen.
//!
//! **Architecture Invariant:** one thread of a process writes; everybody else queues, and shares its
//! flush.

mod announced;
mod blob;
mod cell;
pub mod failpoint;
mod folder;
pub mod lock;
pub mod sqlite;

pub use announced::Announced;
pub use folder::Folder;
pub use sqlite::{SqliteStore, StoreOptions, begin, has_brought_log, make_data_dir, take_log};
