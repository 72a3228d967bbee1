//! A pid 1 without an order: in its namespaces, with the beginnings of a root.
//!
//! Making one is more than half of what a sandbox costs and depends on no order, so the launcher makes one
//! ahead when it has nothing else to do. Where none is ready, one is made by the same steps, its order in its
//! hands. **Architecture Invariant:** a blank gets one order, and holds nothing but what the launcher's mold
//! has: no descriptor of another order, and none of the engine's.

use super::halt::Halt;
use super::landlock::Rules;
use super::mold::Mold;
use super::root::{self, Begun};
use super::server::Common;
use super::sys::process::{self, Forked, enter_namespace};
use super::sys::{At, Fault, socket};
use super::{init, net};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The namespaces that a pid 1 makes for itself, beside the process namespace that it is forked into. The
/// cgroup namespace begins at the sandbox's own group, of which an order decides.
pub(super) const KINDS: libc::c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// One, as the launcher has it. It ends when `orders` is closed before it has got one.
#[derive(Debug)]
pub(crate) struct Blank {
    pub(crate) pid: i32,
    pub(crate) process: OwnedFd,
    /// Where it takes its order.
    pub(crate) orders: OwnedFd,
}

/// What a blank is made of, as itself has it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) signals: OwnedFd,
    pub(crate) root: Begun,
    pub(crate) rules: Rules,
}

impl Blank {
    /// Forks one that is made ahead, or, with where it is to halt, for an order that it is about to get.
    ///
    /// # Errors
    /// When the kernel refused the process. What it refuses to that is told to whoever it has an order of.
    pub(crate) fn fork(mold: &Mold, common: &Common, at_once: Option<&Halt<'_>>) -> Result<Self, Fault> {
        let step = "forking the sandbox";
        let (orders, theirs) = socket::pair().step(step)?;
        match process::fork(libc::CLONE_NEWPID).step(step)? {
            Forked::Child => init::main(mold, common, &theirs, at_once),
            Forked::Parent(pid, process) => Ok(Blank { pid, process, orders }),
        }
    }
}

/// Makes this process, which has just been forked, a blank.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn make(
    mold: &Mold,
    common: &Common,
    orders: BorrowedFd<'_>,
    halt: &Halt<'_>,
) -> Result<Made, Fault> {
    process::die_with_parent().step("tying the sandbox to the launcher")?;
    forget(mold, common, orders, halt).step("closing descriptors")?;
    halt.at("forked");
    let signals = process::signal_descriptor(&[libc::SIGCHLD]).step("preparing signals")?;
    let _ = rustix::process::setsid();
    enter_namespace(mold.mounts.as_fd(), libc::CLONE_NEWNS).step("entering the template's mounts")?;
    process::unshare(KINDS).step("making namespaces")?;
    let root = root::begin(&mold.template, root::new_proc()?)?;
    net::up()?;
    let rules = Rules::begin(root.root())?;
    halt.at("begun");
    Ok(Made { signals, root, rules })
}

/// Closes every descriptor that the launcher had for anything else.
fn forget(mold: &Mold, common: &Common, orders: BorrowedFd<'_>, halt: &Halt<'_>) -> std::io::Result<()> {
    // The first is the engine's socket, in whose place the null device is.
    process::place(1, 0)?;
    let mut keep: Vec<RawFd> = vec![0, 1, 2];
    keep.extend([orders, mold.mounts.as_fd(), common.lifeline()].map(|fd| fd.as_raw_fd()));
    keep.extend(common.groups.iter().flat_map(|groups| groups.descriptors()).map(|fd| fd.as_raw_fd()));
    keep.extend(halt.told().map(|fd| fd.as_raw_fd()));
    process::close_all_but(&mut keep);
    Ok(())
}
