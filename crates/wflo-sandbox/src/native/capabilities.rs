//! What this host can do, as the launcher found it: the source of every enforcement report.

use super::cgroup::Version;
use super::spec::{Enforcement, Level, Limits};
use super::sys::Fault;
use super::wire::{Reader, Writer};
use std::ffi::OsStr;

/// What the native sandbox can do on this host, for this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether sandboxes run as an unused user made for them (as root), or as the caller.
    pub privileged: bool,
    /// The cgroup hierarchy that limits can be set in, if any.
    pub cgroup: Option<Version>,
    /// How the memory limit is enforced.
    pub memory: Level,
    /// How the processor limit is enforced.
    pub cpus: Level,
    /// The Landlock ABI of the kernel; 0 without Landlock.
    pub landlock_abi: u32,
    /// Why limits are only supervised, in words; empty when they are not.
    pub cgroup_note: String,
}

impl Capabilities {
    /// How each limit of `limits` would be enforced here. Disk, pids and time always have one.
    pub fn enforcement(&self, limits: &Limits) -> Vec<Enforcement> {
        let mut found = Vec::new();
        let group = match self.cgroup {
            Some(Version::V1) => "cgroup v1",
            Some(Version::V2) => "cgroup v2",
            None => "none",
        };
        if limits.memory.is_some() {
            let by = match self.memory {
                Level::Kernel => group,
                _ => "pid 1 measures the tree every 20 ms and kills it",
            };
            found.push(Enforcement { limit: "memory", level: self.memory, by });
        }
        if limits.cpus.is_some() {
            let by = match self.cpus {
                Level::Kernel => group,
                _ => "pid 1 stops and continues the tree in periods of 100 ms",
            };
            found.push(Enforcement { limit: "cpus", level: self.cpus, by });
        }
        found.push(Enforcement {
            limit: "pids",
            level: Level::Kernel,
            by: "RLIMIT_NPROC of the sandbox's own user namespace",
        });
        found.push(Enforcement { limit: "disk", level: Level::Kernel, by: "one sized tmpfs" });
        if limits.timeout.is_some() {
            found.push(Enforcement { limit: "timeout", level: Level::Supervised, by: "a timer in pid 1" });
        }
        found
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u8(b'H');
        to.flag(self.privileged);
        to.u8(match self.cgroup {
            None => 0,
            Some(Version::V1) => 1,
            Some(Version::V2) => 2,
        });
        to.flag(self.memory == Level::Kernel);
        to.flag(self.cpus == Level::Kernel);
        to.u32(self.landlock_abi);
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
            privileged: from.flag()?,
            cgroup: match from.u8()? {
                1 => Some(Version::V1),
                2 => Some(Version::V2),
                _ => None,
            },
            memory: level(from.flag()?),
            cpus: level(from.flag()?),
            landlock_abi: from.u32()?,
            cgroup_note: from.text()?.into_string().ok()?,
        })
    }
}
