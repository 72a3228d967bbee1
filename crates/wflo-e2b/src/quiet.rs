//! Whether a connection is used: a client that asks for nothing wakes nobody, so it is looked at from outside.
//!
//! A request is under way until its answer was handed over, and a connection is used until what it holds of its
//! answers was taken: the end of one that was handed over may still wait for a slow client.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::answer::Body;

/// What one connection came to.
#[derive(Debug, Default)]
struct Counts {
    /// Requests whose heads were read.
    begun: AtomicU64,
    /// Of these, those whose answer was handed over or dropped.
    ended: AtomicU64,
    /// Bytes that were sent.
    sent: AtomicU64,
    /// Whether more is to be sent than the client takes.
    waits: AtomicBool,
}

/// The requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Requests(Arc<Counts>);

impl Requests {
    /// The connection that they come on.
    pub(crate) fn on<S>(&self, stream: S) -> Watched<S> {
        Watched { stream, counts: Arc::clone(&self.0) }
    }

    /// A request was read.
    pub(crate) fn begin(&self) -> Request {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(&self.0))
    }

    /// Looks so often, and resolves once no request is under way, none has come since the last look, and the
    /// client has taken what there was for it, or nothing of it for `patience`.
    pub(crate) async fn quiet(&self, every: Duration, patience: Duration) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let look = || (count(&self.0.begun), count(&self.0.sent));
        let (mut before, mut since) = (look(), Instant::now());
        loop {
            tokio::time::sleep(every).await;
            let now = look();
            if now != before {
                since = Instant::now();
            }
            let taken = !self.0.waits.load(Ordering::Relaxed) || since.elapsed() >= patience;
            if now.0 == before.0 && now.0 == count(&self.0.ended) && taken {
                return;
            }
            before = now;
        }
    }
}

/// One that is under way.
pub(crate) struct Request(Arc<Counts>);

impl Request {
    /// Its answer's body, whose end is the request's.
    pub(crate) fn answered(self, body: Body) -> Answering {
        Answering { nothing: body.is_end_stream(), body, _request: self }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body on its way.
pub(crate) struct Answering {
    body: Body,
    /// There never was anything in it.
    nothing: bool,
    _request: Request,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    /// Not before its end was asked for: a stream of HTTP/2 asks once its client has room for what came before.
    fn is_end_stream(&self) -> bool {
        self.nothing
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection of which it is known how much was sent.
pub(crate) struct Watched<S> {
    stream: S,
    counts: Arc<Counts>,
}

impl<S> Watched<S> {
    /// What came of sending or flushing.
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.counts.waits.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }

    fn note_sent(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let sent = ready!(self.note(polled))?;
        self.counts.sent.fetch_add(sent as u64, Ordering::Relaxed);
        Poll::Ready(Ok(sent))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_sent(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note_sent(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
