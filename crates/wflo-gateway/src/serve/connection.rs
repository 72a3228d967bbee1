//! A client's connection, as whoever keeps the caller's journal sees it.
//!
//! Owns two questions and asks the kernel both: whether the client is still there, and whether anything
//! of it is on its way. A client that gives a call up says so by closing its connection and nothing
//! else; and an open connection may be one that is kept alive without a call.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

const QUIET: u8 = 0;
const ASKING: u8 = 1;
const RUNNING: u8 = 2;
const GIVEN_UP: u8 = 3;
const KNOWN: u8 = 4;

/// What is on its way between some clients and their provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnderWay {
    /// Nothing: no request is without its answer, but those that will never have one.
    Nothing,
    /// A request that is being read, or an answer that comes by itself.
    Answer,
    /// A call that runs now.
    Call,
}

/// One connection of a client.
#[derive(Debug)]
pub struct Connection {
    /// As long as it is served.
    socket: Mutex<Option<Arc<TcpStream>>>,
    stage: AtomicU8,
    /// The last byte of an answer was taken, and is not flushed yet.
    ending: AtomicBool,
    /// The answer to the last request has begun.
    begun: AtomicBool,
    gone: AtomicBool,
}

/// What lies in a socket.
enum Received {
    Nothing,
    Bytes,
    End,
}

impl Connection {
    /// Whether the client closed it while it waited for an answer of which nothing had come. To be asked
    /// once the request has been read: an end behind unread bytes is not seen.
    pub fn has_given_up(&self) -> bool {
        !self.begun.load(Ordering::SeqCst) && self.is_gone()
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst) || matches!(self.received(), Received::End)
    }

    /// A request was read.
    pub(super) fn asks(&self) {
        self.begun.store(false, Ordering::SeqCst);
    }

    /// Its answer begins, if the client still waits for it.
    pub(super) fn begins(&self) {
        if !self.is_gone() {
            self.begun.store(true, Ordering::SeqCst);
        }
    }

    /// Whoever keeps the caller's journal knows what was asked for on it: from now on its end is seen.
    pub fn becomes_known(&self) {
        let _other = self.stage.compare_exchange(ASKING, KNOWN, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The call that was asked for on it runs now.
    pub fn runs(&self) {
        self.stage.store(RUNNING, Ordering::SeqCst);
    }

    /// No answer will come on it: its client is waited for to go.
    pub fn hangs(&self) {
        self.stage.store(GIVEN_UP, Ordering::SeqCst);
    }

    /// The last byte of an answer was taken.
    pub(super) fn answered(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// Whether something that its client has sent is not known of yet.
    fn is_being_read(&self) -> bool {
        matches!(self.received(), Received::Bytes) || self.stage.load(Ordering::SeqCst) == ASKING
    }

    /// Looks at the socket first: bytes leave it only after the stage has said that they come.
    fn under_way(&self) -> UnderWay {
        if matches!(self.received(), Received::Bytes) {
            return UnderWay::Answer;
        }
        match self.stage.load(Ordering::SeqCst) {
            ASKING | KNOWN => UnderWay::Answer,
            RUNNING => UnderWay::Call,
            _ => UnderWay::Nothing,
        }
    }

    fn received(&self) -> Received {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(socket) = socket.as_ref() else { return Received::Nothing };
        let mut byte = [0_u8; 1];
        match rustix::net::recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Received::End,
            Ok(_) => Received::Bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Received::Nothing,
            Err(_) => Received::End,
        }
    }

    /// It is served no longer.
    fn close(&self) {
        let gone = matches!(self.received(), Received::End);
        self.gone.fetch_or(gone, Ordering::SeqCst);
        self.stage.store(QUIET, Ordering::SeqCst);
        drop(self.socket.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The connections of a listener.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Until it is closed.
    listener: Weak<TcpListener>,
    all: Arc<Mutex<Vec<Weak<Connection>>>>,
}

impl Connections {
    pub(super) fn of(listener: &Arc<TcpListener>) -> Connections {
        Connections { listener: Arc::downgrade(listener), all: Arc::default() }
    }

    /// Whether one has been made that is not accepted yet.
    fn has_more(&self) -> bool {
        let Some(listener) = self.listener.upgrade() else { return false };
        let mut asked = [PollFd::new(&*listener, PollFlags::IN)];
        poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Whether a client has sent something that is not known of yet, and may have gone since.
    pub fn are_being_read(&self) -> bool {
        self.has_more() || self.lock().iter().filter_map(Weak::upgrade).any(|one| one.is_being_read())
    }

    /// What is on its way, where `open` connections are known to their clients: one more than are seen
    /// here has been made and is not seen yet.
    pub fn under_way(&self, open: usize) -> UnderWay {
        // Looked at first: what is accepted since then is among those that are seen.
        if self.has_more() {
            return UnderWay::Answer;
        }
        let all: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).filter(|one| !one.is_gone()).collect();
        if all.len() < open {
            return UnderWay::Answer;
        }
        let each = all.iter().map(|one| one.under_way());
        each.fold(UnderWay::Nothing, |sum, one| match (sum, one) {
            (UnderWay::Answer, _) | (_, UnderWay::Answer) => UnderWay::Answer,
            (UnderWay::Call, _) | (_, UnderWay::Call) => UnderWay::Call,
            (UnderWay::Nothing, UnderWay::Nothing) => UnderWay::Nothing,
        })
    }

    /// Watches a connection as long as what is served lives.
    pub(super) fn watch(&self, stream: TcpStream) -> Served {
        let stream = Arc::new(stream);
        let connection = Arc::new(Connection {
            socket: Mutex::new(Some(Arc::clone(&stream))),
            stage: AtomicU8::new(QUIET),
            ending: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        let mut all = self.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&connection));
        Served { stream, connection }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Connection>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is being served.
pub(super) struct Served {
    stream: Arc<TcpStream>,
    pub(super) connection: Arc<Connection>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.connection.close();
    }
}

impl Served {
    fn read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other.map(|_| ())),
            }
        }
    }

    fn write(
        &self,
        context: &mut Context<'_>,
        write: impl Fn() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }
}

impl AsyncRead for Served {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stage = &self.connection.stage;
        let swap = |from, to| stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        // Before the bytes leave the socket, so that whoever looks sees them there or here.
        let begins = swap(QUIET, ASKING);
        let before = buffer.filled().len();
        let read = self.read(context, buffer);
        if begins && buffer.filled().len() == before {
            swap(ASKING, QUIET);
        }
        read
    }
}

impl AsyncWrite for Served {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, || self.stream.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only once it has written all that it had, and a socket holds nothing back.
        if self.connection.ending.swap(false, Ordering::SeqCst) {
            self.connection.stage.store(QUIET, Ordering::SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match rustix::net::shutdown(&*self.stream, Shutdown::Write) {
            // The client was faster.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, || self.stream.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_counts_from_when_its_client_has_made_it() {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let known = Connections::of(&listener);
        assert_eq!(known.under_way(0), UnderWay::Nothing);
        let address = listener.local_addr().unwrap();
        // One that is kept alive must not stand for another that is not accepted yet.
        let _kept = TcpStream::connect(address).await.unwrap();
        let _first = known.watch(listener.accept().await.unwrap().0);
        assert_eq!(known.under_way(1), UnderWay::Nothing);
        let client = TcpStream::connect(address).await.unwrap();
        // A busy kernel may bring the last packet of a connection, or what it carries, a moment later.
        let arrives = async {
            while known.under_way(1) != UnderWay::Answer {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), arrives)
            .await
            .expect("it is there, and not accepted yet");
        let served = known.watch(listener.accept().await.unwrap().0);
        assert_eq!(known.under_way(1), UnderWay::Nothing);
        assert_eq!(client.try_write(b"asks").unwrap(), 4);
        served.stream.readable().await.unwrap();
        assert_eq!(known.under_way(1), UnderWay::Answer);
        assert!(!served.connection.has_given_up());
    }

    #[tokio::test]
    async fn what_a_client_has_sent_is_being_read_until_it_is_known() {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let known = Connections::of(&listener);
        assert!(!known.are_being_read());
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut served = known.watch(listener.accept().await.unwrap().0);
        assert!(!known.are_being_read(), "it asks for nothing yet");
        assert_eq!(client.try_write(b"asks").unwrap(), 4);
        drop(client);
        served.stream.readable().await.unwrap();
        assert!(known.are_being_read() && !served.connection.has_given_up(), "its end is behind that");
        let mut bytes = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut served, &mut bytes).await.unwrap();
        assert!(known.are_being_read(), "read, and not understood yet");
        served.connection.becomes_known();
        assert!(!known.are_being_read() && served.connection.has_given_up());
    }

    #[tokio::test]
    async fn only_who_goes_before_the_answer_begins_has_given_it_up() {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let known = Connections::of(&listener);
        for answered_first in [false, true] {
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let served = known.watch(listener.accept().await.unwrap().0);
            let connection = Arc::clone(&served.connection);
            connection.asks();
            assert!(!connection.has_given_up());
            if answered_first {
                connection.begins();
            }
            drop(client);
            served.stream.readable().await.unwrap();
            // Too late for a client that has gone.
            connection.begins();
            assert_eq!(connection.has_given_up(), !answered_first);
            drop(served);
            assert_eq!(connection.has_given_up(), !answered_first);
        }
    }
}
