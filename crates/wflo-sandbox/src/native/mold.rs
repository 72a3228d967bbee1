//! What isolated sandboxes of one launcher have in common: made once, used by every pid 1.
//!
//! Owns the template, the filters, the mount namespace that sandboxes begin in and the users that
//! they run as.

use super::blank;
use super::idmap::OwnerMaps;
use super::plan::Plan;
use super::seccomp::{self, Screen};
use super::sys::process;
use super::sys::{At, Fault};
use super::template::{self, Template};
use super::wire::Order;
use std::borrow::Cow;
use std::os::fd::OwnedFd;

/// Users of privileged sandboxes: a range that distributions and service managers leave unused.
const FIRST_USER: u32 = 0x7000_0000;
/// How many users each launcher has; more sandboxes at once share them.
const USERS: usize = 64;

/// Everything that stays the same from sandbox to sandbox.
pub(crate) struct Mold {
    pub(crate) template: Template,
    /// The filters that were asked for so far.
    filters: Vec<(Screen, Vec<libc::sock_filter>)>,
    pub(crate) init_filter: Vec<libc::sock_filter>,
    /// Where a sandbox's own mounts begin.
    pub(crate) mounts: OwnedFd,
    pub(crate) inside: (u32, u32),
    pub(crate) privileged: bool,
    own: (u32, u32),
    maps: Option<OwnerMaps>,
    users: [u16; USERS],
}

/// A sandbox's user, to be given back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User(usize);

/// Whether this process is root in a way that lets it hand out unused users.
fn privileged() -> Result<bool, Fault> {
    const CAP_SYS_ADMIN: u32 = 21;
    if !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").step("reading the user map")?;
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    match (process::has_capability(CAP_SYS_ADMIN), whole) {
        (true, true) => Ok(true),
        // The real root of the host must not be the user of a sandbox.
        (false, true) => Err(Fault::new("making namespaces as root without CAP_SYS_ADMIN", libc::EPERM, "")),
        // Root of a container's user namespace is somebody else outside.
        (_, false) => Ok(false),
    }
}

/// Enters a user namespace in which this user may mount, and maps them to themselves.
fn enter_user_namespace(uid: u32, gid: u32) -> Result<(), Fault> {
    process::unshare(libc::CLONE_NEWUSER).step("making a user namespace")?;
    process::set_dumpable(true).step("mapping the user")?;
    std::fs::write("/proc/self/setgroups", "deny").step("mapping the user")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).step("mapping the user")?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).step("mapping the user")
}

impl Mold {
    /// Moves this process into a root of its own and prepares what sandboxes are made of.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub(crate) fn prepare() -> Result<Self, Fault> {
        let privileged = privileged()?;
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if !privileged {
            enter_user_namespace(uid, gid)?;
        }
        process::unshare(blank::KINDS).step("making the launcher's namespaces")?;
        template::enter_own_root()?;
        let inside = if privileged || uid == 0 { (1_000, 1_000) } else { (uid, gid) };
        let template = Template::build(inside.0, inside.1, privileged)?;
        let mounts = template::namespace_without_host(privileged)?;
        Ok(Mold {
            template,
            filters: Vec::new(),
            init_filter: seccomp::compile_for_init(),
            mounts,
            inside,
            privileged,
            own: (uid, gid),
            maps: privileged.then(OwnerMaps::default),
            users: [0; USERS],
        })
    }

    /// Compiles a filter, if that has not been done.
    pub(crate) fn prepare_filter(&mut self, screen: Screen) {
        if self.filters.iter().all(|(known, _)| *known != screen) {
            self.filters.push((screen, seccomp::compile(screen)));
        }
    }

    /// A filter: the one that was prepared, or was not because its pid 1 is older than the first order for it.
    pub(crate) fn filter(&self, screen: Screen) -> Cow<'_, [libc::sock_filter]> {
        match self.filters.iter().find(|(known, _)| *known == screen) {
            Some((_, filter)) => Cow::Borrowed(filter),
            None => Cow::Owned(seccomp::compile(screen)),
        }
    }

    /// Opens what an order names, for the user that has the fewest sandboxes.
    ///
    /// # Errors
    /// The path that could not be opened.
    pub(crate) fn plan(&mut self, order: &Order) -> Result<(Plan, User), Fault> {
        let least = self.users.iter().enumerate().min_by_key(|(_, sandboxes)| **sandboxes);
        let user = least.map_or(0, |(index, _)| index);
        let ids = match self.maps {
            Some(_) => {
                // A block of users for each launcher, by its process id (at most 22 bits).
                let block = (std::process::id() & 0x003f_ffff) << 6;
                let id = FIRST_USER + block + user as u32;
                (id, id)
            }
            None => self.own,
        };
        Ok((Plan::make(order, ids, self.maps.as_mut())?, User(user)))
    }

    /// Counts a sandbox of this user.
    pub(crate) fn take(&mut self, user: User) {
        if let Some(sandboxes) = self.users.get_mut(user.0) {
            *sandboxes += 1;
        }
    }

    /// A sandbox of this user is gone.
    pub(crate) fn give_back(&mut self, user: User) {
        if let Some(sandboxes) = self.users.get_mut(user.0) {
            *sandboxes = sandboxes.saturating_sub(1);
        }
    }
}
