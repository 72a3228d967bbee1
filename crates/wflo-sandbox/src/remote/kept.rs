//! A program under a keeper, behind the seam.

use super::Around;
use super::bridge::Bridge;
use super::loopback::Loopback;
use crate::backend::{Files, Sandbox};
use crate::bare::place::Place;
use crate::native::spec::Enforcement;
use crate::native::{Error, Exit, Usage};
use crate::workspace::{Bounds, Captured, Copy, IoAt as _, Store, WorkspaceError};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a keeper may take to end its program; what is around it, to end.
const END: Duration = Duration::from_secs(20);
/// How long a keeper may take to say what its program takes.
const MEASURE: Duration = Duration::from_secs(1);
/// How long reading the files out may take.
const READ_OUT: Duration = Duration::from_secs(900);

/// A program under a keeper. Dropping it removes both.
#[derive(Debug)]
pub struct Kept {
    pub(crate) bridge: Bridge,
    pub(crate) around: Box<dyn Around>,
    pub(crate) workspace: PathBuf,
    pub(crate) enforcement: Vec<Enforcement>,
    /// For models, and for other hosts.
    pub(crate) listeners: [Mutex<Option<TcpListener>>; 2],
    pub(crate) files: Option<FilesOf>,
    /// What may be written, in bytes.
    pub(crate) disk: u64,
}

/// The host's copy of the workspace.
#[derive(Debug)]
pub(crate) struct FilesOf {
    copy: Copy,
    store: Arc<Store>,
    place: Place,
}

impl FilesOf {
    /// Makes it.
    pub(crate) fn fill(files: &Files<'_>) -> Result<FilesOf, Error> {
        let place = Place::take(&files.store.bare(), files.name)?;
        let made =
            place.work(files.project).and_then(|work| Copy::without_live(files.view, files.store, &work));
        match made {
            Ok(copy) => Ok(FilesOf { copy, store: Arc::clone(files.store), place }),
            Err(error) => {
                place.remove();
                Err(error.into())
            }
        }
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        self.copy.folder()
    }
}

impl Drop for FilesOf {
    fn drop(&mut self) {
        self.place.remove();
    }
}

/// The listeners that a program is to find on its loopback, as the engine has them.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) given: [Mutex<Option<TcpListener>>; 2],
    pub(crate) ports: [Option<u16>; 2],
    pub(crate) private: Option<Arc<Loopback>>,
}

impl Listeners {
    /// Those that are asked for, on the loopback that `private` gives.
    pub(crate) fn open<E: From<Error>>(
        asked: [bool; 2],
        private: impl FnOnce() -> Result<Arc<Loopback>, E>,
    ) -> Result<Listeners, E> {
        let mut listeners = Listeners::default();
        if !asked.contains(&true) {
            return Ok(listeners);
        }
        let loopback = private()?;
        let io = |source| Error::Io { what: "given a listener", source };
        for (index, _) in asked.iter().enumerate().filter(|(_, asked)| **asked) {
            let (listener, port) = loopback.listen().map_err(io)?;
            if let (Some(given), Some(known)) =
                (listeners.given.get_mut(index), listeners.ports.get_mut(index))
            {
                (*given, *known) = (Mutex::new(Some(TcpListener::from(listener))), Some(port));
            }
        }
        listeners.private = Some(loopback);
        Ok(listeners)
    }
}

impl Kept {
    /// Waits until it has ended and no process of it is left.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn wait(&self) -> Result<Exit, Error> {
        loop {
            if let Some(exit) = self.bridge.exit() {
                return Ok(exit);
            }
            let status = self.bridge.status().as_fd();
            crate::native::sys::socket::poll(&[(status, libc::POLLIN)], None)
                .map_err(|source| Error::Io { what: "awaited", source })?;
        }
    }

    /// Waits until what the program printed has been written to the descriptors that were given for it; for
    /// so long as somebody reads there.
    pub fn drained(&self) {
        self.bridge.drained();
    }

    fn listener(&self, which: usize) -> Option<TcpListener> {
        self.listeners.get(which)?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Sandbox for Kept {
    fn workspace(&self) -> &Path {
        &self.workspace
    }

    fn enforcement(&self) -> &[Enforcement] {
        &self.enforcement
    }

    fn take_listener(&self) -> Option<TcpListener> {
        self.listener(0)
    }

    fn take_egress_listener(&self) -> Option<TcpListener> {
        self.listener(1)
    }

    fn status_fd(&self) -> BorrowedFd<'_> {
        self.bridge.status().as_fd()
    }

    fn try_wait(&self) -> Result<Option<Exit>, Error> {
        Ok(self.bridge.exit())
    }

    /// As the keeper reads the cgroup around it, or counts its tree.
    fn usage(&self) -> Result<Usage, Error> {
        self.bridge.usage(MEASURE).ok_or_else(|| Error::Io { what: "measured", source: too_late() })
    }

    fn sample(&self) -> Option<Usage> {
        self.bridge.sample()
    }

    fn outlives(&self) -> Option<String> {
        Some(self.around.name())
    }

    fn kill(&self) -> Result<Exit, Error> {
        if let Some(exit) = self.bridge.kill(END) {
            return Ok(exit);
        }
        // Its keeper is stopped or hangs: whoever made its surroundings ends them.
        self.around.end(END).map_err(|source| Error::Io { what: "killed", source })?;
        self.bridge.lost();
        self.wait()
    }

    /// The copy that it was filled from is brought to what it has now, and compared with what it was.
    fn changes(&self, bounds: &Bounds) -> Result<Option<Captured>, WorkspaceError> {
        let Some(files) = &self.files else { return Ok(None) };
        let folder = files.copy.folder();
        // A file may be longer than all that is in it: its holes are read too.
        let most = bounds.bytes.max(self.disk);
        self.bridge
            .capture(folder, bounds.entries, most, READ_OUT)
            .at("read the workspace out into", folder)?;
        files.copy.changes(&files.store, bounds)
    }
}

/// How a wait that failed is told where nothing says more.
pub(crate) fn too_late() -> io::Error {
    io::Error::from(io::ErrorKind::TimedOut)
}
