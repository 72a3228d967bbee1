//! Limits on what goes from disks and to them: which disks a sandbox has to do with, and how a limit on each is
//! written.
//!
//! A control group limits whole disks, so a path comes to the disk that its file system is on. A file system that
//! is on none of this machine's (a network's, another program's) cannot be limited, and whoever asks for a limit is
//! told which path that is.

use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::capabilities::Capabilities;
use super::cgroup::Version;
use super::spec::{Level, Spec};
use wflo_core::error::Code;
use wflo_core::size::Bytes;

/// What may go from disks and to them in a second, on each disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct IoLimits {
    /// Bytes that are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Bytes>,
    /// Bytes that are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Bytes>,
    /// Operations that read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ops: Option<u32>,
    /// Operations that write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_ops: Option<u32>,
}

impl IoLimits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == IoLimits::default()
    }

    /// Whether writing is.
    pub(crate) fn of_writes(&self) -> bool {
        self.write.is_some() || self.write_ops.is_some()
    }

    /// Each limit that is set: what v2 and v1 call it, and the figure.
    pub(crate) fn each(self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        [
            ("rbps", "blkio.throttle.read_bps_device", self.read.map(|bytes| bytes.0)),
            ("wbps", "blkio.throttle.write_bps_device", self.write.map(|bytes| bytes.0)),
            ("riops", "blkio.throttle.read_iops_device", self.read_ops.map(u64::from)),
            ("wiops", "blkio.throttle.write_iops_device", self.write_ops.map(u64::from)),
        ]
        .into_iter()
        .filter_map(|(v2, v1, limit)| Some((v2, v1, limit?)))
    }
}

/// A whole disk: its major and minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device(pub(crate) u32, pub(crate) u32);

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

/// Why a limit cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IoRefusal {
    /// The file system is on no disk that a control group could limit.
    #[error("what is read of {path} comes from no disk of this machine ({kind}), so that cannot be limited", path = path.display())]
    NoDisk {
        /// The path.
        path: PathBuf,
        /// Its kind of file system.
        kind: String,
    },
    /// There is no control group that could.
    #[error("nothing would enforce the io limits: {note}")]
    NoGroup {
        /// Why, in words.
        note: String,
    },
    /// Control groups v1 count what is written behind a program's back to nobody.
    #[error(
        "writing to {what} cannot be limited with control groups v1: what the kernel writes later, from its cache, counts as nobody's"
    )]
    Writes {
        /// What it would write to.
        what: String,
    },
}

impl IoRefusal {
    pub(crate) fn code(&self) -> Code {
        Code(match self {
            IoRefusal::NoGroup { .. } => 5254,
            IoRefusal::NoDisk { .. } => 5255,
            IoRefusal::Writes { .. } => 5256,
        })
    }

    pub(crate) fn hint(&self) -> String {
        match self {
            IoRefusal::NoGroup { .. } => {
                "leave the io limits out, or run where control groups are handed down with io among them (as root, or under systemd with Delegate=yes)"
            }
            IoRefusal::NoDisk { .. } => "leave the io limits out, or show files of a disk of this machine",
            IoRefusal::Writes { .. } => {
                "limit reading alone, leave out what is written directly, or run on a host with control groups v2"
            }
        }
        .to_owned()
    }
}

/// Every disk that a sandbox has to do with.
///
/// # Errors
/// [`IoRefusal`].
pub(crate) fn disks(spec: &Spec, can: &Capabilities) -> Result<Vec<Device>, IoRefusal> {
    let shown = spec.ro.iter().chain(&spec.rw).map(|bind| bind.source.as_path());
    let layers = spec.workspace.iter().flat_map(|view| view.lowers.iter().map(PathBuf::as_path));
    limited(spec, can, [Path::new("/usr")].into_iter().chain(shown).chain(layers))
}

/// The same for a container, as its engine names devices; `paths` is what it has to do with.
///
/// # Errors
/// [`IoRefusal`].
pub(crate) fn names<'a>(
    spec: &Spec,
    can: &Capabilities,
    paths: impl Iterator<Item = &'a Path>,
) -> Result<Vec<PathBuf>, IoRefusal> {
    let name = |disk: Device| {
        let text = std::fs::read_to_string(format!("/sys/dev/block/{disk}/uevent")).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(|name| Path::new("/dev").join(name))
    };
    Ok(limited(spec, can, paths)?.into_iter().filter_map(name).collect())
}

fn limited<'a>(
    spec: &Spec,
    can: &Capabilities,
    paths: impl Iterator<Item = &'a Path>,
) -> Result<Vec<Device>, IoRefusal> {
    if spec.limits.io.is_empty() {
        return Ok(Vec::new());
    }
    if can.io != Level::Kernel {
        let note = match can.cgroup_note.as_str() {
            "" => "the kernel, or whoever hands control groups down, has no limits on disks for this user",
            note => note,
        };
        return Err(IoRefusal::NoGroup { note: note.to_owned() });
    }
    writes(spec, can)?;
    of_paths(paths)
}

/// Refuses a limit on writes that would hold for some of them only.
///
/// # Errors
/// [`IoRefusal::Writes`].
fn writes(spec: &Spec, can: &Capabilities) -> Result<(), IoRefusal> {
    if can.cgroup != Some(Version::V1) || !spec.limits.io.of_writes() {
        return Ok(());
    }
    // In isolation nothing else is written to a disk: the workspace's copy and /tmp are memory.
    let what = match spec.rw.first() {
        Some(bind) => bind.source.display().to_string(),
        None if !can.isolated => "the copy of the workspace".to_owned(),
        None => return Ok(()),
    };
    Err(IoRefusal::Writes { what })
}

/// The disks that these paths are on, each once; a path that is not there is on none.
///
/// # Errors
/// [`IoRefusal::NoDisk`].
fn of_paths<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<Vec<Device>, IoRefusal> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = Vec::new();
    for path in paths {
        let Ok(metadata) = std::fs::metadata(path) else { continue };
        let device = metadata.st_dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let place = match of_number(major, minor) {
            Some(disk) => Place::Disk(disk),
            None => of_mount(&mounts, (major, minor)),
        };
        match place {
            Place::Disk(disk) if !found.contains(&disk) => found.push(disk),
            Place::Disk(_) | Place::Memory => {}
            Place::Elsewhere(kind) => return Err(IoRefusal::NoDisk { path: path.to_owned(), kind }),
        }
    }
    found.sort();
    Ok(found)
}

/// Where the files of a file system are.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Disk(Device),
    /// Nothing of it goes from a disk or to one.
    Memory,
    /// Its kind.
    Elsewhere(String),
}

/// The whole disk of a block device's number: of a partition the disk that it is a part of.
fn of_number(major: u32, minor: u32) -> Option<Device> {
    let entry = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let entry = entry.canonicalize().ok()?;
    let whole = if entry.join("partition").exists() { entry.parent()? } else { &entry };
    let text = std::fs::read_to_string(whole.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(Device(major.parse().ok()?, minor.parse().ok()?))
}

/// What the mount of a file system says that has no block device's number: btrfs has its own, and names the device.
fn of_mount(mounts: &str, (major, minor): (u32, u32)) -> Place {
    let number = format!("{major}:{minor}");
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        if before.split(' ').nth(2) != Some(number.as_str()) {
            continue;
        }
        let mut after = after.split(' ');
        let (kind, source) = (after.next().unwrap_or_default(), after.next().unwrap_or_default());
        if matches!(kind, "tmpfs" | "ramfs" | "proc" | "sysfs" | "devtmpfs" | "hugetlbfs") {
            return Place::Memory;
        }
        let device = std::fs::metadata(source).ok().filter(|_| source.starts_with("/dev/"));
        let disk = device.and_then(|device| {
            let number = device.st_rdev();
            of_number(rustix::fs::major(number), rustix::fs::minor(number))
        });
        return disk.map_or_else(|| Place::Elsewhere(kind.to_owned()), Place::Disk);
    }
    Place::Elsewhere("a file system without a mount that is seen here".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_on_no_disk_and_a_network_cannot_be_limited() {
        let mounts = "\
30 25 0:50 / /run rw - tmpfs tmpfs rw
31 25 0:51 / /net rw - nfs4 server:/export rw
32 25 0:52 /sub /data rw - btrfs /dev/no-such-disk rw
";
        assert_eq!(of_mount(mounts, (0, 50)), Place::Memory);
        assert_eq!(of_mount(mounts, (0, 51)), Place::Elsewhere("nfs4".to_owned()));
        assert_eq!(of_mount(mounts, (0, 52)), Place::Elsewhere("btrfs".to_owned()));
        assert!(matches!(of_mount(mounts, (0, 99)), Place::Elsewhere(_)));
        assert_eq!(of_paths([Path::new("/proc"), Path::new("/no/such/path")].into_iter()), Ok(Vec::new()));
    }

    #[test]
    fn each_limit_has_its_name_in_either_hierarchy() {
        let io = IoLimits { read: Some(Bytes(1_024)), write_ops: Some(7), ..IoLimits::default() };
        let each: Vec<_> = io.each().collect();
        assert_eq!(
            each,
            [
                ("rbps", "blkio.throttle.read_bps_device", 1_024),
                ("wiops", "blkio.throttle.write_iops_device", 7)
            ]
        );
        assert!(io.of_writes() && !io.is_empty() && IoLimits::default().is_empty());
    }
}
