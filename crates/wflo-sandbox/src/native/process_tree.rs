//! The live processes of one sandbox, as the engine holds them.

use super::cgroup::Gauge;
use super::error::Error;
use super::exit::{Exit, Outcome, Usage};
use super::spec::{Enforcement, Owner};
use super::sys::{process, socket};
use super::wire::{Notice, Ports};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wflo_core::id::SandboxId;

/// How long making a sandbox may take, in milliseconds.
const START_MS: i64 = 30_000;

/// How long a pid 1 may take to say what its tree takes, in milliseconds.
const MEASURE_MS: i64 = 1_000;

/// How long a supervisor that is asked to end its tree has for it, in milliseconds.
const END_MS: i64 = 5_000;

/// A sandbox whose program has been started. Dropping it kills the whole tree.
#[derive(Debug)]
pub struct ProcessTree {
    id: SandboxId,
    /// Whether the tree ends with its pid 1; else that is a supervisor, which ends it.
    isolated: bool,
    pid: u32,
    process: OwnedFd,
    control: OwnedFd,
    enforcement: Vec<Enforcement>,
    owner: Owner,
    listener: Mutex<Option<TcpListener>>,
    egress: Mutex<Option<TcpListener>>,
    ports: Ports,
    upper: Option<OwnedFd>,
    merged: Option<OwnedFd>,
    gauge: Gauge,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    ended: Option<(Outcome, Usage)>,
    measured: Option<Usage>,
    /// Its pid 1 was asked to measure, and has not answered.
    asked: bool,
    exit: Option<Exit>,
}

/// What arrives before the program runs, in whatever order.
#[derive(Default)]
struct Arrivals {
    forked: Option<(u32, OwnedFd)>,
    owner: [u32; 6],
    ports: Ports,
    listener: Option<OwnedFd>,
    egress: Option<OwnedFd>,
    upper: Option<OwnedFd>,
    merged: Option<OwnedFd>,
    progress: Progress,
    running: bool,
}

impl ProcessTree {
    /// Waits until the program of a requested sandbox runs, or the making has failed.
    pub(crate) fn await_start(
        id: SandboxId,
        control: OwnedFd,
        enforcement: Vec<Enforcement>,
        isolated: bool,
        gauge: Gauge,
    ) -> Result<Self, Error> {
        let io = |what| move |source| Error::Io { what, source };
        let mut seen = Arrivals::default();
        let deadline = process::boot_ms() + START_MS;
        let mut failure = None;
        while !(seen.running && seen.forked.is_some()) {
            let left = deadline - process::boot_ms();
            let ready =
                socket::poll(&[(control.as_fd(), libc::POLLIN)], Some(left)).map_err(io("awaited"))?;
            if left <= 0 && ready.first() == Some(&0) {
                // Closing the control socket, as returning does, ends whatever exists of it.
                return Err(Error::Io { what: "started in time", source: timed_out() });
            }
            match next(&control, false).map_err(io("started"))? {
                Arrival::Nothing => {}
                Arrival::Notice(Notice::Failed(fault), _) => failure = Some(Error::setup(fault)),
                Arrival::Notice(Notice::Reaped { oom_kills, .. }, _) => {
                    return Err(failure.unwrap_or_else(|| Error::killed_at_birth(oom_kills)));
                }
                Arrival::Gone => return Err(failure.unwrap_or(Error::LauncherGone)),
                Arrival::Notice(notice, fds) => seen.take(notice, fds),
            }
        }
        let Some((pid, process)) = seen.forked else { return Err(Error::LauncherGone) };
        let [inside_uid, inside_gid, upper_uid, upper_gid, host_uid, host_gid] = seen.owner;
        Ok(ProcessTree {
            id,
            isolated,
            pid,
            process,
            control,
            enforcement,
            owner: Owner { inside_uid, inside_gid, upper_uid, upper_gid, host_uid, host_gid },
            listener: Mutex::new(seen.listener.map(TcpListener::from)),
            egress: Mutex::new(seen.egress.map(TcpListener::from)),
            ports: seen.ports,
            upper: seen.upper,
            merged: seen.merged,
            gauge,
            progress: Mutex::new(seen.progress),
        })
    }

    /// The sandbox's id.
    pub fn id(&self) -> SandboxId {
        self.id
    }

    /// The process id of the sandbox's pid 1, as the host sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A descriptor of the sandbox's pid 1; readable once the whole tree is dead.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Readable when there is news: then call [`ProcessTree::try_wait`], which may still say that it
    /// has not ended, and poll again.
    pub fn status_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// How each limit is enforced.
    pub fn enforcement(&self) -> &[Enforcement] {
        &self.enforcement
    }

    /// Who owns what the program writes.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The port of the model listener inside, if one was asked for.
    pub fn model_port(&self) -> Option<u16> {
        self.ports.model
    }

    /// The port of the egress listener inside, if one was asked for.
    pub fn egress_port(&self) -> Option<u16> {
        self.ports.egress
    }

    /// The listener on the sandbox's own 127.0.0.1: what connects to it is inside this sandbox.
    /// Given once.
    pub fn take_listener(&self) -> Option<TcpListener> {
        taken(&self.listener)
    }

    /// The second listener, for whoever lets connections out. Given once.
    pub fn take_egress_listener(&self) -> Option<TcpListener> {
        taken(&self.egress)
    }

    /// The upper layer of the workspace: everything that changed, whiteouts and opaque marks
    /// (`trusted.overlay.opaque` as root, `user.overlay.opaque` otherwise) included. It can be
    /// read after the end, as long as this handle or a copy of the descriptor lives.
    pub fn upper(&self) -> Option<BorrowedFd<'_>> {
        self.upper.as_ref().map(AsFd::as_fd)
    }

    /// The workspace as the program sees it.
    pub fn merged(&self) -> Option<BorrowedFd<'_>> {
        self.merged.as_ref().map(AsFd::as_fd)
    }

    /// How it ended, if it has: no process of it is left then.
    ///
    /// # Errors
    /// [`Error::Io`] when the sandbox cannot be asked.
    pub fn try_wait(&self) -> Result<Option<Exit>, Error> {
        self.advance(false)
    }

    /// Waits until it has ended and no process of it is left.
    ///
    /// # Errors
    /// [`Error::Io`] when the sandbox cannot be asked.
    pub fn wait(&self) -> Result<Exit, Error> {
        loop {
            if let Some(exit) = self.advance(false)? {
                return Ok(exit);
            }
            socket::poll(&[(self.control.as_fd(), libc::POLLIN)], None)
                .map_err(|source| Error::Io { what: "awaited", source })?;
        }
    }

    /// Kills the whole tree and waits until it is dead.
    ///
    /// # Errors
    /// [`Error::Io`] when the kernel refuses the signal.
    pub fn kill(&self) -> Result<Exit, Error> {
        if !self.isolated && self.ask(b"K").is_ok() {
            let deadline = process::boot_ms() + END_MS;
            while let Some(left) = Some(deadline - process::boot_ms()).filter(|left| *left > 0) {
                if let Some(exit) = self.advance(false)? {
                    return Ok(exit);
                }
                socket::poll(&[(self.control.as_fd(), libc::POLLIN)], Some(left))
                    .map_err(|source| Error::Io { what: "awaited", source })?;
            }
            // It is stopped, or worse. The launcher ends what it leaves behind.
        }
        match process::signal_process(self.process.as_fd(), libc::SIGKILL) {
            Err(source) if source.raw_os_error() != Some(libc::ESRCH) => {
                Err(Error::Io { what: "killed", source })
            }
            _ => self.wait(),
        }
    }

    /// Stops every process inside (SIGSTOP). Its time-out goes on. Whoever has itself continued ends the sandbox:
    /// [`Outcome::RanOn`].
    ///
    /// # Errors
    /// [`Error::Io`] when the sandbox has ended.
    pub fn freeze(&self) -> Result<(), Error> {
        self.ask(b"S")
    }

    /// Lets a stopped sandbox go on.
    ///
    /// # Errors
    /// [`Error::Io`] when the sandbox has ended.
    pub fn thaw(&self) -> Result<(), Error> {
        self.ask(b"C")
    }

    /// What it uses now, from its groups and its pid 1; what it used, once it has ended.
    ///
    /// # Errors
    /// [`Error::Io`] when the sandbox cannot be asked, or does not answer in a second.
    pub fn usage(&self) -> Result<Usage, Error> {
        if let Some(exit) = self.try_wait()? {
            return Ok(exit.usage);
        }
        let counted = self.gauge.usage();
        if counted.is_complete() {
            return Ok(counted);
        }
        let mut progress = self.progress();
        progress.measured = None;
        if self.ask(b"U").is_err() {
            drop(progress);
            return Ok(self.wait()?.usage);
        }
        let deadline = process::boot_ms() + MEASURE_MS;
        loop {
            if let Some(exit) = progress.exit {
                return Ok(exit.usage);
            }
            if let Some(usage) = progress.measured {
                return Ok(counted.or(usage));
            }
            if self.step(&mut progress, false)? {
                continue;
            }
            let io = |source| Error::Io { what: "measured", source };
            let left = deadline - process::boot_ms();
            if left <= 0 {
                // The answer, should it come, is read with what follows.
                return Err(io(timed_out()));
            }
            socket::poll(&[(self.control.as_fd(), libc::POLLIN)], Some(left)).map_err(io)?;
        }
    }

    /// What it used when last looked at, without waiting for anybody: what its groups do not count, its pid 1
    /// said since the last call, which asks it again. `None` of what has ended.
    pub fn sample(&self) -> Option<Usage> {
        let counted = self.gauge.usage();
        if counted.is_complete() {
            return Some(counted);
        }
        // Whoever holds it waits for an answer, which is the next look's.
        let Ok(mut progress) = self.progress.try_lock() else { return Some(counted) };
        while progress.exit.is_none() && self.step(&mut progress, false).unwrap_or(false) {}
        if progress.exit.is_some() {
            return None;
        }
        let measured = progress.measured.take();
        if !progress.asked {
            progress.asked = self.ask(b"U").is_ok();
        }
        Some(counted.or(measured.unwrap_or_default()))
    }

    fn ask(&self, what: &[u8]) -> Result<(), Error> {
        socket::send(self.control.as_fd(), what, &[]).map_err(|source| Error::Io { what: "asked", source })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        match self.progress.lock() {
            Ok(progress) => progress,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    fn advance(&self, wait: bool) -> Result<Option<Exit>, Error> {
        let mut progress = self.progress();
        while progress.exit.is_none() && self.step(&mut progress, wait)? {}
        Ok(progress.exit)
    }

    /// Takes one notice; false when none was there.
    fn step(&self, progress: &mut Progress, wait: bool) -> Result<bool, Error> {
        let io = |source| Error::Io { what: "asked", source };
        match next(&self.control, wait).map_err(io)? {
            Arrival::Nothing => return Ok(false),
            Arrival::Notice(Notice::Ended(outcome, usage), _) => progress.ended = Some((outcome, usage)),
            Arrival::Notice(Notice::Measured(usage), _) => {
                progress.measured = Some(usage);
                progress.asked = false;
            }
            Arrival::Notice(Notice::Reaped { oom_kills, usage }, _) => {
                progress.exit = Some(verdict(progress.ended, oom_kills, usage.over()));
            }
            Arrival::Notice(..) => {}
            Arrival::Gone => {
                // The launcher died, and pid 1 with it: be sure of the second before saying so.
                socket::poll(&[(self.process.as_fd(), libc::POLLIN)], None).map_err(io)?;
                progress.exit = Some(verdict(progress.ended, 0, Usage::default()));
            }
        }
        Ok(true)
    }
}

impl Drop for ProcessTree {
    fn drop(&mut self) {
        if !self.isolated {
            // Its supervisor sees the end of the control socket, and ends the tree.
            return;
        }
        let _ = process::signal_process(self.process.as_fd(), libc::SIGKILL);
    }
}

impl Arrivals {
    fn take(&mut self, notice: Notice, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        match notice {
            Notice::Forked { pid } => self.forked = fds.next().map(|process| (pid, process)),
            Notice::Running { owner, ports, layers } => {
                self.running = true;
                self.owner = owner;
                self.ports = ports;
                self.listener = ports.model.and_then(|_| fds.next());
                self.egress = ports.egress.and_then(|_| fds.next());
                if layers {
                    self.upper = fds.next();
                    self.merged = fds.next();
                }
            }
            Notice::Ended(outcome, usage) => {
                self.progress.ended = Some((outcome, usage));
                self.running = true;
            }
            Notice::Measured(_) | Notice::Failed(_) | Notice::Reaped { .. } => {}
        }
    }
}

fn taken(listener: &Mutex<Option<TcpListener>>) -> Option<TcpListener> {
    listener.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// One read of the control socket.
enum Arrival {
    Nothing,
    Notice(Notice, Vec<OwnedFd>),
    Gone,
}

fn next(control: &OwnedFd, wait: bool) -> std::io::Result<Arrival> {
    let mut buffer = [0; 4_096];
    match socket::receive(control.as_fd(), &mut buffer, wait) {
        Ok(Some((length, fds))) => Notice::decode(buffer.get(..length).unwrap_or_default())
            .map(|notice| Arrival::Notice(notice, fds))
            .ok_or_else(|| std::io::Error::from_raw_os_error(libc::EPROTO)),
        Ok(None) => Ok(Arrival::Gone),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(Arrival::Nothing),
        Err(error) => Err(error),
    }
}

fn timed_out() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::ETIMEDOUT)
}

/// What the whole of the notices says.
fn verdict(ended: Option<(Outcome, Usage)>, oom_kills: u64, usage: Usage) -> Exit {
    let (outcome, measured) = match ended {
        None if oom_kills > 0 => (Outcome::OutOfMemory, Usage::default()),
        None => (Outcome::Killed, Usage::default()),
        // A shell tells in the second way that what it waited for was ended so.
        Some((Outcome::Signalled(libc::SIGKILL) | Outcome::Exited(137), measured)) if oom_kills > 0 => {
            (Outcome::OutOfMemory, measured)
        }
        Some(ended) => ended,
    };
    Exit { outcome, usage: usage.most(measured) }
}
