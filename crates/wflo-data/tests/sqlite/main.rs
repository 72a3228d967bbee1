//! What the SQLite backend promises, each promise in its own file.

mod classify;
mod crash;
mod hostile;
mod once;
mod preview;
mod property;
mod snapshot;
mod temp;
mod undo;
mod update;
