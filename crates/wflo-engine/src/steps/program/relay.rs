//! The bytes between a program and its console, and the copy of them that is kept.
//!
//! Nothing is gathered: a chunk is passed on before the next is read, so a reader that is slow slows the
//! program, as a pipe between the two would. A reader that is gone ends the program's pipe, and the program
//! gets what a broken pipe is to it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::terminal::{self, Screen};
use crate::console::{Stream, Streams};
use crate::output::{Lines, Output};
use crate::sandboxed::{Ask, Shape, pipe, pipe_to};

/// The most that is read at once, in bytes.
pub(super) const CHUNK: usize = 32 << 10;

/// Our ends of a program's streams.
enum Ends {
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal(OwnedFd),
}

/// The streams of a program that has not begun.
pub(super) struct Relay {
    ends: Ends,
    streams: Option<Arc<dyn Streams>>,
    output: Output,
}

/// The streams of a program that runs.
pub(super) struct Relaying {
    /// What brings output, until it has all come.
    out: watch::Receiver<usize>,
    tasks: JoinSet<()>,
    streams: Option<Arc<dyn Streams>>,
}

impl Relay {
    /// Makes a program's streams, and the beginning of what its sandbox is asked to be.
    pub(super) fn prepare(streams: Option<Arc<dyn Streams>>, output: Output) -> io::Result<(Relay, Ask)> {
        if let Some(streams) = &streams
            && let Some(size) = streams.terminal()
        {
            let (master, slave) = terminal::open(size)?;
            let (stdin, stdout) = (slave.try_clone()?, slave.try_clone()?);
            let mut ask = Ask::new(Shape::new(Vec::new()), stdout, slave);
            (ask.stdin, ask.shape.terminal) = (Some(stdin), true);
            ask.shape.env = streams.variables();
            let relay = Relay { ends: Ends::Terminal(master), streams: Some(Arc::clone(streams)), output };
            return Ok((relay, ask));
        }
        let (stdout, stdout_in) = pipe()?;
        let (stderr, stderr_in) = pipe()?;
        let mut ask = Ask::new(Shape::new(Vec::new()), stdout_in, stderr_in);
        let mut stdin = None;
        if streams.is_some() {
            let (theirs, ours) = pipe_to()?;
            (ask.stdin, stdin) = (Some(theirs), Some(ours));
        }
        Ok((Relay { ends: Ends::Pipes { stdin, stdout, stderr }, streams, output }, ask))
    }

    /// Begins to pass bytes on. To be called once the program has its ends.
    pub(super) fn start(self) -> io::Result<Relaying> {
        let Relay { ends, streams, output } = self;
        let (left, out) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let left = Arc::new(left);
        match ends {
            Ends::Terminal(master) => {
                let (shown, typed, size) = Screen::new(master)?.parts();
                if let Some(streams) = &streams {
                    tasks.spawn(feed(typed, Arc::clone(streams)));
                    tasks.spawn(terminal::resize(size, Arc::clone(streams)));
                    let (counted, streams) = (Counted::new(&left), Arc::clone(streams));
                    tasks.spawn(async move {
                        terminal::show(shown, streams.as_ref(), output).await;
                        drop(counted);
                    });
                }
            }
            Ends::Pipes { stdin, stdout, stderr } => {
                if let (Some(stdin), Some(streams)) = (stdin, &streams) {
                    tasks.spawn(feed(Sender::from_owned_fd(stdin)?, Arc::clone(streams)));
                }
                for (fd, stream, level) in
                    [(stdout, Stream::Output, "stdout"), (stderr, Stream::Error, "stderr")]
                {
                    let lines = Lines::new(output.clone(), level);
                    let (receiver, streams) = (Receiver::from_owned_fd(fd)?, streams.clone());
                    let counted = Counted::new(&left);
                    tasks.spawn(async move {
                        pass(receiver, streams, stream, lines).await;
                        drop(counted);
                    });
                }
            }
        }
        Ok(Relaying { out, tasks, streams })
    }
}

/// One of the tasks that bring output.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(left: &Arc<watch::Sender<usize>>) -> Self {
        left.send_modify(|left| *left += 1);
        Counted(Arc::clone(left))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|left| *left -= 1);
    }
}

impl Relaying {
    /// Resolves once all that the program has said is passed on; it must have ended.
    pub(super) async fn drained(&self) {
        if let Some(streams) = &self.streams {
            streams.over();
        }
        let _ = self.out.clone().wait_for(|left| *left == 0).await;
    }

    /// Ends it, whatever is on its way; a terminal is as it was before when this returns.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn feed(mut stdin: Sender, streams: Arc<dyn Streams>) {
    loop {
        let bytes = streams.read().await;
        // A program that has closed its input reads nothing more.
        if bytes.is_empty() || stdin.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn pass(mut from: Receiver, streams: Option<Arc<dyn Streams>>, stream: Stream, mut lines: Lines) {
    let mut buffer = vec![0_u8; CHUNK];
    while let Ok(read) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        lines.push(bytes).await;
        if let Some(streams) = &streams
            && streams.write(stream, bytes).await.is_err()
        {
            break;
        }
    }
    // First the pipe: nobody writes into it while the rest is kept.
    drop(from);
    lines.end().await;
}
