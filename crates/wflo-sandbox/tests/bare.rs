//! What is promised of a program without isolation, kept by real ones.
//!
//! As root every test runs twice: as root, and again as an ordinary user (`native/user.rs`).
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "bare/death.rs"]
mod death;
#[path = "workspace_support/project.rs"]
mod project;
#[path = "native/user.rs"]
mod user;

use project::{Project, contents, described, tree};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wflo_sandbox::workspace::{Bounds, Store, View};
use wflo_sandbox::{
    Backend, Bare, Bind, Error, Exit, Files, Level, MODEL_PORT, Outcome, Sandbox, Spec, Stdio,
};

/// The launcher binary; a copy that an ordinary user can reach where one was made.
fn program() -> PathBuf {
    std::env::var_os("WFLO_TEST_LAUNCHER")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_wflo-sandbox-launcher")), PathBuf::from)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A project, a backend, and programs in copies of the project.
struct World {
    project: Project,
    store: Arc<Store>,
    backend: Bare,
}

impl World {
    fn new() -> World {
        let project = Project::new();
        let store = Arc::new(project.store.clone());
        let backend = Bare::start(&program(), &store).unwrap();
        World { project, store, backend }
    }

    fn create(&self, view: &View, spec: Spec) -> Result<Box<dyn Sandbox>, Error> {
        let hidden = self.project.hidden();
        let project = self.project.path();
        let files = Files { name: "run-step", view, store: &self.store, project: &project, hidden: &hidden };
        self.backend.create(spec, &files)
    }

    /// Runs it to its end; what it printed, how it ended, and the view with its changes.
    fn run(&self, view: &View, mut spec: Spec) -> (String, Exit, View) {
        let (mut read, write) = pipe();
        spec.stderr = Stdio::Fd(write.try_clone().unwrap());
        spec.stdout = Stdio::Fd(write);
        let sandbox = self.create(view, spec).unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        let exit = ended(sandbox.as_ref());
        let mut after = view.clone();
        after.layers.extend(sandbox.changes(&Bounds::default()).unwrap().map(|captured| captured.layer));
        (text, exit, after)
    }
}

fn pipe() -> (fs::File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (fs::File::from(read), write)
}

fn ended(sandbox: &dyn Sandbox) -> Exit {
    loop {
        if let Some(exit) = sandbox.try_wait().unwrap() {
            return exit;
        }
        let status = sandbox.status_fd();
        let mut polled = [rustix::event::PollFd::new(&status, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).unwrap();
    }
}

fn sh(script: &str) -> Spec {
    Spec::new(["/bin/sh", "-c", script])
}

/// Waits for a condition, for as long as a minute on a busy machine.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        std::thread::yield_now();
    }
}

/// What copies of workspaces there are.
fn places(store: &Store) -> usize {
    fs::read_dir(store.root().join("bare")).into_iter().flatten().count()
}

#[test]
fn a_program_works_in_a_copy_and_its_changes_are_a_layer() {
    let world = World::new();
    world.project.write("kept", "as it is");
    world.project.write("src/main", "old\n");
    world.project.write("gone/deep/file", "x");
    world.project.write(".env", "SECRET=1");
    let view = world.project.view();
    let before = tree(&world.project.path());
    let script = "cat .env; cat src/main; pwd; echo new > src/main; rm -r gone; mkdir -p made; \
                  ln -s ../kept made/link; chmod 700 kept; mkfifo made/pipe";
    let (text, exit, after) = world.run(&view, sh(script));
    assert!(exit.success(), "{text}");
    assert!(!text.contains("SECRET"), "a hidden file is in the copy: {text}");
    assert!(text.contains("old\n"), "{text}");
    let path = text.lines().last().unwrap();
    assert!(path.starts_with(world.store.root().to_str().unwrap()) && path.ends_with("/project"), "{path}");
    assert_eq!(tree(&world.project.path()), before, "the project itself is as it was");

    let (text, _, same) = world.run(&after, sh("cat src/main; readlink made/link; ls"));
    assert_eq!(text, "new\n../kept\nkept\nmade\nsrc\n");
    assert_eq!(same.layers, after.layers, "reading changes nothing");
    let names: Vec<String> =
        contents(&after).into_keys().map(|path| String::from_utf8(path).unwrap()).collect();
    assert_eq!(names, ["kept", "made", "made/link", "src", "src/main"]);
    assert_eq!(places(&world.store), 0, "a copy outlived its program");
}

#[test]
fn a_write_in_the_same_instant_and_of_the_same_size_is_seen() {
    let world = World::new();
    for index in 0..50 {
        world.project.write(&format!("file-{index}"), "old");
    }
    let view = world.project.view();
    let script = "for f in file-*; do t=$(stat -c %Y.%y $f); printf new > $f; touch -d \"${t#*.}\" $f; done";
    let (text, exit, after) = world.run(&view, sh(script));
    assert!(exit.success(), "{text}");
    assert_eq!(after.layers[0].manifest.entries.len(), 50);
}

#[test]
fn large_ignored_folders_are_links_to_the_projects_own() {
    let world = World::new();
    fs::create_dir(world.project.path().join(".git")).unwrap();
    world.project.write(".gitignore", "node_modules/\n");
    world.project.write("node_modules/lib/index.js", "exports");
    let large = fs::File::create(world.project.path().join("node_modules/large")).unwrap();
    large.set_len(64 << 20).unwrap();
    let view = world.project.view();
    assert!(!view.sealed.rest.live.is_empty(), "{:?}", view.sealed.rest);
    let (text, _, after) = world.run(&view, sh("cat node_modules/lib/index.js; readlink node_modules"));
    assert_eq!(text, format!("exports{}\n", world.project.path().join("node_modules").display()));
    assert!(after.layers.is_empty(), "a link of ours is no change");
}

#[test]
fn the_environment_is_what_was_given_and_its_folders_are_private() {
    let world = World::new();
    let view = world.project.view();
    let mut spec = sh("env; echo x > $HOME/h; echo x > $TMPDIR/t; ls -l /proc/self/fd | wc -l");
    spec.env.push(("GIVEN".into(), format!("port {MODEL_PORT}").into()));
    spec.model_listener = true;
    let (text, exit, after) = world.run(&view, spec);
    assert!(exit.success(), "{text}");
    let mut names: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"));
    names.sort_unstable();
    assert_eq!(names, ["GIVEN", "HOME", "LANG", "PATH", "TMPDIR", "USER"]);
    assert!(!text.contains(MODEL_PORT), "{text}");
    let home = text.lines().find_map(|line| line.strip_prefix("HOME=")).unwrap();
    assert!(Path::new(home).starts_with(world.store.root()), "{home}");
    assert!(after.layers.is_empty(), "home and temporary files are no part of the workspace");
    // Standard input, output, errors, the folder that `ls` reads, and the line "total".
    assert_eq!(text.lines().last().unwrap().trim(), "5", "a descriptor was inherited: {text}");
}

#[test]
fn its_home_folder_begins_with_the_files_that_were_given() {
    let world = World::new();
    let mut spec = sh("cat $HOME/.tool/config; stat -c %a $HOME/.tool/config");
    spec.home.push((".tool/config".into(), format!("port {MODEL_PORT}\n").into()));
    spec.model_listener = true;
    let (text, exit, _) = world.run(&world.project.view(), spec);
    let (port, mode) = text.trim().split_once('\n').unwrap();
    assert!(exit.success() && mode == "600", "{text}");
    assert!(port.strip_prefix("port ").unwrap().parse::<u16>().is_ok(), "{text}");
}

#[test]
fn its_model_listener_is_handed_out_and_is_on_loopback_alone() {
    let world = World::new();
    let mut spec = sh("exit 0");
    spec.model_listener = true;
    let sandbox = world.create(&world.project.view(), spec).unwrap();
    let listener = sandbox.take_listener().unwrap();
    assert!(listener.local_addr().unwrap().ip().is_loopback());
    assert!(sandbox.take_listener().is_none(), "given once");
}

#[test]
fn what_it_cannot_keep_is_refused() {
    let world = World::new();
    let view = world.project.view();
    let refused = |spec: Spec| world.create(&view, spec).map(drop).unwrap_err();
    let mut disk = sh("true");
    disk.limits.disk = Some("64m".parse().unwrap());
    assert!(matches!(refused(disk), Error::NotEnforced { limit: "disk", level: Level::None }));
    let mut strict = sh("true");
    strict.require_kernel = true;
    assert!(matches!(refused(strict), Error::Invalid(_)));
    let mut elsewhere = sh("true");
    elsewhere.ro.push(Bind::new("/usr", "/elsewhere"));
    assert!(matches!(refused(elsewhere), Error::Invalid(_)));
    assert_eq!(places(&world.store), 0, "what was not started left its copy");
    assert!(!world.backend.capabilities().isolated);
}

#[test]
fn a_program_that_is_not_found_says_so() {
    let world = World::new();
    let (_, exit, _) = world.run(&world.project.view(), Spec::new(["no-such-program"]));
    assert_eq!(exit.outcome, Outcome::NotExecuted(2));
}

#[test]
fn it_gains_no_privilege_by_executing() {
    let world = World::new();
    let (text, ..) = world.run(&world.project.view(), sh("grep NoNewPrivs /proc/self/status"));
    assert_eq!(text.split_whitespace().last(), Some("1"));
}

#[test]
fn limits_are_kept_by_watching_where_the_kernel_does_not() {
    let world = World::new();
    let view = world.project.view();
    let mut bomb =
        sh("i=0; while [ $i -lt 400 ]; do (setsid sleep 10000 &); i=$((i+1)); done; wait; sleep 10000");
    bomb.limits.pids = Some(40);
    let kernel = world.backend.capabilities().pids() == Level::Kernel;
    let (_, exit, _) = world.run(&view, bomb);
    assert!(kernel || exit.outcome == Outcome::TooManyTasks, "{exit:?}");

    let mut eater = Spec::new(["python3", "-c", "x = []\nwhile True: x.append(bytearray(1 << 20))"]);
    eater.limits.memory = Some("64m".parse().unwrap());
    let (text, exit, _) = world.run(&view, eater);
    assert_eq!(exit.outcome, Outcome::OutOfMemory, "{text}");
}

#[test]
fn what_the_view_holds_is_what_the_copy_holds() {
    let world = World::new();
    world.project.write("a/b/c", "1");
    fs::create_dir(world.project.path().join("empty")).unwrap();
    let view = world.project.view();
    let sandbox = world.create(&view, sh("sleep 10000")).unwrap();
    assert_eq!(described(&tree(sandbox.workspace())), contents(&view));
    sandbox.kill().unwrap();
}
