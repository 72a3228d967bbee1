//! Create-to-exit of `/bin/true` in a sandbox, launched in a loop from one process:
//! `spawn [COUNT] [--limits] [-- CMD…]` prints the median and the 99th percentile.
//!
//! With CMD, that command is run in its place without a sandbox of ours, for a peer (`bwrap …`).
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Instant;
use wflo_sandbox::{Launcher, Spec};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(500);
    let peer: Vec<&String> = arguments.iter().skip_while(|word| *word != "--").skip(1).collect();
    let limits = arguments.iter().any(|word| word == "--limits");
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(|examples| examples.parent()).ok_or("no target folder")?;
    let launcher = Launcher::start(&folder.join("wflo-sandbox-launcher"))?;
    let mut times: Vec<u128> = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        if let Some((program, rest)) = peer.split_first() {
            assert!(std::process::Command::new(program).args(rest).status()?.success(), "the peer failed");
        } else {
            let mut spec = Spec::new(["/bin/true"]);
            if limits {
                spec.limits.memory = Some("256m".parse()?);
                spec.limits.cpus = Some("1".parse()?);
                spec.limits.pids = Some(64);
            }
            assert!(launcher.launch(spec)?.wait()?.success(), "the sandbox failed");
        }
        times.push(began.elapsed().as_micros());
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    let name = peer.first().map_or(if limits { "wflo with limits" } else { "wflo" }, |name| name.as_str());
    println!("{name} p50 {} µs, p99 {} µs", at(50), at(99));
    Ok(())
}
