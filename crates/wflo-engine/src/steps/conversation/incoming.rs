//! Frames that a runner sent and nobody has looked at yet: bounded in number and in memory.

use std::sync::Arc;

use tokio::io::AsyncRead;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::protocol::{self, FrameError, FromRunner};

/// Frames that are read ahead.
const FRAMES: usize = 64;
/// The most memory that they take together, in bytes; one alone may take more.
const MEMORY: usize = 16 << 20;

type Frame = Result<FromRunner, FrameError>;

pub(super) struct Incoming {
    frames: mpsc::Receiver<(Frame, Option<OwnedSemaphorePermit>)>,
    reading: JoinHandle<()>,
}

impl Incoming {
    pub(super) fn read<R: AsyncRead + Unpin + Send + 'static>(mut reader: R) -> Self {
        let (sender, frames) = mpsc::channel(FRAMES);
        let room = Arc::new(Semaphore::new(MEMORY));
        let reading = tokio::spawn(async move {
            loop {
                let frame = protocol::read(&mut reader).await;
                let (over, memory) = match &frame {
                    Ok(frame) => (false, frame.memory().min(MEMORY)),
                    Err(_) => (true, 0),
                };
                let memory = u32::try_from(memory).unwrap_or(u32::MAX);
                // It is never closed.
                let held = Arc::clone(&room).acquire_many_owned(memory).await.ok();
                if sender.send((frame, held)).await.is_err() || over {
                    return;
                }
            }
        });
        Incoming { frames, reading }
    }

    /// The next frame; dropping the wait loses none.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await.map(|(frame, _)| frame)
    }

    /// The next frame, if it is here.
    pub(super) fn here(&mut self) -> Result<Frame, TryRecvError> {
        self.frames.try_recv().map(|(frame, _)| frame)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn little_is_read_ahead_of_who_looks_at_it() {
        let (mut runner, engine) = tokio::io::duplex(1 << 20);
        let mut incoming = Incoming::read(engine);
        let frame = serde_json::json!({ "type": "log", "message": "x".repeat(6 << 20) }).to_string();
        let writing = tokio::spawn(async move {
            for _ in 0..20 {
                runner.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).await.unwrap();
                runner.write_all(frame.as_bytes()).await.unwrap();
            }
            // The other end stays open, or its frames would end with it.
            runner
        });
        for _ in 0..20 {
            // Two that are here, one that waits for room.
            assert!(incoming.frames.len() <= 2);
            assert!(matches!(incoming.next().await, Some(Ok(FromRunner::Log { .. }))));
        }
        drop(writing.await.unwrap());
        assert!(matches!(incoming.next().await, Some(Err(FrameError::Closed))));
    }
}
