//! One running program: its output is passed to whoever listens, until it has ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::{Value, json};

use super::processes::Config;
use crate::fault::{Fault, Kind};
use crate::frame;

/// Who listens to a program, and whether anybody still can.
#[derive(Debug)]
struct Listeners {
    open: bool,
    all: Vec<Arc<Mutex<UnixStream>>>,
}

/// Where a program's input goes.
#[derive(Debug)]
pub(super) enum Input {
    Pipe(OwnedFd),
    Terminal(OwnedFd),
}

/// A program that was started.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) tag: Option<String>,
    pub(super) config: Config,
    /// `None` once it is closed, or was never there.
    input: Mutex<Option<Arc<Input>>>,
    listeners: Mutex<Listeners>,
}

/// A stream that a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Stdout,
    Stderr,
    Terminal,
}

impl Channel {
    const fn name(self) -> &'static str {
        match self {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
            Channel::Terminal => "pty",
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    pub(super) fn new(pid: u32, tag: Option<String>, config: Config, input: Option<Input>) -> Process {
        let listeners = Mutex::new(Listeners { open: true, all: Vec::new() });
        Process { pid, tag, config, input: Mutex::new(input.map(Arc::new)), listeners }
    }

    /// Lets `stream` listen from now on, beginning with the program's number.
    pub(super) fn attach(&self, stream: &UnixStream) -> Result<(), Fault> {
        let gone = |error| Fault::of_io("nobody listens", &error);
        let mut stream = stream.try_clone().map_err(gone)?;
        let mut listeners = held(&self.listeners);
        if !listeners.open {
            return Err(Fault::new(Kind::NotFound, format!("the process {} has ended", self.pid)));
        }
        let message = event(&json!({ "start": { "pid": self.pid } }));
        frame::write(&mut stream, frame::Kind::Message, &message).map_err(gone)?;
        listeners.all.push(Arc::new(Mutex::new(stream)));
        Ok(())
    }

    /// Whoever does not take what it is sent makes the program wait; whoever is gone is forgotten.
    fn tell(&self, kind: frame::Kind, message: &[u8]) {
        let listeners = held(&self.listeners).all.clone();
        let gone =
            listeners.iter().filter(|listener| frame::write(&mut *held(listener), kind, message).is_err());
        let gone: Vec<_> = gone.cloned().collect();
        if !gone.is_empty() {
            held(&self.listeners).all.retain(|listener| !gone.iter().any(|gone| Arc::ptr_eq(gone, listener)));
        }
    }

    fn wrote(&self, channel: Channel, bytes: &[u8]) {
        self.tell(
            frame::Kind::Message,
            &event(&json!({ "data": { channel.name(): STANDARD.encode(bytes) } })),
        );
    }

    /// Tells everybody how it ended. Nobody can listen afterwards.
    fn ended(&self, status: ExitStatus, timed_out: bool) {
        let said = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, signal) => format!("signal: {}", signal.map_or("unknown", signal_name)),
        };
        let mut end = json!({
            // A program that a signal ended has no code of its own: Go says -1, and so does E2B.
            "exitCode": status.code().unwrap_or(-1),
            "exited": status.code().is_some(),
            "status": said,
        });
        if let Some(end) = end.as_object_mut().filter(|_| !status.success()) {
            let why = if timed_out { format!("{said}: its time was up") } else { said };
            end.insert("error".to_owned(), Value::String(why));
        }
        let all = {
            let mut listeners = held(&self.listeners);
            listeners.open = false;
            std::mem::take(&mut listeners.all)
        };
        let message = event(&json!({ "end": end }));
        for listener in all {
            let mut stream = held(&listener);
            let _ = frame::write(&mut *stream, frame::Kind::Message, &message)
                .and_then(|()| frame::write(&mut *stream, frame::Kind::End, b""));
        }
    }

    /// Sends a signal to the program and to what it has started in its group.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Fault> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Err(Fault::new(Kind::Internal, "its number is none")) };
        // A program that is about to lead a terminal's session has no group of its own yet.
        let sent = rustix::process::kill_process_group(pid, signal)
            .or_else(|_| rustix::process::kill_process(pid, signal));
        match sent {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::SRCH) => {
                Err(Fault::new(Kind::NotFound, format!("the process {} has ended", self.pid)))
            }
            Err(error) => Err(Fault::of_io("it cannot be signalled", &error.into())),
        }
    }

    /// Writes to its input for as long as `asking` is there.
    pub(super) fn feed(&self, bytes: &[u8], terminal: bool, asking: &UnixStream) -> Result<(), Fault> {
        let input = held(&self.input).clone();
        let input = match (input.as_deref(), terminal) {
            (Some(Input::Pipe(pipe)), false) => pipe.as_fd(),
            (Some(Input::Terminal(ours)), true) => ours.as_fd(),
            (Some(_), true) => {
                return Err(Fault::new(Kind::FailedPrecondition, "it has no terminal: send stdin"));
            }
            (Some(_), false) => {
                return Err(Fault::new(Kind::FailedPrecondition, "it has a terminal: send pty"));
            }
            (None, _) => {
                let why = "its standard input is closed: start it with stdin";
                return Err(Fault::new(Kind::FailedPrecondition, why));
            }
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(input, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let mut wanted =
                        [PollFd::new(&input, PollFlags::OUT), PollFd::new(asking, PollFlags::empty())];
                    poll(&mut wanted, None)
                        .map_err(|error| Fault::of_io("it cannot be fed", &error.into()))?;
                    let [_, asking] = wanted;
                    if asking.revents().intersects(PollFlags::HUP | PollFlags::ERR) {
                        return Err(Fault::new(Kind::DeadlineExceeded, "it did not take all of its input"));
                    }
                }
                Err(error) => return Err(Fault::of_io("it takes no input any more", &error.into())),
            }
        }
        Ok(())
    }

    /// Closes its input. A terminal's end is a character.
    pub(super) fn close_input(&self) -> Result<(), Fault> {
        let mut input = held(&self.input);
        match input.as_deref() {
            Some(Input::Terminal(ours)) => {
                rustix::io::write(ours, &[4]).map_err(|error| Fault::of_io("it is gone", &error.into()))?;
            }
            Some(Input::Pipe(_)) => *input = None,
            None => return Err(Fault::new(Kind::FailedPrecondition, "its standard input is closed already")),
        }
        Ok(())
    }

    pub(super) fn resize(&self, size: super::terminal::Size) -> Result<(), Fault> {
        match held(&self.input).as_deref() {
            Some(Input::Terminal(ours)) => super::terminal::resize(ours, size)
                .map_err(|error| Fault::of_io("its terminal is gone", &error)),
            _ => Err(Fault::new(Kind::FailedPrecondition, "it has no terminal")),
        }
    }

    /// Passes on what it writes until it has ended, then says so; after that what others write into its pipes is
    /// taken and thrown away, so that they are not ended by it. `over` is called at the end of the program.
    pub(super) fn follow(
        &self,
        mut child: Child,
        outputs: Vec<(Channel, OwnedFd)>,
        deadline: Option<Instant>,
        over: impl FnOnce(),
    ) {
        let mut outputs: Vec<_> = outputs.into_iter().map(Some).collect();
        let timed_out = self.until_exit(&child, &mut outputs, deadline);
        // What it wrote is in its pipes by now, and what comes later is not its own.
        for output in &mut outputs {
            while let Some((channel, fd)) = output {
                match read(fd) {
                    Read::Some(bytes) => self.wrote(*channel, &bytes),
                    Read::Nothing => break,
                    Read::End => *output = None,
                }
            }
        }
        let status = child.wait();
        *held(&self.input) = None;
        over();
        match status {
            Ok(status) => self.ended(status, timed_out),
            Err(_) => {
                self.tell(frame::Kind::Failed, b"{\"code\":\"internal\",\"message\":\"its end was missed\"}")
            }
        }
        for (_, fd) in outputs.into_iter().flatten() {
            let mut wanted = [PollFd::new(&fd, PollFlags::IN)];
            while poll(&mut wanted, None).is_ok() {
                if matches!(read(&fd), Read::End) {
                    break;
                }
            }
        }
    }

    /// Whether its time was up.
    fn until_exit(
        &self,
        child: &Child,
        outputs: &mut [Option<(Channel, OwnedFd)>],
        deadline: Option<Instant>,
    ) -> bool {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let exit = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let Some(exit) = exit else { return false };
        let (mut timed_out, mut deadline) = (false, deadline);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                (timed_out, deadline) = (true, None);
                let _ = self.signal(Signal::KILL);
                continue;
            }
            let mut wanted = vec![PollFd::new(&exit, PollFlags::IN)];
            let open: Vec<usize> =
                outputs.iter().enumerate().filter_map(|(at, output)| output.as_ref().map(|_| at)).collect();
            let streams = outputs.iter().flatten().map(|(_, fd)| PollFd::new(fd, PollFlags::IN));
            wanted.extend(streams);
            let left = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
            match poll(&mut wanted, left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return timed_out,
            }
            let mut ready = wanted.iter().map(|fd| !fd.revents().is_empty());
            let exited = ready.next().unwrap_or_default();
            let ready: Vec<usize> =
                open.into_iter().zip(ready).filter(|(_, is)| *is).map(|(at, _)| at).collect();
            drop(wanted);
            if exited {
                return timed_out;
            }
            for at in ready {
                let Some(output) = outputs.get_mut(at) else { continue };
                let Some((channel, fd)) = output else { continue };
                match read(fd) {
                    Read::Some(bytes) => self.wrote(*channel, &bytes),
                    Read::Nothing => {}
                    Read::End => *output = None,
                }
            }
        }
    }
}

/// One event of a program, as a message.
fn event(event: &Value) -> Vec<u8> {
    json!({ "event": event }).to_string().into_bytes()
}

/// What came of reading without waiting.
pub(super) enum Read {
    Some(Vec<u8>),
    Nothing,
    End,
}

/// What can be read now. A terminal whose program has gone fails with EIO.
pub(super) fn read(fd: &OwnedFd) -> Read {
    let mut bytes = vec![0; frame::CHUNK];
    loop {
        match rustix::io::read(fd, bytes.as_mut_slice()) {
            Ok(0) => return Read::End,
            Ok(length) => {
                bytes.truncate(length);
                return Read::Some(bytes);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Read::Nothing,
            Err(_) => return Read::End,
        }
    }
}

/// Reading and writing no longer wait.
///
/// # Errors
/// When the descriptor is none.
pub(super) fn at_once(fd: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(fd, true)?)
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "hangup",
        2 => "interrupt",
        6 => "aborted",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        _ => "another one",
    }
}

/// A failure before there was a program, to whoever asked for it.
pub(super) fn unstartable(program: &str, error: &io::Error) -> Fault {
    let what = format!("`{program}` cannot be started");
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            Fault::invalid(format!("{what}: {error}"))
        }
        _ => Fault::of_io(&what, error),
    }
}
