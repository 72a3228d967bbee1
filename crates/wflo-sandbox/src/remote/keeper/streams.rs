//! The program's standard streams, descriptors and connections, carried as frames.
//!
//! Nothing here waits: who does not read fills its own window and no more.

use super::super::frame::{FIRST_CONNECTION, FIRST_FD, Frame, Kind, PIECE, STDIO, WINDOW};
use crate::native::wire::Order;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// So much may wait to be written to the engine before nothing more is read.
const ROOM: usize = 256 << 10;
/// Connections at once; further ones wait in the listener's queue.
const CONNECTIONS: usize = 256;

/// One of them.
#[derive(Debug)]
struct Stream {
    fd: OwnedFd,
    /// What comes out of it goes to the engine.
    reads: bool,
    /// What the engine sends goes into it.
    writes: bool,
    /// It is closed in one direction by a call, and not by its end.
    socket: bool,
    /// Bytes that the engine will still take.
    room: usize,
    inbox: VecDeque<u8>,
    /// Nothing comes behind what is in the inbox.
    ending: bool,
}

/// What is polled: a listener by its place, or a stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Watched {
    Listener(usize),
    Stream(u32),
}

/// All of them, and what is to be said.
#[derive(Debug, Default)]
pub(super) struct Streams {
    words: Vec<u8>,
    said: usize,
    streams: BTreeMap<u32, Stream>,
    listeners: [Option<OwnedFd>; 2],
    next: u32,
}

impl Stream {
    fn new(fd: OwnedFd, reads: bool, writes: bool, socket: bool) -> io::Result<Stream> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Stream { fd, reads, writes, socket, room: WINDOW, inbox: VecDeque::new(), ending: false })
    }
}

impl Streams {
    pub(super) fn say(&mut self, frame: &Frame) {
        frame.write(&mut self.words);
    }

    pub(super) fn has_words(&self) -> bool {
        self.said < self.words.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.words.len() - self.said < ROOM
    }

    /// Writes as much as the engine takes now.
    pub(super) fn flush(&mut self, output: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(rest) = self.words.get(self.said..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(output, rest) {
                Ok(written) => self.said += written,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.words.clear();
        self.said = 0;
        Ok(())
    }

    /// Makes the program's ends of its streams, standard ones first, and keeps the others.
    pub(super) fn for_program(&mut self, order: Order) -> io::Result<(Vec<OwnedFd>, Order)> {
        let mut theirs = Vec::new();
        if order.terminal {
            let master =
                rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)?;
            rustix::pty::unlockpt(&master)?;
            let name = rustix::pty::ptsname(&master, Vec::new())?;
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
            let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
            theirs.extend([slave.try_clone()?, slave.try_clone()?, slave]);
            self.streams.insert(STDIO[0], Stream::new(master, true, true, false)?);
        } else {
            for (stream, _) in STDIO.iter().zip(order.stdio).filter(|(_, given)| *given) {
                let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                let to_program = *stream == STDIO[0];
                let (ours, its) = if to_program { (write, read) } else { (read, write) };
                self.streams.insert(*stream, Stream::new(ours, !to_program, to_program, false)?);
                theirs.push(its);
            }
        }
        for index in 0..order.fds.len() as u32 {
            let (ours, its) =
                rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            self.streams.insert(FIRST_FD + index, Stream::new(ours, true, true, true)?);
            theirs.push(its);
        }
        Ok((theirs, order))
    }

    /// Serves these from now on: for models, for other hosts.
    pub(super) fn listen(&mut self, listeners: [Option<(OwnedFd, u16)>; 2]) {
        self.listeners = listeners.map(|listener| listener.map(|(fd, _)| fd));
        for listener in self.listeners.iter().flatten() {
            let _ = rustix::io::ioctl_fionbio(listener, true);
        }
    }

    /// Adds whatever there may be news of, in the order of what is returned.
    pub(super) fn watched<'a>(&'a self, polled: &mut Vec<(BorrowedFd<'a>, i16)>) -> Vec<Watched> {
        let mut watched = Vec::new();
        let connections = self.streams.range(FIRST_CONNECTION..).count();
        for (index, listener) in self.listeners.iter().enumerate() {
            if let Some(listener) = listener
                && connections < CONNECTIONS
            {
                polled.push((listener.as_fd(), libc::POLLIN));
                watched.push(Watched::Listener(index));
            }
        }
        let room = self.has_room();
        for (number, stream) in &self.streams {
            let reads = stream.reads && stream.room > 0 && room;
            let writes = !stream.inbox.is_empty();
            let events = if reads { libc::POLLIN } else { 0 } | if writes { libc::POLLOUT } else { 0 };
            if events != 0 {
                polled.push((stream.fd.as_fd(), events));
                watched.push(Watched::Stream(*number));
            }
        }
        watched
    }

    /// Does what can be done without waiting.
    pub(super) fn attend(&mut self, watched: Watched, events: i16) {
        if events == 0 {
            return;
        }
        match watched {
            Watched::Listener(index) => self.accept(index),
            Watched::Stream(number) => {
                if events & libc::POLLOUT != 0 || events & libc::POLLERR != 0 {
                    self.write(number);
                }
                if events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 {
                    self.read(number);
                }
                self.tidy(number);
            }
        }
    }

    fn accept(&mut self, index: usize) {
        let Some(Some(listener)) = self.listeners.get(index) else { return };
        let Ok(connection) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC) else { return };
        let _ = rustix::net::sockopt::set_tcp_nodelay(&connection, true);
        let number = FIRST_CONNECTION + self.next;
        if let Ok(stream) = Stream::new(connection, true, true, true) {
            self.next = self.next.wrapping_add(1) & 0x3fff_ffff;
            self.streams.insert(number, stream);
            self.say(&Frame::new(Kind::Open, number, [index as u8]));
        }
    }

    fn read(&mut self, number: u32) {
        let Some(stream) = self.streams.get_mut(&number).filter(|stream| stream.reads && stream.room > 0)
        else {
            return;
        };
        let mut buffer = vec![0; PIECE.min(stream.room)];
        let frame = match rustix::io::read(&stream.fd, &mut buffer) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            // A terminal whose last user has gone says EIO.
            Ok(0) | Err(_) => {
                stream.reads = false;
                Frame::new(Kind::End, number, [])
            }
            Ok(read) => {
                stream.room -= read;
                buffer.truncate(read);
                Frame::new(Kind::Data, number, buffer)
            }
        };
        self.say(&frame);
    }

    fn write(&mut self, number: u32) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let mut taken = 0;
        while let Some(bytes) = Some(stream.inbox.as_slices().0).filter(|bytes| !bytes.is_empty()) {
            match rustix::io::write(&stream.fd, bytes) {
                Ok(written) => {
                    stream.inbox.drain(..written);
                    taken += written;
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                // Nobody will read it. The engine is not kept waiting for that.
                Err(_) => {
                    taken += stream.inbox.len();
                    stream.inbox.clear();
                    stream.writes = false;
                }
            }
        }
        if taken > 0 {
            self.say(&Frame::credit(number, taken));
        }
    }

    /// What the engine says of a stream. One that it does not know is over: that may cross.
    pub(super) fn take(&mut self, frame: &Frame) {
        let Some(stream) = self.streams.get_mut(&frame.stream) else {
            if frame.kind == Kind::Data {
                self.say(&Frame::credit(frame.stream, frame.bytes.len()));
            }
            return;
        };
        match frame.kind {
            Kind::Data if stream.writes => stream.inbox.extend(&frame.bytes),
            Kind::Data => {
                let credit = Frame::credit(frame.stream, frame.bytes.len());
                self.say(&credit);
            }
            Kind::End => stream.ending = true,
            Kind::Credit => stream.room = (stream.room + frame.taken().unwrap_or(0)).min(WINDOW),
            Kind::Size => {
                let two = |at: usize| {
                    frame
                        .bytes
                        .get(at..at + 2)
                        .and_then(|two| two.try_into().ok())
                        .map_or(0, u16::from_le_bytes)
                };
                let size =
                    rustix::termios::Winsize { ws_row: two(0), ws_col: two(2), ws_xpixel: 0, ws_ypixel: 0 };
                let _ = rustix::termios::tcsetwinsize(&stream.fd, size);
            }
            _ => {}
        }
        self.write(frame.stream);
        self.tidy(frame.stream);
    }

    /// Closes what is to be closed.
    fn tidy(&mut self, number: u32) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        if stream.ending && stream.inbox.is_empty() && stream.writes {
            stream.writes = false;
            if stream.socket {
                let _ = rustix::net::shutdown(&stream.fd, Shutdown::Write);
            }
        }
        if !stream.reads && !stream.writes {
            self.streams.remove(&number);
        }
    }
}
