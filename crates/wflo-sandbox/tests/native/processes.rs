//! Processes, descriptors and environments: a sandbox knows its own and no others.

use super::{eventually, is_root, launcher, pipe, python, read_until, run, sh, start};
use std::io::Read;
use std::os::fd::AsRawFd;
use wflo_sandbox::{Spec, Stdio};

#[test]
fn the_environment_is_the_one_that_was_given() {
    let mut spec = Spec::new(["env"]);
    spec.env = vec![("GIVEN".into(), "yes".into()), ("HOME".into(), "/tmp".into())];
    let ran = run(spec);
    let mut names: Vec<&str> = ran.text.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GIVEN", "HOME", "LANG", "PATH", "TMPDIR", "USER"]);
    assert!(ran.text.contains("HOME=/tmp\n"));
}

#[test]
fn only_its_own_tree_is_seen_and_pid_1_tells_nothing() {
    let ran = run(sh(
        "ls /proc | grep -c '^[0-9]'; cat /proc/1/environ /proc/1/maps; ls /proc/1/fd; ls -l /proc/1/exe /proc/1/root",
    ));
    let count: u32 = ran.text.lines().next().unwrap().parse().unwrap();
    assert!(count <= 5, "{}", ran.text);
    assert!(ran.text.matches("Permission denied").count() >= 4, "{}", ran.text);
}

const LOOK_INTO_PID_1: &str = r#"
import ctypes, os, errno
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(8)
class iovec(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
local, remote = iovec(ctypes.addressof(buffer), 8), iovec(0x400000, 8)
def report(name, result): print(name, "done" if result >= 0 else errno.errorcode[ctypes.get_errno()])
report("ptrace", libc.ptrace(16, 1, None, None))
report("seize", libc.ptrace(0x4206, 1, None, None))
report("readv", libc.process_vm_readv(1, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))
report("prlimit", libc.prlimit(1, 7, buffer, None))
try: open("/proc/1/mem", "rb"); print("mem done")
except OSError as error: print("mem", errno.errorcode[error.errno])
fd = os.pidfd_open(1)
report("getfd", libc.syscall(438, fd, 0, 0))
for signal in (9, 19, 15, 6):
    try: os.kill(1, signal)
    except PermissionError: pass
print("alive")
"#;

#[test]
fn pid_1_cannot_be_touched() {
    let ran = run(python(LOOK_INTO_PID_1));
    assert_eq!(
        ran.text,
        "ptrace EPERM\nseize EPERM\nreadv EPERM\nprlimit EPERM\nmem EACCES\ngetfd EPERM\nalive\n"
    );
}

#[test]
fn descriptors_are_not_inherited_but_for_those_given() {
    // This one is open without close-on-exec in this very process.
    let (_read, leaked) = pipe();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let (mut given, inside) = pipe();
    let mut spec = sh("ls /proc/self/fd | tr '\\n' ' '; echo through >&7");
    spec.fds.push((inside, 7));
    let ran = run(spec);
    // 3 is the folder that `ls` reads.
    assert_eq!(ran.text, "0 1 2 3 7 ");
    let mut text = String::new();
    given.read_to_string(&mut text).unwrap();
    assert_eq!(text, "through\n");
}

#[test]
fn orphans_die_with_the_program_and_zombies_are_reaped() {
    let (read, write) = pipe();
    let mut spec = sh("for i in 1 2 3; do (setsid sleep 1000 &) ; done; (sleep 0 &); exit 3");
    spec.fds.push((write, 9));
    let sandbox = launcher().launch(spec).unwrap();
    assert_eq!(sandbox.wait().unwrap().code(), 3);
    // Every process inside held the other end: none is left when it is closed.
    let mut read = read;
    assert_eq!(read.read(&mut [0; 1]).unwrap(), 0);
    let script = "for i in 1 2 3 4; do (true &); done; \
        while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do :; done; echo reaped";
    assert_eq!(run(sh(script)).text, "reaped\n");
}

#[test]
fn it_has_a_session_of_its_own_and_no_terminal() {
    let ran = run(python(
        "import os\nprint(os.getsid(0) == os.getpid())\ntry: open('/dev/tty')\nexcept OSError as e: print('none')",
    ));
    assert_eq!(ran.text, "True\nnone\n");
}

#[test]
fn standard_streams_are_what_the_caller_gave() {
    let (read, write) = rustix::pipe::pipe().unwrap();
    rustix::io::write(&write, b"from outside").unwrap();
    drop(write);
    let mut spec = Spec::new(["cat"]);
    spec.stdin = Stdio::Fd(read);
    assert_eq!(run(spec).text, "from outside");
    // Without one it is the null device.
    assert_eq!(run(Spec::new(["cat"])).text, "");
}

#[test]
fn a_running_sandbox_can_be_measured_stopped_and_continued() {
    let (sandbox, mut output) = start(sh("echo ready; while :; do :; done"));
    read_until(&mut output, "ready\n");
    let state = || {
        let tasks = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", sandbox.pid())).unwrap();
        let child = tasks.split_whitespace().next().unwrap().to_owned();
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    sandbox.freeze().unwrap();
    eventually("the tree is stopped", || state() == 'T');
    assert!(sandbox.usage().unwrap().memory_peak.unwrap() > 0);
    sandbox.thaw().unwrap();
    eventually("the tree goes on", || state() != 'T');
    assert!(sandbox.try_wait().unwrap().is_none());
    assert_eq!(sandbox.kill().unwrap().code(), 137);
    // The descriptor of pid 1 says the same to whoever polls it.
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(sandbox.pidfd(), rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut polled, None).unwrap(), 1);
    assert!(sandbox.status_fd().as_raw_fd() > 2 && (is_root() || sandbox.owner().host_uid != 0));
}

/// Holds memory, has children and used a processor.
const TAKES: &str = "import os, time\n\
held = b'x' * (40 << 20)\n\
for _ in range(9):\n\
\x20 if os.fork() == 0: time.sleep(1000)\n\
while time.process_time() < 0.1: pass\n\
print('ready', flush=True); time.sleep(1000)";

#[test]
fn what_a_sandbox_takes_is_known_while_it_runs_and_its_peaks_are_after_its_end() {
    for memory in [None, Some("256m".parse().unwrap())] {
        let mut spec = python(TAKES);
        spec.limits.memory = memory;
        let (sandbox, mut output) = start(spec);
        read_until(&mut output, "ready\n");
        let taken = |usage: wflo_sandbox::Usage| {
            usage.memory.is_some_and(|bytes| bytes >= 40 << 20)
                && usage.tasks == Some(10)
                && usage.cpu.is_some_and(|cpu| cpu.as_millis() >= 90)
                && usage.disk.is_some()
        };
        // The first look asks, and a later one has the answer.
        eventually("a look that waits for nobody has everything", || sandbox.sample().is_some_and(taken));
        let usage = sandbox.usage().unwrap();
        assert!(taken(usage), "{usage:?}");
        assert!(usage.memory_peak.unwrap() >= 40 << 20 && usage.tasks_peak >= Some(10), "{usage:?}");
        let ended = sandbox.kill().unwrap().usage;
        assert_eq!((ended.memory, ended.tasks), (None, None), "nobody is left who could take anything");
        assert!(sandbox.sample().is_none());
    }
}

#[test]
fn how_a_program_ended_is_told_although_a_question_was_never_read() {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Signal, kill_process};
    let mut spec = sh("echo ready; read line; exit 3");
    let (inside, outside) = pipe();
    spec.stdin = Stdio::Fd(inside.into());
    let (sandbox, mut output) = start(spec);
    read_until(&mut output, "ready\n");
    let first = rustix::process::Pid::from_raw(sandbox.pid() as i32).unwrap();
    kill_process(first, Signal::STOP).unwrap();
    drop(outside);
    output.read_to_end(&mut Vec::new()).unwrap();
    // Its pid 1 sees both at once: the end of its program, and a question that it has no time for any more.
    sandbox.sample();
    kill_process(first, Signal::CONT).unwrap();
    eventually("the other end is closed, with the question in it", || {
        let mut polled = [PollFd::from_borrowed_fd(sandbox.status_fd(), PollFlags::IN)];
        poll(&mut polled, None).unwrap();
        polled[0].revents().contains(PollFlags::HUP)
    });
    assert_eq!(sandbox.wait().unwrap().outcome, wflo_sandbox::Outcome::Exited(3));
}

#[test]
fn looks_that_nobody_takes_do_not_pile_up() {
    let (sandbox, mut output) = start(sh("echo ready; exec sleep 1000"));
    read_until(&mut output, "ready\n");
    sandbox.freeze().unwrap();
    // Far more than the socket has room for.
    for _ in 0..2_000 {
        sandbox.sample();
    }
    assert!(sandbox.usage().is_ok() && sandbox.try_wait().unwrap().is_none());
    sandbox.kill().unwrap();
}

#[test]
fn proc_does_not_tell_about_the_host() {
    let ran =
        run(sh("cat /proc/keys /proc/key-users /proc/kallsyms /proc/interrupts /proc/cmdline | wc -c; \
         find /proc/acpi /proc/irq /proc/bus -mindepth 1 2>/dev/null | wc -l; \
         for f in kcore kmsg timer_list sysrq-trigger slabinfo kpageflags vmallocinfo; do \
         (cat /proc/$f || echo b > /proc/$f) > /dev/null 2>&1 && echo open $f; done; \
         find /proc/sys /proc/irq /proc/bus /proc/fs -type f -writable 2>/dev/null | head -3; \
         grep -c MemTotal /proc/meminfo"));
    assert_eq!(ran.text, "0\n0\n1\n");
}

#[test]
fn its_clocks_do_not_tell_how_long_the_host_has_been_up() {
    if !super::launcher().capabilities().clocks {
        return;
    }
    let script =
        "import time; print(int(time.monotonic()), int(float(open('/proc/uptime').read().split()[0])))";
    let ran = run(python(script));
    let times: Vec<i64> = ran.text.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(times.iter().all(|time| (86_400..86_700).contains(time)), "{}", ran.text);
}

/// Has itself continued by timers every few milliseconds, whoever stops it. A stop takes a continuation that is due
/// with it: the later ones are for a machine so busy that it has not run by then.
pub(crate) const GOES_ON: &str = r#"
import ctypes, os, signal, time
class timespec(ctypes.Structure): _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]
class itimerspec(ctypes.Structure): _fields_ = [("interval", timespec), ("value", timespec)]
class sigevent(ctypes.Structure): _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("pad", ctypes.c_char * 48)]
libc = ctypes.CDLL(None)
signal.signal(signal.SIGCONT, lambda *_: None)
def armed(ms):
    event, timer = sigevent(None, signal.SIGCONT, 0), ctypes.c_void_p()
    assert libc.timer_create(1, ctypes.byref(event), ctypes.byref(timer)) == 0
    return timer, itimerspec(timespec(0, 0), timespec(ms // 1_000, ms % 1_000 * 1_000_000))
timers = [armed(ms) for ms in [*range(2, 102, 2), *range(200, 6_000, 200)]]
def arm():
    for timer, when in timers: libc.timer_settime(timer, 0, ctypes.byref(when), None)
arm()
print("ready", flush=True)
last = 0
while True:
    for _ in range(2_000): pass
    if time.time() - last > 0.0005:
        arm()
        last = time.time()
"#;

#[test]
fn who_goes_on_although_it_is_paused_ends_its_sandbox() {
    let (sandbox, mut output) = start(python(GOES_ON));
    read_until(&mut output, "ready\n");
    sandbox.freeze().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    let exit = loop {
        if let Some(exit) = sandbox.try_wait().unwrap() {
            break exit;
        }
        assert!(std::time::Instant::now() < deadline, "it is let go on");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!((exit.outcome, exit.code()), (wflo_sandbox::Outcome::RanOn, 137));
}

#[test]
fn who_stands_still_is_paused_for_as_long_as_it_is_wanted() {
    // Sleepers, workers, makers of processes, threads and one that is stopped by its shell.
    let (sandbox, mut output) = start(sh("sleep 600 & \
         (while :; do :; done) & \
         (while :; do /bin/true; done) & \
         python3 -c 'import threading, time\n\
for _ in range(8): threading.Thread(target=lambda: [i for i in iter(int, 1)]).start()' & \
         sh -c 'kill -STOP $$; echo never' & \
         python3 -c 'import os, time\nif os.fork(): time.sleep(600)\nelse: os._exit(0)' & \
         sleep 1; echo ready; while :; do :; done"));
    read_until(&mut output, "ready\n");
    for _ in 0..2 {
        sandbox.freeze().unwrap();
        // Longer than anybody may take to come to a stop.
        let began = std::time::Instant::now();
        while began.elapsed() < std::time::Duration::from_secs(12) {
            assert_eq!(sandbox.try_wait().unwrap(), None);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        sandbox.thaw().unwrap();
    }
    sandbox.kill().unwrap();
}
