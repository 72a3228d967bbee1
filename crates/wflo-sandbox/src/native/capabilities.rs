//! What this host can do for one kind of sandbox, as the launcher found it: the source of every enforcement report.

use super::cgroup::Version;
use super::spec::{Enforcement, Level, Limits};
use super::sys::Fault;
use super::wire::{Reader, Writer};
use std::ffi::OsStr;

/// What sandboxes of one backend can do on this host, for this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether a program is kept from the rest of the host: its files, processes and network.
    pub isolated: bool,
    /// Whether sandboxes run as an unused user made for them (as root), or as the caller.
    pub privileged: bool,
    /// The cgroup hierarchy that limits can be set in, if any.
    pub cgroup: Option<Version>,
    /// How the memory limit is enforced.
    pub memory: Level,
    /// How socket buffers are kept to the memory limit: with all else by the kernel, or counted by pid 1.
    /// In a tree without isolation they are not.
    pub sockets: Level,
    /// Whether pid 1 is told what each socket holds; else it takes each for full.
    pub sockets_told: bool,
    /// How the processor limit is enforced.
    pub cpus: Level,
    /// How limits on disks are enforced: by the kernel, or not at all.
    pub io: Level,
    /// The Landlock ABI of the kernel; 0 without Landlock.
    pub landlock_abi: u32,
    /// Whether a sandbox's clocks that count from boot are its own.
    pub clocks: bool,
    /// Why limits are only supervised, in words; empty when they are not.
    pub cgroup_note: String,
}

impl Capabilities {
    /// How a limit on processes and threads is enforced.
    pub fn pids(&self) -> Level {
        if self.isolated || self.cgroup == Some(Version::V2) { Level::Kernel } else { Level::Supervised }
    }

    /// How each limit of `limits` would be enforced here. In isolation disk and pids always have one.
    pub fn enforcement(&self, limits: &Limits) -> Vec<Enforcement> {
        let mut found = Vec::new();
        let group = match self.cgroup {
            Some(Version::V1) => "cgroup v1",
            Some(Version::V2) => "cgroup v2",
            None => "none",
        };
        if limits.memory.is_some() {
            let by = match self.memory {
                Level::Kernel if self.sockets == Level::Supervised => {
                    "cgroup v1, without socket buffers: pid 1 counts those every 100 ms"
                }
                Level::Kernel => group,
                _ if self.isolated => "pid 1 measures the tree every 20 ms and kills it",
                _ => "a supervisor measures the tree every 100 ms and kills it",
            };
            found.push(Enforcement { limit: "memory", level: self.memory, by });
        }
        if limits.cpus.is_some() {
            let by = match self.cpus {
                Level::Kernel => group,
                _ if self.isolated => "pid 1 stops and continues the tree in periods of 100 ms",
                _ => "a supervisor stops and continues the tree every 100 ms",
            };
            found.push(Enforcement { limit: "cpus", level: self.cpus, by });
        }
        if self.isolated || limits.pids.is_some() {
            let by = match self.pids() {
                _ if self.isolated => "RLIMIT_NPROC of the sandbox's own user namespace",
                Level::Kernel => group,
                _ => "a supervisor counts the tree every 100 ms and kills it",
            };
            found.push(Enforcement { limit: "pids", level: self.pids(), by });
        }
        if self.isolated {
            found.push(Enforcement { limit: "disk", level: Level::Kernel, by: "one sized tmpfs" });
        } else if limits.disk.is_some() {
            found.push(Enforcement { limit: "disk", level: Level::None, by: "nothing" });
        }
        if limits.inodes.is_some() {
            let (level, by) = match self.isolated {
                true => (Level::Kernel, "the same tmpfs"),
                false => (Level::None, "nothing"),
            };
            found.push(Enforcement { limit: "inodes", level, by });
        }
        if !limits.io.is_empty() {
            found.push(Enforcement { limit: "io", level: self.io, by: group });
        }
        if limits.timeout.is_some() {
            let by = if self.isolated { "a timer in pid 1" } else { "a timer in a supervisor" };
            found.push(Enforcement { limit: "timeout", level: Level::Supervised, by });
        }
        found
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u8(b'H');
        to.flag(self.isolated);
        to.flag(self.privileged);
        to.u8(match self.cgroup {
            None => 0,
            Some(Version::V1) => 1,
            Some(Version::V2) => 2,
        });
        to.flag(self.memory == Level::Kernel);
        to.u8(match self.sockets {
            Level::None => 0,
            Level::Supervised => 1,
            Level::Kernel => 2,
        });
        to.flag(self.sockets_told);
        to.flag(self.cpus == Level::Kernel);
        to.flag(self.io == Level::Kernel);
        to.u32(self.landlock_abi);
        to.flag(self.clocks);
        to.text(OsStr::new(&self.cgroup_note));
        to.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        if let Some(super::wire::Notice::Failed(fault)) = super::wire::Notice::decode(bytes) {
            return Err(fault);
        }
        Self::read(bytes).ok_or_else(|| Fault::new("greeting the launcher", libc::EPROTO, ""))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let from = &mut Reader::new(bytes);
        if from.u8()? != b'H' {
            return None;
        }
        let level = |kernel| if kernel { Level::Kernel } else { Level::Supervised };
        Some(Capabilities {
            isolated: from.flag()?,
            privileged: from.flag()?,
            cgroup: match from.u8()? {
                1 => Some(Version::V1),
                2 => Some(Version::V2),
                _ => None,
            },
            memory: level(from.flag()?),
            sockets: match from.u8()? {
                0 => Level::None,
                1 => Level::Supervised,
                _ => Level::Kernel,
            },
            sockets_told: from.flag()?,
            cpus: level(from.flag()?),
            io: if from.flag()? { Level::Kernel } else { Level::None },
            landlock_abi: from.u32()?,
            clocks: from.flag()?,
            cgroup_note: from.text()?.into_string().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(cgroup: Option<Version>) -> Capabilities {
        Capabilities {
            isolated: false,
            privileged: false,
            cgroup,
            memory: Level::Supervised,
            sockets: Level::None,
            sockets_told: false,
            cpus: Level::Supervised,
            io: Level::Kernel,
            landlock_abi: 0,
            clocks: false,
            cgroup_note: String::new(),
        }
    }

    #[test]
    fn without_isolation_each_limit_is_reported_as_it_is() {
        let limits = Limits {
            pids: Some(8),
            disk: "1m".parse().ok(),
            memory: "16m".parse().ok(),
            ..Limits::default()
        };
        let levels = |cgroup| -> Vec<(&str, Level)> {
            bare(cgroup).enforcement(&limits).iter().map(|found| (found.limit, found.level)).collect()
        };
        let watched = [("memory", Level::Supervised), ("pids", Level::Supervised), ("disk", Level::None)];
        assert_eq!(levels(None), watched);
        assert_eq!(levels(Some(Version::V2))[1], ("pids", Level::Kernel));
        assert!(bare(None).enforcement(&Limits::default()).is_empty(), "no limit that nobody asked for");
    }

    #[test]
    fn the_report_survives_the_wire() {
        let found = bare(Some(Version::V1));
        assert_eq!(Capabilities::decode(&found.encode()).unwrap(), found);
    }
}
