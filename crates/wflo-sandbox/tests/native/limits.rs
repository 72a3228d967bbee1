//! Every limit holds, and says how.

use super::{eventually, launcher, python, read_until, run, sh, start};
use wflo_sandbox::{Error, Level, Outcome};

#[test]
fn disk_is_one_budget_for_everything_that_can_be_written() {
    let project = tempfile::tempdir().unwrap();
    let mut spec = sh("for f in /tmp/a ~/b /dev/shm/c d; do head -c 3000000 /dev/zero > $f; done; \
         cat /tmp/a ~/b /dev/shm/c d | wc -c");
    spec.workspace =
        Some(wflo_sandbox::View { lowers: vec![project.path().into()], target: project.path().into() });
    spec.limits.disk = Some("8m".parse().unwrap());
    let ran = run(spec);
    assert!(ran.text.contains("No space left"), "{}", ran.text);
    let written: u64 = ran.text.lines().last().unwrap().parse().unwrap();
    assert!((6_000_000..=8 << 20).contains(&written), "{written}");
    // Names cost memory too.
    let mut spec = python(
        "import os\ntry:\n for i in range(100000): open('/tmp/%d' % i, 'w')\nexcept OSError as e: print(i, e.errno)",
    );
    spec.limits.disk = Some("8m".parse().unwrap());
    let ran = run(spec);
    assert!(ran.text.ends_with(" 28\n") || ran.text.contains("24"), "{}", ran.text);
}

#[test]
fn memory_over_the_limit_ends_the_sandbox() {
    let mut spec = python(
        "b = bytearray(400 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nimport time; time.sleep(1000)",
    );
    spec.limits.memory = Some("64m".parse().unwrap());
    let ran = run(spec);
    assert_eq!((ran.exit.outcome, ran.code()), (Outcome::OutOfMemory, 137), "{}", ran.text);
    assert!(ran.exit.usage.memory_peak.unwrap() > 30 << 20);
}

#[test]
fn memory_in_files_counts() {
    let mut spec = sh("head -c 200000000 /dev/zero > /tmp/a; sleep 1000");
    spec.limits.memory = Some("64m".parse().unwrap());
    spec.limits.disk = Some("512m".parse().unwrap());
    let ran = run(spec);
    // The kernel kills the writer, the supervisor the whole tree; either way it does not fit.
    assert!(ran.exit.usage.memory_peak.unwrap() >= 60 << 20);
    assert!(!ran.exit.success());
}

#[test]
fn a_fork_bomb_stops_at_the_pids_limit() {
    let mut spec = python(
        "import os, time\nn = 0\n\
         try:\n\
         \x20 while True:\n\
         \x20  if os.fork() == 0: time.sleep(1000)\n\
         \x20  n += 1\n\
         except BlockingIOError: print(n)",
    );
    spec.limits.pids = Some(20);
    assert_eq!(run(spec).text, "19\n");
    // The shell gives up when it cannot fork; what it left behind dies with it.
    let mut spec = sh("bomb() { bomb | bomb & }; bomb 2>/dev/null");
    spec.limits.pids = Some(30);
    spec.limits.timeout = Some("50s".parse().unwrap());
    assert_ne!(run(spec).exit.outcome, Outcome::TimedOut);
}

#[test]
fn the_time_out_ends_the_whole_tree() {
    let mut spec = sh("trap '' TERM INT HUP; (sleep 1000 &); sleep 1000");
    spec.limits.timeout = Some("150ms".parse().unwrap());
    let ran = run(spec);
    assert_eq!((ran.exit.outcome, ran.code()), (Outcome::TimedOut, 124));
}

#[test]
fn a_processor_share_is_kept() {
    let mut spec = sh("echo ready; while :; do :; done");
    spec.limits.cpus = Some("0.2".parse().unwrap());
    let (sandbox, mut output) = start(spec);
    read_until(&mut output, "ready\n");
    let began = std::time::Instant::now();
    let before = sandbox.usage().unwrap().cpu.unwrap();
    eventually("two seconds have passed", || began.elapsed().as_millis() > 2_000);
    let used = sandbox.usage().unwrap().cpu.unwrap() - before;
    // A share of what has passed, with room for one period and the clock's ticks.
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < 0.35, "{share}");
    sandbox.kill().unwrap();
}

#[test]
fn every_limit_says_how_it_is_enforced_and_the_kernel_can_be_insisted_on() {
    let mut spec = sh("true");
    spec.limits.memory = Some("64m".parse().unwrap());
    spec.limits.timeout = Some("10s".parse().unwrap());
    spec.require_kernel = true;
    let supervised = launcher().capabilities().memory != Level::Kernel;
    match launcher().launch(spec) {
        Ok(sandbox) => {
            assert!(!supervised);
            let levels: Vec<_> =
                sandbox.enforcement().iter().map(|limit| (limit.limit, limit.level)).collect();
            assert_eq!(
                levels,
                [
                    ("memory", Level::Kernel),
                    ("pids", Level::Kernel),
                    ("disk", Level::Kernel),
                    ("timeout", Level::Supervised)
                ]
            );
        }
        Err(error) => {
            assert!(supervised && matches!(error, Error::NotEnforced { limit: "memory", .. }), "{error}")
        }
    }
}

/// Fills as many TCP connections as it can, in several processes, and closes half of their ends.
const TCP: &str = "import os, socket\n\
for _ in range(3): os.fork()\n\
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(); kept = []\n\
while True:\n\
\x20 a = socket.socket(); a.connect(l.getsockname()); b = l.accept()[0]; a.setblocking(False)\n\
\x20 a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)\n\
\x20 try:\n\
\x20  while True: a.send(bytes(65536))\n\
\x20 except BlockingIOError: pass\n\
\x20 kept.append(b)\n\
\x20 if len(kept) % 2: kept.append(a)\n";

const UNIX: &str = "import os, socket\n\
for _ in range(3): os.fork()\n\
kept = []\n\
while True:\n\
\x20 a, b = socket.socketpair(); a.setblocking(False)\n\
\x20 try:\n\
\x20  while True: a.send(bytes(65536))\n\
\x20 except BlockingIOError: pass\n\
\x20 kept.append(b)\n\
\x20 if len(kept) % 2: kept.append(a)\n";

const UDP: &str = "import socket\nkept = []\n\
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
while True:\n\
\x20 a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0)); kept.append(a)\n\
\x20 for _ in range(16): s.sendto(bytes(32768), a.getsockname())\n";

#[test]
fn socket_buffers_are_memory() {
    for (what, script) in [("TCP", TCP), ("AF_UNIX", UNIX), ("UDP", UDP)] {
        // Who has all the descriptors that there are keeps what is in them.
        let mut spec = python(
            "import sys, time\ntry: exec(sys.argv[1])\nexcept OSError as e: print(e); time.sleep(1000)",
        );
        spec.command.push(script.into());
        spec.limits.memory = Some("128m".parse().unwrap());
        let ran = run(spec);
        assert_eq!(ran.exit.outcome, Outcome::OutOfMemory, "{what}: {}", ran.text);
    }
}

#[test]
fn descriptors_and_message_queues_are_memory_or_are_refused() {
    let supervised = launcher().capabilities().memory != Level::Kernel;
    let mut spec = python(
        "import ctypes, os, resource\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         print(libc.msgget(0, 0o600) >= 0, libc.semget(0, 1, 0o600) >= 0)\n\
         hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; print(hard, flush=True)\n\
         resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
         for _ in range(4): os.fork()\n\
         kept = []\n\
         while True: kept.append(os.pipe())\n",
    );
    spec.limits.memory = Some("128m".parse().unwrap());
    let ran = run(spec);
    let made = if supervised { "False False" } else { "True True" };
    assert!(ran.text.starts_with(&format!("{made}\n16384\n")), "{}", ran.text);
    assert_eq!(ran.exit.outcome, Outcome::OutOfMemory, "{}", ran.text);
}

#[test]
fn a_program_with_many_idle_sockets_lives() {
    let mut spec = python(
        "import socket\n\
         l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(500); kept = []\n\
         for _ in range(400):\n\
         \x20 a = socket.create_connection(l.getsockname()); b = l.accept()[0]; kept += [a, b]\n\
         for _ in range(50):\n\
         \x20 for a, b in zip(kept[::2], kept[1::2]): a.send(b'x'); b.recv(1)\n\
         print(len(kept))",
    );
    spec.limits.memory = Some("128m".parse().unwrap());
    let ran = run(spec);
    assert_eq!((ran.exit.outcome, ran.text.as_str()), (Outcome::Exited(0), "800\n"));
}
