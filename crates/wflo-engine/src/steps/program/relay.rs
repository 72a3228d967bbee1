//! The bytes between a program and its console, and the copy of them that is kept.
//!
//! Nothing is gathered: a chunk is passed on before the next is read, so a reader that is slow slows the
//! program, as a pipe between the two would. A reader that is gone ends the program's pipe, and the program
//! gets what a broken pipe is to it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::console::relaying::{CHUNK, feed};
use crate::console::{Relaying, Screen, Stream, Streams};
use crate::output::{Lines, Output};
use crate::sandboxed::{Ask, Shape, pipe, pipe_to};

/// Our ends of a program's streams.
enum Ends {
    Pipes { stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd },
    Terminal(Screen),
}

/// The streams of a program that has not begun.
pub(super) struct Relay {
    ends: Ends,
    streams: Option<Arc<dyn Streams>>,
    output: Output,
}

impl Relay {
    /// Makes a program's streams, and the beginning of what its sandbox is asked to be.
    pub(super) fn prepare(streams: Option<Arc<dyn Streams>>, output: Output) -> io::Result<(Relay, Ask)> {
        if let Some(streams) = &streams
            && let Some(size) = streams.terminal()
        {
            let (screen, slave) = Screen::open(size)?;
            let (stdin, stdout) = (slave.try_clone()?, slave.try_clone()?);
            let mut ask = Ask::new(Shape::new(Vec::new()), stdout, slave);
            (ask.stdin, ask.shape.terminal) = (Some(stdin), true);
            ask.shape.env = streams.variables();
            let relay = Relay { ends: Ends::Terminal(screen), streams: Some(Arc::clone(streams)), output };
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
        let mut relaying = Relaying::new(streams.clone());
        match ends {
            Ends::Terminal(screen) => {
                if let Some(streams) = &streams {
                    screen.join(streams, Some(output), &mut relaying)?;
                }
            }
            Ends::Pipes { stdin, stdout, stderr } => {
                if let (Some(stdin), Some(streams)) = (stdin, &streams) {
                    relaying.spawn(feed(Sender::from_owned_fd(stdin)?, Arc::clone(streams)));
                }
                for (fd, stream, level) in
                    [(stdout, Stream::Output, "stdout"), (stderr, Stream::Error, "stderr")]
                {
                    let lines = Lines::new(output.clone(), level);
                    relaying.bring(pass(Receiver::from_owned_fd(fd)?, streams.clone(), stream, lines));
                }
            }
        }
        Ok(relaying)
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
