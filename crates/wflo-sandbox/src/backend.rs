//! The seam between whoever runs steps and what keeps a step's program from the rest of the host.
//!
//! A [`Backend`] makes sandboxes and says honestly what they are ([`Capabilities`]); a [`Sandbox`]
//! is one program in one of them. What a program leaves behind is a layer over the files it was
//! shown: that is the snapshot, and showing those files with that layer to the next program is the
//! restore. All methods may block; none is called on an async runtime's own threads.
//!
//! **Architecture Invariant:** an engine knows no backend but by its name: what differs is asked of
//! [`Backend::capabilities`] and [`Sandbox::workspace`].

use crate::native::{Capabilities, Enforcement, Error, Exit, Spec, Usage};
use crate::workspace::{Bounds, Captured, Hidden, Store, View, WorkspaceError};
use std::fmt::Debug;
use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// Makes sandboxes.
pub trait Backend: Debug + Send + Sync {
    /// What its sandboxes are here, for this user.
    fn capabilities(&self) -> &Capabilities;

    /// Makes a sandbox that shows `files`, and starts the program of `spec` in it; returns once the
    /// program has been executed. The program starts in the workspace unless `spec` says where.
    ///
    /// # Errors
    /// What could not be made or would not be enforced; nothing is left behind then. A program that
    /// is not found is no error here: it is the sandbox's outcome.
    fn create(&self, spec: Spec, files: &Files<'_>) -> Result<Box<dyn Sandbox>, Error>;
}

/// A program in a sandbox. Dropping it destroys both: the whole tree of processes, and its files.
pub trait Sandbox: Debug + Send + Sync {
    /// Where the program finds the workspace.
    fn workspace(&self) -> &Path;

    /// How each limit is enforced.
    fn enforcement(&self) -> &[Enforcement];

    /// The listener on the loopback that the program sees. Given once. Where the sandbox is not
    /// isolated, whoever is on this host can connect to it.
    fn take_listener(&self) -> Option<TcpListener>;

    /// The second listener, for whoever lets connections out of the sandbox. Given once, and only by a
    /// sandbox that is isolated.
    fn take_egress_listener(&self) -> Option<TcpListener>;

    /// Readable when there is news: then call [`Sandbox::try_wait`].
    fn status_fd(&self) -> BorrowedFd<'_>;

    /// How it ended, if it has: no process of it is left then.
    ///
    /// # Errors
    /// When the sandbox cannot be asked.
    fn try_wait(&self) -> Result<Option<Exit>, Error>;

    /// What its processes take now and took so far; what is not known is left out. A backend that cannot say
    /// more than [`Exit::usage`] says nothing.
    ///
    /// # Errors
    /// When the sandbox cannot be asked.
    fn usage(&self) -> Result<Usage, Error> {
        Ok(Usage::default())
    }

    /// What they took when they were last looked at, without waiting for anybody: a figure may be as old as the
    /// call before, which asked for it. `None` when nothing is known, or it has ended.
    fn sample(&self) -> Option<Usage> {
        None
    }

    /// What outlives this process if nobody ends it, by the name under which it is found; nothing of what the kernel
    /// ends with this process.
    fn outlives(&self) -> Option<String> {
        None
    }

    /// Kills the whole tree and waits until it is dead.
    ///
    /// # Errors
    /// When it cannot be killed.
    fn kill(&self) -> Result<Exit, Error>;

    /// Stores what the program has changed in its workspace, within `bounds`; `None` when that is nothing. What a
    /// program that still runs writes meanwhile may be in it or not.
    ///
    /// # Errors
    /// When it wrote too much, or what cannot be stored.
    fn changes(&self, bounds: &Bounds) -> Result<Option<Captured>, WorkspaceError>;
}

/// The files that a program is to see.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// Whose they are: the same name for every attempt at one thing, never used by two at a time.
    pub name: &'a str,
    /// A sealed project with the changes of earlier programs.
    pub view: &'a View,
    /// Where all of it is kept.
    pub store: &'a Arc<Store>,
    /// The project that was sealed.
    pub project: &'a Path,
    /// What of its live part must not be seen.
    pub hidden: &'a Hidden,
}
