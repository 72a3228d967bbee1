//! Limits that the kernel does not enforce here: whoever is above a tree measures it and acts.
//!
//! Memory: the resident memory of every process, all that the writable tmpfs holds, what is in socket
//! buffers, and a page for each open descriptor. Pages that several processes share are counted once
//! for each, until the sum is over the limit; then the proportional figure decides. Not seen are pages
//! that a program shares with nobody but itself and has unmapped in part, and pipes, of which the
//! kernel gives a user 64 MiB. A burst between two looks is seen too late; that is what
//! `supervised` means. Processors: the tree is stopped whenever it has used up its share, and ended where it
//! goes on all the same. Tasks: counted, where no namespace has a limit of its own. Where a cgroup counts memory but no sockets,
//! these alone are counted.

use super::cgroup::number_after;
use super::evasion::{Evasion, Used};
use super::exit::{Disk, Usage};
use super::sockets::Sockets;
use super::stillness::{self, Stillness};
use super::sys::process;
use crate::bare::tree;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use wflo_core::size::{Bytes, MilliCpus};

/// How often a namespace of its own is looked at, and a tree in the host's, which is dearer to find.
const LOOK_MS: [i64; 2] = [20, 100];
/// What an open descriptor is taken to cost the kernel: its file, its name, the least of a pipe.
const DESCRIPTOR: u64 = 4 << 10;
/// How much unused share is kept, in milliseconds of it.
const BURST_MS: i64 = 100;

/// Whose tree it is that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    /// Everybody in this process's own pid namespace.
    Namespace,
    /// Everybody below this process.
    Below,
}

/// What is to be watched; a limit that the kernel enforces is not given.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watched {
    pub(crate) memory: Option<Bytes>,
    /// What may be in socket buffers, where that is no part of `memory`.
    pub(crate) sockets: Option<Bytes>,
    pub(crate) cpus: Option<MilliCpus>,
    pub(crate) tasks: Option<u32>,
}

/// What a look says.
pub(crate) enum Verdict {
    /// The tree holds more than it may.
    OutOfMemory,
    /// The tree has more tasks than it may.
    TooManyTasks,
    /// The tree goes on although it was stopped.
    RanOn,
    /// Look again at this time, if there is anything to supervise.
    Again(Option<i64>),
}

/// The watcher's state. All times are milliseconds since boot.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    members: Members,
    memory: Option<u64>,
    in_sockets: Option<u64>,
    share: Option<i64>,
    tasks: Option<u32>,
    /// The writable file system that is memory, and the sockets, where the tree has its own.
    own: Option<(BorrowedFd<'a>, Sockets<'a>)>,
    next: i64,
    peak: Option<u64>,
    /// The most tasks seen, where they are counted.
    tasks_peak: Option<u64>,
    /// Processor time that may still be used, in microseconds; negative is debt.
    credit: i64,
    last: Option<(i64, i64)>,
    throttled: bool,
    evasion: Evasion,
    /// What is known of it since it was paused.
    paused: Option<Stillness>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tree {
    resident: u64,
    used: Used,
    disk: Disk,
    tasks: u64,
}

impl<'a> Supervisor<'a> {
    /// Supervises what is given.
    pub(crate) fn new(
        members: Members,
        watched: Watched,
        own: Option<(BorrowedFd<'a>, Sockets<'a>)>,
    ) -> Self {
        let share = |limit: MilliCpus| i64::try_from(limit.0).unwrap_or(i64::MAX / 1_000_000);
        Supervisor {
            members,
            memory: watched.memory.map(|limit| limit.0),
            in_sockets: watched.sockets.map(|limit| limit.0),
            share: watched.cpus.map(share),
            tasks: watched.tasks,
            own,
            next: 0,
            peak: None,
            tasks_peak: None,
            credit: 0,
            last: None,
            throttled: false,
            evasion: Evasion::default(),
            paused: None,
        }
    }

    /// Measures when it is time to, and acts.
    pub(crate) fn look(&mut self, now: i64) -> Verdict {
        if self.goes_on(now) {
            return Verdict::RanOn;
        }
        let paused = self.paused.as_ref().map(Stillness::next);
        match self.look_at_limits(now) {
            Verdict::Again(next) => Verdict::Again(next.into_iter().chain(paused).min()),
            over => over,
        }
    }

    /// Whether it was paused and goes on.
    fn goes_on(&mut self, now: i64) -> bool {
        let Some(mut stillness) = self.paused.take_if(|stillness| now >= stillness.next()) else {
            return false;
        };
        let look = stillness::look(self.pids().into_iter(), 1_000_000 / process::ticks_per_second());
        let broken = stillness.is_broken(now, &look);
        self.paused = Some(stillness);
        // What was forked while the signal went round stops too.
        self.apply();
        broken
    }

    fn look_at_limits(&mut self, now: i64) -> Verdict {
        let walks = self.memory.is_some() || self.share.is_some() || self.tasks.is_some();
        if !walks && self.in_sockets.is_none() {
            return Verdict::Again(None);
        }
        if now >= self.next {
            self.next = now + LOOK_MS[usize::from(!walks || self.members == Members::Below)];
            if let Some(limit) = self.in_sockets {
                let held = self.own.map_or(0, |(_, sockets)| sockets.held(limit));
                if held > limit {
                    return Verdict::OutOfMemory;
                }
            }
            if !walks {
                return Verdict::Again(Some(self.next));
            }
            let tree = self.measure(false);
            self.tasks_peak = self.tasks_peak.max(Some(tree.tasks));
            if self.tasks.is_some_and(|limit| tree.tasks > u64::from(limit)) {
                return Verdict::TooManyTasks;
            }
            if let Some(limit) = self.memory {
                let written = self.written();
                let mut held = tree.resident + written;
                if held > limit {
                    held = self.measure(true).resident + written;
                }
                if let Some((_, sockets)) = &self.own {
                    held += sockets.held(limit.saturating_sub(held));
                }
                self.peak = self.peak.max(Some(held));
                if held > limit {
                    return Verdict::OutOfMemory;
                }
            }
            if let Some(share) = self.share {
                if self.evasion.is_seen(now, self.throttled, tree.used, share) {
                    return Verdict::RanOn;
                }
                self.throttle(now, share, tree.used.all_us);
            }
        }
        Verdict::Again(Some(self.next))
    }

    fn throttle(&mut self, now: i64, share: i64, cpu_us: i64) {
        let (then, before) = self.last.unwrap_or((now, 0));
        self.last = Some((now, cpu_us));
        // A share is thousandths of a processor, so of each millisecond that many microseconds.
        let earned = (now - then) * share - (cpu_us - before).max(0);
        self.credit = (self.credit + earned).min(BURST_MS * share);
        let stop = self.credit < 0;
        if stop != self.throttled {
            self.throttled = stop;
            self.apply();
        } else if stop {
            // What was forked while the signal went round, or continued by itself, stops too.
            self.apply();
        }
    }

    /// Stops the tree, or lets it go on as far as its share allows.
    pub(crate) fn freeze(&mut self, frozen: bool, now: i64) {
        self.paused = frozen.then(|| Stillness::begins(now));
        self.apply();
    }

    fn apply(&self) {
        let signal = if self.throttled || self.paused.is_some() { libc::SIGSTOP } else { libc::SIGCONT };
        match self.members {
            Members::Namespace => process::signal_pid(-1, signal),
            Members::Below => tree::signal(&tree::members(&|_| false), signal),
        }
    }

    fn written(&self) -> u64 {
        let Some(found) = self.own.and_then(|(scratch, _)| rustix::fs::fstatvfs(scratch).ok()) else {
            return 0;
        };
        (found.f_blocks - found.f_bfree) * found.f_frsize
    }

    /// Everybody in the tree.
    fn pids(&self) -> Vec<i32> {
        match self.members {
            Members::Namespace => namespace().collect(),
            Members::Below => tree::members(&|_| false).into_iter().map(|member| member.pid).collect(),
        }
    }

    /// Sums over the tree. `proportional` shares out what processes share.
    fn measure(&self, proportional: bool) -> Tree {
        match self.members {
            Members::Namespace => measure(namespace(), proportional),
            Members::Below => {
                let members = tree::members(&|_| false);
                let tasks = members.iter().map(|member| u64::from(member.tasks)).sum();
                Tree { tasks, ..measure(members.into_iter().map(|member| member.pid), proportional) }
            }
        }
    }

    /// What the tree uses now.
    pub(crate) fn usage(&mut self) -> Usage {
        let tree = self.measure(true);
        let held = tree.resident + self.written();
        let cpu = Duration::from_micros(u64::try_from(tree.used.all_us).unwrap_or(0));
        self.peak = self.peak.max(Some(held));
        self.tasks_peak = self.tasks_peak.max(Some(tree.tasks));
        Usage {
            memory: Some(held),
            memory_peak: self.peak,
            cpu: Some(cpu),
            disk: Some(tree.disk),
            tasks: Some(tree.tasks),
            tasks_peak: self.tasks_peak,
        }
    }

    /// What all that pid 1 has reaped took, with what those had reaped.
    pub(crate) fn of_the_dead(&self) -> Usage {
        let reaped = of_children();
        Usage {
            // Who came and went between two looks is remembered by the kernel.
            memory_peak: self.peak.max(Some(reaped.largest)),
            cpu: Some(Duration::from_micros(u64::try_from(reaped.used.all_us).unwrap_or(0))),
            disk: Some(reaped.disk),
            tasks_peak: self.tasks_peak,
            ..Usage::default()
        }
    }
}

/// What reaped children took, with what those had reaped.
struct Reaped {
    used: Used,
    disk: Disk,
    /// The most memory that one of them held, in bytes.
    largest: u64,
}

fn of_children() -> Reaped {
    // SAFETY: an all-zero structure is valid and is filled by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let micros = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    let of = |count: libc::c_long, unit: u64| u64::try_from(count).unwrap_or(0) * unit;
    Reaped {
        used: Used {
            all_us: micros(usage.ru_utime) + micros(usage.ru_stime),
            own_us: micros(usage.ru_utime),
        },
        // The kernel counts blocks of 512 bytes here, whatever the disk's are.
        disk: Disk { read: of(usage.ru_inblock, 512), written: of(usage.ru_oublock, 512) },
        largest: of(usage.ru_maxrss, 1_024),
    }
}

/// Everybody in this pid namespace but its pid 1, which is this process.
fn namespace() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| *pid != 1)
}

fn measure(pids: impl Iterator<Item = i32>, proportional: bool) -> Tree {
    let Reaped { used, disk, .. } = of_children();
    let mut tree = Tree { resident: 0, used, disk, tasks: 0 };
    let page = process::page_size();
    let tick_us = 1_000_000 / process::ticks_per_second();
    for pid in pids {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let shared_out = if proportional { proportional_kib(&read("smaps_rollup")) } else { None };
        tree.resident += match shared_out {
            Some(kib) => kib * 1_024,
            None => read("statm").split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * page,
        };
        // Since Linux 6.2 the size of this folder is the number of its entries.
        let descriptors = std::fs::metadata(format!("/proc/{pid}/fd")).map_or(0, |folder| folder.len());
        tree.resident += descriptors * DESCRIPTOR;
        if let Some((_, rest)) = read("stat").rsplit_once(')') {
            // Fields 14 to 17: its own time and that of the children it has reaped, of each its own code's first.
            for (field, ticks) in rest.split_whitespace().skip(11).take(4).enumerate() {
                let micros = ticks.parse::<i64>().unwrap_or(0) * tick_us;
                tree.used.all_us += micros;
                tree.used.own_us += if field % 2 == 0 { micros } else { 0 };
            }
            // Field 20: its threads.
            tree.tasks += rest.split_whitespace().nth(17).and_then(|n| n.parse::<u64>().ok()).unwrap_or(1);
        }
        if proportional {
            let io = read("io");
            tree.disk.read += number_after(&io, "read_bytes:").unwrap_or(0);
            tree.disk.written += number_after(&io, "write_bytes:").unwrap_or(0);
        }
    }
    tree
}

fn proportional_kib(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportional_share_is_read_in_kib() {
        assert_eq!(proportional_kib("Rss:  900 kB\nPss:       123 kB\nPss_Anon: 5 kB\n"), Some(123));
        assert_eq!(proportional_kib(""), None);
    }
}
