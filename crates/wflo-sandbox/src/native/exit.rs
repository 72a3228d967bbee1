//! How a sandbox ended, and the exit code that says so.

use super::wire::{Reader, Writer};
use std::time::Duration;

/// How the program, or its sandbox, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it that no limit sent.
    Signalled(i32),
    /// Its time was up; the tree was killed.
    TimedOut,
    /// It used more memory than it may; the tree was killed.
    OutOfMemory,
    /// It had more processes and threads than it may, where the kernel does not refuse them; the
    /// tree was killed.
    TooManyTasks,
    /// It went on although it was stopped; the tree was killed.
    RanOn,
    /// [`crate::Sandbox::kill`], a dropped handle, or the end of the launcher ended it.
    Killed,
    /// The program could not be executed: the error number of `execve`.
    NotExecuted(i32),
}

/// What a sandbox used, as far as it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The memory that the tree holds now, in bytes; nothing is said of a tree that has ended.
    pub memory: Option<u64>,
    /// The most memory the tree held, in bytes; from the cgroup, or what the supervisor saw.
    pub memory_peak: Option<u64>,
    /// Processor time of the tree.
    pub cpu: Option<Duration>,
    /// What the tree read from disks and wrote to them, in bytes.
    pub disk: Option<Disk>,
    /// Its processes and threads now; nothing is said of a tree that has ended.
    pub tasks: Option<u64>,
    /// The most processes and threads at once.
    pub tasks_peak: Option<u64>,
}

/// Bytes from disks and to them: what the page cache had, or keeps in memory for good, is none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Disk {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

/// The end of a sandbox. When it exists, no process of the sandbox does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
}

impl Exit {
    /// The exit code of `wflo sandbox exec` when no sandbox could be made.
    pub const NO_SANDBOX: u8 = 125;

    /// The exit code that stands for this end: the program's own; 128 plus the signal; 124 for
    /// a time-out; 137 when a limit or a kill ended it; 127 and 126 when the program was not
    /// found or could not be executed.
    pub fn code(&self) -> u8 {
        match self.outcome {
            Outcome::Exited(code) => (code & 0xff) as u8,
            Outcome::Signalled(signal) => 128_u8.saturating_add((signal & 0x7f) as u8),
            Outcome::TimedOut => 124,
            Outcome::OutOfMemory | Outcome::TooManyTasks | Outcome::RanOn | Outcome::Killed => 137,
            Outcome::NotExecuted(libc::ENOENT) => 127,
            Outcome::NotExecuted(_) => 126,
        }
    }

    /// Whether the program ended by itself, with code 0.
    pub fn success(&self) -> bool {
        self.outcome == Outcome::Exited(0)
    }
}

impl Outcome {
    pub(crate) fn write(self, to: &mut Writer) {
        let (kind, value) = match self {
            Outcome::Exited(code) => (0, code),
            Outcome::Signalled(signal) => (1, signal),
            Outcome::TimedOut => (2, 0),
            Outcome::OutOfMemory => (3, 0),
            Outcome::Killed => (4, 0),
            Outcome::NotExecuted(errno) => (5, errno),
            Outcome::TooManyTasks => (6, 0),
            Outcome::RanOn => (7, 0),
        };
        to.u8(kind);
        to.u32(value as u32);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (kind, value) = (from.u8()?, from.u32()? as i32);
        Some(match kind {
            0 => Outcome::Exited(value),
            1 => Outcome::Signalled(value),
            2 => Outcome::TimedOut,
            3 => Outcome::OutOfMemory,
            4 => Outcome::Killed,
            5 => Outcome::NotExecuted(value),
            6 => Outcome::TooManyTasks,
            7 => Outcome::RanOn,
            _ => return None,
        })
    }
}

impl Usage {
    pub(crate) fn write(&self, to: &mut Writer) {
        to.option(self.memory, Writer::u64);
        to.option(self.memory_peak, Writer::u64);
        to.option(self.cpu.map(|cpu| cpu.as_nanos() as u64), Writer::u64);
        to.option(self.disk.map(|disk| disk.read), Writer::u64);
        to.option(self.disk.map(|disk| disk.written), Writer::u64);
        to.option(self.tasks, Writer::u64);
        to.option(self.tasks_peak, Writer::u64);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Usage {
            memory: from.option(Reader::u64)?,
            memory_peak: from.option(Reader::u64)?,
            cpu: from.option(Reader::u64)?.map(Duration::from_nanos),
            disk: {
                let (read, written) = (from.option(Reader::u64)?, from.option(Reader::u64)?);
                read.zip(written).map(|(read, written)| Disk { read, written })
            },
            tasks: from.option(Reader::u64)?,
            tasks_peak: from.option(Reader::u64)?,
        })
    }

    /// The larger of each figure.
    pub fn most(self, other: Usage) -> Usage {
        Usage {
            memory: self.memory.max(other.memory),
            memory_peak: self.memory_peak.max(other.memory_peak),
            cpu: self.cpu.max(other.cpu),
            disk: match (self.disk, other.disk) {
                (Some(one), Some(other)) => {
                    Some(Disk { read: one.read.max(other.read), written: one.written.max(other.written) })
                }
                (known, None) | (None, known) => known,
            },
            tasks: self.tasks.max(other.tasks),
            tasks_peak: self.tasks_peak.max(other.tasks_peak),
        }
    }

    /// These figures, and `other`'s where there are none: of what two count differently, one is believed.
    pub(crate) fn or(self, other: Usage) -> Usage {
        Usage {
            memory: self.memory.or(other.memory),
            memory_peak: self.memory_peak.or(other.memory_peak),
            cpu: self.cpu.or(other.cpu),
            disk: self.disk.or(other.disk),
            tasks: self.tasks.or(other.tasks),
            tasks_peak: self.tasks_peak.or(other.tasks_peak),
        }
    }

    /// Whether nothing of a live tree is left to be asked; a peak is the highest of what was seen.
    pub(crate) fn is_complete(&self) -> bool {
        self.memory.is_some() && self.cpu.is_some() && self.disk.is_some() && self.tasks.is_some()
    }

    /// What stays to be said of a tree that has ended.
    pub(crate) fn over(self) -> Usage {
        Usage { memory: None, tasks: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_documented_exit_code() {
        let code = |outcome| Exit { outcome, usage: Usage::default() }.code();
        assert_eq!(code(Outcome::Exited(7)), 7);
        assert_eq!(code(Outcome::Signalled(libc::SIGSEGV)), 139);
        assert_eq!(code(Outcome::TimedOut), 124);
        assert_eq!(code(Outcome::OutOfMemory), 137);
        assert_eq!(code(Outcome::TooManyTasks), 137);
        assert_eq!(code(Outcome::RanOn), 137);
        assert_eq!(code(Outcome::Killed), 137);
        assert_eq!(code(Outcome::NotExecuted(libc::ENOENT)), 127);
        assert_eq!(code(Outcome::NotExecuted(libc::EACCES)), 126);
    }

    #[test]
    fn figures_survive_the_wire() {
        let usage = Usage {
            memory: Some(1),
            memory_peak: Some(2),
            cpu: Some(Duration::from_millis(3)),
            disk: Some(Disk { read: 4, written: 5 }),
            tasks: Some(6),
            tasks_peak: Some(7),
        };
        for usage in [usage, usage.over(), Usage::default()] {
            let mut writer = Writer::default();
            usage.write(&mut writer);
            assert_eq!(Usage::read(&mut Reader::new(&writer.bytes)), Some(usage));
        }
    }

    #[test]
    fn outcomes_survive_the_wire() {
        use Outcome::{Exited, Killed, OutOfMemory, RanOn, Signalled, TimedOut, TooManyTasks};
        for outcome in [TimedOut, OutOfMemory, TooManyTasks, RanOn, Killed, Exited(-3), Signalled(9)] {
            let mut writer = Writer::default();
            outcome.write(&mut writer);
            assert_eq!(Outcome::read(&mut Reader::new(&writer.bytes)), Some(outcome));
        }
    }
}
