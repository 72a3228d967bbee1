//! The agent: the one program of a served sandbox, which starts all others and touches its files.
//!
//! It runs inside, as the sandbox's user, with nothing that the programs beside it do not have: it is as
//! untrusted as they are, and may be killed or replaced by them. Its standard input is a socket on which each
//! request arrives as a socket of its own, so that nothing waits for anything else.
//! **Architecture Invariant:** files of a sandbox are touched from in here alone, so no link, race or name
//! leads out of it.

mod entry;
mod files;
mod kernel;
mod kernels;
mod place;
mod process;
mod processes;
mod terminal;
mod transfer;
mod watch;
mod watchers;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ask::{self, Asked};
use crate::fault::{Fault, Kind};
use crate::frame;

pub(crate) use terminal::TERMINAL_ARGUMENT;

/// Requests that are carried out at once, those of running programs included.
const AT_ONCE: usize = 512;

/// What the whole agent knows.
#[derive(Debug, Default)]
struct Agent {
    processes: processes::Processes,
    watchers: watchers::Watchers,
    kernels: kernels::Kernels,
}

/// Serves requests until the server is gone.
pub(crate) fn main() -> ExitCode {
    let agent = Arc::new(Agent::default());
    let busy = Arc::new(AtomicUsize::new(0));
    while let Ok(Some(request)) = next() {
        let (agent, held) = (Arc::clone(&agent), Busy::one_more(&busy));
        let crowded = busy.load(Ordering::Relaxed) > AT_ONCE;
        let serve = move || {
            let _held = held;
            let mut request = Request { stream: request };
            let outcome = match crowded {
                true => Err(Fault::new(Kind::ResourceExhausted, "the sandbox has too many requests at once")),
                false => agent.carry_out(&mut request),
            };
            // Whoever does not listen any more needs no answer.
            let _ = match outcome {
                Ok(()) => frame::write(&mut request.stream, frame::Kind::End, b""),
                Err(fault) => request.fail(&fault),
            };
        };
        // Where no thread can be made, the request ends without an answer.
        let _ = std::thread::Builder::new().stack_size(256 << 10).spawn(serve);
    }
    ExitCode::SUCCESS
}

/// Becomes a program that leads the session of the terminal on its standard input.
pub(crate) fn terminal_main() -> ExitCode {
    terminal::lead()
}

/// Counts one request while it lives.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn one_more(count: &Arc<AtomicUsize>) -> Busy {
        count.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next request's socket; `None` when there will be none.
fn next() -> io::Result<Option<UnixStream>> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut parts = [io::IoSliceMut::new(&mut byte)];
        let received = match rustix::net::recvmsg(
            rustix::stdio::stdin(),
            &mut parts,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let found = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut given) => given.next(),
            _ => None,
        });
        if let Some(fd) = found {
            let fd: OwnedFd = fd;
            return Ok(Some(UnixStream::from(fd)));
        }
    }
}

impl Agent {
    fn carry_out(&self, request: &mut Request) -> Result<(), Fault> {
        let Asked { method, body, timeout_ms } = request.message()?;
        let body = body.get().as_bytes();
        match method.as_str() {
            "process.Process/Start" => self.processes.start(request, parsed(body)?, timeout_ms),
            "process.Process/Connect" => self.processes.connect(request, &parsed(body)?),
            "process.Process/List" => request.answer(&self.processes.list()),
            "process.Process/SendInput" => {
                self.processes.send_input(request, &parsed(body)?)?;
                request.answer(&Nothing {})
            }
            "process.Process/StreamInput" => self.processes.stream_input(request),
            "process.Process/CloseStdin" => {
                self.processes.close_stdin(&parsed(body)?)?;
                request.answer(&Nothing {})
            }
            "process.Process/SendSignal" => {
                self.processes.signal(&parsed(body)?)?;
                request.answer(&Nothing {})
            }
            "process.Process/Update" => {
                self.processes.resize(&parsed(body)?)?;
                request.answer(&Nothing {})
            }
            "filesystem.Filesystem/Stat" => request.answer(&files::stat(&parsed(body)?)?),
            "filesystem.Filesystem/MakeDir" => request.answer(&files::make_folder(&parsed(body)?)?),
            "filesystem.Filesystem/Move" => request.answer(&files::rename(&parsed(body)?)?),
            "filesystem.Filesystem/ListDir" => request.answer(&files::list(&parsed(body)?)?),
            "filesystem.Filesystem/Remove" => {
                files::remove(&parsed(body)?)?;
                request.answer(&Nothing {})
            }
            "filesystem.Filesystem/WatchDir" => watch::stream(request, &parsed(body)?),
            "filesystem.Filesystem/CreateWatcher" => request.answer(&self.watchers.create(&parsed(body)?)?),
            "filesystem.Filesystem/GetWatcherEvents" => {
                request.answer(&self.watchers.events(&parsed(body)?)?)
            }
            "filesystem.Filesystem/RemoveWatcher" => {
                self.watchers.remove(&parsed(body)?);
                request.answer(&Nothing {})
            }
            ask::READ_FILE => transfer::read(request, &parsed(body)?),
            ask::WRITE_FILE => transfer::write(request, parsed(body)?),
            ask::DISK => request.answer(&files::disk()?),
            ask::EXECUTE => self.kernels.execute(request, parsed(body)?),
            ask::NEW_CONTEXT => request.answer(&self.kernels.create(parsed(body)?)?),
            ask::LIST_CONTEXTS => request.answer(&self.kernels.list()),
            ask::END_CONTEXT => {
                self.kernels.end(&parsed(body)?)?;
                request.answer(&Nothing {})
            }
            ask::RESTART_CONTEXT => {
                self.kernels.restart(&parsed(body)?)?;
                request.answer(&Nothing {})
            }
            _ => Err(Fault::new(Kind::Unimplemented, format!("there is no method `{method}`"))),
        }
    }
}

/// An answer that says nothing but that it was done.
#[derive(Serialize)]
struct Nothing {}

/// A message of the client's.
fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body)
        .map_err(|error| Fault::invalid(format!("the message is not understood: {error}")))
}

/// One request, as its socket.
struct Request {
    stream: UnixStream,
}

impl Request {
    /// The next message of the client's.
    fn message<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        match self.next_message()? {
            Some(message) => Ok(message),
            None => Err(Fault::invalid("a message is missing")),
        }
    }

    /// The next message; `None` when the client has said all.
    fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        let gone = |error| Fault::of_io("the request broke off", &error);
        match frame::read(&mut self.stream).map_err(gone)? {
            Some(frame::Frame { kind: frame::Kind::Message, payload }) => parsed(&payload).map(Some),
            Some(frame::Frame { kind: frame::Kind::End, .. }) => Ok(None),
            Some(_) => Err(Fault::invalid("a message is expected")),
            None => Err(Fault::new(Kind::Unavailable, "the request broke off")),
        }
    }

    /// Answers with one message.
    fn answer(&mut self, message: &impl Serialize) -> Result<(), Fault> {
        let bytes = encoded(message)?;
        if bytes.len() > frame::MOST {
            return Err(Fault::new(
                Kind::ResourceExhausted,
                format!(
                    "the answer has {} bytes, more than the {} that one may have",
                    bytes.len(),
                    frame::MOST
                ),
            ));
        }
        frame::write(&mut self.stream, frame::Kind::Message, &bytes)
            .map_err(|error| Fault::of_io("nobody listens", &error))
    }

    fn fail(&mut self, fault: &Fault) -> io::Result<()> {
        let bytes = encoded(fault).unwrap_or_default();
        frame::write(&mut self.stream, frame::Kind::Failed, &bytes)
    }
}

fn encoded(message: &impl Serialize) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(message).map_err(|error| Fault::new(Kind::Internal, error.to_string()))
}
