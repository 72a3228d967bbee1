//! The promises of the native sandbox, kept by real sandboxes.
//!
//! As root every test runs twice: as root, and again as an ordinary user (`native/user.rs`).
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "native/beneath.rs"]
mod beneath;
#[path = "native/blank.rs"]
mod blank;
#[path = "native/death.rs"]
mod death;
#[path = "native/files.rs"]
mod files;
#[path = "native/killed.rs"]
mod killed;
#[path = "native/limits.rs"]
mod limits;
#[path = "native/network.rs"]
mod network;
#[path = "native/presets.rs"]
mod presets;
#[path = "native/privileges.rs"]
mod privileges;
#[path = "native/processes.rs"]
mod processes;
#[path = "native/user.rs"]
mod user;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use wflo_sandbox::{Exit, Launcher, Outcome, ProcessTree, Spec, Stdio};

/// The launcher binary; a copy that an ordinary user can reach where one was made.
fn program() -> PathBuf {
    std::env::var_os("WFLO_TEST_LAUNCHER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_wflo-sandbox-launcher")), PathBuf::from)
}

/// One launcher for all tests but those that end theirs.
fn launcher() -> &'static Launcher {
    static LAUNCHER: OnceLock<Launcher> = OnceLock::new();
    LAUNCHER.get_or_init(|| Launcher::start(&program()).expect("a launcher"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a sandbox said and how it ended.
struct Ran {
    exit: Exit,
    text: String,
}

impl Ran {
    fn code(&self) -> i32 {
        i32::from(self.exit.code())
    }
}

/// A pipe whose writing end goes inside.
fn pipe() -> (std::fs::File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (std::fs::File::from(read), write)
}

/// Starts a sandbox whose output and errors come through the pipe.
fn start(mut spec: Spec) -> (ProcessTree, std::fs::File) {
    let (read, write) = pipe();
    spec.stderr = Stdio::Fd(write.try_clone().unwrap());
    spec.stdout = Stdio::Fd(write);
    (launcher().launch(spec).expect("a sandbox"), read)
}

fn run(spec: Spec) -> Ran {
    let (sandbox, mut output) = start(spec);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    Ran { exit: sandbox.wait().unwrap(), text }
}

fn sh(script: &str) -> Spec {
    Spec::new(["/bin/sh", "-c", script])
}

fn python(script: &str) -> Spec {
    Spec::new(["python3", "-c", script])
}

/// Waits for a condition, for as long as a minute on a busy machine.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        std::thread::yield_now();
    }
}

/// Reads until the text holds `mark`.
fn read_until(output: &mut std::fs::File, mark: &str) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.contains(mark) {
        assert_eq!(output.read(&mut byte).unwrap(), 1, "ended before {mark:?}: {text}");
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn the_programs_own_code_comes_back() {
    assert_eq!(run(sh("exit 7")).exit.outcome, Outcome::Exited(7));
    assert_eq!(run(sh("kill -SEGV $$")).code(), 139);
    assert_eq!(run(Spec::new(["no-such-program"])).code(), 127);
    assert_eq!(run(Spec::new(["/etc/passwd"])).code(), 126);
}

#[test]
fn many_sandboxes_are_made_at_once() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in 0..5 {
                    assert_eq!(run(sh(&format!("echo {thread}.{n}"))).text, format!("{thread}.{n}\n"));
                }
            });
        }
    });
}

#[test]
fn a_request_that_makes_no_sense_is_refused_before_anything_is_made() {
    use wflo_core::error::Coded;
    let refused = |spec: Spec| launcher().launch(spec).map(drop).unwrap_err();
    assert_eq!(refused(Spec::new(Vec::<String>::new())).code().to_string(), "WFLO-5006");
    let mut spec = sh("true");
    spec.ro.push(wflo_sandbox::Bind::new("/usr/../etc", "/x"));
    assert!(refused(spec).to_string().contains(".."));
    let mut spec = sh("true");
    spec.ro.push(wflo_sandbox::Bind::same("/no/such/folder"));
    let error = refused(spec);
    assert_eq!(error.code().to_string(), "WFLO-5004");
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
}

#[test]
fn doctor_starts_a_sandbox_and_says_what_is_untested() {
    let found = wflo_sandbox::doctor(&program());
    let state = |name: &str| found.iter().find(|finding| finding.name == name).unwrap().state;
    assert_eq!(state("sandbox"), wflo_sandbox::State::Ok, "{found:?}");
    assert!(
        found.iter().all(|finding| finding.state != wflo_sandbox::State::Degraded || finding.fix.is_some())
    );
}

#[test]
fn where_user_namespaces_are_switched_off_the_error_names_the_switch() {
    // In a namespace of its own, so that this host's switch is not touched.
    let switched_off = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" --exact --ignored what_doctor_says --nocapture";
    let said = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", switched_off])
        .arg(std::env::current_exe().unwrap())
        .output()
        .expect("unshare (util-linux) runs");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("making a user namespace"), "{text}");
    assert!(text.contains("sysctl -w user.max_user_namespaces"), "{text}");
}

/// Not a promise: what the test before reads.
#[test]
#[ignore = "started by another test"]
fn what_doctor_says() {
    println!("{:?}", wflo_sandbox::doctor(&program()));
}

#[test]
fn a_memory_limit_too_small_to_start_in_is_an_error_that_says_so() {
    if launcher().capabilities().memory != wflo_sandbox::Level::Kernel {
        return;
    }
    let mut spec = sh("true");
    spec.limits.memory = Some("64k".parse().unwrap());
    let error = launcher().launch(spec).map(drop).unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
}
