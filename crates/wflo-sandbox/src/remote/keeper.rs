//! Starts a program, carries its bytes, keeps its time, ends with its engine.
//!
//! It is wflo's own binary: pid 1 of a container, shown to it read-only, or a process of a cloud's sandbox, which
//! adopts whoever loses its parent. Somebody else has made the walls;
//! this adds those that are wflo's own (the exact filter of the preset, Landlock, rlimits), reaps whoever
//! loses its parent, and sees to the end: of the program, of its time, of a limit that nobody else
//! keeps, or of the engine, whose death closes standard input. If even that is not noticed (a container
//! engine that died with it, a cloud that keeps the input open), silence for [`LEASE_MS`] is taken for it.
//!
//! **Architecture Invariant:** once there is no engine, or the time is up, nothing that it has started is
//! left, whoever else is alive.
//! **Architecture Invariant:** it is not dumpable, so a program of the same user can neither trace it nor
//! read its memory; and as pid 1 it takes no signal from inside. As another process it may be killed by its
//! program, which ends the sandbox.

mod duties;
mod streams;
mod told;

pub(crate) use duties::Duties;

use super::files::{Entry, Intake, Outgoing, Stamps};
use super::frame::{Decoder, Frame, Kind};
use crate::bare::tree;
use crate::native::exit::{Outcome, Usage};
use crate::native::init;
use crate::native::landlock;
use crate::native::net;
use crate::native::seccomp::{self, Screen};
use crate::native::sockets::{self, Sockets};
use crate::native::spec::HOME;
use crate::native::supervise::{Members, Supervisor, Verdict, Watched};
use crate::native::sys::process::{self, Status};
use crate::native::sys::{At, Fault, socket};
use crate::native::wire::{Notice, Order, Ports};
use crate::native::worker::{self, Walls};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use streams::Streams;

/// How long an engine may be silent.
const LEASE_MS: i64 = 600_000;
/// The most that may come in with the files of a workspace: the disk limit is what bounds them.
const ENTRIES: u64 = 1_000_000;

enum Phase {
    /// For an order, and then for its files.
    Waiting,
    /// The workspace, and the order's further places in its order.
    Filling(Box<(Order, Duties)>, Vec<Intake>),
    Running(Box<Running>),
    /// Every process is dead; what it wrote can be asked for.
    Over,
}

struct Running {
    worker: i32,
    deadline: Option<i64>,
    supervisor: Supervisor<'static>,
}

struct Keeper {
    /// Whom it answers for: as pid 1 for everybody.
    members: Members,
    phase: Phase,
    streams: Streams,
    decoder: Decoder,
    heard: i64,
    workspace: PathBuf,
    stamps: Stamps,
    outgoing: Option<Outgoing>,
}

/// The whole life of the keeper, whose own program is the file `own` where that can be read. Never returns.
pub(crate) fn main(own: Option<&Path>) -> ! {
    let _ = process::set_dumpable(false);
    let _ = process::no_new_privileges();
    process::default_actions();
    // A program that hangs up while something is written to it ends nobody but itself.
    process::ignore_signal(libc::SIGPIPE);
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    process::close_range(3, i32::MAX);
    let code = match serve(own) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    process::exit_now(code)
}

fn serve(own: Option<&Path>) -> io::Result<()> {
    let members = if std::process::id() == 1 { Members::Namespace } else { Members::Below };
    if members == Members::Below {
        process::adopt_orphans()?;
    }
    let signals = process::signal_descriptor(&[libc::SIGCHLD])?;
    let (input, output) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    rustix::io::ioctl_fionbio(input, true)?;
    rustix::io::ioctl_fionbio(output, true)?;
    let mut keeper = Keeper {
        members,
        phase: Phase::Waiting,
        streams: Streams::default(),
        decoder: Decoder::default(),
        heard: process::boot_ms(),
        workspace: PathBuf::new(),
        stamps: Stamps::default(),
        outgoing: None,
    };
    let hash = own.map(hash_of).transpose()?;
    let hash = hash.map(|hash| hash.as_bytes().to_vec()).unwrap_or_default();
    keeper.streams.say(&Frame::new(Kind::Ready, 0, hash));
    loop {
        keeper.streams.flush(output)?;
        let now = process::boot_ms();
        let wake = match keeper.keep_time(now)? {
            Some(wake) => wake,
            None => return Ok(()),
        };
        keeper.read_out()?;
        let mut polled: Vec<(BorrowedFd<'_>, i16)> =
            vec![(input, libc::POLLIN), (signals.as_fd(), libc::POLLIN)];
        if keeper.streams.has_words() {
            polled.push((output, libc::POLLOUT));
        }
        let fixed = polled.len();
        let watched = keeper.streams.watched(&mut polled);
        let ready = socket::poll(&polled, Some((wake - now).max(0)))?;
        drop(polled);
        let events = |index: usize| ready.get(index).copied().unwrap_or(0);
        if events(1) != 0 {
            let mut taken = [0; 1_024];
            let _ = rustix::io::read(&signals, &mut taken);
            keeper.reap();
        }
        for (index, stream) in watched.into_iter().enumerate() {
            keeper.streams.attend(stream, events(fixed + index));
        }
        if events(0) != 0 && !keeper.hear(input)? {
            // Nobody is left to be told.
            return Ok(());
        }
    }
}

impl Keeper {
    /// Reads what the engine says; false when it is gone.
    fn hear(&mut self, input: BorrowedFd<'_>) -> io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        match rustix::io::read(input, &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => self.decoder.push(buffer.get(..read).unwrap_or_default()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        self.heard = process::boot_ms();
        while let Some(frame) = self.decoder.next()? {
            if let Err(fault) = self.obey(frame) {
                self.streams.say(&Frame::new(Kind::Notice, 0, Notice::Failed(fault).encode()));
                self.over();
            }
        }
        Ok(true)
    }

    fn obey(&mut self, frame: Frame) -> Result<(), Fault> {
        let broken = || Fault::new("reading the order", libc::EPROTO, "");
        match (frame.kind, &mut self.phase) {
            (Kind::Order, Phase::Waiting) => {
                let (duties, order) = Duties::decode(&frame.bytes).ok_or_else(broken)?;
                if let Some(user) = duties.user {
                    // Its files are the program's from the first; what is real and saved stays out of reach.
                    process::act_as(user).step("becoming the program's user")?;
                }
                let view = order.workspace.as_ref().map(|view| view.target.clone());
                self.workspace = view.unwrap_or_else(|| crate::native::spec::WORKSPACE.into());
                let mut intakes = Vec::new();
                for place in places(&order, duties, &self.workspace) {
                    if duties.bare {
                        std::fs::create_dir_all(place)
                            .at("making the folder", || place.display().to_string())?;
                    }
                    let intake = Intake::new(place, ENTRIES, u64::MAX);
                    intakes.push(intake.at("opening the folder", || place.display().to_string())?);
                }
                self.phase = Phase::Filling(Box::new((order, duties)), intakes);
            }
            (Kind::Entry, Phase::Filling(_, intakes)) => {
                let entry = Entry::decode(&frame.bytes).ok_or_else(broken)?;
                let intake = intakes.get_mut(frame.stream as usize).ok_or_else(broken)?;
                let named = entry.path.to_string();
                intake.entry(entry).at("filling the workspace", || named)?;
            }
            (Kind::Piece, Phase::Filling(_, intakes)) => {
                let intake = intakes.get_mut(frame.stream as usize).ok_or_else(broken)?;
                intake.piece(&frame.bytes).step("filling the workspace")?;
            }
            (Kind::Begin, Phase::Filling(..)) => {
                let Phase::Filling(order, intakes) = std::mem::replace(&mut self.phase, Phase::Over) else {
                    return Err(broken());
                };
                for intake in intakes {
                    intake.finish().step("filling the workspace")?;
                }
                self.stamps = Stamps::take(&self.workspace).step("reading the workspace")?;
                self.begin(order.0, order.1)?;
            }
            (Kind::Kill, Phase::Running(_)) => self.end(Outcome::Killed),
            (Kind::Measure, Phase::Running(running)) => {
                let usage = told(self.members).or(running.supervisor.usage());
                self.streams.say(&Frame::new(Kind::Notice, 0, Notice::Measured(usage).encode()));
            }
            (Kind::Capture, Phase::Running(_) | Phase::Over) => {
                match self.stamps.differences(&self.workspace) {
                    Ok(outgoing) => self.outgoing = Some(outgoing),
                    Err(error) => self.streams.say(&Frame::new(Kind::Captured, 1, error.to_string())),
                }
            }
            (Kind::Data | Kind::End | Kind::Credit | Kind::Size, _) => self.streams.take(&frame),
            _ => {}
        }
        Ok(())
    }

    /// Starts the program.
    fn begin(&mut self, mut order: Order, duties: Duties) -> Result<(), Fault> {
        if duties.bare {
            let set = |name: &OsString, order: &Order| order.env.iter().any(|(known, _)| known == name);
            // Those of the shell that started it are nobody's.
            let of_shell = |name: &OsString| ["PWD", "OLDPWD", "SHLVL", "_"].iter().any(|own| name == own);
            let own = std::env::vars_os().filter(|(name, _)| !of_shell(name) && !set(name, &order));
            let own: Vec<_> = own.collect();
            order.env.extend(own);
        }
        let listen = |asked: bool| if asked { net::listen().map(Some) } else { Ok(None) };
        let (model, egress) = (listen(order.model_listener)?, listen(order.egress_listener)?);
        let ports = Ports {
            model: model.as_ref().map(|(_, port)| *port),
            egress: egress.as_ref().map(|(_, port)| *port),
        };
        let rules = landlock::prepare(&writable(&order, &self.workspace))?;
        let filter =
            seccomp::compile(Screen { preset: order.preset, accounted: true, lasting: !order.rw.is_empty() });
        let (fds, order) = self.streams.for_program(order).step("making the program's streams")?;
        let limits = order.limits;
        // The kernel counts a user's tasks together: those that are there already are nobody's of the program.
        let beside = if self.members == Members::Below { of_this_user() } else { 0 };
        let (report, report_end) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("making a pipe")?;
        let started = process::boot_ms();
        let worker = match process::fork_plainly().step("forking the program")? {
            None => {
                process::default_actions();
                // What belongs to it under /proc is its own again, as far as its exec decides.
                let _ = process::set_dumpable(true);
                if let Some(user) = duties.user
                    && process::be_user(user).is_err()
                {
                    process::exit_now(1);
                }
                let walls = Walls {
                    ids: None,
                    pids: limits.pids.map(|pids| pids.saturating_add(beside)),
                    rules: rules.as_ref().map(AsRawFd::as_raw_fd),
                    filter: &filter,
                    clocks: false,
                    halt: None,
                };
                worker::main(&init::program(order, &fds, ports, Some(walls)), report_end.as_raw_fd())
            }
            Some(pid) => pid,
        };
        drop((fds, report_end, rules));
        let said = read_all(report);
        if !said.is_empty() {
            // Already a notice: a step that failed, or an end before the beginning.
            self.streams.say(&Frame::new(Kind::Notice, 0, said));
            self.over();
            return Ok(());
        }
        self.streams.listen([model, egress]);
        let running = Notice::Running { owner: [0; 6], ports, layers: false };
        self.streams.say(&Frame::new(Kind::Notice, 0, running.encode()));
        self.phase = Phase::Running(Box::new(Running {
            worker,
            deadline: limits.timeout.map(|limit| started.saturating_add_unsigned(limit.0)),
            supervisor: supervisor(&limits, duties, self.members),
        }));
        Ok(())
    }

    /// Ends what has to end now; gives when to look again, `None` when there is no engine any more.
    fn keep_time(&mut self, now: i64) -> io::Result<Option<i64>> {
        let lease = self.heard + LEASE_MS;
        if now >= lease {
            return Ok(None);
        }
        let Phase::Running(running) = &mut self.phase else { return Ok(Some(lease)) };
        if running.deadline.is_some_and(|deadline| now >= deadline) {
            self.end(Outcome::TimedOut);
            return Ok(Some(now));
        }
        let next = match running.supervisor.look(now) {
            Verdict::OutOfMemory => {
                self.end(Outcome::OutOfMemory);
                Some(now)
            }
            Verdict::TooManyTasks => {
                self.end(Outcome::TooManyTasks);
                Some(now)
            }
            Verdict::RanOn => {
                self.end(Outcome::RanOn);
                Some(now)
            }
            Verdict::Again(next) => next.into_iter().chain(running.deadline).min(),
        };
        Ok(Some(next.map_or(lease, |next| next.min(lease))))
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = process::reap() {
            if let Phase::Running(running) = &self.phase
                && running.worker == pid
            {
                let outcome = match status {
                    Status::Signalled(libc::SIGKILL) | Status::Exited(137) if self.saw_oom() => {
                        Outcome::OutOfMemory
                    }
                    Status::Exited(code) => Outcome::Exited(code),
                    Status::Signalled(signal) => Outcome::Signalled(signal),
                };
                self.end(outcome);
            }
        }
    }

    /// Ends every process that it answers for, and says so when none is left.
    fn end(&mut self, outcome: Outcome) {
        let was = std::mem::replace(&mut self.phase, Phase::Over);
        self.over();
        let usage = match was {
            Phase::Running(running) => told(self.members).or(running.supervisor.of_the_dead()),
            _ => told(self.members),
        };
        let usage = usage.over();
        self.streams.say(&Frame::new(Kind::Notice, 0, Notice::Ended(outcome, usage).encode()));
    }

    fn saw_oom(&self) -> bool {
        self.members == Members::Namespace && told::oom_kills() > 0
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.streams.listen([None, None]);
        if self.members == Members::Below {
            tree::end(&|_| false);
            return;
        }
        // Who is dying forks no more, so one round reaches everybody; each is waited for.
        process::signal_pid(-1, libc::SIGKILL);
        while matches!(
            rustix::process::wait(rustix::process::WaitOptions::empty()),
            Ok(_) | Err(rustix::io::Errno::INTR)
        ) {
            process::signal_pid(-1, libc::SIGKILL);
        }
    }

    /// Says a part of what differs, as much as there is room for.
    fn read_out(&mut self) -> io::Result<()> {
        while let Some(outgoing) = &mut self.outgoing {
            if !self.streams.has_room() {
                break;
            }
            let frame = match outgoing.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.outgoing = None;
                    Frame::bare(Kind::Captured)
                }
                Err(error) => {
                    self.outgoing = None;
                    Frame::new(Kind::Captured, 1, error.to_string())
                }
            };
            self.streams.say(&frame);
        }
        Ok(())
    }
}

/// What the cgroup says, where one is shown and is the tree's alone; a kernel of the sandbox's own shows none.
fn told(members: Members) -> Usage {
    match members {
        Members::Namespace => told::usage(),
        Members::Below => Usage::default(),
    }
}

fn supervisor(limits: &crate::native::spec::Limits, duties: Duties, members: Members) -> Supervisor<'static> {
    let watched = Watched {
        memory: limits.memory.filter(|_| duties.memory),
        sockets: limits.memory.filter(|_| duties.sockets),
        cpus: limits.cpus.filter(|_| duties.memory),
        tasks: limits.pids.filter(|_| duties.tasks),
    };
    if members == Members::Below {
        // What is beside its tree is nobody's that it answers for.
        return Supervisor::new(members, watched, None);
    }
    // One for the life of this process.
    let diagnosis: Option<&'static OwnedFd> =
        if duties.sockets { sockets::diagnosis().ok().map(|fd| &*Box::leak(Box::new(fd))) } else { None };
    let place: Option<&'static OwnedFd> = rustix::fs::open(
        "/tmp",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .ok()
    .map(|fd| &*Box::leak(Box::new(fd)));
    let sockets = Sockets { diagnosis: diagnosis.map(AsFd::as_fd), bounded: told::sockets_bounded() };
    Supervisor::new(members, watched, place.map(|place| (place.as_fd(), sockets)))
}

/// How many tasks this process's user has.
fn of_this_user() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let tasks = entries.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let of_own = std::os::unix::fs::MetadataExt::uid(&entry.metadata().ok()?) == own;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let told = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // What is not dumpable belongs to root there; what it says of itself is its own.
        let says = told("Uid:")?.split_whitespace().nth(1)?.parse() == Ok(own);
        (of_own || says).then(|| told("Threads:")?.parse::<u32>().ok()).flatten()
    });
    tasks.fold(0, u32::saturating_add)
}

/// The hash of a file, read in parts.
fn hash_of(file: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(file)?)?;
    Ok(hasher.finalize())
}

/// The workspace and, where nobody else shows them, what the order says is to be read.
fn places<'a>(order: &'a Order, duties: Duties, workspace: &'a Path) -> impl Iterator<Item = &'a Path> {
    let further = order.ro.iter().filter(move |_| duties.bare).map(|bind| bind.target.as_path());
    std::iter::once(workspace).chain(further)
}

/// Where the program may write, as far as it is there.
fn writable(order: &Order, workspace: &Path) -> Vec<PathBuf> {
    let fixed = ["/tmp", "/dev/shm", HOME].map(PathBuf::from);
    let binds = order.rw.iter().map(|bind| bind.target.clone());
    fixed.into_iter().chain([workspace.to_owned()]).chain(binds).filter(|path| path.exists()).collect()
}

fn read_all(report: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 512];
    loop {
        match rustix::io::read(&report, &mut buffer) {
            Ok(0) => return bytes,
            Ok(read) => bytes.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return bytes,
        }
    }
}
