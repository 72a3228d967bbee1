//! What is promised of containers, kept by real ones.
//!
//! They need a Docker daemon: the one that `WFLO_TEST_DOCKER` names, or one that is started here
//! (`scripts/test_dockerd.sh`), which takes root and dockerd. Without either each test says that it was not
//! run. With `runsc` on the PATH everything is tried under gVisor too.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

#[path = "docker/daemon.rs"]
mod daemon;
#[path = "docker/death.rs"]
mod death;
#[path = "docker/files.rs"]
mod files;
#[path = "docker/images.rs"]
mod images;
#[path = "docker/limits.rs"]
mod limits;
#[path = "workspace_support/project.rs"]
mod project;
#[path = "docker/streams.rs"]
mod streams;
#[path = "docker/walls.rs"]
mod walls;

use daemon::Daemon;
use project::Project;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wflo_sandbox::docker::{Options, resolve};
use wflo_sandbox::workspace::{Store, View};
use wflo_sandbox::{Docker, Exit, Files, Kept, Spec, Stdio};

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_wflo-sandbox-launcher"))
}

/// A project, and containers for it.
struct World {
    project: Project,
    store: Arc<Store>,
    docker: Docker,
    runtime: Option<String>,
}

impl World {
    fn of(daemon: &Daemon, options: &Options) -> World {
        let project = Project::new();
        let store = Arc::new(project.store.clone());
        let image = resolve(&daemon.host, options, &std::env::vars_os().collect()).unwrap();
        let docker = Docker::start(&program(), &daemon.host, &store, options, &image).unwrap();
        World { project, store, docker, runtime: options.runtime.clone() }
    }

    fn start(&self, view: Option<&View>, mut spec: Spec) -> (Kept, std::fs::File) {
        let (read, write) = pipe();
        if matches!(spec.stderr, Stdio::Null) {
            spec.stderr = Stdio::Fd(write.try_clone().unwrap());
        }
        spec.stdout = Stdio::Fd(write);
        let (hidden, project) = (self.project.hidden(), self.project.path());
        let sandbox = match view {
            Some(view) => {
                let files =
                    Files { name: "run-step", view, store: &self.store, project: &project, hidden: &hidden };
                self.docker.launch(spec, Some(&files))
            }
            None => self.docker.launch(spec, None),
        };
        (sandbox.expect("a container"), read)
    }

    /// Runs it to its end; what it printed, and how it ended.
    fn run(&self, spec: Spec) -> (String, Exit) {
        let (sandbox, mut output) = self.start(None, spec);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        (text, sandbox.wait().unwrap())
    }

    /// Whether the program's system calls are answered by this machine's kernel.
    fn shares_kernel(&self) -> bool {
        self.runtime.as_deref() != Some("runsc")
    }

    fn shell(&self, script: &str) -> (String, Exit) {
        self.run(Spec::new(["sh", "-c", script]))
    }
}

/// Runs a test with each runtime that there is; says so where there is no daemon.
fn everywhere(test: impl Fn(&World, &Daemon)) {
    let Some(daemon) = Daemon::get() else { return };
    for runtime in &daemon.runtimes {
        let options = Options { runtime: runtime.clone(), ..Options::default() };
        eprintln!("with the runtime {}", runtime.as_deref().unwrap_or("of the daemon's choice"));
        test(&World::of(daemon, &options), daemon);
    }
}

/// Waits for it, with a deadline.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn pipe() -> (std::fs::File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (std::fs::File::from(read), write)
}
