//! What the container's own cgroup says, where one is shown.

use crate::native::cgroup::{transferred, transferred_v1};
use crate::native::exit::Usage;
use std::time::Duration;

fn number(paths: &[&str]) -> Option<u64> {
    paths.iter().find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// How many processes were killed for want of memory.
pub(super) fn oom_kills() -> u64 {
    let v1 = field("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill");
    v1.or_else(|| field("/sys/fs/cgroup/memory.events", "oom_kill")).unwrap_or(0)
}

/// What the container takes and took, this process among it; its tasks without this process.
pub(super) fn usage() -> Usage {
    let cpu = number(&["/sys/fs/cgroup/cpuacct/cpuacct.usage", "/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage"]);
    let tasks = |name: &str| {
        let paths = [format!("/sys/fs/cgroup/pids/{name}"), format!("/sys/fs/cgroup/{name}")];
        number(&[&paths[0], &paths[1]]).map(|tasks| tasks.saturating_sub(1))
    };
    let io = |path: &str| std::fs::read_to_string(path).ok();
    Usage {
        memory: number(&["/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory.current"]),
        memory_peak: number(&[
            "/sys/fs/cgroup/memory/memory.max_usage_in_bytes",
            "/sys/fs/cgroup/memory.peak",
        ]),
        cpu: cpu
            .map(Duration::from_nanos)
            .or_else(|| field("/sys/fs/cgroup/cpu.stat", "usage_usec").map(Duration::from_micros)),
        disk: io("/sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes_recursive")
            .map(|text| transferred_v1(&text))
            .or_else(|| io("/sys/fs/cgroup/io.stat").map(|text| transferred(&text))),
        tasks: tasks("pids.current"),
        tasks_peak: tasks("pids.peak"),
    }
}

/// Whether the container's maker has bounded what TCP keeps for a socket.
pub(super) fn sockets_bounded() -> bool {
    let bounded = |name: &str, most: u64| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
        text.split_whitespace().nth(2).and_then(|most| most.parse::<u64>().ok()).is_some_and(|n| n <= most)
    };
    bounded("tcp_wmem", 512 << 10) && bounded("tcp_rmem", 512 << 10) && crate::native::sockets::defaults_fit()
}
