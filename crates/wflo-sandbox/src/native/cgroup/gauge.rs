//! What the kernel counts in a group, read by whoever is above it.
//!
//! The engine reads the groups of live sandboxes itself: nobody inside is woken for it. Figures of a
//! hierarchy that the sandbox has no group in are missing, and are asked of its pid 1.

use super::{found, number_after, read};
use crate::native::exit::{Disk, Usage};
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// The groups of one launcher, open in its engine.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    groups: Vec<OwnedFd>,
}

impl Gauges {
    /// The groups of the launcher with this process id, as far as it has any.
    pub(crate) fn of(launcher: u32) -> Gauges {
        let mut gauges = Gauges::default();
        let Some(name) = found::name_of(launcher) else { return gauges };
        for own in found::own_groups().unwrap_or_default() {
            // Under v2 it may have made them in a group above this one.
            let above = own.folder.ancestors().take_while(|folder| folder.starts_with(&own.top));
            let group = above.into_iter().find_map(|folder| found::open(&folder.join(&name)).ok());
            gauges.groups.extend(group);
        }
        gauges
    }

    /// Of the sandbox with this name.
    pub(crate) fn gauge(self: &Arc<Self>, name: String) -> Gauge {
        Gauge { gauges: Arc::clone(self), name }
    }
}

/// The groups of one sandbox.
#[derive(Debug)]
pub(crate) struct Gauge {
    gauges: Arc<Gauges>,
    name: String,
}

impl Gauge {
    /// What its processes take now and took so far, as far as the kernel counts it.
    pub(crate) fn usage(&self) -> Usage {
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut usage = Usage::default();
        for parent in &self.gauges.groups {
            if let Ok(group) = rustix::fs::openat(parent, &*self.name, folder, Mode::empty()) {
                usage = usage.most(figures(&group));
            }
        }
        usage
    }
}

/// The figures of one group, of either kind of hierarchy.
pub(super) fn figures(group: &OwnedFd) -> Usage {
    let number = |file: &str| read(group, file).and_then(|text| text.trim().parse::<u64>().ok());
    let field = |file: &str, key: &str| read(group, file).and_then(|text| number_after(&text, key));
    // Its pid 1, or the supervisor that stands there, is a member and no task of the program's.
    let tasks = |file: &str| number(file).map(|tasks| tasks.saturating_sub(1));
    Usage {
        memory: number("memory.current").or_else(|| number("memory.usage_in_bytes")),
        memory_peak: number("memory.peak").or_else(|| number("memory.max_usage_in_bytes")),
        cpu: field("cpu.stat", "usage_usec ")
            .map(Duration::from_micros)
            .or_else(|| number("cpuacct.usage").map(Duration::from_nanos)),
        disk: read(group, "io.stat").map(|text| transferred(&text)).or_else(|| {
            read(group, "blkio.throttle.io_service_bytes_recursive").map(|text| transferred_v1(&text))
        }),
        tasks: tasks("pids.current"),
        tasks_peak: tasks("pids.peak"),
    }
}

/// The sums over all devices in `io.stat`: `8:0 rbytes=1 wbytes=2 rios=1 …`.
pub(crate) fn transferred(text: &str) -> Disk {
    let sum = |key: &str| {
        let fields = text.split_whitespace().filter_map(|field| field.strip_prefix(key)?.parse().ok());
        fields.fold(0, u64::saturating_add)
    };
    Disk { read: sum("rbytes="), written: sum("wbytes=") }
}

/// The same of `blkio.throttle.io_service_bytes`: `8:0 Read 1`, a line for each, and `Total 1`.
pub(crate) fn transferred_v1(text: &str) -> Disk {
    let sum = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(' ')?.1.strip_prefix(key)?.parse().ok());
        lines.fold(0, u64::saturating_add)
    };
    Disk { read: sum("Read "), written: sum("Write ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let group = found::open(dir.path()).unwrap();
        (dir, group)
    }

    #[test]
    fn a_group_of_the_unified_hierarchy_says_everything() {
        let (_dir, group) = group(&[
            ("memory.current", "100\n"),
            ("memory.peak", "200\n"),
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n"),
            ("pids.current", "3\n"),
            ("pids.peak", "5\n"),
        ]);
        let found = figures(&group);
        let expected = Usage {
            memory: Some(100),
            memory_peak: Some(200),
            cpu: Some(Duration::from_micros(1_500)),
            disk: Some(Disk { read: 11, written: 22 }),
            tasks: Some(2),
            tasks_peak: Some(4),
        };
        assert_eq!(found, expected, "and the sandbox's pid 1 is none of its tasks");
    }

    #[test]
    fn groups_of_v1_say_what_their_controllers_count() {
        let (_dir, memory) = group(&[("memory.usage_in_bytes", "7\n"), ("memory.max_usage_in_bytes", "9\n")]);
        let expected = Usage { memory: Some(7), memory_peak: Some(9), ..Usage::default() };
        assert_eq!(figures(&memory), expected);
        let bytes = "8:0 Read 4096\n8:0 Write 1\n8:0 Total 4097\n259:1 Read 1\nTotal 4098\n";
        let (_dir, both) =
            group(&[("cpuacct.usage", "5000\n"), ("blkio.throttle.io_service_bytes_recursive", bytes)]);
        let found = figures(&both);
        assert_eq!(found.cpu, Some(Duration::from_nanos(5_000)));
        assert_eq!(found.disk, Some(Disk { read: 4_097, written: 1 }));
        assert_eq!((found.memory, found.tasks), (None, None), "nothing is made up");
    }
}
