//! What a program may use.

use super::{eventually, everywhere};
use std::io::Read;
use std::time::{Duration, Instant};
use wflo_core::size::{Bytes, Millis};
use wflo_sandbox::{Backend as _, Error, Level, Limits, Outcome, Sandbox as _, Spec, Usage};

fn python(script: &str, limits: Limits) -> Spec {
    let mut spec = Spec::new(["/usr/bin/python3", "-c", script]);
    spec.limits = limits;
    spec
}

#[test]
fn its_time_ends() {
    everywhere(|world, _| {
        let mut spec = Spec::new(["sh", "-c", "(setsid sleep 1000 &) ; sleep 1000"]);
        spec.limits.timeout = Some(Millis(300));
        let (sandbox, mut output) = world.start(None, spec);
        let began = Instant::now();
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(sandbox.wait().unwrap().outcome, Outcome::TimedOut, "{text}");
        assert!(began.elapsed() < Duration::from_secs(500), "it slept to its end");
    });
}

#[test]
fn its_memory_ends() {
    everywhere(|world, _| {
        let limits = Limits { memory: Some(Bytes(96 << 20)), ..Limits::default() };
        let (text, exit) = world.run(python("x = b'x' * (400 << 20); print(len(x))", limits));
        // gVisor's kernel goes with its memory.
        assert!(matches!(exit.outcome, Outcome::OutOfMemory | Outcome::Killed), "{exit:?} {text}");
        assert_eq!(text, "");
    });
}

#[test]
fn its_processes_end() {
    everywhere(|world, _| {
        let limits = Limits { pids: Some(20), ..Limits::default() };
        let script = "
import os, time
made = 0
try:
    while made < 200:
        if os.fork() == 0: time.sleep(20); os._exit(0)
        made += 1
except OSError: pass
print(made, flush=True)
time.sleep(2)
print('late')
";
        let (text, exit) = world.run(python(script, limits));
        let made: u32 = text.lines().next().and_then(|line| line.parse().ok()).unwrap_or(0);
        assert!(made < 20 || exit.outcome == Outcome::TooManyTasks, "{exit:?} {text}");
    });
}

#[test]
fn its_files_are_counted() {
    everywhere(|world, _| {
        let limits = Limits { disk: Some(Bytes(64 << 20)), inodes: Some(400), ..Limits::default() };
        let script = "
held = 0
for folder in ('/workspace', '/tmp', '/home/wflo', '/dev/shm'):
    try:
        for i in range(10000): open(folder + '/%d' % i, 'w').close(); held += 1
    except OSError: pass
print(held)
";
        if !world.shares_kernel() {
            let refused = world.docker.launch(python(script, limits), None).map(drop).unwrap_err();
            assert!(matches!(refused, Error::NotEnforced { limit: "inodes", .. }), "{refused}");
            return;
        }
        let (text, exit) = world.run(python(script, limits));
        assert!(exit.success(), "{exit:?} {text}");
        assert!((300..=400).contains(&text.trim().parse::<u64>().unwrap()), "{text}");
    });
}

#[test]
fn its_disk_ends() {
    everywhere(|world, _| {
        let limits = Limits { disk: Some(Bytes(16 << 20)), ..Limits::default() };
        let script = "
import os
held = 0
for folder in ('/workspace', '/tmp', '/home/wflo', '/dev/shm'):
    try:
        with open(folder + '/x', 'wb', buffering=0) as file:
            while held < 64 << 20: held += file.write(bytes(65536))
    except OSError: pass
print(held >> 20)
";
        let (text, exit) = world.run(python(script, limits));
        assert!(exit.success(), "{exit:?} {text}");
        assert!(text.trim().parse::<u64>().unwrap() <= 16, "{text}");
    });
}

#[test]
fn what_it_takes_is_known_while_it_runs_and_its_peaks_are_after_its_end() {
    everywhere(|world, _| {
        let script = "
import os, sys, time
held = b'x' * (40 << 20)
for _ in range(9):
    if os.fork() == 0: time.sleep(1000)
while time.process_time() < 0.3: pass
print('ready', flush=True)
sys.stdin.read()
";
        let mut spec = python(script, Limits { memory: Some(Bytes(512 << 20)), ..Limits::default() });
        let (read, write) = super::pipe();
        spec.stdin = wflo_sandbox::Stdio::Fd(read.into());
        let (sandbox, mut output) = world.start(None, spec);
        output.read_exact(&mut [0; 6]).unwrap();
        let taken = |usage: Usage| {
            usage.memory.is_some_and(|bytes| bytes >= 40 << 20)
                && usage.tasks.is_some_and(|tasks| tasks >= 10)
                && usage.cpu.is_some_and(|cpu| cpu.as_millis() >= 200)
                && usage.disk.is_some()
        };
        eventually("a look that waits for nobody has everything", || sandbox.sample().is_some_and(taken));
        let usage = sandbox.usage().unwrap();
        assert!(taken(usage), "{usage:?}");
        assert!(usage.tasks_peak.is_some_and(|tasks| tasks >= 10), "{usage:?}");
        drop(write);
        let exit = sandbox.wait().unwrap();
        assert!(exit.success(), "{exit:?}");
        assert_eq!((exit.usage.memory, exit.usage.tasks), (None, None));
        assert!(exit.usage.tasks_peak.is_some_and(|tasks| tasks >= 10), "{exit:?}");
        assert!(exit.usage.cpu.is_some_and(|cpu| cpu.as_millis() >= 200), "{exit:?}");
    });
}

/// What groups of the daemon's containers say of the rate at which disks are read.
fn rates() -> Vec<String> {
    let read = |folder: &str, file: &str| {
        let groups = std::fs::read_dir(folder).into_iter().flatten().flatten();
        groups.filter_map(|group| std::fs::read_to_string(group.path().join(file)).ok()).collect::<Vec<_>>()
    };
    let v1 = read("/sys/fs/cgroup/blkio/docker", "blkio.throttle.read_bps_device");
    v1.into_iter().chain(read("/sys/fs/cgroup/docker", "io.max")).collect()
}

#[test]
fn a_limit_on_disks_is_its_groups() {
    everywhere(|world, _| {
        let mut spec = Spec::new(["sh", "-c", "echo ready; exec sleep 1000"]);
        // A figure that no other test has.
        spec.limits.io.read = Some(Bytes(7_340_032));
        match world.docker.capabilities().io {
            Level::Kernel => {
                let (sandbox, mut output) = world.start(None, spec);
                output.read_exact(&mut [0; 6]).unwrap();
                let is_set = |text: &String| text.contains(" 7340032") || text.contains("rbps=7340032");
                assert!(rates().iter().any(is_set), "{:?}", rates());
                assert!(sandbox.enforcement().iter().any(|limit| limit.limit == "io"));
                sandbox.kill().unwrap();
            }
            _ => {
                let refused = world.docker.launch(spec, None).map(drop).unwrap_err();
                assert!(matches!(refused, Error::NoIoLimit(_)), "{refused}");
            }
        }
    });
}
