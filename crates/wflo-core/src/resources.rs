//! What a sandbox took of the machine.

use serde::{Deserialize, Serialize};

/// What the processes of a sandbox took together, as far as it was measured: what is not known is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// The most memory that they held at once, files in memory among it, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Read from disks, in bytes: what came from the page cache is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_read_bytes: Option<u64>,
    /// Written to disks, in bytes: a workspace is in memory until it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_written_bytes: Option<u64>,
    /// The most processes and threads at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_peak: Option<u64>,
}

impl Resources {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Resources::default()
    }

    /// Of this sandbox and of one that followed it.
    #[must_use]
    pub fn then(self, next: Resources) -> Resources {
        Resources {
            cpu_ms: sum(self.cpu_ms, next.cpu_ms),
            memory_peak_bytes: self.memory_peak_bytes.max(next.memory_peak_bytes),
            disk_read_bytes: sum(self.disk_read_bytes, next.disk_read_bytes),
            disk_written_bytes: sum(self.disk_written_bytes, next.disk_written_bytes),
            tasks_peak: self.tasks_peak.max(next.tasks_peak),
        }
    }
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (known, None) | (None, known) => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_adds_up_is_added_and_a_peak_is_the_highest() {
        let one = Resources { cpu_ms: Some(3), memory_peak_bytes: Some(9), ..Resources::default() };
        let other = Resources {
            cpu_ms: Some(4),
            memory_peak_bytes: Some(5),
            disk_read_bytes: Some(1),
            ..Resources::default()
        };
        let both = Resources {
            cpu_ms: Some(7),
            memory_peak_bytes: Some(9),
            disk_read_bytes: Some(1),
            ..Resources::default()
        };
        assert_eq!((one.then(other), other.then(one)), (both, both));
        assert_eq!(one.then(Resources::default()), one);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert!(Resources::default().is_empty());
        assert_eq!(serde_json::to_string(&Resources::default()).unwrap(), "{}");
    }
}
