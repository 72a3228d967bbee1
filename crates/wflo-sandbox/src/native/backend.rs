//! The native sandbox behind the seam: an overlay over stored trees, its upper layer captured.

use super::capabilities::Capabilities;
use super::error::Error;
use super::exit::{Exit, Usage};
use super::launcher::Launcher;
use super::process_tree::ProcessTree;
use super::spec::{Bind, Enforcement, Spec, View};
use crate::backend::{Backend, Files, Sandbox};
use crate::workspace::{self, Bounds, Captured, Mounts, Store, WorkspaceError};
use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Isolated sandboxes, made with the kernel alone.
#[derive(Debug)]
pub struct Native {
    launcher: Launcher,
}

impl Native {
    /// Starts the launcher; `program` as for [`Launcher::start`].
    ///
    /// # Errors
    /// As [`Launcher::start`].
    pub fn start(program: &Path) -> Result<Self, Error> {
        Ok(Native { launcher: Launcher::start(program)? })
    }
}

#[derive(Debug)]
struct Isolated {
    tree: ProcessTree,
    store: Arc<Store>,
    target: PathBuf,
    /// Keeps the stored trees that it has mounted from being pruned.
    mounts: Mounts,
}

impl Backend for Native {
    fn capabilities(&self) -> &Capabilities {
        self.launcher.capabilities()
    }

    /// The workspace appears at the project's own path.
    fn create(&self, mut spec: Spec, files: &Files<'_>) -> Result<Box<dyn Sandbox>, Error> {
        let target = files.project.to_owned();
        let mounts = files.view.mounts(files.store, files.project, files.hidden, &target)?;
        spec.workspace = Some(View { lowers: mounts.lowers.clone(), target: target.clone() });
        let live = mounts.ro.iter().map(|live| Bind {
            source: live.source.clone(),
            target: live.target.clone(),
            mask: live.mask.as_ref().map(|mask| mask.path().to_owned()),
        });
        spec.ro = live.chain(std::mem::take(&mut spec.ro)).collect();
        let tree = self.launcher.launch(spec)?;
        Ok(Box::new(Isolated { tree, store: Arc::clone(files.store), target, mounts }))
    }
}

impl Sandbox for Isolated {
    fn workspace(&self) -> &Path {
        &self.target
    }

    fn enforcement(&self) -> &[Enforcement] {
        self.tree.enforcement()
    }

    fn take_listener(&self) -> Option<TcpListener> {
        self.tree.take_listener()
    }

    fn take_egress_listener(&self) -> Option<TcpListener> {
        self.tree.take_egress_listener()
    }

    fn status_fd(&self) -> BorrowedFd<'_> {
        self.tree.status_fd()
    }

    fn try_wait(&self) -> Result<Option<Exit>, Error> {
        self.tree.try_wait()
    }

    fn usage(&self) -> Result<Usage, Error> {
        self.tree.usage()
    }

    fn sample(&self) -> Option<Usage> {
        self.tree.sample()
    }

    fn kill(&self) -> Result<Exit, Error> {
        self.tree.kill()
    }

    fn changes(&self, bounds: &Bounds) -> Result<Option<Captured>, WorkspaceError> {
        let Some(upper) = self.tree.upper() else { return Ok(None) };
        workspace::capture_over(upper, &self.mounts.lowers, &self.store, bounds)
    }
}
