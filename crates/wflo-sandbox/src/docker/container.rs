//! What a container is made of: the walls, as the Docker API takes them.
//!
//! Owns the one translation from limits and binds to an API body. Everything in it is the same for
//! every attempt with the same settings, and nothing of an order is in it: that is what lets a
//! container be made ahead.
//! **Architecture Invariant:** no capability, no network, no writable root, no socket, device or
//! writable folder of the host, but what the caller named as writable.

use super::error::Error;
use super::image::Image;
use crate::native::seccomp::{self, Screen};
use crate::native::spec::{Bind, DEFAULT_DISK, DEFAULT_PIDS, HOME, Limits};
use crate::native::{LAUNCHER_ARGUMENT, Preset};
use crate::remote::KEEPER;
use crate::remote::linked::Linked;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, ResourcesUlimits, ThrottleDevice,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where wflo's own files are in a container.
const OWN: &str = "/.wflo";
/// Users of containers: a range that distributions and service managers leave unused, apart from that of
/// native sandboxes.
const FIRST_USER: u32 = 0x6000_0000;
/// The same where the daemon itself maps users, whose maps are short.
const FIRST_MAPPED_USER: u32 = 20_000;

/// A user for a container's program, from a number that was drawn.
pub(crate) fn user(daemon: Daemon, drawn: u32) -> u32 {
    if daemon.maps_users { FIRST_MAPPED_USER + drawn % 30_000 } else { FIRST_USER + drawn % 0x0fff_ffff }
}

/// What tells about the host and is of no use inside: beside what Docker covers by itself.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/cmdline",
    "/proc/fs",
    "/proc/interrupts",
    "/proc/irq",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/block",
    "/sys/bus",
    "/sys/class",
    "/sys/dev",
    "/sys/devices",
    "/sys/firmware",
    "/sys/hypervisor",
    "/sys/kernel",
    "/sys/module",
    "/sys/power",
];
const READ_ONLY: &[&str] = &["/proc/sys", "/proc/sysrq-trigger"];

/// How the daemon stands to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Daemon {
    /// It maps a container's users to others (rootless, or by its own setting).
    pub(crate) maps_users: bool,
    /// It isolates by a kernel of its own.
    pub(crate) own_kernel: bool,
}

/// Everything that decides what container is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) image: Image,
    pub(crate) runtime: Option<String>,
    pub(crate) limits: Limits,
    /// The devices that limits on disks hold for.
    pub(crate) disks: Vec<PathBuf>,
    pub(crate) preset: Preset,
    pub(crate) workspace: PathBuf,
    pub(crate) ro: Vec<Bind>,
    pub(crate) rw: Vec<Bind>,
    pub(crate) hostname: String,
    /// A loaded AppArmor profile of wflo's.
    pub(crate) apparmor: Option<String>,
}

/// How many files a share of so many bytes may have: of what the order names, the same share.
fn inodes(limits: &Limits, size: u64) -> u64 {
    let disk = limits.disk.unwrap_or(DEFAULT_DISK).0.max(1);
    match limits.inodes {
        Some(named) => {
            let share = u128::from(named) * u128::from(size) / u128::from(disk);
            u64::try_from(share).unwrap_or(u64::MAX).clamp(16, u64::from(named))
        }
        None => (size >> 12).clamp(256, 1 << 20),
    }
}

/// The shares of the disk limit: the workspace, `/tmp`, the home folder, shared memory.
pub(crate) fn shares(limits: &Limits) -> [u64; 4] {
    let disk = limits.disk.unwrap_or(DEFAULT_DISK).0;
    // tmpfs counts whole pages.
    [disk / 2, disk / 4, disk / 8, disk / 8].map(|share| (share >> 12 << 12).max(4 << 12))
}

impl Shape {
    /// The body of the request. `keeper` is the binary that is pid 1, with what it is linked to.
    pub(crate) fn body(
        &self,
        daemon: Daemon,
        keeper: &Linked,
        labels: HashMap<String, String>,
        user: u32,
    ) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(self.image.id.clone()),
            hostname: Some(self.hostname.clone()),
            user: Some(if daemon.own_kernel { "0:0".to_owned() } else { format!("{user}:{user}") }),
            entrypoint: Some(command(keeper)),
            cmd: Some(vec![LAUNCHER_ARGUMENT.to_owned(), KEEPER.to_owned()]),
            working_dir: Some("/".to_owned()),
            // An image's own would be run in the same walls, at times of its own choosing.
            healthcheck: Some(bollard::models::HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..Default::default()
            }),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            // The end of the engine's connection is the end of the keeper's input.
            stdin_once: Some(true),
            tty: Some(false),
            labels: Some(labels),
            host_config: Some(self.host(daemon, keeper, user)),
            ..Default::default()
        }
    }

    fn host(&self, daemon: Daemon, keeper: &Linked, user: u32) -> HostConfig {
        let limits = &self.limits;
        let pids = u64::from(limits.pids.unwrap_or(DEFAULT_PIDS));
        // gVisor's own threads are tasks of the host: they panic at a limit that was meant for the program,
        // which is counted inside then.
        let pids = if daemon.own_kernel { pids * 8 + 1_024 } else { pids + 1 };
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let [work, tmp, home, shm] = shares(limits);
        let noexec = if self.preset == Preset::Strict { "noexec" } else { "exec" };
        let room = |size: u64, mode: &str, owner: u32| {
            let inodes = inodes(limits, size);
            format!(
                "rw,nosuid,nodev,{noexec},size={size},nr_inodes={inodes},mode={mode},uid={owner},gid={owner}"
            )
        };
        let tmpfs = HashMap::from([
            ("/tmp".to_owned(), room(tmp, "1777", 0)),
            (HOME.to_owned(), room(home, "700", user)),
            (self.workspace.display().to_string(), room(work, "755", user)),
            ("/dev/shm".to_owned(), room(shm, "1777", 0)),
        ]);
        let core = ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) };
        let mut sysctls = HashMap::new();
        if !daemon.own_kernel {
            // What TCP keeps for a socket has a bound, on which whoever counts sockets relies.
            sysctls.insert("net.ipv4.tcp_wmem".to_owned(), "4096 16384 524288".to_owned());
            sysctls.insert("net.ipv4.tcp_rmem".to_owned(), "4096 131072 524288".to_owned());
        }
        let mut security =
            vec!["no-new-privileges:true".to_owned(), format!("seccomp={}", filter(self.preset))];
        security.extend(self.apparmor.iter().map(|profile| format!("apparmor={profile}")));
        let mut mounts = mounts(keeper);
        mounts.extend(self.ro.iter().map(|bind| shown(&bind.source, &bind.target, true)));
        mounts.extend(self.rw.iter().map(|bind| shown(&bind.source, &bind.target, false)));
        HostConfig {
            memory: limits.memory.map(|memory| whole(memory.0)),
            // As much as memory: no swap on top.
            memory_swap: limits.memory.map(|memory| whole(memory.0)),
            nano_cpus: limits.cpus.map(|cpus| whole(cpus.0.saturating_mul(1_000_000))),
            pids_limit: Some(whole(pids)),
            blkio_device_read_bps: self.throttled(limits.io.read.map(|bytes| bytes.0)),
            blkio_device_write_bps: self.throttled(limits.io.write.map(|bytes| bytes.0)),
            blkio_device_read_iops: self.throttled(limits.io.read_ops.map(u64::from)),
            blkio_device_write_iops: self.throttled(limits.io.write_ops.map(u64::from)),
            ulimits: Some(vec![core]),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            network_mode: Some("none".to_owned()),
            auto_remove: Some(true),
            mounts: Some(mounts),
            tmpfs: Some(tmpfs),
            cap_drop: Some(vec!["ALL".to_owned()]),
            // Of a kernel of its own only: there any user may signal pid 1, so that has to be another one, and
            // gives the program its user itself.
            cap_add: daemon.own_kernel.then(|| vec!["SETUID".to_owned(), "SETGID".to_owned()]),
            ipc_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            security_opt: Some(security),
            sysctls: Some(sysctls),
            runtime: self.runtime.clone(),
            masked_paths: Some(MASKED.iter().map(|path| (*path).to_owned()).collect()),
            readonly_paths: Some(READ_ONLY.iter().map(|path| (*path).to_owned()).collect()),
            init: Some(false),
            privileged: Some(false),
            ..Default::default()
        }
    }

    /// A limit on each disk.
    fn throttled(&self, limit: Option<u64>) -> Option<Vec<ThrottleDevice>> {
        let rate = i64::try_from(limit?).unwrap_or(i64::MAX);
        let of = |disk: &PathBuf| ThrottleDevice { path: Some(disk.display().to_string()), rate: Some(rate) };
        Some(self.disks.iter().map(of).collect())
    }

    /// Refuses what a container engine cannot show.
    ///
    /// # Errors
    /// [`Error::HiddenInside`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.ro.iter().find(|bind| bind.mask.is_some()) {
            Some(bind) => Err(Error::HiddenInside { folder: bind.source.display().to_string() }),
            None => Ok(()),
        }
    }
}

/// The filter around all of a container. The keeper asks the kernel about sockets and opens files in ways
/// that the program may not; what the program may is decided again, exactly, by the filter that the keeper gives it.
fn filter(preset: Preset) -> String {
    let mut profile = seccomp::json(Screen { preset, accounted: true, lasting: false });
    if let Some(calls) = profile.get_mut("syscalls").and_then(|calls| calls.as_array_mut()) {
        let is_socket = |entry: &serde_json::Value| {
            entry.get("names").and_then(|names| names.as_array()).is_some_and(|names| {
                names.len() == 1 && names.first().and_then(|name| name.as_str()) == Some("socket")
            })
        };
        calls.retain(|entry| !is_socket(entry));
        calls.push(serde_json::json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [] }));
    }
    profile.to_string()
}

fn shown(source: &Path, target: &Path, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.display().to_string()),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::PRIVATE),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn place(library: &Path) -> String {
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    format!("{OWN}/lib/{name}")
}

/// What starts the keeper.
fn command(keeper: &Linked) -> Vec<String> {
    let program = format!("{OWN}/wflo");
    match keeper.loader() {
        Some(loader) => {
            vec![place(loader), "--library-path".to_owned(), format!("{OWN}/lib"), program]
        }
        None => vec![program],
    }
}

/// The keeper, shown as files.
fn mounts(keeper: &Linked) -> Vec<Mount> {
    let own = shown(&keeper.program, Path::new(&format!("{OWN}/wflo")), true);
    let libraries = keeper.libraries.iter().map(|path| shown(path, Path::new(&place(path)), true));
    std::iter::once(own).chain(libraries).collect()
}
