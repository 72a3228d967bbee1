//! Spenders that are dead, for engines: a run that waits for room must not wait for the dead.

use std::path::PathBuf;
use std::sync::Arc;

use wflo_core::ports::BoxFuture;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::spender::Spenders;
use wflo_core::ports::store::SliceStore;

use crate::treasury::recover_dead;

/// Those of one data directory.
pub struct DeadSpenders {
    /// The store.
    pub store: Arc<dyn SliceStore>,
    /// Its folder, which also holds locks and logs.
    pub data_dir: PathBuf,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Spenders for DeadSpenders {
    fn recover_dead(&self) -> BoxFuture<'_, usize> {
        Box::pin(async move {
            let now = self.clock.moment();
            recover_dead(&*self.store, &self.data_dir, &now).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "what a gateway has left that was killed could not be brought in");
                0
            })
        })
    }
}
