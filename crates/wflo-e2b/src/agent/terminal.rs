//! Terminals: made for a program, whose session they control.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use serde::Deserialize;

/// The first argument of the program that becomes another one in a terminal's session.
pub(crate) const TERMINAL_ARGUMENT: &str = "--wflo-sandbox-terminal";

/// Not executed, as shells say it.
const NOT_EXECUTED: u8 = 126;

/// How large a terminal is.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Size {
    #[serde(default)]
    cols: u32,
    #[serde(default)]
    rows: u32,
}

/// Both ends of a new terminal: ours, and the program's.
///
/// # Errors
/// When the kernel has none left.
pub(super) fn make(size: Size) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&ours)?;
    let name = rustix::pty::ptsname(&ours, Vec::new())?;
    let theirs = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, theirs, Mode::empty())?;
    resize(&ours, size)?;
    Ok((ours, theirs))
}

/// Tells the terminal, and who runs in it, its size.
///
/// # Errors
/// When it is gone.
pub(super) fn resize(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let size = Winsize { ws_row: narrow(size.rows), ws_col: narrow(size.cols), ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// The command that runs `program` in a session of its own, whose terminal is its standard input.
///
/// # Errors
/// When this program cannot find itself.
pub(super) fn command(program: &str) -> io::Result<Command> {
    // Between the fork and the execution of a program only another program can do this without unsafe code.
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(TERMINAL_ARGUMENT).arg(program);
    Ok(command)
}

/// Leads a new session with the terminal on the standard input, and becomes the program that is named.
pub(super) fn lead() -> ExitCode {
    let mut words = std::env::args_os().skip(2);
    let Some(program) = words.next() else { return ExitCode::from(NOT_EXECUTED) };
    let begun = rustix::process::setsid()
        .and_then(|_| rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()))
        .map_err(io::Error::from);
    let error = match begun {
        Ok(()) => Command::new(&program).args(words).exec(),
        Err(error) => error,
    };
    let said = format!("{}: {error}\r\n", program.display());
    let _ = rustix::io::write(rustix::stdio::stdout(), said.as_bytes());
    ExitCode::from(NOT_EXECUTED)
}
