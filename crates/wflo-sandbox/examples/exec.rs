//! Runs one command in a sandbox and prints how it ended: `exec [--memory 64m] … -- CMD…`.
//!
//! A bench-and-probe tool for this crate; users have `wflo sandbox exec`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::os::fd::AsFd;
use std::path::PathBuf;
use wflo_sandbox::{Bind, Launcher, Spec, Stdio, View};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut spec = Spec::new(Vec::<String>::new());
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or("a flag needs a value");
        match flag.as_str() {
            "--memory" => spec.limits.memory = Some(value()?.parse()?),
            "--cpus" => spec.limits.cpus = Some(value()?.parse()?),
            "--pids" => spec.limits.pids = Some(value()?.parse()?),
            "--inodes" => spec.limits.inodes = Some(value()?.parse()?),
            "--disk" => spec.limits.disk = Some(value()?.parse()?),
            "--timeout" => spec.limits.timeout = Some(value()?.parse()?),
            "--ro" => spec.ro.push(Bind::same(value()?)),
            "--beneath" => spec.beneath = Some(PathBuf::from(value()?)),
            "--rw" => spec.rw.push(Bind::same(value()?)),
            "--workspace" => {
                let folder = PathBuf::from(value()?);
                spec.workspace = Some(View { lowers: vec![folder.clone()], target: folder });
            }
            "--doctor" => {
                for finding in wflo_sandbox::doctor(&launcher_program()?) {
                    println!("{:9} {:14} {} {:?}", finding.state, finding.name, finding.detail, finding.fix);
                }
                return Ok(());
            }
            "--" => break,
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    spec.command = arguments.map(Into::into).collect();
    spec.stdin = Stdio::Fd(std::io::stdin().as_fd().try_clone_to_owned()?);
    spec.stdout = Stdio::Fd(std::io::stdout().as_fd().try_clone_to_owned()?);
    spec.stderr = Stdio::Fd(std::io::stderr().as_fd().try_clone_to_owned()?);
    let launcher = Launcher::start(&launcher_program()?)?;
    let sandbox = launcher.launch(spec)?;
    eprintln!("{} {:?} {:?}", sandbox.id(), sandbox.owner(), sandbox.enforcement());
    let exit = sandbox.wait()?;
    eprintln!("{exit:?} -> {}", exit.code());
    Ok(())
}

/// The launcher is built beside the examples.
fn launcher_program() -> Result<PathBuf, Box<dyn Error>> {
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(|examples| examples.parent()).ok_or("no target folder")?;
    Ok(folder.join("wflo-sandbox-launcher"))
}
