//! What is made ahead is used once, and is no other than what is made on demand.

use super::{eventually, launcher, program, run, sh, start};
use std::collections::HashSet;
use wflo_sandbox::Launcher;

const NAMESPACES: &str = "for kind in mnt net ipc uts pid cgroup user; do readlink /proc/self/ns/$kind; done";

/// How many network namespaces a launcher holds: its own, and one that is made ahead.
fn held(launcher: u32) -> usize {
    let folder = std::fs::read_dir(format!("/proc/{launcher}/fd")).unwrap();
    let targets = folder.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("net:[")).count()
}

#[test]
fn no_two_sandboxes_share_a_namespace() {
    let mut seen = HashSet::new();
    for kind in ["mnt", "net", "ipc", "uts", "pid", "cgroup", "user"] {
        seen.insert(std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string());
    }
    // One after the other, and as a burst, for which nothing can be ready. All stay alive: a dead
    // namespace's number may be given out again.
    let mut live = Vec::new();
    for burst in [1, 1, 6] {
        let started: Vec<_> = (0..burst).map(|_| start(sh(&format!("{NAMESPACES}; sleep 1000")))).collect();
        for (sandbox, mut output) in started {
            let text = super::read_until(&mut output, "user:[");
            for line in text.lines().filter(|line| line.ends_with(']')) {
                assert!(seen.insert(line.to_owned()), "{line} is shared");
            }
            live.push(sandbox);
        }
    }
    assert!(live.iter().all(|sandbox| sandbox.try_wait().unwrap().is_none()));
}

#[test]
fn one_is_made_ahead_and_leaves_nothing_to_the_next() {
    let launcher = Launcher::start(&program()).unwrap();
    let ready = || {
        // Only root may look into a launcher; for others the rest holds, ready or not.
        if super::is_root() {
            eventually("a blank is made", || held(launcher.pid()) == 2);
        }
    };
    let (mut shown, write) = super::pipe();
    ready();
    let mut spec = sh("hostname; echo x > /tmp/left; echo x > ~/left; echo x > /dev/shm/left; ipcmk -Q");
    spec.hostname = "first".into();
    spec.limits.disk = Some("1m".parse().unwrap());
    spec.stdout = wflo_sandbox::Stdio::Fd(write);
    launcher.launch(spec).unwrap().wait().unwrap();
    let mut first = String::new();
    std::io::Read::read_to_string(&mut shown, &mut first).unwrap();
    assert!(first.starts_with("first\n"), "{first}");
    ready();
    let (mut shown, write) = super::pipe();
    let mut spec = sh(
        "hostname; find /tmp ~ /dev/shm -mindepth 1; df -k --output=size /tmp | tail -1; wc -l < /proc/sysvipc/msg",
    );
    spec.stdout = wflo_sandbox::Stdio::Fd(write);
    launcher.launch(spec).unwrap().wait().unwrap();
    let mut second = String::new();
    std::io::Read::read_to_string(&mut shown, &mut second).unwrap();
    let lines: Vec<&str> = second.split_whitespace().collect();
    assert_eq!(lines, ["sandbox", "1048576", "1"], "{second}");
}

#[test]
fn a_launcher_that_cannot_make_one_ahead_still_says_why() {
    if !super::is_root() {
        return;
    }
    // In a user namespace of its own, whose limits are nobody else's.
    let script = "echo 2 > /proc/sys/user/max_net_namespaces && exec \"$0\" --exact --ignored blank::too_few_namespaces --nocapture";
    let test = std::env::current_exe().unwrap();
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "sh", "-c", script])
        .arg(test)
        .env("WFLO_TEST_LAUNCHER", program())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "run by a_launcher_that_cannot_make_one_ahead_still_says_why, in a namespace with few to give"]
fn too_few_namespaces() {
    // One for the launcher, and one sandbox at a time.
    let launcher = Launcher::start(&program()).unwrap();
    for _ in 0..3 {
        let mut sandbox = None;
        eventually("a namespace is free", || {
            sandbox = launcher.launch(sh("sleep 1000")).ok();
            sandbox.is_some()
        });
        let refused = launcher.launch(sh("true")).unwrap_err();
        assert!(refused.to_string().contains("making namespaces"), "{refused}");
        sandbox.unwrap().kill().unwrap();
    }
}

#[test]
fn the_shared_launcher_goes_on_after_a_burst() {
    let burst: Vec<_> = (0..8).map(|_| start(sh("true"))).collect();
    for (sandbox, _) in burst {
        assert!(sandbox.wait().unwrap().success());
    }
    assert_eq!(run(sh("echo on")).text, "on\n");
    assert!(launcher().pid() > 0);
}
