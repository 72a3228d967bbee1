//! `wflo sandbox exec`: one command in a sandbox, with this terminal's streams.

mod network;
mod shown;
mod workspace;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;

use wflo_core::error::{Code, Coded, Failure};
use wflo_sandbox::{Bind, Launcher, Level, Limits, Outcome, ProcessTree, Spec, Stdio};

use crate::cli::ExecArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::settings::Mount;

use network::Network;
use shown::Shown;
use workspace::Workspace;

/// Runs the command; ends with its code.
pub(crate) fn run(args: &ExecArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let env = environment(&args.env, context)?;
    let workspace = match &args.workspace {
        Some(given) => Some(Workspace::open(given, context)?),
        None => None,
    };
    let no_sandbox = |error: wflo_sandbox::Error| CommandError::from(error).exiting(Exit::NoSandbox);
    let launcher = Launcher::start(&super::doctor::this_program()?).map_err(no_sandbox)?;
    let mut spec = Spec::new(args.command.iter().cloned());
    spec.env = env;
    spec.workspace = workspace.as_ref().map(Workspace::view);
    let shown = Shown::new(binds(&args.ro, &context.current), &context.current)?;
    spec.ro = shown.binds.clone();
    spec.rw = binds(&args.rw, &context.current);
    spec.preset = args.preset;
    spec.limits = Limits {
        memory: args.memory,
        cpus: args.cpus,
        pids: args.pids,
        disk: args.disk,
        timeout: args.timeout,
    };
    spec.stdin = inherited(rustix::stdio::stdin());
    spec.stdout = inherited(rustix::stdio::stdout());
    spec.stderr = inherited(rustix::stdio::stderr());
    for mount in &spec.rw {
        context
            .printer
            .note(format_args!("note: {} is written directly, not on a copy", mount.source.display()));
    }
    network::ask(&mut spec, &args.allow_hosts);
    let sandbox = launcher.launch(spec).map_err(no_sandbox)?;
    let network = Network::open(&sandbox, &args.allow_hosts)?;
    report_limits(&sandbox, context);
    let exit = sandbox.wait().map_err(no_sandbox)?;
    if let Some(network) = network {
        network.close(context);
    }
    report_end(exit.outcome, args, context);
    if args.keep
        && let Some(workspace) = &workspace
    {
        workspace.keep(&sandbox, context)?;
    }
    Ok(Exit::Command(exit.code()))
}

/// `K=V`, or `K` for this process's value.
fn environment(given: &[String], context: &Context<'_>) -> Result<Vec<(OsString, OsString)>, CommandError> {
    let one = |text: &String| match text.split_once('=') {
        Some(("", _)) => Err(usage(format!("`{text}` has no name before `=`"), "write NAME=VALUE")),
        Some((name, value)) => Ok((name.into(), value.into())),
        None => match context.environment.get(text) {
            Some(value) => Ok((text.into(), value.into())),
            None => Err(usage(
                format!("the environment variable {text} is not set, so it cannot be passed through"),
                "write NAME=VALUE to set one",
            )),
        },
    };
    given.iter().map(one).collect()
}

fn usage(message: String, hint: &str) -> CommandError {
    CommandError::usage(vec![Failure::new(Code(8001), message).with_hint(hint)])
}

/// Sources are seen from the current folder.
fn binds(mounts: &[Mount], current: &Path) -> Vec<Bind> {
    let bind = |mount: &Mount| {
        let source = current.join(&mount.source);
        let source = std::fs::canonicalize(&source).unwrap_or(source);
        Bind::new(source, &mount.target)
    };
    mounts.iter().map(bind).collect()
}

/// A copy of one of this process's streams; a closed one is the null device.
fn inherited(stream: impl AsFd) -> Stdio {
    rustix::io::fcntl_dupfd_cloexec(stream, 3).map_or(Stdio::Null, Stdio::Fd)
}

/// Limits that the kernel does not enforce are said once; all of them with `-v`.
fn report_limits(sandbox: &ProcessTree, context: &Context<'_>) {
    for limit in sandbox.enforcement() {
        let line = format!("limit {}: {} ({})", limit.limit, limit.level, limit.by);
        if limit.level == Level::Supervised && limit.limit != "timeout" && context.printer.verbosity() == 0 {
            context.printer.note(format_args!("note: {line}"));
        } else {
            context.printer.detail(line);
        }
    }
}

/// Says what ended the command when it was not the command itself.
fn report_end(outcome: Outcome, args: &ExecArgs, context: &Context<'_>) {
    let program =
        args.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let printer = context.printer;
    match outcome {
        Outcome::TimedOut => {
            let limit = args.timeout.map(|timeout| timeout.to_string()).unwrap_or_default();
            printer.warning(format_args!("the command's time was up ({limit}); it was killed"));
        }
        Outcome::OutOfMemory => {
            let limit = args.memory.map(|memory| memory.to_string()).unwrap_or_default();
            printer.warning(format_args!("the command used more than its memory ({limit}); it was killed"));
        }
        Outcome::NotExecuted(error) => {
            let reason = std::io::Error::from_raw_os_error(error);
            printer.warning(format_args!("`{program}` cannot be executed in the sandbox: {reason}"));
            printer.hint(
                "the sandbox sees this machine's installed programs, nothing of your home folder; \
                 show it a folder with --ro DIR:DIR",
            );
        }
        Outcome::Exited(_) | Outcome::Signalled(_) | Outcome::TooManyTasks | Outcome::Killed => {}
    }
}

/// What the workspace's part of a sandbox can fail with, as a sandbox that could not be made.
fn no_workspace(error: impl Coded) -> CommandError {
    CommandError::from(error).exiting(Exit::NoSandbox)
}

/// A folder that is not there.
fn missing(folder: &Path) -> CommandError {
    let source = std::io::Error::from(std::io::ErrorKind::NotFound);
    CommandError::from(CliError::File { path: folder.display().to_string(), source }).exiting(Exit::NoSandbox)
}
