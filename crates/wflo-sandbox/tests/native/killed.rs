//! SIGKILL in the middle of a sandbox's making, whoever it hits: nothing is left.

use super::death::{dead, has_groups, long_lived};
use super::{eventually, program};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio as ProcessStdio};
use wflo_sandbox::{Launcher, Stdio};

/// Where pid 1, and the program's process before it is the program, can be halted.
const PLACES: [&str; 8] = ["forked", "begun", "grouped", "built", "walled", "watching", "worker", "limited"];
/// Where the launcher can be halted.
const LAUNCHERS: [&str; 2] = ["planned", "parted"];
const PLACE: &str = "WFLO_TEST_HALT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Engine,
    Launcher,
    PidOne,
}

/// Not a promise: the engine whose sandbox never gets ready.
#[test]
#[ignore = "started by another test"]
fn an_engine_whose_sandbox_halts() {
    let launcher = Launcher::start(&program()).unwrap();
    println!("\nlauncher {}", launcher.pid());
    let mut spec = long_lived();
    spec.env.push(("WFLO_SANDBOX_HALT".into(), std::env::var_os(PLACE).unwrap()));
    spec.stdout = Stdio::Fd(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).unwrap());
    let made = launcher.launch(spec);
    assert!(made.is_err(), "a sandbox whose making was killed was made");
}

/// An engine that has come to this place: its process, its output, its launcher.
#[expect(clippy::zombie_processes, reason = "its caller waits for it")]
fn halted(place: &str) -> (Child, BufReader<std::process::ChildStdout>, u32) {
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::an_engine_whose_sandbox_halts", "--ignored", "--nocapture"])
        .env(PLACE, place)
        .stdout(ProcessStdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(engine.stdout.take().unwrap());
    let mut launcher = None;
    loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended before {place}");
        if let Some(pid) = line.strip_prefix("launcher ") {
            launcher = pid.trim().parse().ok();
        }
        if line.trim() == "halted" {
            return (engine, output, launcher.unwrap());
        }
    }
}

/// What is mounted here.
pub(super) fn mounts() -> HashSet<String> {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(str::to_owned).collect()
}

/// Processes whose parent is this one.
pub(super) fn children(parent: u32) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        fields.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    pids.filter(of).collect()
}

pub(super) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn leaves_nothing(place: &str, victim: Victim) {
    let before = mounts();
    let (mut engine, _output, launcher) = halted(place);
    let own = children(launcher);
    assert!(!own.is_empty() || place == "planned", "it has been forked");
    let below: Vec<u32> = own.iter().flat_map(|pid| children(*pid)).collect();
    match victim {
        Victim::Engine => engine.kill().unwrap(),
        Victim::Launcher => kill(launcher),
        // Its own, and one that was made ahead for the next, if there is one.
        Victim::PidOne => own.iter().for_each(|pid| kill(*pid)),
    }
    engine.wait().unwrap();
    let everybody = own.iter().chain(&below).chain([&launcher]);
    for pid in everybody {
        eventually(&format!("{pid} is dead, {victim:?} killed at {place}"), || dead(*pid));
    }
    // What the next launcher does at its start.
    wflo_sandbox::sweep();
    eventually(&format!("no group is left, {victim:?} killed at {place}"), || !has_groups(launcher));
    // Others of this machine may mount and unmount meanwhile; what was left behind would stay.
    eventually(&format!("no mount is left, {victim:?} killed at {place}"), || mounts().is_subset(&before));
}

#[test]
fn a_kill_at_any_step_of_the_making_leaves_nothing() {
    for place in PLACES {
        for victim in [Victim::Engine, Victim::Launcher, Victim::PidOne] {
            leaves_nothing(place, victim);
        }
    }
    for place in LAUNCHERS {
        leaves_nothing(place, Victim::Launcher);
    }
}
