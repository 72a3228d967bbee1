//! `[snapshots]`: which files of runs are freed when a run ends, and by `wflo snapshots prune` when it is not told.

use wflo_core::size::{Bytes, Millis};

use crate::document::{Field, Problem};

/// What is set; `keep_last` alone removes nothing by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Snapshots {
    /// The newest so many runs that have ended keep theirs.
    pub(crate) keep_last: Option<u32>,
    /// Those of runs that ended longer ago go.
    pub(crate) older_than: Option<Millis>,
    /// What all that are left may take on the disk.
    pub(crate) max_size: Option<Bytes>,
}

impl Snapshots {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let snapshots = Snapshots {
            keep_last: reader.optional("keep_last").map(|field| field.whole()).transpose()?,
            older_than: reader.optional("older_than").map(|field| field.parse()).transpose()?,
            max_size: reader.optional("max_size").map(|field| field.parse()).transpose()?,
        };
        reader.finish()?;
        Ok(snapshots)
    }

    /// What holds without a command: `keep_last` alone says only what stays.
    pub(crate) fn acts_by_itself(&self) -> bool {
        self.older_than.is_some() || self.max_size.is_some()
    }
}
