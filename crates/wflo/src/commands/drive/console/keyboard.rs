//! The terminal that somebody types on: its modes, its size, what comes from it.
//!
//! It is opened once more, so that waiting for a key blocks no thread and changes nothing for others that
//! have the same terminal open.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use wflo_engine::console::Size;

/// The most that is read at once, in bytes.
const CHUNK: usize = 4 << 10;

/// The terminal of standard input.
pub(in crate::commands::drive) struct Keyboard {
    device: File,
    /// How it was found; set while a program has it.
    found: Mutex<Option<Termios>>,
    input: tokio::sync::Mutex<Input>,
}

#[derive(Default)]
struct Input {
    receiver: Option<Receiver>,
    /// The beginning of a line.
    line: Vec<u8>,
}

impl Input {
    /// Nothing when the terminal is gone. Dropping the wait loses nothing.
    async fn read(&mut self, device: &File) -> Vec<u8> {
        if self.receiver.is_none() {
            let opened = device.try_clone().and_then(|copy| Receiver::from_owned_fd_unchecked(copy.into()));
            self.receiver = opened.ok();
        }
        let mut buffer = vec![0; CHUNK];
        let read = match &mut self.receiver {
            Some(receiver) => receiver.read(&mut buffer).await.unwrap_or(0),
            None => 0,
        };
        buffer.truncate(read);
        buffer
    }
}

impl Keyboard {
    /// The size of a terminal that does not say it.
    pub(super) const USUAL: Size = Size { rows: 24, columns: 80 };

    /// The terminal of standard input, if it is one that can be opened.
    pub(super) fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // The device of another user (after `su`) can only be opened by that name.
        let device = ["/proc/self/fd/0", "/dev/tty"]
            .into_iter()
            .find_map(|path| rustix::fs::open(path, flags, Mode::empty()).ok())?;
        Some(Keyboard { device: device.into(), found: Mutex::default(), input: Default::default() })
    }

    /// What is typed reaches the program as it is: signals, line ends and flow control are those of its own
    /// terminal.
    pub(super) fn raw(&self) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(now) = tcgetattr(&self.device) else { return };
        let mut raw = found.get_or_insert(now).clone();
        raw.make_raw();
        let _ = tcsetattr(&self.device, OptionalActions::Flush, &raw);
    }

    /// As it was found; what has been typed and not been read is forgotten.
    pub(super) fn cooked(&self) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(found) = found {
            let _ = tcsetattr(&self.device, OptionalActions::Flush, &found);
        }
    }

    pub(super) fn size(&self) -> Size {
        match tcgetwinsize(self.device.as_fd()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
                Size { rows: size.ws_row, columns: size.ws_col }
            }
            _ => Self::USUAL,
        }
    }

    /// What is typed next; nothing when the terminal is gone.
    pub(super) async fn read(&self) -> Vec<u8> {
        self.input.lock().await.read(&self.device).await
    }

    /// The next line, while it is as it was found. Dropping the wait loses nothing.
    pub(in crate::commands::drive) async fn line(&self) -> Option<String> {
        let mut input = self.input.lock().await;
        loop {
            if let Some(end) = input.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = input.line.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            let more = input.read(&self.device).await;
            if more.is_empty() {
                return None;
            }
            input.line.extend(more);
        }
    }

    /// Forgets the beginning of a line.
    pub(in crate::commands::drive) fn forget(&self) {
        if let Ok(mut input) = self.input.try_lock() {
            input.line.clear();
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.cooked();
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was_found() {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let device = File::from(ioctl_tiocgptpeer(&master, flags).unwrap());
        let is_raw = || !tcgetattr(&master).unwrap().local_modes.contains(LocalModes::ICANON);
        let keyboard = Keyboard { device, found: Mutex::default(), input: Default::default() };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let keyboard = keyboard;
            keyboard.raw();
            assert!(is_raw());
            panic!("while a program has the terminal");
        }));
        assert!(ended.is_err() && !is_raw());
    }
}
