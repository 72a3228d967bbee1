//! A sandbox that runs: what is asked of it, and its end.

use std::sync::Arc;

use tokio::io::Interest;
use wflo_core::error::{Coded as _, Failure};
use wflo_gateway::Gateway;
use wflo_gateway::ledger::Caller;
use wflo_gateway::serve::ServeHandle;
use wflo_sandbox::{Exit, Sandbox};

use super::Sandboxes;
use super::files::LiveFiles;
use crate::executor::Used;
use crate::live::{Entered, Whose};
use crate::protocol::{self, ToRunner};

/// A running sandbox of an attempt.
pub(crate) struct Running {
    /// `None` only while it is being dropped.
    pub(super) sandbox: Option<Arc<dyn Sandbox>>,
    pub(super) status: tokio::net::UnixDatagram,
    /// What a model client must carry, where others than this sandbox can reach its listener.
    pub(super) key: Option<String>,
    /// What it took, known once it is ended.
    pub(super) used: Used,
    /// Dropped after that is known, so that sums never shrink.
    pub(super) entered: Option<Entered>,
}

impl Running {
    fn sandbox(&self) -> Result<&Arc<dyn Sandbox>, Failure> {
        let gone = || Failure::new(wflo_core::error::Code(9003), "the sandbox is gone");
        self.sandbox.as_ref().ok_or_else(gone)
    }

    /// What was made for nobody is somebody's now; what it took before is told with the rest.
    pub(crate) fn belongs_to(&mut self, sandboxes: &Sandboxes, whose: Whose, used: Used) {
        let entered = self.sandbox.as_ref().map(|sandbox| sandboxes.live.enter(whose, sandbox, used.clone()));
        (self.entered, self.used) = (entered, used);
    }

    /// Whether a process of it is left.
    pub(crate) fn lives(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| matches!(sandbox.try_wait(), Ok(None)))
    }

    /// The first frame for a runner in it.
    pub(crate) fn hello(&self) -> ToRunner {
        let (_, isolated) = self.enforcement();
        ToRunner::Hello { protocol: protocol::VERSION, features: protocol::FEATURES, isolated }
    }

    /// Where the program finds the workspace.
    pub(crate) fn workspace(&self) -> String {
        self.sandbox.as_ref().map(|sandbox| sandbox.workspace().display().to_string()).unwrap_or_default()
    }

    /// Its workspace, for tools whose files are sealed while it runs.
    pub(crate) fn files(&self, sandboxes: &Sandboxes) -> Option<LiveFiles> {
        let sandbox = Arc::downgrade(self.sandbox.as_ref()?);
        Some(LiveFiles { store: Arc::clone(&sandboxes.store), sandbox })
    }

    /// How each limit is enforced, and whether the program is isolated.
    pub(crate) fn enforcement(&self) -> (&[wflo_sandbox::Enforcement], bool) {
        (self.sandbox.as_ref().map_or(&[], |sandbox| sandbox.enforcement()), self.key.is_none())
    }

    /// Serves the model clients in it as `caller`; `None` when nobody can.
    pub(crate) fn serve(
        &self,
        gateway: Option<&Gateway>,
        caller: Caller,
    ) -> std::io::Result<Option<ServeHandle>> {
        let listener = self.sandbox.as_ref().and_then(|sandbox| sandbox.take_listener());
        let (Some(listener), Some(gateway)) = (listener, gateway) else { return Ok(None) };
        let caller = match &self.key {
            Some(key) => caller.with_key(key),
            None => caller,
        };
        gateway.serve(listener, caller).map(Some)
    }

    /// Where connections to other hosts are asked for, if any are allowed. Given once.
    pub(crate) fn take_egress_listener(&self) -> Option<std::net::TcpListener> {
        self.sandbox.as_ref().and_then(|sandbox| sandbox.take_egress_listener())
    }

    /// Lets no model client in: whoever connects is refused at once.
    pub(crate) fn serve_nobody(&self) {
        drop(self.sandbox.as_ref().and_then(|sandbox| sandbox.take_listener()));
    }

    /// Resolves when no process of the sandbox is left.
    pub(crate) async fn ended(&self) -> Result<Exit, Failure> {
        let sandbox = self.sandbox()?;
        loop {
            if let Some(exit) = sandbox.try_wait().map_err(|e| e.to_failure())? {
                return Ok(exit);
            }
            self.status
                .readable()
                .await
                .map_err(|e| Failure::new(wflo_core::error::Code(9003), e.to_string()))?;
            // Asked inside, so that news which comes meanwhile is not taken for old.
            let asked = self.status.try_io(Interest::READABLE, || match sandbox.try_wait() {
                Ok(None) => Err(std::io::Error::from(std::io::ErrorKind::WouldBlock)),
                news => Ok(news),
            });
            if let Ok(news) = asked
                && let Some(exit) = news.map_err(|e| e.to_failure())?
            {
                return Ok(exit);
            }
        }
    }

    /// Kills the whole tree and waits until it is gone.
    pub(crate) async fn kill(&self) {
        let Some(sandbox) = self.sandbox.clone() else { return };
        let used = self.used.clone();
        let killed = tokio::task::spawn_blocking(move || {
            // What those that still run took is told by nobody after a kill.
            sandbox.usage().into_iter().for_each(|usage| used.reach(usage));
            sandbox.kill().map(|exit| used.reach(exit.usage))
        });
        let killed = killed.await;
        if let Ok(Err(e)) = killed {
            tracing::warn!(error = %e, "a sandbox could not be killed");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let sandbox = self.sandbox.take();
        // Its end may wait for processes and remove many files.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(sandbox))),
            Err(_) => drop(sandbox),
        }
    }
}
