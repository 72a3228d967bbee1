//! The terminal that a program is given: a pair that wflo makes, whose other side it keeps.
//!
//! The program's side becomes the controlling terminal of its session, so that signals, job control and
//! sizes are the kernel's. What is shown on it may be recorded as text, without what moves a cursor.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::relaying::{CHUNK, Relaying, feed};
use super::{Size, Stream, Streams};
use crate::output::{Lines, Output, Plain};

/// Our side of a program's terminal.
pub struct Screen {
    master: OwnedFd,
}

impl Screen {
    /// Makes a terminal of this size: our side, and the program's.
    ///
    /// # Errors
    /// When the kernel has none left.
    pub fn open(size: Size) -> io::Result<(Screen, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        tcsetwinsize(&master, winsize(size))?;
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok((Screen { master }, slave))
    }

    /// Connects it with `streams`, on the runtime that this is called within. To be called once the program has
    /// its side.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn connect(self, streams: &Arc<dyn Streams>, relaying: &mut Relaying) -> io::Result<()> {
        self.join(streams, None, relaying)
    }

    /// The same; what is shown is recorded in `output`.
    pub(crate) fn join(
        self,
        streams: &Arc<dyn Streams>,
        output: Option<Output>,
        relaying: &mut Relaying,
    ) -> io::Result<()> {
        // The kernel says of it when it can be read and written as of a pipe.
        let shown = Receiver::from_owned_fd_unchecked(self.master.try_clone()?)?;
        let typed = Sender::from_owned_fd_unchecked(self.master.try_clone()?)?;
        relaying.spawn(feed(typed, Arc::clone(streams)));
        relaying.spawn(resize(self.master, Arc::clone(streams)));
        let streams = Arc::clone(streams);
        relaying.bring(async move { show(shown, streams.as_ref(), output).await });
        Ok(())
    }
}

fn winsize(size: Size) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// The program's terminal has the size of its user's. The kernel signals a size that is another one, so
/// a program that is only to draw itself again is shown a different one in between.
async fn resize(terminal: OwnedFd, streams: Arc<dyn Streams>) {
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

/// What the program shows is passed on, and recorded where there is a record.
async fn show(mut screen: Receiver, streams: &dyn Streams, output: Option<Output>) {
    let mut lines = output.map(|output| Lines::new(output, "terminal"));
    let mut plain = Plain::default();
    let mut buffer = vec![0_u8; CHUNK];
    // The end of the program's side is an error of ours (EIO).
    while let Ok(read) = screen.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if let Some(lines) = &mut lines {
            lines.push(&plain.text(bytes)).await;
        }
        if streams.write(Stream::Output, bytes).await.is_err() {
            break;
        }
    }
    if let Some(lines) = lines {
        lines.end().await;
    }
}
