//! The terminal that a program is given: a pair that wflo makes, whose other side it keeps.
//!
//! The program's side becomes the controlling terminal of its session, so that signals, job control and
//! sizes are the kernel's. What is shown on it is recorded as text, without what moves a cursor.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::relay::CHUNK;
use crate::console::{Size, Stream, Streams};
use crate::output::{Lines, Output, Plain};

/// Our side of a program's terminal. The kernel says of it when it can be read and written as of a pipe.
pub(super) struct Screen {
    size: OwnedFd,
    shown: Receiver,
    typed: Sender,
}

/// Makes a terminal: our side, which does not block, and the program's.
pub(super) fn open(size: Size) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    tcsetwinsize(&master, winsize(size))?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, slave))
}

fn winsize(size: Size) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Screen {
    pub(super) fn new(master: OwnedFd) -> io::Result<Self> {
        Ok(Screen {
            size: master.try_clone()?,
            shown: Receiver::from_owned_fd_unchecked(master.try_clone()?)?,
            typed: Sender::from_owned_fd_unchecked(master)?,
        })
    }

    /// What it shows, what is typed, and what its size is, each for itself.
    pub(super) fn parts(self) -> (Receiver, Sender, OwnedFd) {
        (self.shown, self.typed, self.size)
    }
}

/// The program's terminal has the size of its user's. The kernel signals a size that is another one, so
/// a program that is only to draw itself again is shown a different one in between.
pub(super) async fn resize(terminal: OwnedFd, streams: Arc<dyn Streams>) {
    loop {
        let size = streams.resized().await;
        let fd = terminal.as_fd();
        if rustix::termios::tcgetwinsize(fd)
            .is_ok_and(|now| (now.ws_row, now.ws_col) == (size.rows, size.columns))
        {
            let other = Size { rows: size.rows.saturating_sub(1).max(1), ..size };
            let _ = tcsetwinsize(fd, winsize(other));
        }
        let _ = tcsetwinsize(fd, winsize(size));
    }
}

/// What the program shows is passed on and recorded.
pub(super) async fn show(mut screen: Receiver, streams: &dyn Streams, output: Output) {
    let (mut lines, mut plain) = (Lines::new(output, "terminal"), Plain::default());
    let mut buffer = vec![0_u8; CHUNK];
    // The end of the program's side is an error of ours (EIO).
    while let Ok(read) = screen.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        lines.push(&plain.text(bytes)).await;
        if streams.write(Stream::Output, bytes).await.is_err() {
            break;
        }
    }
    lines.end().await;
}
