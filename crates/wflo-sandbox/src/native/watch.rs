//! Waiting for whatever ends a sandbox first: its program, its time, a limit, its engine.
//!
//! Shared by every process that stands above a program, with a namespace of its own or without.
//! Owns the order in which ends are looked for; what an end means for the tree is the caller's.

use super::exit::Outcome;
use super::supervise::{Supervisor, Verdict};
use super::sys::process::{self, Status};
use super::sys::socket;
use super::wire::Notice;
use std::os::fd::BorrowedFd;

/// What is waited on: the engine's socket, the launcher's life, the signals of children.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) control: BorrowedFd<'a>,
    pub(crate) lifeline: BorrowedFd<'a>,
    pub(crate) signals: BorrowedFd<'a>,
}

/// Reads what the worker says up to its exec. `false`: it failed, and the engine has been told why.
pub(crate) fn started(report: BorrowedFd<'_>, control: BorrowedFd<'_>) -> bool {
    let mut bytes = Vec::new();
    let mut buffer = [0; 512];
    loop {
        match rustix::io::read(report, &mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    if bytes.is_empty() {
        return true;
    }
    // Already a notice: a failed step, or an end before the beginning.
    let _ = socket::send(control, &bytes, &[]);
    false
}

/// Waits, and tells the engine how it ended. Returns when the tree has to end.
pub(crate) fn watch(worker: i32, from: Sources<'_>, deadline: Option<i64>, mut supervisor: Supervisor<'_>) {
    if let Some(outcome) = outcome(worker, from, deadline, &mut supervisor) {
        let usage = supervisor.of_the_dead();
        let _ = socket::send(from.control, &Notice::Ended(outcome, usage).encode(), &[]);
    }
}

/// How it ended; `None` when nobody is left to be told, or who is left wants its end.
fn outcome(
    worker: i32,
    Sources { control, lifeline, signals }: Sources<'_>,
    deadline: Option<i64>,
    supervisor: &mut Supervisor<'_>,
) -> Option<Outcome> {
    loop {
        let now = process::boot_ms();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Some(Outcome::TimedOut);
        }
        let wake = match supervisor.look(now) {
            Verdict::OutOfMemory => return Some(Outcome::OutOfMemory),
            Verdict::TooManyTasks => return Some(Outcome::TooManyTasks),
            Verdict::RanOn => return Some(Outcome::RanOn),
            Verdict::Again(at) => at,
        };
        let until = [deadline, wake].into_iter().flatten().min();
        let ready = socket::poll(
            &[(control, libc::POLLIN), (lifeline, 0), (signals, libc::POLLIN)],
            until.map(|at| at - now),
        );
        let Ok(ready) = ready else { return None };
        let events = |index: usize| ready.get(index).copied().unwrap_or(0);
        if events(2) != 0 {
            let mut taken = [0; 1_024];
            let _ = rustix::io::read(signals, &mut taken);
            while let Some((pid, status)) = process::reap() {
                if pid == worker {
                    return Some(match status {
                        Status::Exited(code) => Outcome::Exited(code),
                        Status::Signalled(signal) => Outcome::Signalled(signal),
                    });
                }
            }
        }
        // The engine is gone, or has let go of this sandbox; or the launcher is gone.
        if events(0) & libc::POLLHUP != 0 || events(1) != 0 {
            return None;
        }
        if events(0) & libc::POLLIN != 0 && !answer(control, supervisor) {
            return None;
        }
    }
}

/// Does what the engine asks of a running sandbox; `false` when that is its end.
fn answer(control: BorrowedFd<'_>, supervisor: &mut Supervisor<'_>) -> bool {
    let mut buffer = [0; 16];
    match socket::receive(control, &mut buffer, false) {
        Ok(Some((1, _))) => match buffer.first() {
            Some(b'U') => {
                let notice = Notice::Measured(supervisor.usage());
                let _ = socket::send(control, &notice.encode(), &[]);
            }
            Some(b'S') => supervisor.freeze(true, process::boot_ms()),
            Some(b'C') => supervisor.freeze(false, process::boot_ms()),
            Some(b'K') => return false,
            _ => {}
        },
        Ok(None) => return false,
        _ => {}
    }
    true
}
