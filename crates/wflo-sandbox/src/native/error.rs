//! Why a sandbox could not be made, with what to do about it.

use super::sys::Fault;
use std::io;
use std::path::PathBuf;
use wflo_core::error::{Code, Coded};

/// A sandbox, or the process that makes them, could not be made. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launcher process could not be started.
    #[error("the sandbox launcher `{}` could not be started: {source}", program.display())]
    LauncherStart {
        /// The program that was to be the launcher.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The launcher started and could not prepare itself.
    #[error("sandboxes cannot be made here: {step}: {reason}")]
    Unsupported {
        /// What was tried.
        step: String,
        /// The kernel's answer, in words.
        reason: String,
        /// The error number.
        errno: i32,
        /// What to do about it.
        fix: String,
    },
    /// The launcher is gone, and every sandbox with it.
    #[error("the sandbox launcher has ended; its sandboxes ended with it")]
    LauncherGone,
    /// One sandbox could not be made.
    #[error("the sandbox could not be made: {step}{}: {reason}", of(detail))]
    Setup {
        /// What was tried.
        step: String,
        /// What it was about, perhaps empty.
        detail: String,
        /// The kernel's answer, in words.
        reason: String,
        /// The error number.
        errno: i32,
    },
    /// A limit cannot be enforced as strictly as asked for.
    #[error("{}", not_enforced(limit, *level))]
    NotEnforced {
        /// Which limit.
        limit: &'static str,
        /// How it would be enforced.
        level: super::spec::Level,
    },
    /// A limit on disks cannot be kept.
    #[error(transparent)]
    NoIoLimit(#[from] super::io::IoRefusal),
    /// The request makes no sense.
    #[error("this sandbox cannot be made: {0}")]
    Invalid(String),
    /// The files that a program is to see could not be prepared.
    #[error(transparent)]
    Workspace(#[from] crate::workspace::WorkspaceError),
    /// A container engine could not make it.
    #[error(transparent)]
    Docker(#[from] crate::docker::Error),
    /// A cloud could not make it.
    #[error(transparent)]
    Cloud(#[from] crate::e2b::Error),
    /// Talking to the launcher or the sandbox failed.
    #[error("the sandbox could not be {what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn not_enforced(limit: &str, level: super::spec::Level) -> String {
    match level {
        super::spec::Level::None => format!("nothing would enforce the {limit} limit without isolation"),
        _ => {
            format!("the {limit} limit would only be {level} here, and the kernel was required to enforce it")
        }
    }
}

fn of(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// An error number in words, without Rust's suffix.
pub(crate) fn words(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl Error {
    pub(crate) fn setup(fault: Fault) -> Self {
        Error::Setup {
            step: fault.step.into_owned(),
            reason: words(fault.errno),
            detail: fault.detail,
            errno: fault.errno,
        }
    }

    /// A pid 1 that was killed before its program ran.
    pub(crate) fn killed_at_birth(oom_kills: u64) -> Self {
        let (detail, errno) = match oom_kills {
            0 => ("it was killed before its program ran", libc::EINTR),
            _ => ("the memory limit is too small to start anything in", libc::ENOMEM),
        };
        Error::setup(Fault::new("starting the program", errno, detail))
    }

    pub(crate) fn unsupported(fault: Fault) -> Self {
        let fix = super::fix::of_launcher(&fault);
        let reason = words(fault.errno);
        Error::Unsupported {
            step: fault.step.into_owned(),
            reason: if fault.detail.is_empty() { reason } else { format!("{} ({reason})", fault.detail) },
            errno: fault.errno,
            fix,
        }
    }
}

impl Coded for Error {
    fn code(&self) -> Code {
        Code(match self {
            Error::LauncherStart { .. } => 5001,
            Error::Unsupported { .. } => 5002,
            Error::LauncherGone => 5003,
            Error::Setup { .. } => 5004,
            Error::NotEnforced { .. } => 5005,
            Error::NoIoLimit(refusal) => return refusal.code(),
            Error::Invalid(_) => 5006,
            Error::Io { .. } => 5007,
            Error::Workspace(error) => return error.code(),
            Error::Docker(error) => return error.code(),
            Error::Cloud(error) => return error.code(),
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Unsupported { fix, .. } => fix.clone(),
            Error::LauncherStart { .. } => {
                "check that the wflo binary is still where it was started from".into()
            }
            Error::LauncherGone => "the sandbox's helper process was ended from outside: run it again".into(),
            Error::Setup { errno: libc::ENOENT, .. } => "check that the path exists on this host".into(),
            Error::Setup { errno: libc::ENOSPC | libc::EMFILE | libc::ENFILE, .. } => {
                "a limit of this host is used up: end some sandboxes, or see `wflo sandbox doctor`".into()
            }
            Error::Setup { step, errno, .. } => super::fix::of_sandbox(step, *errno)
                .unwrap_or_else(|| "`wflo sandbox doctor` says what works here and what does not".into()),
            Error::Io { .. } => "`wflo sandbox doctor` says what works here and what does not".into(),
            Error::NotEnforced { limit, level: super::spec::Level::None } => {
                format!("drop the {limit} limit, or use `backend = \"native\"`")
            }
            Error::NotEnforced { limit, .. } => format!(
                "drop the {limit} limit or `require = \"kernel\"`, or run where cgroups are delegated \
                 (as root, or under systemd with Delegate=yes)"
            ),
            Error::NoIoLimit(refusal) => refusal.hint(),
            Error::Invalid(_) => return None,
            Error::Workspace(error) => return error.hint(),
            Error::Docker(error) => return error.hint(),
            Error::Cloud(error) => return error.hint(),
        })
    }
}
