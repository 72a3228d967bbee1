//! What is made ahead is used once, and is no other than what is made on demand.

use super::death::dead;
use super::killed::{children, kill};
use super::{eventually, launcher, program, run, sh, start};
use std::collections::HashSet;
use wflo_sandbox::Launcher;

const NAMESPACES: &str = "for kind in mnt net ipc uts pid cgroup user; do readlink /proc/self/ns/$kind; done";

/// The one child of a launcher that has no sandbox: what it has made ahead.
fn ahead(launcher: &Launcher) -> u32 {
    let mut found = None;
    eventually("a blank is made", || {
        if let [only] = *children(launcher.pid()) {
            found = Some(only);
        }
        found.is_some()
    });
    found.unwrap()
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
    let (mut shown, write) = super::pipe();
    let first = ahead(&launcher);
    let mut spec = sh("hostname; echo x > /tmp/left; echo x > ~/left; echo x > /dev/shm/left; ipcmk -Q");
    spec.hostname = "first".into();
    spec.limits.disk = Some("1m".parse().unwrap());
    spec.stdout = wflo_sandbox::Stdio::Fd(write);
    let sandbox = launcher.launch(spec).unwrap();
    assert_eq!(sandbox.pid(), first, "it is what was made ahead");
    sandbox.wait().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut shown, &mut text).unwrap();
    assert!(text.starts_with("first\n"), "{text}");
    let second = ahead(&launcher);
    assert_ne!(first, second);
    let (mut shown, write) = super::pipe();
    let mut spec = sh(
        "hostname; find /tmp ~ /dev/shm -mindepth 1; df -k --output=size /tmp | tail -1; wc -l < /proc/sysvipc/msg",
    );
    spec.stdout = wflo_sandbox::Stdio::Fd(write);
    let sandbox = launcher.launch(spec).unwrap();
    assert_eq!(sandbox.pid(), second);
    sandbox.wait().unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut shown, &mut text).unwrap();
    let lines: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(lines, ["sandbox", "1048576", "1"], "{text}");
}

#[test]
fn what_is_made_ahead_holds_nothing_of_who_is_there_already() {
    if !super::is_root() {
        // Only root may look into it.
        return;
    }
    let launcher = Launcher::start(&program()).unwrap();
    let (folder, mut live) = (tempfile::tempdir().unwrap(), Vec::new());
    let lock = std::fs::File::create(folder.path().join("lock")).unwrap();
    for _ in 0..2 {
        let mut spec = sh("echo on; sleep 1000");
        let (mut shown, write) = super::pipe();
        spec.stdout = wflo_sandbox::Stdio::Fd(write);
        spec.held = Some(lock.try_clone().unwrap().into());
        spec.model_listener = true;
        live.push(launcher.launch(spec).unwrap());
        super::read_until(&mut shown, "on\n");
    }
    let known: Vec<u32> = live.iter().map(wflo_sandbox::ProcessTree::pid).collect();
    let spare = || children(launcher.pid()).into_iter().find(|pid| !known.contains(pid));
    let mut held = Vec::new();
    eventually("one is made ahead, and has forgotten what it was forked with", || {
        let folder = spare().and_then(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).ok());
        let entries = folder.into_iter().flatten().flatten();
        held = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
        held.iter().any(|target| target.to_string_lossy().contains("landlock"))
    });
    let of = |kind: &str| held.iter().filter(|target| target.to_string_lossy().starts_with(kind)).count();
    // Where it takes its order, and what tells it of the launcher's end.
    assert_eq!((of("socket:"), of("pipe:")), (1, 1), "{held:?}");
    assert_eq!(of(&folder.path().display().to_string()), 0, "{held:?}");
    assert_eq!(of("/memfd:"), 0, "{held:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/environ", spare().unwrap())).unwrap();
    assert_eq!(status, "");
}

#[test]
fn one_that_is_killed_before_its_order_is_replaced() {
    let launcher = Launcher::start(&program()).unwrap();
    for _ in 0..3 {
        let first = ahead(&launcher);
        if super::is_root() {
            kill(first);
            eventually("it is dead", || dead(first));
        }
        // Whether or not the launcher knows already.
        assert!(launcher.launch(sh("true")).unwrap().wait().unwrap().success());
        eventually("the next is made", || children(launcher.pid()).iter().any(|pid| *pid != first));
    }
}

#[test]
fn one_that_waits_ends_with_its_launcher() {
    let launcher = Launcher::start(&program()).unwrap();
    let waiting = ahead(&launcher);
    drop(launcher);
    assert!(dead(waiting));
    let launcher = Launcher::start(&program()).unwrap();
    let waiting = ahead(&launcher);
    kill(launcher.pid());
    eventually("it is dead", || dead(waiting));
}

#[test]
fn what_a_dead_sandbox_has_written_is_given_back() {
    let shared = || {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Shmem:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let (sandbox, mut output) = start(sh("head -c 200m /dev/zero > /tmp/large; echo full; sleep 1000"));
    super::read_until(&mut output, "full\n");
    let full = shared();
    sandbox.kill().unwrap();
    // Nobody asks for another one: the launcher does it by itself.
    eventually("its memory is free", || shared() + (100 << 10) < full);
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
