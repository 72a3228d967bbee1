//! Posted batches that were refused, and so everything that would build on them.
//!
//! Who posts a batch goes on before it is durable. If it is refused after all, what follows under the
//! same lease was computed from a state that never came to be. A newer lease has read the state anew.

use std::collections::HashMap;

use wflo_core::id::RunId;
use wflo_core::ports::store::StoreError;

use super::write::Writes;

/// The refused: by run, with the epoch up to which it counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken {
    runs: HashMap<RunId, (u64, StoreError)>,
}

impl Broken {
    /// A batch was refused: if it was posted, what comes later under its fence is too.
    pub(crate) fn note(&mut self, writes: &Writes, error: &StoreError) {
        if let Some(fence) = writes.fence.filter(|_| writes.posted) {
            self.runs.entry(fence.run).or_insert_with(|| (fence.epoch, error.clone()));
        }
    }

    /// Why a batch cannot be committed.
    pub(crate) fn under(&mut self, writes: &Writes) -> Option<StoreError> {
        let fence = writes.fence?;
        let (epoch, error) = self.runs.get(&fence.run)?;
        if fence.epoch <= *epoch {
            return Some(error.clone());
        }
        self.runs.remove(&fence.run);
        None
    }
}
