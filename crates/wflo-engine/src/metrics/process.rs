//! What this process itself takes, under the names that every exporter has.

use wflo_core::exposition::Page;

/// Hundredths of a second are what the kernel shows processes, on every architecture that wflo runs on.
const TICK_MS: u64 = 10;

const CPU: &str = "process_cpu_seconds_total";
const RESIDENT: &str = "process_resident_memory_bytes";
const DESCRIPTORS: &str = "process_open_fds";
const STARTED: &str = "process_start_time_seconds";

/// `since` is when it began to count.
pub(super) fn write(page: &mut Page, since: jiff::Timestamp) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything: what follows the last one is fields 3 and on.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    if let Some((user, system)) = field(11).zip(field(12)) {
        let millis = user.saturating_add(system).saturating_mul(TICK_MS);
        page.metric(CPU, "counter", "Processor time of the process that drives the runs.").is(format_args!(
            "{}.{:03}",
            millis / 1_000,
            millis % 1_000
        ));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    if let Some(kib) = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()) {
        page.metric(RESIDENT, "gauge", "Its resident memory.").is(kib * 1_024);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        page.metric(DESCRIPTORS, "gauge", "Its open descriptors.").is(entries.count().saturating_sub(1));
    }
    page.metric(STARTED, "gauge", "When it began to drive runs, in seconds since 1970.")
        .is(since.as_second());
}
