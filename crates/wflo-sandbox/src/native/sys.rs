//! The system calls that have no safe wrapper, each behind a small safe function.
//!
//! Owns the `unsafe` of this crate and nothing else: no policy, no order of steps.
//! **Architecture Invariant:** nothing here keeps state or allocates between fork and exec
//! beyond what the caller hands in.

pub(crate) mod mount;
pub(crate) mod process;
pub(crate) mod socket;

use std::borrow::Cow;
use std::io;

/// Turns the return value of a raw system call into a result.
pub(crate) fn check(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// What went wrong while a sandbox was being made: the step, the error number, the object.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) step: Cow<'static, str>,
    pub(crate) errno: i32,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(step: &'static str, errno: i32, detail: impl Into<String>) -> Self {
        Fault { step: step.into(), errno, detail: detail.into() }
    }
}

/// Names the step at which a system call failed.
pub(crate) trait At<T> {
    /// The step, and what it was about.
    fn at(self, step: &'static str, detail: impl FnOnce() -> String) -> Result<T, Fault>;
    /// The step alone.
    fn step(self, step: &'static str) -> Result<T, Fault>
    where
        Self: Sized,
    {
        self.at(step, String::new)
    }
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: &'static str, detail: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let mut text = detail();
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            if error.raw_os_error().is_none() {
                text = if text.is_empty() { error.to_string() } else { format!("{text}: {error}") };
            }
            Fault { step: step.into(), errno, detail: text }
        })
    }
}
