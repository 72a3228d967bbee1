//! The launcher process: waits for orders, has a pid 1 for each, cleans up after them.
//!
//! Single-threaded, not dumpable, without environment or secrets, with one descriptor from
//! outside: the socket at number 0. It ends with its engine, and ends its sandboxes first.
//! A launcher makes sandboxes of one kind, isolated ones or bare ones. The same binary is pid 1 of a
//! container, and the helper that keeps listeners for containers private: by its second argument.
//! **Architecture Invariant:** the launcher reads nothing that a sandboxed program wrote.

use super::blank::Blank;
use super::capabilities::Capabilities;
use super::cgroup::{Groups, Version};
use super::clocks;
use super::halt::Halt;
use super::mold::{Mold, User};
use super::seccomp::Screen;
use super::sockets;
use super::spec::Level;
use super::sys::process::{self, Forked};
use super::sys::{At, Fault, socket};
use super::task::{self, Handed};
use super::wire::{Notice, Order};
use crate::{bare, remote};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

/// How long nothing must happen behind an end before there is time for what is not urgent: often the next
/// order follows at once.
const BEHIND_AN_END: Duration = Duration::from_millis(1);
/// The same behind an order. A pid 1 has entered its root by then: while it does, the kernel waits for
/// whoever makes namespaces. The rest of a sandbox's life is the best time for that.
const BEHIND_AN_ORDER: Duration = Duration::from_micros(200);

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
    /// What ends with the launcher.
    pub(crate) fn lifeline(&self) -> BorrowedFd<'_> {
        self.lifeline.0.as_fd()
    }

    /// What the filter of an order's program depends on.
    pub(crate) fn screen(&self, order: &Order) -> Screen {
        // Whether all that the sandbox holds is counted where its memory is limited.
        let accounted = self.capabilities.memory == Level::Kernel || order.limits.memory.is_none();
        Screen { preset: order.preset, accounted, lasting: !order.rw.is_empty() }
    }
}

/// What came with one order.
pub(crate) struct Given<'a> {
    pub(crate) control: BorrowedFd<'a>,
    pub(crate) lifeline: BorrowedFd<'a>,
    pub(crate) held: Option<BorrowedFd<'a>>,
    pub(crate) fds: &'a [OwnedFd],
}

struct Server {
    common: Common,
    /// What isolated sandboxes are made of; `None` where they are bare.
    mold: Option<Mold>,
    spare: Spare,
    live: HashMap<i32, Live>,
    /// How long nothing must happen now before there is time for what is not urgent.
    patience: Duration,
}

/// The pid 1 of the next isolated sandbox.
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
    /// The user of an isolated one.
    user: Option<User>,
    /// Not let go before the sandbox's last process is gone.
    _held: Option<OwnedFd>,
}

/// The whole life of the launcher process. The binary calls this, and nothing before it, when its
/// first argument is [`crate::LAUNCHER_ARGUMENT`].
pub fn launcher_main() -> ExitCode {
    let role = std::env::args_os().nth(2);
    if role.as_deref() == Some(OsStr::new(remote::KEEPER)) {
        let own = std::env::args_os().nth(3).map(std::path::PathBuf::from);
        remote::keeper::main(own.as_deref());
    }
    if role.as_deref() == Some(OsStr::new(remote::loopback::LOOPBACK)) {
        return remote::loopback::main();
    }
    let engine = rustix::stdio::stdin();
    let kind = rustix::net::sockopt::socket_type(engine);
    if kind != Ok(rustix::net::SocketType::SEQPACKET) {
        return ExitCode::from(2);
    }
    let isolated = role.is_none_or(|role| role != super::launcher::BARE);
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
            io: match groups.as_ref().is_some_and(Groups::limits_io) {
                true => Level::Kernel,
                false => Level::None,
            },
            landlock_abi: process::landlock_abi().max(0) as u32,
            clocks: isolated && clocks::can_be_own(),
            cgroup_note,
        };
        let lifeline = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
        let spare = if mold.is_some() { Spare::Wanted } else { Spare::None };
        let common = Common { groups, capabilities, sockets_fit, lifeline };
        Ok(Server { common, mold, spare, live: HashMap::new(), patience: BEHIND_AN_END })
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
            let ready = socket::poll_for(&sources, self.patience())?;
            if ready.iter().all(|events| *events == 0) {
                self.make_the_next();
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

    /// How long to wait for something to happen before the next pid 1 is made; for ever without one to make.
    fn patience(&self) -> Option<Duration> {
        matches!(self.spare, Spare::Wanted).then_some(self.patience)
    }

    fn make_the_next(&mut self) {
        let Some(mold) = &self.mold else { return };
        // Where it cannot be had the next sandbox meets the same obstacle, and can say so.
        self.spare = Blank::fork(mold, &self.common, None).map_or(Spare::None, Spare::Ready);
    }

    fn launch(&mut self, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let (Some(request), Some(control)) = (fds.next(), fds.next()) else { return };
        self.patience = BEHIND_AN_ORDER;
        if let Err(fault) = self.begin(&request, &control, fds) {
            let _ = socket::send(control.as_fd(), &Notice::Failed(fault).encode(), &[]);
        }
    }

    fn begin(
        &mut self,
        request: &OwnedFd,
        control: &OwnedFd,
        mut fds: impl Iterator<Item = OwnedFd>,
    ) -> Result<(), Fault> {
        let order = task::read(request).step("reading the order")?;
        let held = if order.held { fds.next() } else { None };
        let fds: Vec<OwnedFd> = fds.collect();
        let theirs = control.try_clone().step("forking the sandbox")?;
        let halt = Halt::of(&order, &fds);
        let (pid, process, user) = if self.mold.is_some() {
            let (blank, user) = self.hand_over(&order, request, control, held.as_ref(), &fds, &halt)?;
            (blank.pid, blank.process, Some(user))
        } else {
            halt.at("planned");
            match process::fork(0).step("forking the sandbox")? {
                Forked::Child => {
                    let held = held.as_ref().map(AsFd::as_fd);
                    let lifeline = self.common.lifeline();
                    let given = Given { control: theirs.as_fd(), lifeline, held, fds: &fds };
                    bare::supervisor::main(&self.common, order, &given)
                }
                Forked::Parent(pid, process) => (pid, process, None),
            }
        };
        halt.at("parted");
        let notice = Notice::Forked { pid: pid as u32 };
        let _ = socket::send(control.as_fd(), &notice.encode(), &[process.as_fd()]);
        self.live.insert(pid, Live { name: order.name, control: theirs, process, user, _held: held });
        Ok(())
    }

    /// Gives an order to the pid 1 that is ready, or to one that is forked for it.
    fn hand_over(
        &mut self,
        order: &Order,
        request: &OwnedFd,
        control: &OwnedFd,
        held: Option<&OwnedFd>,
        fds: &[OwnedFd],
        halt: &Halt<'_>,
    ) -> Result<(Blank, User), Fault> {
        let step = "handing the order over";
        let Some(mold) = &mut self.mold else { return Err(Fault::new(step, libc::EINVAL, "")) };
        mold.prepare_filter(self.common.screen(order));
        let (plan, user) = mold.plan(order)?;
        let handed = Handed {
            request: request.as_fd(),
            control: control.as_fd(),
            held: held.map(AsFd::as_fd),
            fds,
            plan: &plan,
        };
        halt.at("planned");
        // One that is to halt on its way has to know that from its beginning.
        let ready = if halt.is_set() { None } else { self.spare.take() };
        // It may be dead, or have met an obstacle: no part of the order has been begun then.
        let ready = ready.filter(|blank| handed.send(blank.orders.as_fd()).is_ok());
        let blank = match ready {
            Some(blank) => blank,
            None => {
                let blank = Blank::fork(mold, &self.common, Some(halt))?;
                handed.send(blank.orders.as_fd()).step(step)?;
                blank
            }
        };
        mold.take(user);
        Ok((blank, user))
    }

    /// Takes the dead: when a pid 1 is one of them, its whole tree is.
    fn reap(&mut self) {
        self.patience = BEHIND_AN_END;
        while let Some((pid, _)) = process::reap() {
            let Some(dead) = self.live.remove(&pid) else {
                self.spare.is_dead(pid);
                continue;
            };
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
        if let Some(blank) = self.spare.take() {
            let _ = process::signal_process(blank.process.as_fd(), libc::SIGKILL);
            let _ = socket::poll(&[(blank.process.as_fd(), libc::POLLIN)], None);
        }
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

impl Spare {
    /// Takes the one that is ready; the next is wanted.
    fn take(&mut self) -> Option<Blank> {
        match std::mem::replace(self, Spare::Wanted) {
            Spare::Ready(blank) => Some(blank),
            Spare::Wanted | Spare::None => None,
        }
    }

    /// This process is dead. A blank that ends by itself could not be made.
    fn is_dead(&mut self, pid: i32) {
        if matches!(self, Spare::Ready(blank) if blank.pid == pid) {
            *self = Spare::None;
        }
    }
}
