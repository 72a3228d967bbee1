//! Whoever dies, nothing of a sandbox is left: no process, no mount, no cgroup.

use super::killed::mounts;
use super::{eventually, pipe, program, read_until, sh};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio as ProcessStdio};
use wflo_sandbox::{Launcher, Spec, Stdio};

/// Whether a process is gone, or only waits for its parent to take note.
pub(super) fn dead(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

/// Whether a launcher has groups anywhere.
pub(super) fn has_groups(launcher: u32) -> bool {
    fn is_launchers(name: &str, mark: &str) -> bool {
        name.starts_with("wflo-") && name.contains(mark)
    }
    fn search(folder: &Path, mark: &str, depth: u32) -> bool {
        std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            is_launchers(&entry.file_name().to_string_lossy(), mark)
                || (is_folder && depth > 0 && search(&entry.path(), mark, depth - 1))
        })
    }
    search(Path::new("/sys/fs/cgroup"), &format!("-{launcher}-"), 4)
}

/// A sandbox that would live for long, with limits so that it has cgroups where it can.
pub(super) fn long_lived() -> Spec {
    let mut spec = sh("(setsid sleep 10000 &); (sleep 10000 &); echo ready; sleep 10000");
    spec.limits.memory = Some("64m".parse().unwrap());
    spec.limits.cpus = Some("1".parse().unwrap());
    spec
}

fn watched(launcher: &Launcher) -> (wflo_sandbox::ProcessTree, std::fs::File) {
    let (read, write) = pipe();
    let mut spec = long_lived();
    spec.stdout = Stdio::Fd(write);
    let mut read = read;
    let sandbox = launcher.launch(spec).unwrap();
    read_until(&mut read, "ready\n");
    (sandbox, read)
}

#[test]
fn a_kill_takes_the_whole_tree_and_a_drop_does_too() {
    let launcher = Launcher::start(&program()).unwrap();
    let (sandbox, mut output) = watched(&launcher);
    assert_eq!(sandbox.kill().unwrap().code(), 137);
    assert_eq!(output.read(&mut [0; 1]).unwrap(), 0, "somebody still holds the pipe");
    assert_eq!(sandbox.kill().unwrap().code(), 137);
    let (sandbox, mut output) = watched(&launcher);
    drop(sandbox);
    assert_eq!(output.read(&mut [0; 1]).unwrap(), 0);
    let pid = launcher.pid();
    drop(launcher);
    assert!(dead(pid) && !has_groups(pid));
}

#[test]
fn dropping_the_launcher_ends_its_sandboxes() {
    let launcher = Launcher::start(&program()).unwrap();
    let (sandbox, mut output) = watched(&launcher);
    let pid = launcher.pid();
    drop(launcher);
    assert_eq!(output.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(sandbox.wait().unwrap().code(), 137);
    assert!(!has_groups(pid));
}

#[test]
fn a_killed_launcher_takes_its_sandboxes_along_and_its_groups_are_swept() {
    let launcher = Launcher::start(&program()).unwrap();
    let (sandbox, mut output) = watched(&launcher);
    let process = rustix::process::Pid::from_raw(launcher.pid() as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    assert_eq!(output.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(sandbox.wait().unwrap().code(), 137);
    let refused = launcher.launch(sh("true")).map(drop).unwrap_err();
    assert!(matches!(refused, wflo_sandbox::Error::LauncherGone), "{refused}");
    let pid = launcher.pid();
    drop((sandbox, launcher));
    // A group can be removed once the last of its processes is not only dead but gone.
    eventually("its groups are swept", || {
        wflo_sandbox::sweep();
        !has_groups(pid)
    });
}

/// Not a promise: what the next test does where another time is told.
#[test]
#[ignore = "started by another test"]
fn a_sweep() {
    wflo_sandbox::sweep();
    Launcher::start(&program()).unwrap();
}

#[test]
fn a_launcher_lives_for_those_too_whose_clock_says_another_time_since_boot() {
    if !Path::new("/proc/self/ns/time").exists() {
        println!("this kernel has no time namespaces");
        return;
    }
    let launcher = Launcher::start(&program()).unwrap();
    let (sandbox, _output) = watched(&launcher);
    let had = has_groups(launcher.pid());
    let user: &[&str] = if super::is_root() { &[] } else { &["--map-root-user"] };
    let swept = Command::new("unshare")
        .args(user)
        .args(["--time", "--boottime", "100000", "--fork"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "death::a_sweep", "--ignored"])
        .output()
        .unwrap();
    assert!(swept.status.success(), "{swept:?}");
    assert_eq!(sandbox.try_wait().unwrap(), None, "its processes were killed");
    assert_eq!(has_groups(launcher.pid()), had);
}

#[test]
fn a_killed_pid_1_is_the_end_of_its_tree() {
    let launcher = Launcher::start(&program()).unwrap();
    let (sandbox, mut output) = watched(&launcher);
    rustix::process::pidfd_send_signal(sandbox.pidfd().as_fd(), rustix::process::Signal::KILL).unwrap();
    assert_eq!(output.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(sandbox.wait().unwrap().code(), 137);
}

/// Not a promise: the engine that the next test kills.
#[test]
#[ignore = "started by another test"]
fn an_engine_to_be_killed() {
    let launcher = Launcher::start(&program()).unwrap();
    let sandboxes: Vec<_> = (0..3).map(|_| watched(&launcher)).collect();
    let pids: Vec<String> = sandboxes.iter().map(|(sandbox, _)| sandbox.pid().to_string()).collect();
    println!("\npids {} {}", launcher.pid(), pids.join(" "));
    sandboxes[0].0.wait().unwrap();
}

#[test]
fn a_killed_engine_leaves_nothing() {
    let before = mounts();
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "death::an_engine_to_be_killed", "--ignored", "--nocapture"])
        .stdout(ProcessStdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(engine.stdout.take().unwrap()).lines();
    let pids: Vec<u32> = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("pids ").map(str::to_owned))
        .expect("the engine has its sandboxes")
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    assert_eq!(pids.len(), 4);
    assert!(pids.iter().all(|pid| !dead(*pid)));
    let kernel = super::launcher().capabilities().cgroup.is_some();
    assert_eq!(has_groups(pids[0]), kernel);
    engine.kill().unwrap();
    engine.wait().unwrap();
    eventually("every process of the engine is dead", || pids.iter().all(|pid| dead(*pid)));
    eventually("its groups are gone", || !has_groups(pids[0]));
    // Others of this machine may mount and unmount meanwhile; what was left behind would stay.
    eventually("no mount is left", || mounts().is_subset(&before));
}

#[test]
fn an_engine_that_dies_while_its_launcher_prepares_leaves_no_group() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    for _ in 0..8 {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let mut launcher =
            Command::new(program()).arg(wflo_sandbox::LAUNCHER_ARGUMENT).stdin(theirs).spawn().unwrap();
        drop(ours);
        launcher.wait().unwrap();
        assert!(!has_groups(launcher.id()));
    }
}
