//! What is written to a group of the unified hierarchy, and how it is ended.
//!
//! A host whose controllers belong to v1 hierarchies, as hybrid ones do, has real v2 groups and no limits
//! in them. So the ending is tested on the kernel's own groups where this user may make one, and the limits
//! on a folder with the files that the kernel would make in a group, which show what was written to each.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wflo_core::size::{Bytes, MilliCpus};

use super::*;
use crate::native::io::IoLimits;

#[test]
fn a_share_becomes_a_quota_the_kernel_takes() {
    assert_eq!(quota(500), (50_000, 100_000));
    assert_eq!(quota(2_000), (200_000, 100_000));
    assert_eq!(quota(1), (1_000, 1_000_000));
}

#[test]
fn oom_kills_are_counted_by_their_own_line() {
    assert_eq!(number_after("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill "), Some(3));
}

fn opened(folder: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).unwrap()
}

/// Groups of a launcher at `folder`, which has one already.
fn unified(folder: &Path) -> Groups {
    let own = folder.join("launcher");
    std::fs::create_dir_all(&own).unwrap();
    let memory = Some((opened(folder), opened(&own)));
    Groups {
        version: Version::V2,
        name: "launcher".to_owned(),
        memory,
        cpu: None,
        io: None,
        unified_io: true,
    }
}

const FILES: [&str; 6] =
    ["memory.max", "memory.oom.group", "memory.swap.max", "cpu.max", "pids.max", "cgroup.procs"];

/// A group as a new one looks that has these files.
fn group(folder: &Path, name: &str, files: &[&str]) -> PathBuf {
    let group = folder.join("launcher").join(name);
    std::fs::create_dir_all(&group).unwrap();
    for file in files {
        std::fs::write(group.join(file), "").unwrap();
    }
    group
}

fn limits() -> Limits {
    Limits { memory: Some(Bytes(64 << 20)), cpus: Some(MilliCpus(500)), pids: Some(16), ..Limits::default() }
}

#[test]
fn each_limit_is_written_before_anybody_is_in_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let groups = unified(dir.path());
    let group = group(dir.path(), "one", &FILES);
    groups.join("one", &limits(), &[], false).unwrap();
    let written = FILES.map(|file| std::fs::read_to_string(group.join(file)).unwrap());
    assert_eq!(written, ["67108864", "1", "0", "50000 100000", "17", "0"], "one more process for pid 1");
    assert!(groups.limits_memory() && groups.limits_cpu());
}

#[test]
fn what_is_not_asked_for_is_not_limited() {
    let dir = tempfile::tempdir().unwrap();
    let groups = unified(dir.path());
    let group = group(dir.path(), "one", &FILES);
    groups
        .join("one", &Limits { memory: None, cpus: None, pids: None, ..Limits::default() }, &[], true)
        .unwrap();
    let written = FILES.map(|file| std::fs::read_to_string(group.join(file)).unwrap());
    assert_eq!(written, ["", "", "", "", "", "0"]);
}

#[test]
fn limits_on_disks_are_written_for_each_disk_and_refused_where_the_kernel_has_none() {
    let io = IoLimits { read: Some(Bytes(1 << 20)), ..IoLimits::default() };
    let limits = Limits { io, ..Limits::default() };
    let disk = [Device(8, 0)];
    let dir = tempfile::tempdir().unwrap();
    let groups = unified(dir.path());
    let with = group(dir.path(), "one", &["io.max", "cgroup.procs"]);
    groups.join("one", &limits, &disk, false).unwrap();
    assert_eq!(std::fs::read_to_string(with.join("io.max")).unwrap(), "8:0 rbps=1048576");
    assert_eq!(std::fs::read_to_string(with.join("cgroup.procs")).unwrap(), "0");
    let without = group(dir.path(), "two", &["cgroup.procs"]);
    assert!(groups.join("two", &limits, &disk, false).is_err());
    assert_eq!(std::fs::read_to_string(without.join("cgroup.procs")).unwrap(), "", "nobody joins");
}

#[test]
fn a_limit_that_the_kernel_does_not_have_is_refused_and_nobody_joins() {
    for missing in ["memory.max", "memory.oom.group", "cpu.max", "pids.max"] {
        let dir = tempfile::tempdir().unwrap();
        let groups = unified(dir.path());
        let files: Vec<&str> = FILES.into_iter().filter(|file| *file != missing).collect();
        let group = group(dir.path(), "one", &files);
        assert!(groups.join("one", &limits(), &[], false).is_err(), "{missing}");
        assert_eq!(std::fs::read_to_string(group.join("cgroup.procs")).unwrap(), "", "{missing}");
    }
    // Where swap is not counted there is nothing to limit.
    let dir = tempfile::tempdir().unwrap();
    let groups = unified(dir.path());
    let files: Vec<&str> = FILES.into_iter().filter(|file| *file != "memory.swap.max").collect();
    group(dir.path(), "one", &files);
    groups.join("one", &limits(), &[], false).unwrap();
}

#[test]
fn what_a_group_used_and_how_often_it_was_killed_for_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let groups = unified(dir.path());
    let group = group(dir.path(), "one", &FILES);
    std::fs::write(group.join("memory.peak"), "12345\n").unwrap();
    std::fs::write(
        group.join("memory.events"),
        "low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 1\n",
    )
    .unwrap();
    let (kills, usage) = groups.finish("one");
    assert_eq!((kills, usage.memory_peak), (2, Some(12_345)));
}

/// A group of its own in the kernel's unified hierarchy, removed at the end.
struct Real(PathBuf);

impl Real {
    fn make() -> Option<Real> {
        let own = found::own_groups().unwrap();
        let at = own.iter().find_map(found::Own::unified)?.join(format!("wflo-test-{}", std::process::id()));
        std::fs::create_dir(&at).ok()?;
        Some(Real(at))
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for group in [self.0.join("launcher/one"), self.0.join("launcher"), self.0.clone()] {
            let _ = std::fs::remove_dir(group);
        }
    }
}

#[test]
fn a_real_group_is_left_by_nobody_and_ended_as_a_whole() {
    let Some(real) = Real::make() else {
        println!("no group can be made in a unified hierarchy here: this needs one, as root or delegated");
        return;
    };
    let groups = std::sync::Arc::new(unified(&real.0));
    let joining = std::sync::Arc::clone(&groups);
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 600 & sleep 600 & echo ready; wait"]).stdout(Stdio::piped());
    let join = move || {
        joining
            .join("one", &Limits { memory: None, cpus: None, pids: None, ..Limits::default() }, &[], true)
            .map_err(|_| std::io::Error::other("not joined"))
    };
    // SAFETY: it opens and writes files of a group; the child has one thread and nobody holds its locks.
    unsafe { command.pre_exec(join) };
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    let one = real.0.join("launcher/one");
    let members = std::fs::read_to_string(one.join("cgroup.procs")).unwrap();
    assert_eq!(members.lines().count(), 3, "the shell and its children: {members:?}");
    groups.end("one");
    assert_eq!(std::fs::read_to_string(one.join("cgroup.procs")).unwrap(), "");
    // Reaped by `end`, or here.
    if let Ok(status) = child.wait() {
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
    groups.finish("one");
    groups.close();
    assert!(!real.0.join("launcher").exists(), "its groups are gone");
}
