//! What is left of runs that were removed, and what collecting frees.

use serde::{Deserialize, Serialize};

use crate::id::RunId;

/// A removed run whose records still stand in a user's database (`_wflo_effects`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leftover {
    /// The database's name.
    pub database: String,
    /// The run.
    pub run: RunId,
}

/// The trees of workspace stores that one run needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTrees {
    /// The run.
    pub run: RunId,
    /// Seals and layers, each once.
    pub trees: Vec<String>,
}

/// What [`Store::collect`](super::Store::collect) freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Blobs that nothing referred to.
    pub blobs: u64,
    /// Their size, in bytes.
    pub blob_bytes: u64,
    /// By how much the database's file becomes smaller, in bytes.
    pub database_bytes: u64,
    /// Writers of large values kept the blobs' lock all the time: a later pass removes blobs.
    pub busy: bool,
}
