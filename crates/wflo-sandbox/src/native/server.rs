//! The launcher process: waits for orders, forks a pid 1 for each, cleans up after them.
//!
//! Single-threaded, not dumpable, without environment or secrets, with one descriptor from
//! outside: the socket at number 0. It ends with its engine, and ends its sandboxes first.
//! **Architecture Invariant:** the launcher reads nothing that a sandboxed program wrote.

use super::capabilities::Capabilities;
use super::cgroup::Groups;
use super::idmap::OwnerMaps;
use super::init;
use super::plan::Plan;
use super::seccomp;
use super::spec::Level;
use super::sys::process::{self, Forked};
use super::sys::{At, Fault, socket};
use super::template::{self, Template};
use super::wire::{Notice, Order};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

/// Users of privileged sandboxes: a range that distributions and service managers leave unused.
const FIRST_USER: u32 = 0x7000_0000;
/// How many users each launcher has; more sandboxes at once share them.
const USERS: usize = 64;

/// Everything that stays the same from sandbox to sandbox.
pub(crate) struct Server {
    pub(crate) template: Template,
    pub(crate) groups: Option<Groups>,
    pub(crate) capabilities: Capabilities,
    /// The filter where the kernel counts memory, and the one where it does not.
    pub(crate) filters: [Vec<libc::sock_filter>; 2],
    pub(crate) init_filter: Vec<libc::sock_filter>,
    /// Where a sandbox's own mounts begin.
    pub(crate) mounts: OwnedFd,
    pub(crate) inside: (u32, u32),
    own: (u32, u32),
    maps: Option<OwnerMaps>,
    /// Its end tells every pid 1 that the launcher is gone; nothing is ever written to it.
    lifeline: (OwnedFd, OwnedFd),
    live: HashMap<i32, Live>,
    users: [u16; USERS],
}

struct Live {
    name: String,
    control: OwnedFd,
    process: OwnedFd,
    user: usize,
}

/// The whole life of the launcher process. The binary calls this, and nothing before it, when its
/// first argument is [`crate::LAUNCHER_ARGUMENT`].
pub fn launcher_main() -> ExitCode {
    let engine = rustix::stdio::stdin();
    let kind = rustix::net::sockopt::socket_type(engine);
    if kind != Ok(rustix::net::SocketType::SEQPACKET) {
        return ExitCode::from(2);
    }
    process::close_range(3, i32::MAX);
    process::default_actions();
    match Server::prepare() {
        Ok(mut server) => {
            if socket::send(engine, &server.capabilities.encode(), &[]).is_ok() {
                let served = server.serve(engine);
                server.end_all();
                return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            ExitCode::FAILURE
        }
        Err(fault) => {
            let _ = socket::send(engine, &Notice::Failed(fault).encode(), &[]);
            ExitCode::FAILURE
        }
    }
}

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
    process::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).step("making a user namespace")?;
    process::set_dumpable(true).step("mapping the user")?;
    std::fs::write("/proc/self/setgroups", "deny").step("mapping the user")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).step("mapping the user")?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).step("mapping the user")
}

impl Server {
    fn prepare() -> Result<Self, Fault> {
        let _ = rustix::process::setsid();
        rustix::process::umask(rustix::fs::Mode::from(0o022));
        // Two descriptors for each live sandbox.
        let _ = process::limit(libc::RLIMIT_NOFILE, u64::MAX, u64::MAX);
        let privileged = privileged()?;
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        super::cgroup::sweep();
        let detected = Groups::detect();
        if privileged {
            process::unshare(libc::CLONE_NEWNS).step("making a mount namespace")?;
        } else {
            enter_user_namespace(uid, gid)?;
        }
        template::enter_own_root()?;
        let inside = if privileged || uid == 0 { (1_000, 1_000) } else { (uid, gid) };
        let template = Template::build(inside.0, inside.1, privileged)?;
        let mounts = template::namespace_without_host(privileged)?;
        process::set_dumpable(false).step("hiding the launcher")?;
        let (groups, cgroup_note) = match detected {
            Ok(groups) => (Some(groups), String::new()),
            Err(note) => (None, note),
        };
        let level = |kernel: bool| if kernel { Level::Kernel } else { Level::Supervised };
        let capabilities = Capabilities {
            privileged,
            cgroup: groups.as_ref().map(Groups::version),
            memory: level(groups.as_ref().is_some_and(Groups::limits_memory)),
            cpus: level(groups.as_ref().is_some_and(Groups::limits_cpu)),
            landlock_abi: process::landlock_abi().max(0) as u32,
            cgroup_note,
        };
        let lifeline = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
        Ok(Server {
            template,
            groups,
            capabilities,
            filters: [seccomp::compile(true), seccomp::compile(false)],
            init_filter: seccomp::compile_for_init(),
            mounts,
            inside,
            own: (uid, gid),
            maps: privileged.then(OwnerMaps::default),
            lifeline,
            live: HashMap::new(),
            users: [0; USERS],
        })
    }

    /// Serves orders until the engine is gone.
    fn serve(&mut self, engine: BorrowedFd<'_>) -> std::io::Result<()> {
        let signals = process::signal_descriptor(&[libc::SIGCHLD])?;
        let mut buffer = [0; 64];
        loop {
            let ready = socket::poll(&[(engine, libc::POLLIN), (signals.as_fd(), libc::POLLIN)], None)?;
            if ready.get(1).is_some_and(|events| *events != 0) {
                let mut taken = [0; 1_024];
                let _ = rustix::io::read(&signals, &mut taken);
                self.reap();
            }
            if ready.first().is_some_and(|events| *events != 0) {
                match socket::receive(engine, &mut buffer, false) {
                    Ok(Some((_, fds))) => self.launch(fds),
                    Ok(None) => return Ok(()),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn launch(&mut self, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let (Some(order), Some(control)) = (fds.next(), fds.next()) else { return };
        if let Err(fault) = self.fork(order, &control, fds.collect()) {
            let _ = socket::send(control.as_fd(), &Notice::Failed(fault).encode(), &[]);
        }
    }

    fn fork(&mut self, order: OwnedFd, control: &OwnedFd, fds: Vec<OwnedFd>) -> Result<(), Fault> {
        let order = read_order(&order).step("reading the order")?;
        let user = self.free_user();
        let ids = match self.maps {
            Some(_) => {
                // A block of users for each launcher, by its process id (at most 22 bits).
                let block = (std::process::id() & 0x003f_ffff) << 6;
                let id = FIRST_USER + block + user as u32;
                (id, id)
            }
            None => self.own,
        };
        let plan = Plan::make(&order, ids, self.maps.as_mut())?;
        let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        let theirs = control.try_clone().step("forking the sandbox")?;
        match process::fork(namespaces).step("forking the sandbox")? {
            Forked::Child => init::main(self, &plan, order, theirs.as_fd(), &fds, self.lifeline.0.as_fd()),
            Forked::Parent(pid, process) => {
                let notice = Notice::Forked { pid: pid as u32 };
                let _ = socket::send(control.as_fd(), &notice.encode(), &[process.as_fd()]);
                if let Some(users) = self.users.get_mut(user) {
                    *users += 1;
                }
                self.live.insert(pid, Live { name: order.name, control: theirs, process, user });
                Ok(())
            }
        }
    }

    fn free_user(&self) -> usize {
        let least = self.users.iter().enumerate().min_by_key(|(_, users)| **users);
        least.map_or(0, |(index, _)| index)
    }

    /// Takes the dead: when a pid 1 is one of them, its whole tree is.
    fn reap(&mut self) {
        while let Some((pid, _)) = process::reap() {
            let Some(dead) = self.live.remove(&pid) else { continue };
            if let Some(users) = self.users.get_mut(dead.user) {
                *users = users.saturating_sub(1);
            }
            let (oom_kills, usage) =
                self.groups.as_ref().map(|groups| groups.finish(&dead.name)).unwrap_or_default();
            let notice = Notice::Reaped { oom_kills, usage };
            let _ = socket::send(dead.control.as_fd(), &notice.encode(), &[]);
        }
    }

    fn end_all(&mut self) {
        for live in self.live.values() {
            let _ = process::signal_process(live.process.as_fd(), libc::SIGKILL);
        }
        while !self.live.is_empty() {
            let dying: Vec<_> = self.live.values().map(|live| (live.process.as_fd(), libc::POLLIN)).collect();
            let _ = socket::poll(&dying, Some(100));
            self.reap();
        }
        if let Some(groups) = &self.groups {
            groups.close();
        }
    }
}

fn read_order(file: &OwnedFd) -> std::io::Result<Order> {
    let size = rustix::fs::fstat(file)?.st_size as usize;
    let mut bytes = vec![0; size];
    let mut at = 0;
    while at < size {
        let Some(rest) = bytes.get_mut(at..) else { break };
        match rustix::io::pread(file, rest, at as u64)? {
            0 => break,
            read => at += read,
        }
    }
    Order::decode(&bytes).ok_or_else(|| std::io::Error::from_raw_os_error(libc::EPROTO))
}

/// The numbers of some descriptors.
pub(crate) fn numbers(fds: &[OwnedFd]) -> Vec<i32> {
    fds.iter().map(AsRawFd::as_raw_fd).collect()
}
