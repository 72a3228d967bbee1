//! The engine's side of one keeper: its frames in and out, its streams, its end.
//!
//! One task of the runtime writes, one thread reads and hands out, and each of the program's descriptors
//! has a thread that moves its bytes; connections are tasks. None of them ever holds up another: every
//! stream has a window, and a keeper that sends more than its window is cut off.

mod pumps;
mod reader;

use super::files::{Intake, Outgoing};
use super::frame::{FIRST_FD, Frame, Kind, STDIO};
use super::hushed::Hushed;
use super::loopback::Loopback;
use crate::native::exit::{Exit, Outcome, Usage};
use crate::native::sys::Fault;
use crate::native::wire::Ports;
use bytes::Bytes;
use reader::Reader;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Frames that may wait to be written.
pub(crate) const QUEUE: usize = 64;
/// How often a keeper hears that its engine lives.
const ALIVE: Duration = Duration::from_secs(60);
/// Connections at once; a keeper has fewer.
const CONNECTIONS: usize = 300;
/// How long nobody has to take any output before it is given up.
const DRAIN: Duration = Duration::from_secs(1);
/// What is kept of the keeper's own words.
const WORDS: usize = 2_000;
/// How long a kill waits for a keeper that reads nothing.
const ROOM: Duration = Duration::from_secs(1);

/// What is known of it by now.
#[derive(Debug, Default)]
struct State {
    /// What it said of itself once it was there.
    ready: Option<Vec<u8>>,
    running: Option<Ports>,
    failed: Option<Fault>,
    measured: Option<Usage>,
    exit: Option<Exit>,
    /// It is gone.
    gone: bool,
    words: String,
    /// Where files go that come, and how it ended.
    intake: Option<Intake>,
    captured: Option<io::Result<()>>,
    /// Of standard output and error, how many are still written.
    writers: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    news: UnixDatagram,
    hushed: Hushed,
    /// Bytes that were written to descriptors.
    moved: AtomicU64,
}

/// The two streams to a keeper.
pub(crate) struct Connection {
    /// Its standard input. Its end is the keeper's.
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
    /// What it says, as it comes; closed at its end.
    pub(crate) output: mpsc::Receiver<Piece>,
    /// What no word of it may repeat.
    pub(crate) hushed: Hushed,
}

/// A part of what a keeper says.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Frames.
    Frames(Bytes),
    /// Words for a person, of which few are kept.
    Words(Bytes),
}

/// A keeper that is connected to.
#[derive(Debug)]
pub(crate) struct Bridge {
    shared: Arc<Shared>,
    out: mpsc::Sender<Frame>,
    runtime: Handle,
    status: UnixDatagram,
    setup: mpsc::UnboundedSender<Setup>,
}

/// What the reading thread is given once there is an order.
struct Setup {
    fds: Vec<(u32, OwnedFd, bool, bool)>,
    terminal: bool,
    loopback: Option<Arc<Loopback>>,
    ports: [Option<u16>; 2],
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// What it said to people, without what they must not be told.
    fn last_words(&self, state: &mut State) -> String {
        self.hushed.told(&std::mem::take(&mut state.words), WORDS)
    }

    /// Waits until `found` gives something.
    fn wait<T>(&self, limit: Duration, mut found: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        let mut state = self.state();
        loop {
            if let Some(found) = found(&mut state) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How a wait for the keeper ended other than well.
#[derive(Debug)]
pub(crate) enum Lost {
    Failed(Fault),
    /// It is gone, with its last words.
    Gone(String),
    Late,
}

impl Bridge {
    /// Takes over a connection.
    pub(crate) fn new(connection: Connection, runtime: &Handle) -> io::Result<Bridge> {
        let Connection { input, output, hushed } = connection;
        let (status, news) = UnixDatagram::pair()?;
        news.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            news,
            hushed,
            moved: AtomicU64::new(0),
        });
        let (out, queue) = mpsc::channel(QUEUE);
        let (setup, given) = mpsc::unbounded_channel();
        runtime.spawn(write(queue, input));
        let reader = Reader {
            shared: Arc::clone(&shared),
            out: out.downgrade(),
            runtime: runtime.clone(),
            given,
            inboxes: HashMap::new(),
            pumps: None,
            loopback: None,
            ports: [None; 2],
        };
        std::thread::Builder::new().name("keeper".to_owned()).spawn(move || reader.read(output))?;
        Ok(Bridge { shared, out, runtime: runtime.clone(), status, setup })
    }

    pub(crate) fn status(&self) -> &UnixDatagram {
        &self.status
    }

    /// Waits for a keeper that does not read, until then.
    fn say(&self, frame: Frame, until: Instant) -> io::Result<()> {
        let gone = || io::Error::from_raw_os_error(libc::EPIPE);
        let frame = match self.out.try_send(frame) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(gone()),
            Err(TrySendError::Full(frame)) => frame,
        };
        let sent = async { tokio::time::timeout_at(until.into(), self.out.send(frame)).await };
        match self.runtime.block_on(sent) {
            Ok(sent) => sent.map_err(|_| gone()),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    }

    /// Waits until the keeper is there; gives what it says of the program that it is.
    pub(crate) fn ready(&self, limit: Duration) -> Result<Vec<u8>, Lost> {
        self.reached(limit, |state| state.ready.clone())
    }

    fn reached<T>(&self, limit: Duration, mut found: impl FnMut(&mut State) -> Option<T>) -> Result<T, Lost> {
        let reached = self.shared.wait(limit, |state| {
            if let Some(fault) = state.failed.take() {
                return Some(Err(Lost::Failed(fault)));
            }
            match found(state) {
                Some(found) => Some(Ok(found)),
                None => state.gone.then(|| Err(Lost::Gone(self.shared.last_words(state)))),
            }
        });
        reached.unwrap_or(Err(Lost::Late))
    }

    /// Gives the order and its files (those of the workspace first, if it has any, then those of each further
    /// place), and waits until the program runs, or has ended.
    pub(crate) fn begin(
        &self,
        order: Vec<u8>,
        files: &[Option<&Path>],
        given: Given,
        limit: Duration,
    ) -> Result<(), Lost> {
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut => Lost::Late,
            _ => Lost::Gone(error.to_string()),
        };
        let end = Instant::now() + limit;
        let mut fds = Vec::new();
        let mut rest = given.fds.into_iter();
        for (stream, _) in STDIO.iter().zip(given.stdio).filter(|(_, present)| *present) {
            if let Some(fd) = rest.next() {
                let to_program = *stream == STDIO[0];
                fds.push((*stream, fd, to_program, !to_program));
            }
        }
        for (stream, fd) in (FIRST_FD..).zip(rest) {
            let (reads, writes) = directions(&fd);
            fds.push((stream, fd, reads, writes));
        }
        let setup = Setup { fds, terminal: given.terminal, loopback: given.loopback, ports: given.ports };
        let _ = self.setup.send(setup);
        self.say(Frame::new(Kind::Order, 0, order), end).map_err(broken)?;
        for (place, folder) in (0..).zip(files) {
            let Some(folder) = folder else { continue };
            let mut outgoing = Outgoing::all(folder).map_err(broken)?;
            while let Some(frame) = outgoing.next().map_err(broken)? {
                // Each is taken sooner or later; what takes all of them slowly is not waited for.
                if Instant::now() > end {
                    return Err(Lost::Late);
                }
                self.say(Frame { stream: place, ..frame }, end).map_err(broken)?;
            }
        }
        self.say(Frame::bare(Kind::Begin), end).map_err(broken)?;
        let left = end.saturating_duration_since(Instant::now());
        self.reached(left, |state| (state.running.is_some() || state.exit.is_some()).then_some(()))
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.shared.state().exit
    }

    /// What the program takes, as its keeper says; `None` when that does not answer.
    pub(crate) fn usage(&self, limit: Duration) -> Option<Usage> {
        let end = Instant::now() + limit;
        self.shared.change(|state| state.measured = None);
        let _ = self.say(Frame::bare(Kind::Measure), end);
        self.shared.wait(end.saturating_duration_since(Instant::now()), |state| {
            state.exit.map(|exit| exit.usage).or(state.measured)
        })
    }

    /// What it said since the last call, which asks again: waits for nobody.
    pub(crate) fn sample(&self) -> Option<Usage> {
        let measured = self.shared.state().measured.take();
        // One that is full of other things is asked the next time.
        let _ = self.out.try_send(Frame::bare(Kind::Measure));
        measured
    }

    /// Ends the program, and waits for that; `None` when the keeper does not answer.
    pub(crate) fn kill(&self, limit: Duration) -> Option<Exit> {
        if let Some(exit) = self.exit() {
            return Some(exit);
        }
        // One that reads nothing is ended by what is around it.
        if let Err(error) = self.say(Frame::bare(Kind::Kill), Instant::now() + limit.min(ROOM))
            && error.kind() == io::ErrorKind::TimedOut
        {
            return None;
        }
        self.shared.wait(limit, |state| state.exit)
    }

    /// Brings the folder `into` to what the workspace is now: so many entries and bytes at most.
    pub(crate) fn capture(&self, into: &Path, entries: u64, bytes: u64, limit: Duration) -> io::Result<()> {
        let intake = Intake::new(into, entries, bytes)?;
        self.shared.change(|state| {
            state.captured = None;
            state.intake = Some(intake);
        });
        let end = Instant::now() + limit;
        self.say(Frame::bare(Kind::Capture), end)?;
        let gone = || io::Error::other("the sandbox is gone, and its files with it");
        self.shared
            .wait(end.saturating_duration_since(Instant::now()), |state| {
                state.captured.take().or_else(|| state.gone.then(|| Err(gone())))
            })
            .unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    /// Waits until standard output and error have ended and all of them has been written, or nobody takes
    /// any of it for a while.
    pub(crate) fn drained(&self) {
        let moved = || self.shared.moved.load(Ordering::SeqCst);
        let mut before = moved();
        while self.shared.wait(DRAIN, |state| (state.writers == 0).then_some(())).is_none() {
            if moved() == before {
                return;
            }
            before = moved();
        }
    }

    /// What was around it was removed, or is to be taken for it.
    pub(crate) fn lost(&self) {
        gone(&self.shared);
    }
}

/// What an order brings beside its bytes.
pub(crate) struct Given {
    /// Which of the standard streams are there.
    pub(crate) stdio: [bool; 3],
    /// Those, and then the further ones.
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) terminal: bool,
    pub(crate) loopback: Option<Arc<Loopback>>,
    /// Where the model's and the egress listener are.
    pub(crate) ports: [Option<u16>; 2],
}

/// Whether one may read from a descriptor and write to it.
fn directions(fd: &OwnedFd) -> (bool, bool) {
    use rustix::fs::OFlags;
    let flags = rustix::fs::fcntl_getfl(fd).unwrap_or(OFlags::RDWR);
    match flags & OFlags::ACCMODE {
        OFlags::WRONLY => (false, true),
        OFlags::RDWR => (true, true),
        _ => (true, false),
    }
}

async fn write(mut queue: mpsc::Receiver<Frame>, mut input: Pin<Box<dyn AsyncWrite + Send>>) {
    let mut alive = tokio::time::interval(ALIVE);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        tokio::select! {
            frame = queue.recv() => match frame {
                Some(frame) => frame.write(&mut bytes),
                None => break,
            },
            _ = alive.tick() => Frame::bare(Kind::Alive).write(&mut bytes),
        }
        while let Ok(frame) = queue.try_recv() {
            frame.write(&mut bytes);
        }
        if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
            break;
        }
    }
    let _ = input.shutdown().await;
}

fn gone(shared: &Shared) {
    shared.change(|state| {
        state.gone = true;
        if state.exit.is_none() {
            if state.running.is_some() {
                let words = shared.last_words(state);
                tracing::warn!(words, "a sandbox is gone before its program has ended");
            }
            state.exit = Some(Exit { outcome: Outcome::Killed, usage: Usage::default() });
        }
    });
    let _ = shared.news.send(b".");
}

#[cfg(test)]
mod tests;
