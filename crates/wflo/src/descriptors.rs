//! How many descriptors this process may have: as many as its maker allows.
//!
//! Each client of a gateway is one, and so is each connection of a sandbox. There is more to it: how many an ordinary
//! user may have on their way between processes is bounded by the soft limit of whoever sends the next one
//! (`unix(7)`, SCM_RIGHTS), and a sandbox of that user may hold as many there as its own limit says. That is a part
//! of this process's ([`wflo_sandbox`] sees to it), so that no sandbox keeps its engine from making another.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. Where it cannot be, fewer are served at a time, and the others wait.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
