//! Control groups: where a limit is the kernel's, and what is left of them after a death.
//!
//! A launcher makes one group of its own, `wflo-<pid namespace>-<pid>-<start time>`, below the group it runs in,
//! and in it one group a sandbox, only in the hierarchies that a limit needs. The name says whose
//! it is, so that [`sweep`] can tell the groups of the dead from those of the living.

mod found;
mod gauge;
mod sweep;

pub(crate) use gauge::{Gauge, Gauges, transferred, transferred_v1};

pub use sweep::{Swept, sweep};

use super::exit::Usage;
use super::io::Device;
use super::spec::Limits;
use super::sys::{At, Fault, process};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How often, and how far apart, the removal of a launcher's own groups is tried: a second in all.
const CLOSE_TRIES: u32 = 200;
const CLOSE_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Which kind of hierarchy limits are set in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller, as on hybrid hosts.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The launcher's own groups, open.
#[derive(Debug)]
pub(crate) struct Groups {
    version: Version,
    name: String,
    /// The folder that the launcher's group is in, and the group, for each hierarchy.
    memory: Option<(OwnedFd, OwnedFd)>,
    /// As `memory`; the same hierarchy under v2, and then not opened twice.
    cpu: Option<(OwnedFd, OwnedFd)>,
    /// As `memory`; under v2 only whether its groups limit disks.
    io: Option<(OwnedFd, OwnedFd)>,
    unified_io: bool,
}

impl Groups {
    /// Finds where groups may be made, and makes the launcher's own.
    ///
    /// The error is the reason in words: without groups memory and processors are supervised.
    pub(crate) fn detect() -> Result<Self, String> {
        let name = found::name_of(std::process::id()).ok_or("/proc cannot be read")?;
        let own = found::own_groups().map_err(|error| error.to_string())?;
        if let Some(unified) = found::delegated_v2(&own) {
            let group = open_new(&unified, &name).map_err(|error| format!("cgroup v2: {error}"))?;
            // Of an old kernel, or where it is not handed down: nothing else depends on it.
            let _ = write(&unified, "cgroup.subtree_control", "+io");
            let wanted = "+memory +cpu +pids";
            if let Err(error) = write(&group, "cgroup.subtree_control", wanted) {
                let _ = rustix::fs::unlinkat(&unified, &*name, AtFlags::REMOVEDIR);
                return Err(format!("cgroup v2: its controllers cannot be enabled: {error}"));
            }
            let _ = write(&group, "cgroup.subtree_control", "+io");
            let controllers = read(&group, "cgroup.subtree_control").unwrap_or_default();
            return Ok(Groups {
                version: Version::V2,
                name,
                memory: Some((unified, group)),
                cpu: None,
                io: None,
                unified_io: controllers.split_whitespace().any(|name| name == "io"),
            });
        }
        let mut groups =
            Groups { version: Version::V1, name, memory: None, cpu: None, io: None, unified_io: false };
        let mut why = Vec::new();
        for (controller, slot) in
            [("memory", &mut groups.memory), ("cpu", &mut groups.cpu), ("blkio", &mut groups.io)]
        {
            let opened = found::own_v1(&own, controller).and_then(|parent| {
                let group = open_new(&parent, &groups.name)?;
                Ok((parent, group))
            });
            match opened {
                Ok(opened) => *slot = Some(opened),
                Err(error) => why.push(format!("{controller}: {error}")),
            }
        }
        if groups.memory.is_none() && groups.cpu.is_none() {
            groups.close();
            return Err(why.join("; "));
        }
        Ok(groups)
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    pub(crate) fn limits_cpu(&self) -> bool {
        self.cpu.is_some() || self.version == Version::V2
    }

    pub(crate) fn limits_io(&self) -> bool {
        self.io.is_some() || self.unified_io
    }

    /// The folders of each hierarchy: the one that the launcher's group is in, and the group.
    fn hierarchies(&self) -> impl Iterator<Item = &(OwnedFd, OwnedFd)> {
        [&self.memory, &self.cpu, &self.io].into_iter().flatten()
    }

    /// Whatever is open of them.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.hierarchies().flat_map(|(folder, group)| [folder.as_fd(), group.as_fd()])
    }

    /// Moves the calling process into a new group with these limits; where no limit needs one, only
    /// to know by it, with `track`, who belongs to the sandbox.
    ///
    /// # Errors
    /// The limit that the kernel refused: the sandbox must not run then.
    pub(crate) fn join(
        &self,
        name: &str,
        limits: &Limits,
        disks: &[Device],
        track: bool,
    ) -> Result<(), Fault> {
        match self.version {
            Version::V1 => {
                if let (true, None, Some((_, parent))) = (track, limits.memory, &self.memory) {
                    let step = "making a cgroup";
                    let group = open_new(parent, name).step(step)?;
                    write(&group, "cgroup.procs", "0").step(step)?;
                }
                if let (Some(limit), Some((_, parent))) = (limits.memory, &self.memory) {
                    let step = "limiting memory";
                    let group = open_new(parent, name).step(step)?;
                    let bytes = limit.0.to_string();
                    write(&group, "memory.limit_in_bytes", &bytes).step(step)?;
                    match write(&group, "memory.memsw.limit_in_bytes", &bytes) {
                        // Without swap accounting there is no such file, and memory has its limit.
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            Err(error).step(step)?
                        }
                        _ => {}
                    }
                    // Only a hint to TCP: what its sockets may hold at least is taken all the same.
                    let _ = write(&group, "memory.kmem.tcp.limit_in_bytes", &bytes);
                    write(&group, "cgroup.procs", "0").step(step)?;
                }
                if let (Some(limit), Some((_, parent))) = (limits.cpus, &self.cpu) {
                    let step = "limiting processors";
                    let group = open_new(parent, name).step(step)?;
                    let (quota, period) = quota(limit.0);
                    write(&group, "cpu.cfs_period_us", &period.to_string()).step(step)?;
                    write(&group, "cpu.cfs_quota_us", &quota.to_string()).step(step)?;
                    write(&group, "cgroup.procs", "0").step(step)?;
                }
                if let (false, Some((_, parent))) = (disks.is_empty(), &self.io) {
                    let step = "limiting disks";
                    let group = open_new(parent, name).step(step)?;
                    for (disk, (_, file, limit)) in limits_of(disks, limits) {
                        write(&group, file, &format!("{disk} {limit}")).step(step)?;
                    }
                    write(&group, "cgroup.procs", "0").step(step)?;
                }
            }
            Version::V2 => {
                let Some((_, parent)) = &self.memory else { return Ok(()) };
                let step = "limiting by cgroup";
                let group = open_new(parent, name).step(step)?;
                if let Some(limit) = limits.memory {
                    write(&group, "memory.max", &limit.0.to_string()).step(step)?;
                    write(&group, "memory.oom.group", "1").step(step)?;
                    match write(&group, "memory.swap.max", "0") {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            Err(error).step(step)?
                        }
                        _ => {}
                    }
                }
                if let Some(limit) = limits.cpus {
                    let (quota, period) = quota(limit.0);
                    write(&group, "cpu.max", &format!("{quota} {period}")).step(step)?;
                }
                if let Some(limit) = limits.pids {
                    // One more for the sandbox's pid 1.
                    write(&group, "pids.max", &(u64::from(limit) + 1).to_string()).step(step)?;
                }
                for (disk, (key, _, limit)) in limits_of(disks, limits) {
                    write(&group, "io.max", &format!("{disk} {key}={limit}")).step("limiting disks")?;
                }
                write(&group, "cgroup.procs", "0").step(step)?;
            }
        }
        Ok(())
    }

    /// Kills whoever is still in a sandbox's groups and waits until nobody is.
    pub(crate) fn end(&self, name: &str) {
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for (_, parent) in self.hierarchies() {
            let Ok(group) = rustix::fs::openat(parent, name, folder, Mode::empty()) else { continue };
            // The unified hierarchy does it in one step, forks under way included.
            let _ = write(&group, "cgroup.kill", "1");
            while let Some(members) = read(&group, "cgroup.procs").filter(|members| !members.is_empty()) {
                for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
                    process::signal_pid(pid, libc::SIGKILL);
                    process::reap_child(pid);
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    /// Reads what a dead sandbox used and whether it was killed for its memory, and removes its
    /// groups. What cannot be removed now is left to [`sweep`].
    pub(crate) fn finish(&self, name: &str) -> (u64, Usage) {
        let mut usage = Usage::default();
        let mut oom_kills = 0;
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for (_, parent) in self.hierarchies() {
            let Ok(group) = rustix::fs::openat(parent, name, folder, Mode::empty()) else { continue };
            usage = usage.most(gauge::figures(&group).over());
            for file in ["memory.oom_control", "memory.events"] {
                oom_kills +=
                    read(&group, file).and_then(|text| number_after(&text, "oom_kill ")).unwrap_or(0);
            }
            drop(group);
            for _ in 0..50 {
                match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                    Err(rustix::io::Errno::BUSY) => std::thread::yield_now(),
                    _ => break,
                }
            }
        }
        (oom_kills, usage)
    }

    /// Removes the launcher's own groups, with those that [`Groups::finish`] could not remove yet:
    /// the kernel lets go of a dead process's group a little later. Every sandbox must have ended.
    pub(crate) fn close(&self) {
        for (folder, group) in self.hierarchies() {
            for _ in 0..CLOSE_TRIES {
                for entry in rustix::fs::Dir::read_from(group).into_iter().flatten().flatten() {
                    // What is no group, or is in use, refuses.
                    let _ = rustix::fs::unlinkat(group, entry.file_name(), AtFlags::REMOVEDIR);
                }
                match rustix::fs::unlinkat(folder, &*self.name, AtFlags::REMOVEDIR) {
                    Err(rustix::io::Errno::BUSY) => std::thread::sleep(CLOSE_PAUSE),
                    _ => break,
                }
            }
        }
    }
}

/// Each limit on each disk.
fn limits_of(
    disks: &[Device],
    limits: &Limits,
) -> impl Iterator<Item = (Device, (&'static str, &'static str, u64))> {
    let io = limits.io;
    disks.iter().flat_map(move |disk| io.each().map(|limit| (*disk, limit)))
}

/// Microseconds in each period; the kernel takes no quota below a millisecond.
fn quota(milli: u64) -> (u64, u64) {
    let period = if milli < 10 { 1_000_000 } else { 100_000 };
    ((milli * period / 1_000).max(1_000), period)
}

fn open_new(parent: &OwnedFd, name: &str) -> std::io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, folder, Mode::empty())?)
}

fn write(group: &OwnedFd, file: &str, text: &str) -> std::io::Result<()> {
    let file = rustix::fs::openat(group, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

fn read(group: &OwnedFd, file: &str) -> Option<String> {
    use std::io::Read;
    let file = rustix::fs::openat(group, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The number behind `key` at the beginning of a line, as the kernel writes its figures.
pub(super) fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)).and_then(|rest| rest.trim().parse().ok())
}

#[cfg(test)]
mod tests;
