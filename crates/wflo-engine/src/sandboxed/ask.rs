//! What is asked of a sandbox.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use wflo_core::size::Millis;
use wflo_sandbox::Bind;

use crate::executor::Used;
use crate::live::Whose;

/// What a sandbox is to be, beside what its run's settings say. Two of a run that are alike in this are alike
/// in all that a program could tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) command: Vec<OsString>,
    /// Beside what model clients need.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) layers: Vec<String>,
    pub(crate) timeout: Option<Millis>,
    /// Further files to read.
    pub(crate) ro: Vec<Bind>,
    /// Whether there is a way out to hosts.
    pub(crate) egress: bool,
    /// Where in the workspace it starts; relative to it.
    pub(crate) cwd: Option<PathBuf>,
    /// The standard streams are a terminal that was made for it.
    pub(crate) terminal: bool,
}

impl Shape {
    /// A command that sees the project alone.
    pub(crate) fn new(command: Vec<OsString>) -> Self {
        Shape {
            command,
            env: Vec::new(),
            layers: Vec::new(),
            timeout: None,
            ro: Vec::new(),
            egress: false,
            cwd: None,
            terminal: false,
        }
    }
}

/// A sandbox that is asked for.
pub(crate) struct Ask {
    pub(crate) shape: Shape,
    /// The same for every attempt at one thing; `None` for what is done once.
    pub(crate) name: Option<String>,
    pub(crate) fds: Vec<(OwnedFd, i32)>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Where it is kept what it took.
    pub(crate) used: Used,
    /// Whose it is; `None` of one that is no step's, which nobody looks at.
    pub(crate) whose: Option<Whose>,
}

impl Ask {
    /// One that reads nothing and is nobody's.
    pub(crate) fn new(shape: Shape, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        Ask {
            shape,
            name: None,
            fds: Vec::new(),
            stdin: None,
            stdout,
            stderr,
            used: Used::default(),
            whose: None,
        }
    }
}
