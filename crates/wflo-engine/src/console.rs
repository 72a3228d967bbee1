//! What a program that is run as it is talks to: the streams of whoever drives its run.
//!
//! The engine makes the pipes or the terminal that the program has, keeps a bounded copy of what comes out,
//! and passes the bytes on through this port. A driver without one (a background process) has programs
//! that read nothing and are only recorded.
//! **Architecture Invariant:** a program never has a descriptor of the console itself: what it can do to a
//! terminal is what the console lets through.

mod pipes;
pub(crate) mod relaying;
mod screen;

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use wflo_core::ports::BoxFuture;

pub use self::pipes::Pipes;
pub use self::relaying::Relaying;
pub use self::screen::Screen;

/// Which of a program's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or all that a program shows on its terminal.
    Output,
    /// Standard error.
    Error,
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in each.
    pub columns: u16,
}

/// Where programs of this process's runs are connected to.
pub trait Console: Send + Sync + 'static {
    /// Connects one program; what it shows is let through until the result is dropped.
    ///
    /// # Errors
    /// When a terminal cannot be prepared for it.
    fn attach(self: Arc<Self>) -> io::Result<Arc<dyn Streams>>;
}

/// The connection of one program. Dropping it leaves a terminal as it was found.
pub trait Streams: Send + Sync {
    /// The size of the terminal that the program is to have; `None` for pipes.
    fn terminal(&self) -> Option<Size>;

    /// Variables that say what that terminal is.
    fn variables(&self) -> Vec<(OsString, OsString)>;

    /// The terminal's size, once it is another one, or once the program is to draw itself again.
    fn resized(&self) -> BoxFuture<'_, Size>;

    /// What is to be read next; nothing at the end of the input. Dropping the wait loses nothing.
    fn read(&self) -> BoxFuture<'_, Vec<u8>>;

    /// Passes output on; returns once it has been taken, so that a slow reader slows the program.
    ///
    /// # Errors
    /// When nobody reads it any more.
    fn write<'a>(&'a self, stream: Stream, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>>;

    /// The program has ended: what it has said so far is let through whatever is open.
    fn over(&self);
}
