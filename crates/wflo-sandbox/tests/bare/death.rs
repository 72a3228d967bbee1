//! Whoever dies, no process of a program without isolation is left.

use super::{World, eventually, pipe, places, program, sh};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::{Command, Stdio as ProcessStdio};
use std::sync::Arc;
use wflo_sandbox::workspace::Store;
use wflo_sandbox::{Bare, Launcher, Outcome, ProcessTree, Spec, Stdio};

/// A tree that does what it can to get away: sessions of its own, double forks, a shell that goes
/// on forking. Everybody in it holds the output.
fn runaway() -> Spec {
    sh("(setsid sh -c '(sleep 10000 &) ; sleep 10000' &); (setsid setsid sleep 10000 &); \
        (while true; do (sleep 10000 &); sleep 0.01; done) & echo ready; sleep 10000")
}

fn read_ready(output: &mut std::fs::File) {
    let mut text = String::new();
    let mut byte = [0];
    while !text.contains("ready\n") {
        assert_eq!(output.read(&mut byte).unwrap(), 1, "it ended: {text}");
        text.push(char::from(byte[0]));
    }
}

fn watched(launcher: &Launcher) -> (ProcessTree, std::fs::File) {
    let (mut read, write) = pipe();
    let mut spec = runaway();
    spec.cwd = Some("/".into());
    spec.stdout = Stdio::Fd(write);
    let tree = launcher.launch(spec).unwrap();
    read_ready(&mut read);
    (tree, read)
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

/// Nobody holds the output any more.
fn is_over(output: &mut std::fs::File) {
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0, "somebody still wrote");
}

#[test]
fn a_time_out_takes_the_whole_tree() {
    let world = World::new();
    let (mut read, write) = pipe();
    let mut spec = runaway();
    spec.stdout = Stdio::Fd(write);
    spec.limits.timeout = Some("500ms".parse().unwrap());
    let sandbox = world.create(&world.project.view(), spec).unwrap();
    let mut text = String::new();
    read.read_to_string(&mut text).unwrap();
    assert_eq!(super::ended(sandbox.as_ref()).outcome, Outcome::TimedOut, "{text}");
    drop(sandbox);
    assert_eq!(places(&world.store), 0);
}

#[test]
fn the_end_of_the_program_is_the_end_of_what_it_started() {
    let world = World::new();
    let (text, exit, _) =
        world.run(&world.project.view(), sh("(setsid sleep 10000 &); (sleep 10000 &); exit 3"));
    assert_eq!((exit.outcome, text.as_str()), (Outcome::Exited(3), ""));
}

#[test]
fn a_kill_takes_the_whole_tree_and_a_drop_does_too() {
    let world = World::new();
    let (tree, mut output) = watched(world.backend.launcher());
    assert_eq!(tree.kill().unwrap().code(), 137);
    is_over(&mut output);
    assert_eq!(tree.kill().unwrap().code(), 137);
    let (tree, mut output) = watched(world.backend.launcher());
    drop(tree);
    is_over(&mut output);
}

#[test]
fn a_killed_supervisor_is_the_end_of_its_tree_and_of_no_other() {
    let world = World::new();
    let (tree, mut output) = watched(world.backend.launcher());
    let (other, _kept) = watched(world.backend.launcher());
    kill(tree.pid());
    is_over(&mut output);
    assert_eq!(tree.wait().unwrap().code(), 137);
    assert_eq!(other.try_wait().unwrap(), None, "another sandbox was hit");
    other.kill().unwrap();
}

#[test]
fn a_stopped_supervisor_does_not_keep_its_tree_alive() {
    let world = World::new();
    let (tree, mut output) = watched(world.backend.launcher());
    kill_process(Pid::from_raw(tree.pid() as i32).unwrap(), Signal::STOP).unwrap();
    assert_eq!(tree.kill().unwrap().code(), 137);
    is_over(&mut output);
}

#[test]
fn a_killed_launcher_takes_its_trees_along() {
    let world = World::new();
    let (tree, mut output) = watched(world.backend.launcher());
    kill(world.backend.launcher().pid());
    is_over(&mut output);
    assert_eq!(tree.wait().unwrap().code(), 137);
}

#[test]
fn a_tree_can_be_stopped_and_goes_on() {
    let world = World::new();
    let (mut read, write) = pipe();
    let mut spec = sh("echo ready; while true; do echo x; done");
    spec.cwd = Some("/".into());
    spec.stdout = Stdio::Fd(write);
    let tree = world.backend.launcher().launch(spec).unwrap();
    read_ready(&mut read);
    tree.freeze().unwrap();
    tree.thaw().unwrap();
    let mut more = vec![0; 1 << 17];
    read.read_exact(&mut more).unwrap();
    tree.kill().unwrap();
}

/// Not a promise: the engine that the next test kills.
#[test]
#[ignore = "started by another test"]
fn an_engine_to_be_killed() {
    let state = std::env::var_os("WFLO_TEST_STATE").expect("where the state is");
    let mut world = World::new();
    world.project.store = Store::open(state).unwrap();
    world.store = Arc::new(world.project.store.clone());
    world.backend = Bare::start(&program(), &world.store).unwrap();
    let mut spec = runaway();
    spec.stdout = Stdio::Fd(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    world.project.write("file", "x");
    let sandbox = world.create(&world.project.view(), spec).unwrap();
    super::ended(sandbox.as_ref());
}

#[test]
fn a_killed_engine_leaves_no_process_and_its_copies_are_swept() {
    let home = tempfile::tempdir().unwrap();
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "death::an_engine_to_be_killed", "--ignored", "--nocapture"])
        .env("WFLO_TEST_STATE", home.path())
        .stdout(ProcessStdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(engine.stdout.take().unwrap());
    let mut line = String::new();
    while line.trim() != "ready" {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the engine ended");
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    // Everybody in the tree holds the engine's output.
    output.read_to_end(&mut Vec::new()).unwrap();
    let store = Store::open(home.path()).unwrap();
    assert_eq!(places(&store), 2, "a folder and its lock");
    eventually("its copy is swept by the next engine", || {
        drop(Bare::start(&program(), &store).unwrap());
        places(&store) == 0
    });
}
