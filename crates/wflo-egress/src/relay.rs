//! A connection to another host, with everything that passes counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::limits::Flow;

/// What a connection to another host is here.
pub(crate) struct Counted {
    stream: TcpStream,
    flow: Arc<Flow>,
}

impl Counted {
    pub(crate) fn new(stream: TcpStream, flow: Arc<Flow>) -> Self {
        Counted { stream, flow }
    }
}

fn over() -> io::Error {
    io::Error::other("the sandbox's limit of bytes is reached")
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let read = buf.filled().len() - before;
                if read > 0 && !self.flow.received(read) {
                    buf.set_filled(before);
                    return Poll::Ready(Err(over()));
                }
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(taken) = self.flow.take(bytes.len()) else { return Poll::Ready(Err(over())) };
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes.get(..taken).unwrap_or_default());
        let sent = if let Poll::Ready(Ok(sent)) = &written { *sent } else { 0 };
        self.flow.sent(taken, sent.min(taken));
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
