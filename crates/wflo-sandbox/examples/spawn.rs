//! Create-to-exit of `/bin/true` in a sandbox, launched in a loop from one process:
//! `spawn [COUNT] [--limits] [--at-once N] [--docker HOST [--runtime NAME]] [-- CMD…]` prints the median and the
//! 99th percentile.
//!
//! With `--docker`, each is a container of that daemon; with CMD, that command is run in its place without a
//! sandbox of ours, for a peer (`bwrap …`).
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use wflo_sandbox::docker::{Options, resolve};
use wflo_sandbox::workspace::Store;
use wflo_sandbox::{Docker, Launcher, Spec};

/// What is launched.
enum Kind {
    Native { launcher: Launcher, limits: bool },
    Docker(Docker),
    Peer(Vec<String>),
}

impl Kind {
    fn launch(&self) -> Result<(), Box<dyn Error>> {
        let succeeded = match self {
            Kind::Peer(command) => {
                let (program, rest) = command.split_first().ok_or("no command")?;
                std::process::Command::new(program).args(rest).status()?.success()
            }
            Kind::Docker(docker) => docker.launch(Spec::new(["/bin/true"]), None)?.wait()?.success(),
            Kind::Native { launcher, limits } => {
                let mut spec = Spec::new(["/bin/true"]);
                if *limits {
                    spec.limits.memory = Some("256m".parse()?);
                    spec.limits.cpus = Some("1".parse()?);
                    spec.limits.pids = Some(64);
                }
                launcher.launch(spec)?.wait()?.success()
            }
        };
        if succeeded { Ok(()) } else { Err("it failed".into()) }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (mut count, mut at_once, mut limits, mut docker, mut peer) = (500, 1, false, None, Vec::new());
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--limits" => limits = true,
            "--at-once" => at_once = words.next().ok_or("--at-once N")?.parse()?,
            "--docker" => docker = words.next(),
            "--runtime" => options.runtime = words.next(),
            "--" => peer = words.by_ref().collect(),
            number => count = number.parse()?,
        }
    }
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(Path::parent).ok_or("no target folder")?;
    let program = folder.join("wflo-sandbox-launcher");
    let stored = tempfile::tempdir()?;
    let kind = if let Some(host) = docker {
        let store = Arc::new(Store::open(stored.path())?);
        let image = resolve(&host, &options, &std::env::vars_os().collect())?;
        Kind::Docker(Docker::start(&program, &host, &store, &options, &image)?)
    } else if peer.is_empty() {
        Kind::Native { launcher: Launcher::start(&program)?, limits }
    } else {
        Kind::Peer(peer)
    };
    let left = AtomicUsize::new(count);
    let measure = || {
        let mut times: Vec<u128> = Vec::new();
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let began = Instant::now();
            kind.launch().expect("a sandbox");
            times.push(began.elapsed().as_micros());
        }
        times
    };
    let mut times: Vec<u128> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(measure)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect()
    });
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("p50 {} µs, p99 {} µs", at(50), at(99));
    Ok(())
}
