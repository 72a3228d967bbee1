//! No isolation (`backend = "none"`): a program as a plain child, in a copy of the workspace.
//!
//! What is kept is what needs no wall: a clean environment, a session of its own, the end of the
//! whole tree with the attempt, limits as far as they can be watched, and changes that reach the
//! project by `apply` only as long as the program writes where it was put. What is not: such a
//! program reads and writes whatever its user may, hidden files included, and has the network.
//!
//! The launcher forks a [`supervisor`] for each program, which has the whole [`tree`] below it;
//! [`place`] is where the copy of the workspace is, at the same path for every attempt at a step.

pub(crate) mod place;
pub(crate) mod supervisor;
pub(crate) mod tree;

use crate::backend::{Backend, Files, Sandbox};
use crate::native::{Capabilities, Enforcement, Error, Exit, Launcher, ProcessTree, Spec, Usage};
use crate::workspace::{Bounds, Captured, Copy, Store, WorkspaceError};
use place::Place;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// Programs without isolation.
#[derive(Debug)]
pub struct Bare {
    launcher: Launcher,
}

impl Bare {
    /// Starts the launcher, and removes the copies that dead engines left in `store`; `program` as
    /// for [`Launcher::start`].
    ///
    /// # Errors
    /// As [`Launcher::start`].
    pub fn start(program: &Path, store: &Store) -> Result<Self, Error> {
        let launcher = Launcher::start_bare(program)?;
        place::sweep(&store.bare())?;
        Ok(Bare { launcher })
    }
}

impl Bare {
    /// The launcher, for who shows its processes.
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }
}

#[derive(Debug)]
struct Unconfined {
    // Dropped in this order: the tree's supervisor lets go of the place after its last process.
    tree: ProcessTree,
    copy: Copy,
    store: Arc<Store>,
    place: Place,
}

impl Backend for Bare {
    fn capabilities(&self) -> &Capabilities {
        self.launcher.capabilities()
    }

    /// The workspace appears in a private folder of the store, below the project's own name.
    fn create(&self, mut spec: Spec, files: &Files<'_>) -> Result<Box<dyn Sandbox>, Error> {
        if spec.require_kernel {
            return Err(Error::Invalid("the kernel enforces nothing without isolation".into()));
        }
        if spec.egress_listener {
            return Err(Error::Invalid("nothing keeps a program without isolation from other hosts".into()));
        }
        if spec.beneath.is_some() {
            return Err(Error::Invalid("without isolation there is nothing to lay packages beneath".into()));
        }
        if let Some(bind) = spec.ro.iter().chain(&spec.rw).find(|bind| bind.source != bind.target) {
            let (source, target) = (bind.source.display(), bind.target.display());
            return Err(Error::Invalid(format!("without isolation {source} cannot be shown at {target}")));
        }
        // At their own paths they are there already.
        spec.ro.clear();
        spec.rw.clear();
        let place = Place::take(&files.store.bare(), files.name)?;
        match self.start_in(&place, spec, files) {
            Ok((tree, copy)) => {
                Ok(Box::new(Unconfined { tree, copy, store: Arc::clone(files.store), place }))
            }
            Err(error) => {
                place.remove();
                Err(error)
            }
        }
    }
}

impl Bare {
    fn start_in(
        &self,
        place: &Place,
        mut spec: Spec,
        files: &Files<'_>,
    ) -> Result<(ProcessTree, Copy), Error> {
        let work = place.work(files.project)?;
        let copy = Copy::make(files.view, files.store, files.project, files.hidden, &work)?;
        for (name, value) in [("HOME", place.home()), ("TMPDIR", place.temporary())] {
            if !spec.env.iter().any(|(known, _)| known == OsStr::new(name)) {
                spec.env.push((name.into(), value.into()));
            }
        }
        spec.cwd = Some(work.join(spec.cwd.unwrap_or_default()));
        spec.held = Some(place.lock()?);
        Ok((self.launcher.launch(spec)?, copy))
    }
}

impl Sandbox for Unconfined {
    fn workspace(&self) -> &Path {
        self.copy.folder()
    }

    fn enforcement(&self) -> &[Enforcement] {
        self.tree.enforcement()
    }

    fn take_listener(&self) -> Option<TcpListener> {
        self.tree.take_listener()
    }

    fn take_egress_listener(&self) -> Option<TcpListener> {
        None
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
        self.copy.changes(&self.store, bounds)
    }
}

impl Drop for Unconfined {
    fn drop(&mut self) {
        // What is removed must not be written any more.
        if self.tree.kill().is_ok() {
            self.place.remove();
        }
    }
}
