//! Whatever dies, no container outlives its engine.
//!
//! An engine here is this test's own program, started again to hold a container and nothing else.

use super::{Daemon, World, eventually, everywhere};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use wflo_core::size::Millis;
use wflo_sandbox::docker::{Options, resolve};
use wflo_sandbox::workspace::Store;
use wflo_sandbox::{Docker, Outcome, Sandbox, Spec};

const HOST: &str = "WFLO_TEST_ENGINE_HOST";
const RUNTIME: &str = "WFLO_TEST_ENGINE_RUNTIME";
const STORE: &str = "WFLO_TEST_ENGINE_STORE";

/// Not a test of its own: what [`engine`] starts.
#[test]
fn an_engine() {
    let Ok(host) = std::env::var(HOST) else { return };
    let runtime = std::env::var(RUNTIME).ok().filter(|runtime| !runtime.is_empty());
    let options = Options { runtime, ..Options::default() };
    let store = Arc::new(Store::open(std::env::var(STORE).unwrap()).unwrap());
    let image = resolve(&host, &options, &std::env::vars_os().collect()).unwrap();
    let docker = Docker::start(&super::program(), &host, &store, &options, &image).unwrap();
    let mut spec = Spec::new(["sh", "-c", "setsid sleep 1000 & sleep 1000"]);
    spec.limits.timeout = Some(Millis(600_000));
    let sandbox = docker.launch(spec, None).unwrap();
    println!("\nrunning");
    let _ = std::io::stdin().read(&mut [0]);
    drop(sandbox);
}

fn engine(daemon: &Daemon, runtime: Option<&str>, store: &std::path::Path) -> Child {
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "death::an_engine", "--nocapture"])
        .env(HOST, &daemon.host)
        .env(RUNTIME, runtime.unwrap_or_default())
        .env(STORE, store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(engine.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "running"), "an engine that does not start");
    engine
}

#[test]
fn a_killed_engine_leaves_no_container() {
    let Some(daemon) = Daemon::get() else { return };
    for runtime in &daemon.runtimes {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = engine(daemon, runtime.as_deref(), folder.path());
        let running = || containers_of(daemon, folder.path(), "running");
        assert!(!running().is_empty(), "it had one");
        engine.kill().unwrap();
        engine.wait().unwrap();
        eventually("nothing of it runs", || running().is_empty());
        // One that was made and not yet started is removed at the next start.
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let options = Options { runtime: runtime.clone(), ..Options::default() };
        let image = resolve(&daemon.host, &options, &std::env::vars_os().collect()).unwrap();
        drop(Docker::start(&super::program(), &daemon.host, &store, &options, &image).unwrap());
        eventually("its containers are gone", || containers_of(daemon, folder.path(), "created").is_empty());
    }
}

#[test]
fn what_a_dead_engine_left_is_removed_at_the_next_start() {
    let Some(daemon) = Daemon::get() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let options = Options::default();
    let image = resolve(&daemon.host, &options, &std::env::vars_os().collect()).unwrap();
    // As a crash between making a container and starting it leaves it.
    let left = |engine: &str| {
        let store = format!("dev.wflo.store={}", folder.path().display());
        let engine = format!("dev.wflo.engine={engine}");
        let made = Command::new("docker")
            .args([
                "--host",
                &daemon.host,
                "create",
                "--label",
                &store,
                "--label",
                &engine,
                &image.id,
                "true",
            ])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8_lossy(&made.stdout).trim().to_owned()
    };
    let dead = left("0190b5a0-0000-7000-8000-000000000000");
    let nonsense = left("../../etc/passwd");
    let live = Docker::start(&super::program(), &daemon.host, &store, &options, &image).unwrap();
    let gone = daemon.containers();
    assert!(!gone.contains(&dead) && !gone.contains(&nonsense));
    // Those of an engine that lives stay, whoever starts.
    let lock = std::fs::read_dir(folder.path().join("engines")).unwrap().next().unwrap().unwrap().path();
    let own = left(lock.file_stem().unwrap().to_str().unwrap());
    drop(Docker::start(&super::program(), &daemon.host, &store, &options, &image).unwrap());
    assert!(daemon.containers().contains(&own));
    drop(live);
    drop(Docker::start(&super::program(), &daemon.host, &store, &options, &image).unwrap());
    assert!(!daemon.containers().contains(&own));
}

#[test]
fn a_killed_program_is_gone_with_its_tree() {
    everywhere(|world, daemon| {
        let (sandbox, mut output) =
            world.start(None, Spec::new(["sh", "-c", "setsid sleep 1000 & echo up; sleep 1000"]));
        let mut up = [0; 3];
        output.read_exact(&mut up).unwrap();
        assert_eq!(sandbox.kill().unwrap().outcome, Outcome::Killed);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(sandbox.status_fd().as_raw_fd() >= 0 && sandbox.try_wait().unwrap().is_some());
        drop(sandbox);
        let store = world.store.root().to_owned();
        // Beside the one that is made ahead.
        eventually("its container is removed", || containers_of(daemon, &store, "running").len() <= 1);
    });
}

#[test]
fn a_container_that_is_removed_under_a_program_is_its_end() {
    everywhere(|world: &World, daemon| {
        let (sandbox, mut output) = world.start(None, Spec::new(["sh", "-c", "echo up; sleep 1000"]));
        let mut up = [0; 3];
        output.read_exact(&mut up).unwrap();
        for id in containers_of(daemon, world.store.root(), "running") {
            let _ = Command::new("docker").args(["--host", &daemon.host, "rm", "--force", &id]).output();
        }
        assert_eq!(sandbox.wait().unwrap().outcome, Outcome::Killed);
    });
}

fn containers_of(daemon: &Daemon, store: &std::path::Path, status: &str) -> Vec<String> {
    let status = format!("status={status}");
    let label = format!("label=dev.wflo.store={}", store.display());
    let listed = Command::new("docker")
        .args([
            "--host",
            &daemon.host,
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            &label,
            "--filter",
            &status,
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}
