//! How many bytes of messages of one sandbox the server holds at once, in each direction.
//!
//! Whoever has more waits until there is room again. The directions have their own: what is taken out of a sandbox
//! must not wait for what is put into it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many bytes may be held: four of the longest messages.
const MOST: usize = 32 << 20;
/// Messages that are no longer are not counted: how many there may be at once is bounded.
pub(crate) const SMALL: usize = 64 << 10;
/// How long whoever sends waits for room.
const PATIENCE: Duration = Duration::from_secs(120);

/// Room for messages in one direction.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

/// A part of it; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Taken(Option<OwnedSemaphorePermit>);

impl Room {
    pub(crate) fn new() -> Room {
        Room(Arc::new(Semaphore::new(MOST)))
    }

    /// Room for a message of so many bytes, once there is.
    pub(crate) async fn take(&self, bytes: usize) -> Taken {
        if bytes <= SMALL {
            return Taken(None);
        }
        let permits = u32::try_from(bytes.min(MOST)).unwrap_or(u32::MAX);
        // It is never closed.
        Taken(Arc::clone(&self.0).acquire_many_owned(permits).await.ok())
    }

    /// The same within a time; `None` when that is up.
    pub(crate) async fn take_in_time(&self, bytes: usize) -> Option<Taken> {
        tokio::time::timeout(PATIENCE, self.take(bytes)).await.ok()
    }
}

impl Taken {
    /// Bytes that keep it until the last of them is dropped.
    pub(crate) fn kept_by(self, bytes: BytesMut) -> Bytes {
        match self.0 {
            None => bytes.freeze(),
            Some(_) => Bytes::from_owner(Keeping { bytes: bytes.freeze(), _taken: self }),
        }
    }
}

struct Keeping {
    bytes: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Keeping {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_room_again_once_the_last_byte_is_gone() {
        let room = Room::new();
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(room.take(8 << 20).await.kept_by(BytesMut::from(&b"message"[..])).slice(1..));
        }
        let mut fifth = Box::pin(room.take(8 << 20));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut fifth).await.is_err());
        // Small ones pass.
        drop(room.take(SMALL).await);
        assert_eq!(held.pop().as_deref(), Some(&b"essage"[..]));
        tokio::time::timeout(Duration::from_secs(60), fifth).await.expect("there is room");
    }
}
