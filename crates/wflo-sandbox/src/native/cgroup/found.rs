//! Where this process's groups are, from `/proc/self/cgroup` and `/proc/self/mountinfo`.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// One hierarchy that this process is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Own {
    /// The controllers of a v1 hierarchy; empty for the unified one.
    controllers: Vec<String>,
    /// The folder of this process's group.
    pub(super) folder: PathBuf,
    /// The folder of the topmost group that can be seen.
    pub(super) top: PathBuf,
}

#[cfg(test)]
impl Own {
    /// The folder of this process's group, if this is the unified hierarchy.
    pub(super) fn unified(&self) -> Option<&Path> {
        self.controllers.is_empty().then_some(&self.folder)
    }
}

/// When a process was started, in clock ticks since boot by the clock of this process's time namespace.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything: what follows the last one is fields 3 and on.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The state of a process, as the kernel writes it.
pub(super) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The number of this process's pid namespace.
pub(super) fn namespace() -> Option<String> {
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(namespace.to_str()?.chars().filter(char::is_ascii_digit).collect())
}

/// The name of the groups of the launcher with this process id. The namespace is part of it: a
/// number means nothing in another one.
pub(super) fn name_of(pid: u32) -> Option<String> {
    Some(format!("wflo-{}-{pid}-{}", namespace()?, start_time(pid)?))
}

/// Every hierarchy that this process is in and that is mounted.
pub(super) fn own_groups() -> io::Result<Vec<Own>> {
    let groups = std::fs::read_to_string("/proc/self/cgroup")?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(parse(&groups, &mounts))
}

fn parse(groups: &str, mounts: &str) -> Vec<Own> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        let controllers: Vec<String> =
            names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        for mount in mounts.lines() {
            let Some((before, after)) = mount.split_once(" - ") else { continue };
            let mut after = after.split(' ');
            let kind = after.next();
            let options: Vec<&str> = after.nth(1).unwrap_or_default().split(',').collect();
            let same = match controllers.first() {
                None => kind == Some("cgroup2"),
                Some(first) => kind == Some("cgroup") && options.contains(&first.as_str()),
            };
            let mut before = before.split(' ').skip(3);
            let (Some(root), Some(place)) = (before.next(), before.next()) else { continue };
            let below = if root == "/" { Some(path) } else { path.strip_prefix(root) };
            if let (true, Some(below)) = (same, below) {
                let top = PathBuf::from(place);
                let folder = top.join(below.trim_start_matches('/'));
                found.push(Own { controllers, folder, top });
                break;
            }
        }
    }
    found
}

pub(super) fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

/// This process's group in the v1 hierarchy of `controller`.
pub(super) fn own_v1(own: &[Own], controller: &str) -> io::Result<OwnedFd> {
    own.iter()
        .find(|group| group.controllers.iter().any(|name| name == controller))
        .ok_or_else(|| io::Error::other("no such cgroup hierarchy is mounted"))
        .and_then(|group| open(&group.folder))
}

/// The nearest group of the unified hierarchy, this process's own or one above it, that hands
/// memory, cpu and pids down to groups that this process may make.
pub(super) fn delegated_v2(own: &[Own]) -> Option<OwnedFd> {
    let unified = own.iter().find(|group| group.controllers.is_empty())?;
    let mut folder = unified.folder.as_path();
    while folder.starts_with(&unified.top) {
        let control = folder.join("cgroup.subtree_control");
        let has_all = || {
            let on = std::fs::read_to_string(&control).unwrap_or_default();
            ["memory", "cpu", "pids"].iter().all(|name| on.split_whitespace().any(|word| word == *name))
        };
        // Enabling fails where processes live in the group itself: then one above may do.
        if has_all() || (std::fs::write(&control, "+memory +cpu +pids").is_ok() && has_all()) {
            let writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok();
            let movable =
                rustix::fs::access(folder.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok();
            if writable && movable {
                return open(folder).ok();
            }
        }
        folder = folder.parent()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    const MOUNTS: &str = "\
30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 /pod /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn groups_are_found_where_their_hierarchy_is_mounted() {
        let found = parse("4:memory:/a/b\n3:cpu,cpuacct:/\n0::/pod/x\n", MOUNTS);
        let folders: Vec<&str> = found.iter().filter_map(|own| own.folder.to_str()).collect();
        assert_eq!(
            folders,
            ["/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/cpu,cpuacct/", "/sys/fs/cgroup/unified/x"]
        );
    }

    /// Groups `top/mid/leaf` as they look where `with` hands all three controllers down.
    fn delegated(with: &str) -> (tempfile::TempDir, Own) {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = dir.path().to_path_buf();
        for name in ["top", "mid", "leaf"] {
            folder.push(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("cgroup.procs"), "").unwrap();
            let on = if name == with { "cpu io memory pids" } else { "memory" };
            let control = folder.join("cgroup.subtree_control");
            if name == with {
                std::fs::write(&control, on).unwrap();
            } else {
                // What cannot be enabled here refuses to be written.
                std::os::unix::fs::symlink("/proc/self/no/such", &control).unwrap();
            }
        }
        let top = dir.path().join("top");
        let own = Own { controllers: Vec::new(), folder, top };
        (dir, own)
    }

    #[test]
    fn the_nearest_group_that_hands_all_controllers_down_is_taken() {
        for with in ["leaf", "mid", "top"] {
            let (dir, own) = delegated(with);
            let found = delegated_v2(&[own]).expect("one hands them down");
            let path = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).unwrap();
            assert!(path.ends_with(with), "{} for {with}", path.display());
            drop(dir);
        }
        let (_dir, own) = delegated("none of them");
        assert!(delegated_v2(&[own]).is_none(), "nobody looks above what can be seen");
    }

    #[test]
    fn a_process_has_a_start_time_and_a_missing_one_has_none() {
        assert!(start_time(std::process::id()).is_some());
        assert_eq!(start_time(0), None);
    }
}
