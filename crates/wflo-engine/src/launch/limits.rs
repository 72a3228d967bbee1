//! What a step may use of the machine and of the network.
//!
//! Owns the usual limits, and that a definition lowers limits and raises none. Who enforces them is the sandbox.

use serde::{Deserialize, Serialize};
use wflo_core::definition::{IoSpec, NetworkSpec, SandboxSpec};
use wflo_core::size::{Bytes, MilliCpus, Millis};
use wflo_sandbox::IoLimits;

use super::Backend;

/// Limits of one attempt's sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the whole tree.
    pub memory: Option<Bytes>,
    /// Processor share of the whole tree.
    pub cpus: Option<MilliCpus>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// All that is written inside.
    pub disk: Option<Bytes>,
    /// Files, folders and links there together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u32>,
    /// What goes from disks and to them in a second.
    #[serde(default, skip_serializing_if = "IoLimits::is_empty")]
    pub io: IoLimits,
    /// What goes to hosts and from them.
    #[serde(default, skip_serializing_if = "NetworkSpec::is_empty")]
    pub network: NetworkSpec,
    /// The longest an attempt may be active.
    pub timeout: Option<Millis>,
}

/// What a step may use where nobody says anything.
const USUAL: Limits = Limits {
    memory: Some(Bytes(2 << 30)),
    cpus: None,
    pids: Some(1024),
    disk: Some(Bytes(1 << 30)),
    // A name per 4 KiB of the disk.
    inodes: None,
    io: IoLimits { read: None, write: None, read_ops: None, write_ops: None },
    // The proxy's own.
    network: NetworkSpec {
        sent: None,
        received: None,
        requests: None,
        connections: None,
        requests_per_minute: None,
    },
    timeout: None,
};

impl Limits {
    /// These, which are the operator's, with what the definition adds: it may narrow and never raise,
    /// because it comes from code that is not trusted.
    #[must_use]
    pub fn with(self, spec: &SandboxSpec) -> Self {
        Limits {
            memory: narrower(self.memory, spec.memory_limit),
            cpus: narrower(self.cpus, spec.cpu_limit),
            pids: narrower(self.pids, spec.pids_limit),
            disk: narrower(self.disk, spec.disk_limit),
            inodes: narrower(self.inodes, spec.inodes_limit),
            io: narrower_io(self.io, spec.io),
            network: self.network.narrowed(spec.network),
            timeout: narrower(self.timeout, spec.timeout_seconds),
        }
    }

    /// The usual limits where there is none, for a backend that can keep them.
    #[must_use]
    pub fn or_usual(self, backend: Backend) -> Self {
        if backend == Backend::None {
            return self;
        }
        Limits {
            memory: self.memory.or(USUAL.memory),
            cpus: self.cpus.or(USUAL.cpus),
            pids: self.pids.or(USUAL.pids),
            // How large a cloud's disk is, is not decided here.
            disk: if backend == Backend::E2b { self.disk } else { self.disk.or(USUAL.disk) },
            inodes: self.inodes,
            io: self.io,
            network: self.network,
            timeout: self.timeout.or(USUAL.timeout),
        }
    }
}

fn narrower<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn narrower_io(one: IoLimits, other: IoSpec) -> IoLimits {
    IoLimits {
        read: narrower(one.read, other.read),
        write: narrower(one.write, other.write),
        read_ops: narrower(one.read_ops, other.read_ops),
        write_ops: narrower(one.write_ops, other.write_ops),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_lowers_each_limit_on_disks_and_raises_none() {
        let io = |read, write, read_ops| IoLimits { read, write, read_ops, write_ops: None };
        let operator = Limits { io: io(Some(Bytes(10)), Some(Bytes(20)), None), ..Limits::default() };
        let asked =
            IoSpec { read: Some(Bytes(30)), write: Some(Bytes(5)), read_ops: Some(7), write_ops: None };
        let narrowed = operator.with(&SandboxSpec { io: asked, ..SandboxSpec::default() });
        assert_eq!(narrowed.io, io(Some(Bytes(10)), Some(Bytes(5)), Some(7)));
        assert_eq!(operator.with(&SandboxSpec::default()).io, operator.io, "what is left out stands");
    }
}
