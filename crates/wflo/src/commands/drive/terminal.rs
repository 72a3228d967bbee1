//! The person at the terminal: lines that they type.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::console::{Keyboard, Outer};

/// A terminal that somebody can answer on.
pub(crate) struct Terminal {
    device: File,
    lines: Option<mpsc::Receiver<String>>,
    /// Whose keyboard it is while a program runs.
    console: Option<Arc<Outer>>,
}

/// Whether this process is in the background of this terminal, where others are in its foreground.
pub(super) fn is_behind(device: impl AsFd) -> bool {
    rustix::termios::tcgetpgrp(device).is_ok_and(|front| front != rustix::process::getpgrp())
}

impl Terminal {
    /// The terminal, when there is one to show questions on and one to read answers from.
    /// `stdin_taken`: standard input was the run's inputs, so answers come from the terminal itself.
    /// None either for a command in the background of its shell, which the kernel would stop when it read.
    pub(crate) fn find(stdin_taken: bool) -> Option<Terminal> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let device = if stdin_taken {
            File::open("/dev/tty").ok()?
        } else {
            let stdin = std::io::stdin();
            stdin.is_terminal().then_some(())?;
            File::from(rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3).ok()?)
        };
        (!is_behind(&device)).then_some(Terminal { device, lines: None, console: None })
    }

    /// Lines are read where a program's input is, for as long as it has it: two readers would each have half.
    pub(crate) fn share(&mut self, console: &Arc<Outer>) {
        self.console = Some(Arc::clone(console));
    }

    fn keyboard(&self) -> Option<Arc<Keyboard>> {
        self.console.as_ref().and_then(|console| console.keyboard())
    }

    /// Begins a page, where a program has drawn on the one before.
    pub(super) fn turn_page(&self) {
        if let Some(console) = &self.console {
            console.turn_page();
        }
    }

    /// Forgets what was typed before the question could be read: it cannot be the answer to it.
    pub(crate) fn forget(&mut self) {
        let _ = rustix::termios::tcflush(&self.device, rustix::termios::QueueSelector::IFlush);
        if let Some(keyboard) = self.keyboard() {
            keyboard.forget();
        }
        if let Some(lines) = &mut self.lines {
            while lines.try_recv().is_ok() {}
        }
    }

    /// Whether the next line says yes, before anything else reads lines.
    pub(crate) fn says_yes(&mut self) -> bool {
        // A terminal gives one line at a time.
        let mut line = [0; 64];
        let read = rustix::io::read(&self.device, &mut line).unwrap_or(0);
        let answer = line.get(..read).unwrap_or_default().trim_ascii().to_ascii_lowercase();
        answer == b"y" || answer == b"yes"
    }

    /// The next line; `None` when the terminal is gone. Dropping the wait loses nothing.
    pub(super) async fn line(&mut self) -> Option<String> {
        if let Some(keyboard) = self.keyboard() {
            return keyboard.line().await;
        }
        if self.lines.is_none() {
            let (sender, receiver) = mpsc::channel(4);
            let device = BufReader::new(self.device.try_clone().ok()?);
            // A read cannot be taken back; the thread ends with the process or the terminal.
            std::thread::spawn(move || {
                for line in device.lines() {
                    let Ok(line) = line else { return };
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
            });
            self.lines = Some(receiver);
        }
        self.lines.as_mut()?.recv().await
    }
}
