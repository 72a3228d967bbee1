//! Clocks that count from boot: a sandbox has its own, so that how long the host has been up tells
//! nobody which host it is.
//!
//! A time namespace moves `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME` and `/proc/uptime`; the time of day is
//! the host's. It belongs to the sandbox's own user namespace, which may set it, and the program enters
//! it when it is executed (Linux 6.1; on older kernels only its children do).

use super::sys::process::{boot_ms, unshare};
use super::sys::{At, Fault};

/// How long every sandbox has been up when its program starts, in seconds. Not 0, which programs take
/// for a time that has not been set.
const UPTIME: i64 = 86_400;

/// Whether this kernel has time namespaces.
pub(crate) fn can_be_own() -> bool {
    std::path::Path::new("/host/proc/self/ns/time_for_children").exists()
}

/// Makes the namespace that this process enters by its next exec. It must own its user namespace.
///
/// # Errors
/// The step that the kernel refused.
pub(crate) fn begin() -> Result<(), Fault> {
    let step = "making clocks of its own";
    unshare(libc::CLONE_NEWTIME).step(step)?;
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
    let offset = |now: i64| UPTIME - now;
    let text = format!("monotonic {} 0\nboottime {} 0\n", offset(monotonic), offset(boot_ms() / 1_000));
    super::worker::write("/proc/self/timens_offsets", &text).step(step)
}
