//! Writing to a runner: one frame at a time, recorded answers read when it is their turn.

use tokio::io::AsyncWrite;
use wflo_core::error::Failure;

use crate::broker::Broker;
use crate::error::EngineError;
use crate::outbox::{Line, What, result};
use crate::protocol::{self, FrameError};

/// Why nothing more is written although the runner is there.
pub(super) enum Stuck {
    /// It waits for what it cannot be given.
    Refused(Failure),
    /// What it waits for cannot be read.
    Engine(EngineError),
}

/// Writes until the line or the connection ends.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    broker: &Broker,
    line: &mut Line,
    writer: &mut W,
) -> Option<Stuck> {
    while let Some(outgoing) = line.next().await {
        let read;
        let frame = match &outgoing.what {
            What::Frame(frame) => frame,
            What::Recorded { on, order, place } => match broker.recorded(on).await {
                Ok(Some(answer)) => {
                    read = result(on.clone(), *order, *place, answer);
                    &read
                }
                // What it rested on was dropped: the attempt is being ended.
                Ok(None) => continue,
                Err(error) => return Some(Stuck::Engine(error)),
            },
        };
        match protocol::write(writer, frame).await {
            Ok(()) => {}
            Err(FrameError::Broken(failure)) => return Some(Stuck::Refused(failure)),
            Err(FrameError::Closed) => return None,
        }
    }
    None
}
