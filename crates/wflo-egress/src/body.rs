//! The body of a request of plain HTTP: read strictly, and sent on as what it is.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;

use crate::request::Framing;
use crate::rules::MOST;
use crate::secrets::Scanner;

/// The longest line that begins a chunk.
const LINE: usize = 18;

/// Why a body does not end as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the client has gone")]
    Gone,
    #[error("a chunk is not written as RFC 9112 has it, without extensions and trailers")]
    Chunk,
    #[error("the host takes no more")]
    Unwanted,
    #[error("it is longer than is looked at")]
    Long,
    #[error("it holds the placeholder of the secret `{0}`")]
    Misplaced(String),
}

/// The body as it is sent on.
pub(crate) struct Sending {
    parts: mpsc::Receiver<Bytes>,
    framing: Framing,
    left: u64,
}

/// A body with this end, and where its parts are put.
pub(crate) fn sending(framing: Framing) -> (mpsc::Sender<Bytes>, Sending) {
    let (sender, parts) = mpsc::channel(2);
    let left = if let Framing::Length(length) = framing { length } else { 0 };
    (sender, Sending { parts, framing, left })
}

impl Body for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.framing == Framing::Empty {
            return Poll::Ready(None);
        }
        match self.parts.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            // The empty part is the end: a sender that is merely gone leaves an unfinished body behind.
            Poll::Ready(Some(part)) if part.is_empty() => {
                self.framing = Framing::Empty;
                Poll::Ready(None)
            }
            Poll::Ready(Some(part)) => {
                self.left = self.left.saturating_sub(part.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(part))))
            }
            Poll::Ready(None) => Poll::Ready(Some(Err(BodyError::Gone))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.framing == Framing::Empty
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Empty => SizeHint::with_exact(0),
            Framing::Length(_) => SizeHint::with_exact(self.left),
            Framing::Chunked => SizeHint::default(),
        }
    }
}

/// Reads a body from the client, whose first bytes are in `buffer`, and leaves there what follows it.
pub(crate) async fn pump(
    client: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    framing: Framing,
    parts: mpsc::Sender<Bytes>,
    scanner: &mut Scanner,
) -> Result<(), BodyError> {
    match framing {
        Framing::Empty => return Ok(()),
        Framing::Length(length) => pump_exactly(client, buffer, length, &parts, scanner).await?,
        Framing::Chunked => loop {
            let length = chunk(&line(client, buffer).await?)?;
            if length == 0 {
                // Trailers are not taken.
                return match line(client, buffer).await?.as_ref() {
                    b"" => send(&parts, Bytes::new()).await,
                    _ => Err(BodyError::Chunk),
                };
            }
            pump_exactly(client, buffer, length, &parts, scanner).await?;
            if !line(client, buffer).await?.is_empty() {
                return Err(BodyError::Chunk);
            }
        },
    }
    send(&parts, Bytes::new()).await
}

/// Reads a whole body, which is kept in memory.
pub(crate) async fn whole(
    client: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    framing: Framing,
) -> Result<Bytes, BodyError> {
    let (parts, mut body) = sending(framing);
    let (mut gathered, mut nothing) = (BytesMut::new(), Scanner::new(Vec::new()));
    let gather = async {
        while let Some(frame) = body.frame().await {
            let part = frame?.into_data().unwrap_or_default();
            if gathered.len() + part.len() > MOST {
                return Err(BodyError::Long);
            }
            gathered.extend_from_slice(&part);
        }
        Ok(())
    };
    tokio::try_join!(pump(client, buffer, framing, parts, &mut nothing), gather)?;
    Ok(gathered.freeze())
}

/// Puts a body that has been read.
pub(crate) async fn put(body: Bytes, parts: mpsc::Sender<Bytes>) -> Result<(), BodyError> {
    if body.is_empty() {
        return Ok(());
    }
    send(&parts, body).await?;
    send(&parts, Bytes::new()).await
}

async fn pump_exactly(
    client: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    mut left: u64,
    parts: &mpsc::Sender<Bytes>,
    scanner: &mut Scanner,
) -> Result<(), BodyError> {
    while left > 0 {
        if buffer.is_empty() {
            more(client, buffer).await?;
        }
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        left -= part as u64;
        let part = buffer.split_to(part).freeze();
        if let Some(name) = scanner.find(&part) {
            return Err(BodyError::Misplaced(name.to_owned()));
        }
        send(parts, part).await?;
    }
    Ok(())
}

async fn send(parts: &mpsc::Sender<Bytes>, part: Bytes) -> Result<(), BodyError> {
    parts.send(part).await.map_err(|_| BodyError::Unwanted)
}

async fn more(client: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<(), BodyError> {
    buffer.reserve(16 << 10);
    match client.read_buf(buffer).await {
        Ok(1..) => Ok(()),
        _ => Err(BodyError::Gone),
    }
}

/// A short line, without its CR LF.
async fn line(client: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<Bytes, BodyError> {
    loop {
        if let Some(end) = buffer.iter().take(LINE).position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1).freeze();
            let is_sound = line.ends_with(b"\r\n");
            return if is_sound { Ok(line.slice(..end - 1)) } else { Err(BodyError::Chunk) };
        }
        if buffer.len() >= LINE {
            return Err(BodyError::Chunk);
        }
        more(client, buffer).await?;
    }
}

/// The length that a chunk's line says: hexadecimal digits and nothing else.
fn chunk(line: &[u8]) -> Result<u64, BodyError> {
    let is_number = (1..=15).contains(&line.len()) && line.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(line).ok().filter(|_| is_number).ok_or(BodyError::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| BodyError::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is sent on of a body, and what is left for the next request.
    fn read(written: &[u8], framing: Framing) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (parts, body) = sending(framing);
            let (mut client, mut buffer) = (written, BytesMut::new());
            let mut nothing = Scanner::new(Vec::new());
            let (pumped, sent) =
                tokio::join!(pump(&mut client, &mut buffer, framing, parts, &mut nothing), body.collect());
            pumped?;
            buffer.extend_from_slice(client);
            Ok((sent?.to_bytes().to_vec(), buffer.to_vec()))
        })
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let both = |sent: &[u8], left: &[u8]| Ok((sent.to_vec(), left.to_vec()));
        assert_eq!(read(b"abcdef", Framing::Length(3)), both(b"abc", b"def"));
        assert_eq!(read(b"GET ", Framing::Empty), both(b"", b"GET "));
        assert_eq!(
            read(b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nGET ", Framing::Chunked),
            both(b"abc0123456789", b"GET ")
        );
        assert_eq!(read(b"ab", Framing::Length(3)), Err(BodyError::Gone));
        assert_eq!(read(b"3\r\nabc\r\n", Framing::Chunked), Err(BodyError::Gone));
    }

    #[test]
    fn chunks_that_could_be_read_in_two_ways_are_refused() {
        for written in [
            &b"3;x=1\r\nabc\r\n0\r\n\r\n"[..],
            b"3\nabc\n0\n\n",
            b"+3\r\nabc\r\n",
            b"0x3\r\nabc\r\n",
            b" 3\r\nabc\r\n",
            b"3 \r\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"\r\nabc",
            b"0\r\nX: 1\r\n\r\n",
            b"ffffffffffffffffff\r\n",
            b"-1\r\n",
            b"3\r\r\nabc\r\n",
            b"00000000000000000000003\r\nabc",
        ] {
            assert_eq!(
                read(written, Framing::Chunked),
                Err(BodyError::Chunk),
                "{:?}",
                String::from_utf8_lossy(written)
            );
        }
    }

    proptest! {
        #[test]
        fn chunks_are_put_together_again(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6)) {
            let mut written = Vec::new();
            for part in &parts {
                written.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                written.extend_from_slice(part);
                written.extend_from_slice(b"\r\n");
            }
            written.extend_from_slice(b"0\r\n\r\nrest");
            prop_assert_eq!(read(&written, Framing::Chunked).unwrap(), (parts.concat(), b"rest".to_vec()));
        }
    }
}
