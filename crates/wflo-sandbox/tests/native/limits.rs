//! Every limit holds, and says how.

use super::{eventually, launcher, python, read_until, run, sh, start};
use wflo_core::size::Bytes;
use wflo_sandbox::{Error, IoRefusal, Level, Outcome, Spec, Version};

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
fn names_have_a_limit_of_their_own() {
    let made = |disk: Option<&str>, inodes: u32| {
        let mut spec = python(
            "import os\nmade = 0\ntry:\n for i in range(100000): open('/tmp/%d' % i, 'w').close(); made += 1\n\
             except OSError as e: print(made, e.errno)",
        );
        spec.limits.disk = disk.map(|disk| disk.parse().unwrap());
        spec.limits.inodes = Some(inodes);
        let text = run(spec).text;
        let (made, error) = text.trim().split_once(' ').unwrap_or_else(|| panic!("{text}"));
        assert_eq!(error, "28", "{text}");
        made.parse::<u32>().unwrap()
    };
    assert!((100..500).contains(&made(Some("64m"), 500)));
    assert!((100..500).contains(&made(None, 500)));
    // More than the bytes alone would give.
    assert!((4_000..5_000).contains(&made(Some("1m"), 5_000)));
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
fn what_one_socket_keeps_is_bounded_where_memory_is() {
    let told = |memory: Option<&str>| {
        let mut spec = sh("cat /proc/sys/net/ipv4/tcp_wmem /proc/sys/net/ipv4/tcp_rmem");
        spec.limits.memory = memory.map(|memory| memory.parse().unwrap());
        run(spec).text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let bounded = ["4096", "16384", "524288", "4096", "131072", "524288"];
    assert_eq!(told(Some("64m")), bounded);
    assert_ne!(told(None), bounded);
}

#[test]
fn memory_in_files_counts() {
    let mut spec = sh("exec head -c 200000000 /dev/zero > /tmp/a");
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
    spec.limits.timeout = Some("300s".parse().unwrap());
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
         for _ in range(6): os.fork()\n\
         kept = []\n\
         while True: kept.append(os.pipe())\n",
    );
    spec.limits.memory = Some("128m".parse().unwrap());
    let ran = run(spec);
    let made = if supervised { "False False" } else { "True True" };
    // A part of what its engine may have: those on their way count for both.
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let most = (most / 4).clamp(1_024, 16_384);
    assert!(ran.text.starts_with(&format!("{made}\n{most}\n")), "{}", ran.text);
    assert_eq!(ran.exit.outcome, Outcome::OutOfMemory, "{}", ran.text);
}

#[test]
fn descriptors_on_their_way_leave_its_engine_room_for_another_sandbox() {
    // As `wflo` does at its start: a user's descriptors on their way count against the limit of who sends the next.
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let (sandbox, mut output) = start(python(
        "import array, resource, socket, time\n\
         hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
         resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
         many, kept, sent = array.array('i', [0] * 250), [], 0\n\
         try:\n\
         \x20 while True:\n\
         \x20  kept.append(socket.socketpair())\n\
         \x20  try:\n\
         \x20   while True:\n\
         \x20    kept[-1][0].sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, many)], socket.MSG_DONTWAIT)\n\
         \x20    sent += 250\n\
         \x20  except BlockingIOError: pass\n\
         except OSError as error: print(error.errno, sent >= 1000, flush=True)\n\
         time.sleep(10000)",
    ));
    // As many as the kernel lets it (ETOOMANYREFS).
    assert_eq!(read_until(&mut output, "\n"), "109 True\n");
    for _ in 0..3 {
        assert_eq!(run(sh("echo made")).text, "made\n");
    }
    sandbox.kill().unwrap();
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

/// Reads past the page cache, over and over, and says how much that was.
const READS: &str = "import mmap, os, sys\n\
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)\n\
into, total = mmap.mmap(-1, 1 << 16), 0\n\
while total < int(sys.argv[2]): total += os.preadv(fd, [into], total % (8 << 20))\n\
print(total)\n";

/// A file of 8 MiB on a disk; `None` where temporary files are in memory.
fn on_disk() -> Option<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    std::fs::write(file.path(), vec![7; 8 << 20]).unwrap();
    std::fs::File::open(file.path()).unwrap().sync_all().unwrap();
    let direct = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECT;
    rustix::fs::open(file.path(), direct, rustix::fs::Mode::empty()).ok()?;
    Some(file)
}

fn reads(file: &std::path::Path, bytes: u64) -> Spec {
    let path = file.display().to_string();
    let mut spec = Spec::new(["python3", "-c", READS, &path, &bytes.to_string()]);
    spec.ro.push(wflo_sandbox::Bind::same(file));
    spec
}

#[test]
fn a_disk_gives_no_more_than_its_limit() {
    let Some(file) = on_disk() else {
        println!("/var/tmp is on no disk that can be read past its cache: nothing was limited");
        return;
    };
    const RATE: u64 = 256 << 10;
    let limited = || {
        let mut spec = reads(file.path(), 1 << 30);
        spec.limits.io.read = Some(Bytes(RATE));
        spec.limits.timeout = Some("2500ms".parse().unwrap());
        spec
    };
    if launcher().capabilities().io != Level::Kernel {
        let refused = launcher().launch(limited()).map(drop).unwrap_err();
        assert!(matches!(refused, Error::NoIoLimit(IoRefusal::NoGroup { .. })), "{refused}");
        return;
    }
    let free = run(reads(file.path(), 8 << 20));
    assert_eq!(free.text, "8388608\n");
    let began = std::time::Instant::now();
    let ran = run(limited());
    // However slow the machine is: never more than a second's worth above what the time allows.
    let allowed = RATE * (began.elapsed().as_secs() + 2);
    assert_eq!(ran.exit.outcome, Outcome::TimedOut, "{}", ran.text);
    let read = ran.exit.usage.disk.unwrap().read;
    assert!(read > 0 && read <= allowed, "the group counted {read} of {allowed}");
}

#[test]
fn a_limit_that_would_hold_for_some_writes_only_is_refused() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut spec = sh("true");
    spec.limits.io.write = Some(Bytes(1 << 20));
    spec.rw.push(wflo_sandbox::Bind::same(folder.path()));
    match (launcher().capabilities().io, launcher().capabilities().cgroup, launcher().launch(spec)) {
        (Level::Kernel, Some(Version::V2), made) => drop(made.unwrap()),
        (Level::Kernel, _, Err(Error::NoIoLimit(IoRefusal::Writes { what }))) => {
            assert_eq!(what, folder.path().display().to_string());
        }
        (_, _, made) => assert!(matches!(made, Err(Error::NoIoLimit(IoRefusal::NoGroup { .. })))),
    }
    let mut spec = sh("true");
    spec.limits.io.write_ops = Some(100);
    // Nothing else in it reaches a disk, so that is kept.
    let kernel = launcher().capabilities().io == Level::Kernel;
    assert_eq!(launcher().launch(spec).is_ok(), kernel);
}

#[test]
fn who_runs_on_while_it_is_stopped_for_its_share_is_ended() {
    if launcher().capabilities().cpus != Level::Supervised {
        // Nothing is stopped there: the kernel keeps the share, whatever signals come.
        return;
    }
    let mut spec = python(super::processes::GOES_ON);
    spec.limits.cpus = Some("0.1".parse().unwrap());
    spec.limits.timeout = Some("120s".parse().unwrap());
    let ran = run(spec);
    assert_eq!((ran.exit.outcome, ran.code()), (Outcome::RanOn, 137), "{}", ran.text);
}

#[test]
fn who_is_stopped_for_its_share_and_makes_processes_is_not_taken_for_one_that_runs_on() {
    let mut spec = sh("for n in 1 2 3 4; do (while :; do /bin/true; done) & done; \
         python3 -c 'while True: bytearray(32 << 20)' & \
         (while :; do head -c 50000000 /dev/zero > /tmp/a; done) & sleep 1000");
    spec.limits.cpus = Some("0.1".parse().unwrap());
    spec.limits.timeout = Some("15s".parse().unwrap());
    assert_eq!(run(spec).exit.outcome, Outcome::TimedOut);
}
