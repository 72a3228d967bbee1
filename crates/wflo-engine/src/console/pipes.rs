//! The pipes that a program is given where it has no terminal.
//!
//! Nothing is gathered: a chunk is passed on before the next is read, so a reader that is slow slows the
//! program, as a pipe between the two would. A reader that is gone ends the program's pipe, and the program
//! gets what a broken pipe is to it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::relaying::{CHUNK, Lost, Relaying, feed};
use super::{Stream, Streams};
use crate::output::{Lines, Output};
use crate::sandboxed::{pipe, pipe_to};

/// Our ends of a program's pipes.
#[derive(Default)]
pub struct Pipes {
    input: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
}

impl Pipes {
    /// Makes the one that the program reads; its end.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn input(&mut self) -> io::Result<OwnedFd> {
        let (theirs, ours) = pipe_to()?;
        self.input = Some(ours);
        Ok(theirs)
    }

    /// Makes one that the program writes to; its end.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn output(&mut self, stream: Stream) -> io::Result<OwnedFd> {
        let (ours, theirs) = pipe()?;
        self.outputs.push((stream, ours));
        Ok(theirs)
    }

    /// Connects them with `streams`, on the runtime that this is called within. To be called once the program has
    /// its ends.
    ///
    /// # Errors
    /// When one cannot be waited for.
    pub fn connect(self, streams: &Arc<dyn Streams>, relaying: &mut Relaying) -> io::Result<()> {
        self.join(Some(streams), None, relaying)
    }

    /// The same; what is written is recorded in `output`.
    pub(crate) fn join(
        self,
        streams: Option<&Arc<dyn Streams>>,
        output: Option<&Output>,
        relaying: &mut Relaying,
    ) -> io::Result<()> {
        if let (Some(input), Some(streams)) = (self.input, streams) {
            relaying.spawn(feed(Sender::from_owned_fd(input)?, Arc::clone(streams)));
        }
        for (stream, fd) in self.outputs {
            let level = match stream {
                Stream::Output => "stdout",
                Stream::Error => "stderr",
            };
            let lines = output.map(|output| Lines::new(output.clone(), level));
            let to = (streams.cloned(), stream, relaying.lost());
            relaying.bring(pass(Receiver::from_owned_fd(fd)?, to, lines));
        }
        Ok(())
    }
}

async fn pass(
    mut from: Receiver,
    (streams, stream, lost): (Option<Arc<dyn Streams>>, Stream, Lost),
    mut lines: Option<Lines>,
) {
    let mut buffer = vec![0_u8; CHUNK];
    while let Ok(read) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if let Some(lines) = &mut lines {
            lines.push(bytes).await;
        }
        if let Some(streams) = &streams
            && let Err(error) = streams.write(stream, bytes).await
        {
            let _ = lost.set(error);
            break;
        }
    }
    // First the pipe: nobody writes into it while the rest is kept.
    drop(from);
    if let Some(lines) = lines {
        lines.end().await;
    }
}
