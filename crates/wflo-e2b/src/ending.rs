//! The end of a sandbox, waited for without a thread.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wflo_sandbox::{Exit, ProcessTree};

use crate::live::Live;

/// What is readable once all of it is dead.
pub(crate) struct Ending(AsyncFd<OwnedFd>);

impl Ending {
    /// Of these processes. Within a runtime.
    ///
    /// # Errors
    /// When the system has no more to watch it with.
    pub(crate) fn of(tree: &ProcessTree) -> io::Result<Ending> {
        let dead = tree.pidfd().try_clone_to_owned()?;
        // Its successor is unsafe, for types that are not their descriptor's one owner; this one is.
        #[expect(deprecated, reason = "an OwnedFd keeps its descriptor as long as it lives")]
        let watched = AsyncFd::with_interest(dead, Interest::READABLE)?;
        Ok(Ending(watched))
    }

    /// How it ended, once no process of it is left; `None` where nobody can say.
    pub(crate) async fn exit(&self, live: &Arc<Live>) -> Option<Exit> {
        let _dead = self.0.readable().await.ok()?;
        let dead = Arc::clone(live);
        // The launcher, which has seen it too, has only to say how.
        tokio::task::spawn_blocking(move || dead.tree.wait()).await.ok()?.ok()
    }
}
