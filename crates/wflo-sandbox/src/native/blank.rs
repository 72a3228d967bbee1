//! Namespaces with the beginnings of a root in them, which no order has touched.
//!
//! Making these is a third of what a sandbox costs and depends on no order, so the launcher makes
//! one ahead when it has nothing else to do. Where none is ready, pid 1 makes its own, by the same
//! steps. **Architecture Invariant:** a blank is used once, and holds nothing but what the launcher's
//! mold has.

use super::mold::Mold;
use super::net;
use super::root;
use super::sys::process::{self, enter_namespace};
use super::sys::{At, Fault};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};

/// What a blank has of its own, by its name in `/proc`, mounts first. Process and cgroup namespaces are
/// missing: a pid 1 begins the former, and the latter begins at the sandbox's own group.
const OWN: [(&str, libc::c_int); 4] = [
    ("mnt", libc::CLONE_NEWNS),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
];

/// The flags of [`OWN`].
pub(super) const KINDS: libc::c_int = OWN[0].1 | OWN[1].1 | OWN[2].1 | OWN[3].1;

/// One made ahead. It lives as long as its descriptors do.
#[derive(Debug)]
pub(crate) struct Blank(Namespaces);

/// A descriptor for each of [`OWN`].
#[derive(Debug)]
pub(crate) struct Namespaces([OwnedFd; 4]);

/// Where the launcher can see which namespaces it is in, and those that it belongs in.
#[derive(Debug)]
pub(crate) struct Home {
    /// Its own `/proc/…/ns`, which shows the namespaces of the moment.
    seen: OwnedFd,
    own: Namespaces,
}

impl Home {
    /// Takes the namespaces that this process is in for its home. It must own all of them: nobody
    /// can return to namespaces of others.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub(crate) fn here() -> Result<Self, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let seen = rustix::fs::open("/host/proc/self/ns", flags, Mode::empty())
            .step("finding the launcher's namespaces")?;
        let own = Namespaces::now(&seen)?;
        Ok(Home { seen, own })
    }
}

impl Namespaces {
    fn now(seen: &OwnedFd) -> Result<Self, Fault> {
        let one = |name: &str| {
            rustix::fs::openat(seen, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .at("finding the launcher's namespaces", || name.into())
        };
        let [mnt, net, ipc, uts] = OWN.map(|(name, _)| one(name));
        Ok(Namespaces([mnt?, net?, ipc?, uts?]))
    }

    fn enter(&self) -> Result<(), Fault> {
        for (namespace, (_, kind)) in self.0.iter().zip(OWN) {
            enter_namespace(namespace.as_fd(), kind).step("entering prepared namespaces")?;
        }
        Ok(())
    }
}

impl Blank {
    /// Makes one in this process, which is in its own namespaces again afterwards.
    ///
    /// # Errors
    /// The step that the kernel refused; the outer one when this process could not return, and must
    /// not go on.
    pub(crate) fn ahead(mold: &Mold) -> Result<Result<Self, Fault>, Fault> {
        let made = begin(mold).and_then(|()| Namespaces::now(&mold.home.seen));
        mold.home.own.enter()?;
        Ok(made.map(Blank))
    }

    /// Moves this process into it.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub(crate) fn enter(&self) -> Result<(), Fault> {
        self.0.enter()
    }
}

/// Moves this process into new namespaces and begins a root there.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn begin(mold: &Mold) -> Result<(), Fault> {
    enter_namespace(mold.mounts.as_fd(), libc::CLONE_NEWNS).step("entering the template's mounts")?;
    process::unshare(KINDS).step("making namespaces")?;
    root::begin(&mold.template)?;
    net::up()
}
