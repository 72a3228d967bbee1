//! Frames: what passes on the socket of one request, between the server and the agent in a sandbox.
//!
//! A kind, a length, as many bytes. Both sides speak the same; the server waits asynchronously, the agent
//! blocks. **Architecture Invariant:** the server believes nothing of what an agent sends: no frame is longer
//! than [`MOST`], no memory is taken for bytes that have not arrived, and whatever else is wrong ends that
//! request alone.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::room::{Room, Taken};

/// The longest frame in bytes: a picture that code has drawn fits, encoded.
pub(crate) const MOST: usize = 8 << 20;

/// How much of a file or of a program's output one frame holds.
pub(crate) const CHUNK: usize = 32 << 10;

const HEAD: usize = 5;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message of JSON.
    Message,
    /// Bytes of a file.
    Bytes,
    /// A [`crate::fault::Fault`]; nothing follows.
    Failed,
    /// Nothing follows.
    End,
}

impl Kind {
    const fn mark(self) -> u8 {
        match self {
            Kind::Message => b'M',
            Kind::Bytes => b'B',
            Kind::Failed => b'F',
            Kind::End => b'E',
        }
    }

    const fn of(mark: u8) -> Option<Kind> {
        match mark {
            b'M' => Some(Kind::Message),
            b'B' => Some(Kind::Bytes),
            b'F' => Some(Kind::Failed),
            b'E' => Some(Kind::End),
            _ => None,
        }
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) payload: Vec<u8>,
}

fn head(kind: Kind, length: usize) -> io::Result<[u8; HEAD]> {
    let length = u32::try_from(length).ok().filter(|length| *length as usize <= MOST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long"))?;
    let [a, b, c, d] = length.to_be_bytes();
    Ok([kind.mark(), a, b, c, d])
}

fn parse(head: [u8; HEAD]) -> io::Result<(Kind, usize)> {
    let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    let [mark, length @ ..] = head;
    let kind = Kind::of(mark).ok_or_else(|| wrong("a frame of no known kind"))?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MOST {
        return Err(wrong("a frame is too long"));
    }
    Ok((kind, length))
}

fn whole(frame: Frame, length: usize) -> io::Result<Frame> {
    if frame.payload.len() == length { Ok(frame) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Writes one frame.
///
/// # Errors
/// When the other side is gone, or the payload is over [`MOST`].
pub(crate) fn write(to: &mut impl Write, kind: Kind, payload: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend_from_slice(&head(kind, payload.len())?);
    bytes.extend_from_slice(payload);
    to.write_all(&bytes)
}

/// Reads one frame; `None` at the end of the stream.
///
/// # Errors
/// When what arrives is no frame.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut first = [0; HEAD];
    match from.read_exact(&mut first) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (kind, length) = parse(first)?;
    let mut payload = Vec::new();
    from.take(length as u64).read_to_end(&mut payload)?;
    whole(Frame { kind, payload }, length).map(Some)
}

/// As [`write`].
///
/// # Errors
/// As [`write`].
pub(crate) async fn send(to: &mut (impl AsyncWrite + Unpin), kind: Kind, payload: &[u8]) -> io::Result<()> {
    to.write_all(&head(kind, payload.len())?).await?;
    to.write_all(payload).await
}

/// One that has arrived on the server's side.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) kind: Kind,
    /// It keeps the room that was made for it.
    pub(crate) payload: Bytes,
}

/// The frames that arrive on the server's side. Memory is taken as bytes arrive, and once there is room for all of
/// a frame.
#[derive(Debug)]
pub(crate) struct Frames<R> {
    from: R,
    buffer: BytesMut,
    room: Room,
    /// Room for the frame that arrives.
    taken: Option<Taken>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(from: R, room: Room) -> Self {
        Frames { from, buffer: BytesMut::new(), room, taken: None }
    }

    /// As [`read`]. What has arrived stays when the wait for the rest is given up.
    ///
    /// # Errors
    /// As [`read`].
    pub(crate) async fn next(&mut self) -> io::Result<Option<Arrived>> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<HEAD>() {
                let (kind, length) = parse(*head)?;
                if self.taken.is_none() {
                    self.taken = Some(self.room.take(length).await);
                }
                if self.buffer.len() >= HEAD + length {
                    let mut whole = self.buffer.split_to(HEAD + length);
                    let payload = whole.split_off(HEAD);
                    let Some(taken) = self.taken.take() else { continue };
                    return Ok(Some(Arrived { kind, payload: taken.kept_by(payload) }));
                }
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Message, b"{}").unwrap();
        write(&mut bytes, Kind::End, b"").unwrap();
        let mut from = bytes.as_slice();
        let message = Frame { kind: Kind::Message, payload: b"{}".to_vec() };
        assert_eq!(read(&mut from).unwrap(), Some(message));
        assert_eq!(read(&mut from).unwrap(), Some(Frame { kind: Kind::End, payload: Vec::new() }));
        assert_eq!(read(&mut from).unwrap(), None);
    }

    #[tokio::test]
    async fn a_frame_that_lies_ends_the_stream_and_takes_no_memory() {
        let huge = [&[b'M'][..], &u32::MAX.to_be_bytes()].concat();
        assert!(Frames::new(huge.as_slice(), Room::new()).next().await.is_err(), "longer than any frame");
        assert!(read(&mut huge.as_slice()).is_err());
        let cut = [&[b'M'][..], &(MOST as u32).to_be_bytes(), b"only this"].concat();
        let mut frames = Frames::new(cut.as_slice(), Room::new());
        let error = frames.next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(frames.buffer.capacity() < 4_096, "{}", frames.buffer.capacity());
        let odd = [b'?', 0, 0, 0, 0];
        assert!(Frames::new(odd.as_slice(), Room::new()).next().await.is_err(), "no known kind");
        assert!(write(&mut Vec::new(), Kind::Bytes, &vec![0; MOST + 1]).is_err());
    }

    #[tokio::test]
    async fn a_long_frame_waits_for_room_and_keeps_it() {
        let (room, long) = (Room::new(), vec![b'x'; 100 << 10]);
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Bytes, &long).unwrap();
        write(&mut bytes, Kind::End, b"").unwrap();
        let all = room.take(usize::MAX).await;
        let mut frames = Frames::new(bytes.as_slice(), room.clone());
        let moment = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(moment, frames.next()).await.is_err());
        drop(all);
        let payload = frames.next().await.unwrap().unwrap().payload;
        assert_eq!(payload, long);
        assert!(tokio::time::timeout(moment, room.take(usize::MAX)).await.is_err(), "it is held");
        drop(payload);
        assert_eq!(frames.next().await.unwrap().unwrap().kind, Kind::End);
        room.take(usize::MAX).await;
    }
}
