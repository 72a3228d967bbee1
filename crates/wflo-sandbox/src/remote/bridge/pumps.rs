//! Moving the bytes of descriptors and connections, each within its window.

use super::super::frame::{Frame, Kind, PIECE, WINDOW};
use crate::native::sys::socket;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc};

/// How often the size of a terminal is looked at.
const SIZE: Duration = Duration::from_millis(250);

/// Bytes that have come for a descriptor and wait to be written to it.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<(VecDeque<u8>, bool)>,
    news: Notify,
    over: std::sync::atomic::AtomicBool,
}

impl Inbox {
    /// `None` when there is more than the window.
    pub(super) fn push(&self, bytes: &[u8]) -> Option<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.0.len() + bytes.len() > WINDOW {
            return None;
        }
        waiting.0.extend(bytes);
        drop(waiting);
        self.news.notify_one();
        Some(())
    }

    /// Nothing comes any more.
    pub(super) fn end(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.news.notify_one();
    }

    /// Both directions have ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn finish(&self) {
        self.over.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// What has come; `None` at the end.
    async fn take(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if !waiting.0.is_empty() {
                    return Some(waiting.0.drain(..).collect());
                }
                if waiting.1 {
                    return None;
                }
            }
            self.news.notified().await;
        }
    }
}

/// How much may be sent.
#[derive(Debug)]
pub(super) struct Window {
    room: Semaphore,
    most: usize,
}

impl Window {
    pub(super) fn new(most: usize) -> Window {
        Window { room: Semaphore::new(most), most }
    }

    pub(super) fn open(&self, bytes: usize) {
        let most = self.most.saturating_sub(self.room.available_permits());
        self.room.add_permits(bytes.min(most));
    }

    pub(super) fn close(&self) {
        self.room.close();
    }

    async fn take(&self, bytes: usize) -> Option<()> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.room.acquire_many(permits).await.ok()?.forget();
        Some(())
    }
}

/// The threads of one sandbox's descriptors. Dropping it ends those that only wait.
pub(super) struct Pumps {
    out: mpsc::WeakSender<Frame>,
    runtime: Handle,
    /// Its end is the end of whoever waits for input.
    stop: (OwnedFd, OwnedFd),
}

impl Pumps {
    pub(super) fn new(out: mpsc::WeakSender<Frame>, runtime: Handle) -> io::Result<Pumps> {
        let stop = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(Pumps { out, runtime, stop })
    }

    /// Moves what is read from `fd`, and what comes for it; `written` is told how much of that has been written, and `None` at its end.
    pub(super) fn descriptor(
        &self,
        stream: u32,
        fd: OwnedFd,
        (reads, writes): (bool, bool),
        terminal: bool,
        (inbox, window): (&Arc<Inbox>, &Arc<Window>),
        written: impl Fn(Option<usize>) + Send + 'static,
    ) -> io::Result<()> {
        if terminal && let Ok(mut modes) = rustix::termios::tcgetattr(&fd) {
            // The terminal inside is the one that echoes and edits lines.
            modes.make_raw();
            let _ = rustix::termios::tcsetattr(&fd, rustix::termios::OptionalActions::Now, &modes);
        }
        let fd = Arc::new(fd);
        let thread = || std::thread::Builder::new().name("stream".to_owned()).stack_size(256 << 10);
        if reads {
            let (fd, out, runtime, window) =
                (Arc::clone(&fd), self.out.clone(), self.runtime.clone(), Arc::clone(window));
            let stop = self.stop.0.try_clone()?;
            thread().spawn(move || from_descriptor(stream, &fd, terminal, &stop, &out, &runtime, &window))?;
        }
        if writes {
            let (out, runtime, inbox) = (self.out.clone(), self.runtime.clone(), Arc::clone(inbox));
            thread().spawn(move || {
                to_descriptor(stream, &fd, &out, &runtime, &inbox, &written);
                drop(fd);
                written(None);
            })?;
        }
        Ok(())
    }
}

fn say(out: &mpsc::WeakSender<Frame>, frame: Frame) -> Option<()> {
    out.upgrade()?.blocking_send(frame).ok()
}

fn from_descriptor(
    stream: u32,
    fd: &OwnedFd,
    terminal: bool,
    stop: &OwnedFd,
    out: &mpsc::WeakSender<Frame>,
    runtime: &Handle,
    window: &Window,
) -> Option<()> {
    let mut buffer = vec![0; PIECE];
    let mut size = None;
    loop {
        if terminal {
            let now = rustix::termios::tcgetwinsize(fd).ok().map(|size| (size.ws_row, size.ws_col));
            if now != size
                && let Some((rows, columns)) = now
            {
                size = now;
                let bytes = [rows.to_le_bytes(), columns.to_le_bytes()].concat();
                say(out, Frame::new(Kind::Size, stream, bytes))?;
            }
        }
        let patience = terminal.then_some(i64::try_from(SIZE.as_millis()).unwrap_or(250));
        let ready = socket::poll(&[(fd.as_fd(), libc::POLLIN), (stop.as_fd(), 0)], patience).ok()?;
        if ready.get(1).is_some_and(|events| *events != 0) {
            return None;
        }
        if ready.first().is_none_or(|events| *events == 0) {
            continue;
        }
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO | rustix::io::Errno::CONNRESET) => break,
            Ok(read) => {
                runtime.block_on(window.take(read))?;
                say(out, Frame::new(Kind::Data, stream, buffer.get(..read).unwrap_or_default()))?;
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    say(out, Frame::new(Kind::End, stream, []))
}

fn to_descriptor(
    stream: u32,
    fd: &OwnedFd,
    out: &mpsc::WeakSender<Frame>,
    runtime: &Handle,
    inbox: &Inbox,
    written: &impl Fn(Option<usize>),
) {
    let mut reads = true;
    while let Some(bytes) = runtime.block_on(inbox.take()) {
        // Who does not read any more does not hold up the program: its bytes are taken and dropped.
        reads = reads && write_all(fd, &bytes).is_ok();
        written(Some(bytes.len()));
        let _ = say(out, Frame::credit(stream, bytes.len()));
    }
    let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
    inbox.finish();
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                socket::poll(&[(fd.as_fd(), libc::POLLOUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Moves the bytes of a connection, which does not block.
pub(super) fn connection(
    runtime: &Handle,
    out: mpsc::WeakSender<Frame>,
    stream: u32,
    connected: OwnedFd,
    inbox: Arc<Inbox>,
    window: Arc<Window>,
) {
    runtime.spawn(async move {
        let connected = tokio::net::TcpStream::from_std(std::net::TcpStream::from(connected));
        let Ok(connected) = connected else {
            inbox.finish();
            return;
        };
        let _ = connected.set_nodelay(true);
        let (mut read, mut write) = connected.into_split();
        let to_engine = async {
            let mut served = true;
            while let Some(bytes) = inbox.take().await {
                served = served && write.write_all(&bytes).await.is_ok();
                let Some(out) = out.upgrade() else { return };
                let _ = out.send(Frame::credit(stream, bytes.len())).await;
            }
            let _ = write.shutdown().await;
        };
        let to_program = async {
            let mut buffer = vec![0; PIECE];
            while let Ok(length @ 1..) = read.read(&mut buffer).await {
                let Some(out) = out.upgrade() else { return };
                let bytes = buffer.get(..length).unwrap_or_default();
                if window.take(length).await.is_none()
                    || out.send(Frame::new(Kind::Data, stream, bytes)).await.is_err()
                {
                    return;
                }
            }
            if let Some(out) = out.upgrade() {
                let _ = out.send(Frame::new(Kind::End, stream, [])).await;
            }
        };
        tokio::join!(to_engine, to_program);
        inbox.finish();
    });
}
