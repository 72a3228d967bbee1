//! The files of a sandbox that runs, sealed while it does.

use std::sync::{Arc, Weak};

use wflo_sandbox::Sandbox;
use wflo_sandbox::workspace;

use super::{failed, unreadable};
use crate::broker::{Opened, bad_layer};
use crate::error::EngineError;

/// The workspace of a running sandbox, as far as it has been changed. It keeps no sandbox alive.
pub(crate) struct LiveFiles {
    pub(super) store: Arc<workspace::Store>,
    pub(super) sandbox: Weak<dyn Sandbox>,
}

impl LiveFiles {
    /// Seals what has been changed so far; `None` when that is nothing. What the program writes
    /// meanwhile may be in it or not.
    pub(crate) async fn changes(&self) -> Result<Option<workspace::Captured>, EngineError> {
        let Some(sandbox) = self.sandbox.upgrade() else { return Ok(None) };
        let captured = tokio::task::spawn_blocking(move || sandbox.changes(&workspace::Bounds::default()));
        captured.await.map_err(unreadable)?.map_err(|e| failed(&e))
    }

    /// A layer that was sealed before; an empty one for none.
    pub(crate) async fn layer(&self, id: Option<String>) -> Result<Opened, EngineError> {
        let Some(id) = id else {
            return Ok(Opened { manifest: workspace::Manifest::default(), tree: std::path::PathBuf::new() });
        };
        let store = Arc::clone(&self.store);
        let open = move || {
            let digest = id.parse().map_err(|_| bad_layer(&id))?;
            let layer = workspace::Layer::open(&store, &digest).map_err(|e| failed(&e))?;
            Ok(Opened { manifest: layer.manifest, tree: store.tree(&digest) })
        };
        tokio::task::spawn_blocking(open).await.map_err(|e| EngineError::Unreadable(e.to_string()))?
    }
}
