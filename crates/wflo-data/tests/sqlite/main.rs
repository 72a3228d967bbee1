//! What the SQLite backend promises, each promise in its own file.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "a test fails by panicking")]

mod classify;
mod crash;
mod hostile;
mod once;
mod preview;
mod property;
mod sealed;
mod snapshot;
mod temp;
mod undo;
mod update;
