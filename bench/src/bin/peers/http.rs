//! As much of HTTP/1.1 as both ends need.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Outcome;

/// A connection, and what was read of it and not used.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

/// A message's head.
pub(crate) struct Head {
    pub(crate) first: String,
    /// `None`: chunked.
    pub(crate) length: Option<usize>,
    /// Where the body begins in the buffer.
    pub(crate) end: usize,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Wire {
        let _ = stream.set_nodelay(true);
        Wire { stream, buffer: Vec::with_capacity(128 << 10) }
    }

    pub(crate) async fn connect(port: u16) -> Outcome<Wire> {
        Ok(Wire::new(TcpStream::connect(("127.0.0.1", port)).await?))
    }

    pub(crate) async fn more(&mut self) -> Outcome<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the connection ended".into()),
            _ => Ok(()),
        }
    }

    pub(crate) async fn head(&mut self) -> Outcome<Head> {
        let mut from = 0;
        loop {
            let found =
                self.buffer.get(from..).and_then(|rest| rest.windows(4).position(|four| four == b"\r\n\r\n"));
            if let Some(at) = found {
                let end = from + at + 4;
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                let first = head.lines().next().unwrap_or_default().to_owned();
                let chunked = head.contains("transfer-encoding: chunked");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                let length = length.and_then(|length| length.trim().parse().ok());
                return Ok(Head {
                    first,
                    length: if chunked { None } else { Some(length.unwrap_or(0)) },
                    end,
                });
            }
            from = self.buffer.len().saturating_sub(3);
            self.more().await?;
        }
    }

    /// Reads a message with a length; its body.
    pub(crate) async fn sized(&mut self) -> Outcome<(String, Vec<u8>)> {
        let head = self.head().await?;
        let Some(length) = head.length else { return self.chunked(head, |_| ()).await };
        let whole = head.end + length;
        while self.buffer.len() < whole {
            self.more().await?;
        }
        let body = self.buffer[head.end..whole].to_vec();
        self.buffer.drain(..whole);
        Ok((head.first, body))
    }

    /// Reads a chunked body; `piece` sees each chunk as it comes.
    pub(crate) async fn chunked(
        &mut self,
        head: Head,
        mut piece: impl FnMut(&[u8]),
    ) -> Outcome<(String, Vec<u8>)> {
        self.buffer.drain(..head.end);
        let mut body = Vec::new();
        loop {
            let line = loop {
                match self.buffer.windows(2).position(|two| two == b"\r\n") {
                    Some(at) => break at,
                    None => self.more().await?,
                }
            };
            let size = std::str::from_utf8(&self.buffer[..line])?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
            let whole = line + 2 + size + 2;
            while self.buffer.len() < whole {
                self.more().await?;
            }
            let data = &self.buffer[line + 2..line + 2 + size];
            piece(data);
            body.extend_from_slice(data);
            self.buffer.drain(..whole);
            if size == 0 {
                return Ok((head.first, body));
            }
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        Ok(self.stream.write_all(bytes).await?)
    }
}

/// Nanoseconds of the clock that all processes of a machine share.
pub(crate) fn nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
