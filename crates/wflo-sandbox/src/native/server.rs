//! The launcher process: waits for orders, forks a pid 1 for each, cleans up after them.
//!
//! Single-threaded, not dumpable, without environment or secrets, with one descriptor from
//! outside: the socket at number 0. It ends with its engine, and ends its sandboxes first.
//! A launcher makes sandboxes of one kind, isolated ones or bare ones.
//! **Architecture Invariant:** the launcher reads nothing that a sandboxed program wrote.

use super::blank::Blank;
use super::capabilities::Capabilities;
use super::cgroup::{Groups, Version};
use super::clocks;
use super::halt::Halt;
use super::init;
use super::mold::{Mold, User};
use super::sockets;
use super::spec::{Level, Limits};
use super::sys::process::{self, Forked};
use super::sys::{At, Fault, socket};
use super::wire::{Notice, Order};
use crate::bare;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

/// How long nothing must happen before a blank is made ahead, in milliseconds: making one while a
/// sandbox begins takes from it what the next one gains.
const IDLE_MS: i64 = 1;

/// How long sandboxes that end by themselves have for it, in milliseconds.
const PATIENCE_MS: i64 = 5_000;

/// What every sandbox of a launcher is told by it.
pub(crate) struct Common {
    pub(crate) groups: Option<Groups>,
    pub(crate) capabilities: Capabilities,
    /// Whether a socket holds no more than it is taken to.
    pub(crate) sockets_fit: bool,
    /// Its end tells every pid 1 that the launcher is gone; nothing is ever written to it.
    lifeline: (OwnedFd, OwnedFd),
}

impl Common {
    /// Whether all that a sandbox holds is counted where its memory is limited.
    pub(crate) fn accounts(&self, limits: &Limits) -> bool {
        self.capabilities.memory == Level::Kernel || limits.memory.is_none()
    }
}

/// What came with one order.
pub(crate) struct Given<'a> {
    pub(crate) control: BorrowedFd<'a>,
    pub(crate) lifeline: BorrowedFd<'a>,
    pub(crate) held: Option<BorrowedFd<'a>>,
    /// What an isolated sandbox begins in, if it was made ahead.
    pub(crate) blank: Option<&'a Blank>,
    pub(crate) fds: &'a [OwnedFd],
}

struct Server {
    common: Common,
    /// What isolated sandboxes are made of; `None` where they are bare.
    mold: Option<Mold>,
    spare: Spare,
    live: HashMap<i32, Live>,
}

/// What the next isolated sandbox begins in.
enum Spare {
    /// To be made when there is nothing else to do.
    Wanted,
    Ready(Blank),
    /// Not to be made: the next sandbox makes its own.
    None,
}

struct Live {
    name: String,
    control: OwnedFd,
    process: OwnedFd,
    user: Option<User>,
    /// Not let go before the sandbox's last process is gone.
    _held: Option<OwnedFd>,
}

/// The whole life of the launcher process. The binary calls this, and nothing before it, when its
/// first argument is [`crate::LAUNCHER_ARGUMENT`].
pub fn launcher_main() -> ExitCode {
    let engine = rustix::stdio::stdin();
    let kind = rustix::net::sockopt::socket_type(engine);
    if kind != Ok(rustix::net::SocketType::SEQPACKET) {
        return ExitCode::from(2);
    }
    let isolated = std::env::args_os().nth(2).is_none_or(|argument| argument != super::launcher::BARE);
    process::close_range(3, i32::MAX);
    process::default_actions();
    match Server::prepare(isolated) {
        Ok(mut server) => {
            let greeted = socket::send(engine, &server.common.capabilities.encode(), &[]);
            let served = greeted.and_then(|()| server.serve(engine));
            // Also when the engine was gone before it was greeted: there are groups already.
            server.end_all();
            if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(fault) => {
            let _ = socket::send(engine, &Notice::Failed(fault).encode(), &[]);
            ExitCode::FAILURE
        }
    }
}

impl Server {
    fn prepare(isolated: bool) -> Result<Self, Fault> {
        let _ = rustix::process::setsid();
        rustix::process::umask(rustix::fs::Mode::from(0o022));
        // Two descriptors for each live sandbox.
        let _ = process::limit(libc::RLIMIT_NOFILE, u64::MAX, u64::MAX);
        super::cgroup::sweep();
        let detected = Groups::detect();
        let sockets_fit = sockets::defaults_fit();
        let mold = match Server::wall_in(isolated) {
            Ok(mold) => mold,
            Err(fault) => {
                detected.iter().for_each(Groups::close);
                return Err(fault);
            }
        };
        let (groups, cgroup_note) = match detected {
            Ok(groups) => (Some(groups), String::new()),
            Err(note) => (None, note),
        };
        let level = |kernel: bool| if kernel { Level::Kernel } else { Level::Supervised };
        let capabilities = Capabilities {
            isolated,
            privileged: mold.as_ref().is_some_and(|mold| mold.privileged),
            cgroup: groups.as_ref().map(Groups::version),
            memory: level(groups.as_ref().is_some_and(Groups::limits_memory)),
            sockets: match groups.as_ref().map(Groups::version) {
                Some(Version::V2) => Level::Kernel,
                _ if isolated => Level::Supervised,
                _ => Level::None,
            },
            sockets_told: isolated && sockets::can_tell(),
            cpus: level(groups.as_ref().is_some_and(Groups::limits_cpu)),
            landlock_abi: process::landlock_abi().max(0) as u32,
            clocks: isolated && clocks::can_be_own(),
            cgroup_note,
        };
        let lifeline = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
        let spare = if mold.is_some() { Spare::Wanted } else { Spare::None };
        let common = Common { groups, capabilities, sockets_fit, lifeline };
        Ok(Server { common, mold, spare, live: HashMap::new() })
    }

    /// Prepares this process for the sandboxes that it is to make, and hides it.
    fn wall_in(isolated: bool) -> Result<Option<Mold>, Fault> {
        let mold = if isolated { Some(Mold::prepare()?) } else { None };
        if !isolated {
            process::adopt_orphans().step("adopting orphans")?;
        }
        process::set_dumpable(false).step("hiding the launcher")?;
        Ok(mold)
    }

    /// Serves orders until the engine is gone.
    fn serve(&mut self, engine: BorrowedFd<'_>) -> std::io::Result<()> {
        let signals = process::signal_descriptor(&[libc::SIGCHLD])?;
        let mut buffer = [0; 64];
        loop {
            let sources = [(engine, libc::POLLIN), (signals.as_fd(), libc::POLLIN)];
            let patience = matches!(self.spare, Spare::Wanted).then_some(IDLE_MS);
            let ready = socket::poll(&sources, patience)?;
            if ready.iter().all(|events| *events == 0) {
                self.make_spare()?;
                continue;
            }
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

    fn make_spare(&mut self) -> std::io::Result<()> {
        let made = self.mold.as_ref().map(Blank::ahead).transpose();
        // In somebody else's namespaces there is nothing right that it could still do.
        let made = made.map_err(|fault| std::io::Error::from_raw_os_error(fault.errno))?;
        self.spare = match made {
            Some(Ok(blank)) => Spare::Ready(blank),
            // The next sandbox will meet the same obstacle, and can say so.
            Some(Err(_)) | None => Spare::None,
        };
        Ok(())
    }

    fn launch(&mut self, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let (Some(order), Some(control)) = (fds.next(), fds.next()) else { return };
        if let Err(fault) = self.fork(order, &control, fds) {
            let _ = socket::send(control.as_fd(), &Notice::Failed(fault).encode(), &[]);
        }
    }

    fn fork(
        &mut self,
        order: OwnedFd,
        control: &OwnedFd,
        mut fds: impl Iterator<Item = OwnedFd>,
    ) -> Result<(), Fault> {
        let order = read_order(&order).step("reading the order")?;
        let held = if order.held { fds.next() } else { None };
        let fds: Vec<OwnedFd> = fds.collect();
        let accounted = self.common.accounts(&order.limits);
        let planned = self.mold.as_mut().map(|mold| {
            mold.prepare_filter(order.preset, accounted);
            mold.plan(&order)
        });
        let planned = planned.transpose()?;
        let (namespaces, next) =
            if planned.is_some() { (libc::CLONE_NEWPID, Spare::Wanted) } else { (0, Spare::None) };
        let blank = match std::mem::replace(&mut self.spare, next) {
            Spare::Ready(blank) => Some(blank),
            Spare::Wanted | Spare::None => None,
        };
        let theirs = control.try_clone().step("forking the sandbox")?;
        let halt = Halt::of(&order, &fds);
        halt.at("planned");
        match process::fork(namespaces).step("forking the sandbox")? {
            Forked::Child => {
                let (lifeline, held) = (self.common.lifeline.0.as_fd(), held.as_ref().map(AsFd::as_fd));
                let blank = blank.as_ref();
                let given = Given { control: theirs.as_fd(), lifeline, held, blank, fds: &fds };
                match (&self.mold, &planned) {
                    (Some(mold), Some((plan, _))) => init::main(mold, plan, &self.common, order, &given),
                    _ => bare::supervisor::main(&self.common, order, &given),
                }
            }
            Forked::Parent(pid, process) => {
                halt.at("parted");
                let notice = Notice::Forked { pid: pid as u32 };
                let _ = socket::send(control.as_fd(), &notice.encode(), &[process.as_fd()]);
                let user = planned.map(|(_, user)| user);
                if let (Some(mold), Some(user)) = (&mut self.mold, user) {
                    mold.take(user);
                }
                self.live.insert(pid, Live { name: order.name, control: theirs, process, user, _held: held });
                Ok(())
            }
        }
    }

    /// Takes the dead: when a pid 1 is one of them, its whole tree is.
    fn reap(&mut self) {
        while let Some((pid, _)) = process::reap() {
            let Some(dead) = self.live.remove(&pid) else { continue };
            match (&mut self.mold, dead.user) {
                (Some(mold), Some(user)) => mold.give_back(user),
                // No namespace ended them: whoever is left of a supervisor that was killed.
                _ => {
                    let live = &self.live;
                    bare::tree::end(&|child| live.contains_key(&child));
                    if let Some(groups) = &self.common.groups {
                        groups.end(&dead.name);
                    }
                }
            }
            let groups = self.common.groups.as_ref();
            let (oom_kills, usage) = groups.map(|groups| groups.finish(&dead.name)).unwrap_or_default();
            let notice = Notice::Reaped { oom_kills, usage };
            let _ = socket::send(dead.control.as_fd(), &notice.encode(), &[]);
        }
    }

    fn end_all(&mut self) {
        let began = process::boot_ms();
        while !self.live.is_empty() {
            // Bare ones see that their engine is gone and end their trees themselves.
            if self.mold.is_some() || process::boot_ms() - began > PATIENCE_MS {
                for live in self.live.values() {
                    let _ = process::signal_process(live.process.as_fd(), libc::SIGKILL);
                }
            }
            let dying: Vec<_> = self.live.values().map(|live| (live.process.as_fd(), libc::POLLIN)).collect();
            let _ = socket::poll(&dying, Some(100));
            self.reap();
        }
        if let Some(groups) = &self.common.groups {
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
