//! `wflo sandbox exec`: one command in a sandbox, with this process's streams or a terminal of its own.

mod cloud;
mod container;
mod ends;
mod network;
mod questions;
mod remote;
pub(super) mod shown;
mod workspace;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use wflo_core::error::{Code, Coded, Failure};
use wflo_sandbox::workspace::{Captured, Store, WorkspaceError};
use wflo_sandbox::{Bind, Enforcement, IoLimits, Launcher, Level, Limits, Outcome, Spec, Stdio};

use crate::cli::ExecArgs;
use crate::commands::{Context, egress};
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::settings::Mount;

pub(crate) use container::docker_host;
use ends::{Ended, Ends, attend};
use network::{Network, Reach, TRUSTED};
use shown::Shown;
use workspace::Workspace;

/// A command that was not begun.
const NOT_EXECUTED: Code = Code(3105);
/// The command's streams cannot be served.
const STREAMS: Code = Code(9005);
/// What shows the command the current folder, copy-on-write.
const WITH_THIS_FOLDER: &str = "wflo sandbox exec --workspace .";

/// Runs the command; ends with its code.
pub(crate) fn run(args: &ExecArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let mut spec = Spec::new(args.command.iter().cloned());
    spec.env = environment(&args.env, context)?;
    // Without a project, or with one whose settings cannot be read, names say what is hidden.
    let rules = context.settings(None).map(|settings| settings.hide_rules()).unwrap_or_default();
    let shown = Shown::new(binds(&args.ro, &context.current), &context.current, &rules)?;
    spec.ro = shown.binds.clone();
    spec.rw = binds(&args.rw, &context.current);
    spec.preset = args.preset;
    spec.limits = Limits {
        memory: args.memory,
        cpus: args.cpus,
        pids: args.pids,
        disk: args.disk,
        inodes: args.inodes,
        io: IoLimits {
            read: args.io_read,
            write: args.io_write,
            read_ops: args.io_read_ops,
            write_ops: args.io_write_ops,
        },
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
    report_folder(args, context);
    if args.template.is_some() && args.sandbox != "e2b" {
        return Err(usage(
            "--template is of a cloud's sandboxes".to_owned(),
            "add --sandbox e2b, or leave it out",
        ));
    }
    if args.sandbox != "docker" && (args.image.is_some() || args.runtime.is_some()) {
        let hint = "add --sandbox docker, or leave them out";
        return Err(usage("--image and --runtime are of containers".to_owned(), hint));
    }
    egress::remark_direct(context.printer, &args.allow_hosts);
    // Under a keeper all that a terminal shows is one stream.
    let ends = Ends::open(&mut spec, args.sandbox != "native", context)?;
    match args.sandbox.as_str() {
        "docker" => container::run((spec, ends), args, context),
        "e2b" => cloud::run((spec, ends), args, context),
        _ => native((spec, ends), args, context),
    }
}

/// The same in a sandbox that is made with the kernel alone.
fn native(
    (mut spec, ends): (Spec, Ends),
    args: &ExecArgs,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let workspace = match &args.workspace {
        Some(given) => Some(Workspace::open(given, context)?),
        None => None,
    };
    spec.workspace = workspace.as_ref().map(Workspace::view);
    let launcher = Launcher::start(&super::doctor::this_program()?).map_err(no_sandbox)?;
    let reach = Reach::of(args, context)?;
    let sight = network::ask(&mut spec, &reach, TRUSTED)?;
    let sandbox = launcher.launch(spec).map_err(no_sandbox)?;
    let (network, questions) =
        Network::open(sandbox.take_egress_listener(), &reach, sight, (&ends, context))?;
    report_limits(sandbox.enforcement(), context);
    let sandbox = Arc::new(sandbox);
    let (waits, ends_it) = (Arc::clone(&sandbox), Arc::clone(&sandbox));
    let mut ended = attend(ends, questions, context, move || waits.wait(), move || ends_it.kill().is_ok())?;
    if let Some(network) = network {
        network.close(context);
    }
    report(&ended, args, context)?;
    if args.keep
        && ended.exit.is_some()
        && let Some(workspace) = &workspace
    {
        let changes = workspace.changes(&sandbox);
        if let Err(code) = keep(&mut ended, changes, workspace.store(), context)? {
            return Ok(Exit::Command(code));
        }
    }
    Ok(Exit::Command(ended.code()))
}

/// Stores what the command changed and says where; the code of a signal that ended that.
fn keep(
    ended: &mut Ended,
    changes: impl FnOnce() -> Result<Option<Captured>, WorkspaceError> + Send + 'static,
    store: &Store,
    context: &Context<'_>,
) -> Result<Result<(), u8>, CommandError> {
    match ended.watch.unless_interrupted(changes) {
        Ok(changes) => {
            workspace::kept(changes?, store, context);
            Ok(Ok(()))
        }
        Err(code) => {
            context.printer.warning("stopped before the changes were kept: none of them is");
            Ok(Err(code))
        }
    }
}

/// Says how it ended, where it was not by itself.
fn report(ended: &Ended, args: &ExecArgs, context: &Context<'_>) -> Result<(), CommandError> {
    let Some(exit) = ended.exit else { return Ok(()) };
    report_end(exit.outcome, args, context);
    if let Outcome::NotExecuted(error) = exit.outcome {
        let failures = vec![not_executed(error, args, context)];
        return Err(CommandError { failures, exit: Exit::Command(ended.code()) });
    }
    match &ended.lost {
        Some(why) if ended.code() == 0 => {
            let message = format!("not all that the command said could be written: {why}");
            Err(CommandError { failures: vec![Failure::new(STREAMS, message)], exit: Exit::Failed })
        }
        _ => Ok(()),
    }
}

fn no_sandbox(error: wflo_sandbox::Error) -> CommandError {
    CommandError::from(error).exiting(Exit::NoSandbox)
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
fn report_limits(limits: &[Enforcement], context: &Context<'_>) {
    for limit in limits {
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
        Outcome::RanOn => printer.warning(format_args!(
            "the command went on although it was stopped for its share of processors; it was killed"
        )),
        Outcome::NotExecuted(_)
        | Outcome::Exited(_)
        | Outcome::Signalled(_)
        | Outcome::TooManyTasks
        | Outcome::Killed => {}
    }
}

/// A command that was not begun, and what would let it be.
fn not_executed(error: i32, args: &ExecArgs, context: &Context<'_>) -> Failure {
    let program =
        args.command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
    let reason = std::io::Error::from_raw_os_error(error);
    let message = format!("`{program}` cannot be executed in the sandbox: {reason}");
    let is_relative = Path::new(&program).is_relative();
    let is_here = is_relative && args.workspace.is_none() && context.current.join(&program).is_file();
    Failure::new(NOT_EXECUTED, message).with_hint(match is_here {
        true => format!("it is in this folder, which the sandbox does not see: `{WITH_THIS_FOLDER} -- ./{program}`"),
        false => "the sandbox sees this machine's installed programs, nothing of your home folder; show it a folder \
                  with --ro DIR:DIR"
            .to_owned(),
    })
}

/// The command starts in an empty folder: said to whoever may expect another one, which is a person in a
/// project, and anybody who names a file of this folder.
fn report_folder(args: &ExecArgs, context: &Context<'_>) {
    if args.workspace.is_some() {
        return;
    }
    let here = |word: &&OsString| {
        let path = Path::new(word);
        path.is_relative() && context.current.join(path).exists()
    };
    // The program itself is told about when it is not found.
    let named = args.command.iter().skip(1).find(here);
    let in_project = || context.current.ancestors().any(|folder| folder.join("wflo.toml").is_file());
    let why = match named {
        Some(word) => format!("{} of this folder is not seen", word.to_string_lossy()),
        None if std::io::stderr().is_terminal() && in_project() => "this project is not seen".to_owned(),
        None => return,
    };
    context.printer.note(format_args!(
        "note: the command starts in an empty folder, and {why}; `{WITH_THIS_FOLDER} -- …` gives it a copy of this one"
    ));
}

/// What the workspace's part of a sandbox can fail with, as a sandbox that could not be made.
fn no_workspace(error: impl Coded) -> CommandError {
    CommandError::from(error).exiting(Exit::NoSandbox)
}

/// A folder that is not there, or none.
fn missing(folder: &Path, source: std::io::Error) -> CommandError {
    CommandError::from(CliError::File { path: folder.display().to_string(), source }).exiting(Exit::NoSandbox)
}
