//! Writes that leave together: what the tasks of one turn of the scheduler write goes out at its end.
//!
//! A write to a socket wakes whoever waits at its other end, and where that is a process on this machine the
//! writer pays for it: a message to another core, which costs more than all the rest of the write. Whoever was
//! woken by one write is awake for those that follow at once. So a connection keeps what is written to it,
//! and a task that was woken by the first such write, and so runs after all that were ready with its writer,
//! sends what has gathered.
//!
//! Owns when bytes leave, never whether: they are sent in their order, an error is told to whoever writes
//! next, and a connection that is shut down or dropped sends what it has first.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Id};

/// A write of more than this, in bytes, goes out at once: to copy it costs more than to be woken.
const LARGE: usize = 16 * 1024;

/// So many connections that wait to send are sent for at once: whoever is at their ends begins meanwhile.
const MANY: usize = 16;

/// A TCP connection whose writes leave at the end of the turn.
pub struct Together(Arc<Shared>);

struct Shared {
    stream: TcpStream,
    out: Mutex<Out>,
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// Whether the end of the turn sends them.
    queued: bool,
    failed: Option<io::Error>,
    /// Whoever wrote last. It goes on with what could not be sent at once.
    writer: Option<Waker>,
}

impl Together {
    /// Must be used within a Tokio runtime.
    #[must_use]
    pub fn new(stream: TcpStream) -> Together {
        Together(Arc::new(Shared { stream, out: Mutex::default() }))
    }
}

impl Shared {
    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what has gathered, as far as the socket takes it.
    fn send(&self, out: &mut Out) -> io::Result<()> {
        let mut sent = 0;
        let ended = loop {
            match out.bytes.get(sent..) {
                None | Some([]) => break Ok(()),
                Some(rest) => match self.stream.try_write(rest) {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => sent += n,
                    Err(error) => break Err(error),
                },
            }
        };
        match &ended {
            // Nothing is kept of a connection that has nothing to send.
            Ok(()) => out.bytes = Vec::new(),
            Err(_) => drop(out.bytes.drain(..sent)),
        }
        ended
    }

    /// At the end of the turn.
    fn leave(&self) {
        let mut out = self.out();
        out.queued = false;
        match self.send(&mut out) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => out.failed = Some(error),
        }
        let writer = out.writer.take();
        drop(out);
        writer.into_iter().for_each(Waker::wake);
    }

    /// Sends everything, waiting for the socket.
    fn poll_send(&self, cx: &mut Context<'_>, out: &mut Out) -> Poll<io::Result<()>> {
        while !out.bytes.is_empty() {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.send(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => other?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        this: &Arc<Shared>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut out = this.out();
        if let Some(error) = out.failed.take() {
            return Poll::Ready(Err(error));
        }
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if out.bytes.len() + length > LARGE {
            ready!(this.poll_send(cx, &mut out))?;
            if length > LARGE {
                loop {
                    ready!(this.stream.poll_write_ready(cx))?;
                    match this.stream.try_write_vectored(parts) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        other => return Poll::Ready(other),
                    }
                }
            }
        }
        out.bytes.reserve(length);
        parts.iter().for_each(|part| out.bytes.extend_from_slice(part));
        match &mut out.writer {
            Some(writer) => writer.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if !mem::replace(&mut out.queued, true) {
            drop(out);
            queue(Arc::clone(this));
        }
        Poll::Ready(Ok(length))
    }

    /// What the end of the turn will send counts as sent.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out();
        match out.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if out.queued => Poll::Ready(Ok(())),
            None => self.poll_send(cx, &mut out),
        }
    }
}

impl AsyncRead for Together {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(cx))?;
            match self.0.stream.try_read_buf(into) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Together {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Shared::poll_write(&self.0, cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Shared::poll_write(&self.0, cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_send(cx, &mut self.0.out()))?;
        Poll::Ready(rustix::net::shutdown(&self.0.stream, Shutdown::Write).map_err(io::Error::from))
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        // Somebody may still hold the other half: whatever was written is sent before the stream can close.
        let mut out = self.0.out();
        let _ = self.0.send(&mut out);
        (out.bytes, out.writer) = (Vec::new(), None);
    }
}

impl Connection for Together {
    fn connected(&self) -> Connected {
        self.0.stream.connected()
    }
}

/// Who sends for the connections of one thread.
#[derive(Default)]
struct Turn(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    connections: Vec<Arc<Shared>>,
    sender: Option<Waker>,
}

thread_local! {
    /// Of the runtime that this thread works for now. It lives as long as its task, and that as long as its runtime.
    static TURN: RefCell<(Option<Id>, Weak<Turn>)> = const { RefCell::new((None, Weak::new())) };
}

/// Sends for a connection at the end of the turn.
fn queue(connection: Arc<Shared>) {
    let runtime = Handle::current();
    let turn = TURN.with_borrow_mut(|(id, known)| {
        known.upgrade().filter(|_| *id == Some(runtime.id())).unwrap_or_else(|| {
            let turn = Arc::new(Turn::default());
            (*id, *known) = (Some(runtime.id()), Arc::downgrade(&turn));
            runtime.spawn(Arc::clone(&turn).run());
            turn
        })
    });
    let mut waiting = turn.waiting();
    waiting.connections.push(connection);
    match waiting.connections.len() {
        1 => {
            let sender = waiting.sender.take();
            drop(waiting);
            sender.into_iter().for_each(Waker::wake);
        }
        MANY => {
            drop(waiting);
            turn.end();
        }
        _ => {}
    }
}

impl Turn {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut connections = mem::take(&mut self.waiting().connections);
        connections.drain(..).for_each(|connection| connection.leave());
        // The room is used again.
        let mut waiting = self.waiting();
        if waiting.connections.is_empty() {
            waiting.connections = connections;
        }
    }

    async fn run(self: Arc<Self>) {
        poll_fn(|cx| {
            self.waiting().sender = Some(cx.waker().clone());
            self.end();
            Poll::<()>::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests;
