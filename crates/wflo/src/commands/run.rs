//! `wflo run`: from what was typed to a run that has ended, waits, or goes on in the background.

mod attend;
mod desk;
mod detach;
mod drive;
mod end;
pub(crate) mod evidence;
mod feed;
mod files;
mod inputs;
mod signals;
mod summary;
mod terminal;
mod tree;
mod view;
pub(crate) mod watch;
pub(crate) mod workflow;

use wflo_core::error::{Code, Failure};
use wflo_engine::{Source, Submission};

use self::drive::How;
use self::terminal::Terminal;
use crate::cli::{InputFile, RunArgs};
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::printer::Printer;
use crate::session::{Flags, Session, block_on};
use crate::settings::{Backend, Settings, parse_backend};

/// Runs a workflow.
pub(crate) fn run(args: &RunArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let Some(log) = &args.background else { return run_here(args, context, None) };
    let child = detach::Child::begin(log);
    let printer = Printer::mute();
    let context = Context {
        global: context.global,
        environment: context.environment,
        printer: &printer,
        current: context.current.clone(),
    };
    run_here(args, &context, Some(child)).inspect_err(|error| {
        detach::refused(error);
        error.failures.iter().for_each(|failure| printer.complain(failure));
    })
}

fn run_here(
    args: &RunArgs,
    context: &Context<'_>,
    background: Option<detach::Child>,
) -> Result<Exit, CommandError> {
    if let Some(program) = args.command.first() {
        return Err(CliError::ProgramRun { program: program.to_string_lossy().into_owned() }.into());
    }
    let given = args.sandbox.as_deref().map(backend).transpose()?;
    let settings = context.settings(args.workflow.as_deref().map(workflow::file_of))?;
    isolated(given.or(settings.sandbox.backend))?;
    let workflow = workflow::resolve(args.workflow.as_deref(), &settings, &context.current)?;
    let stdin_taken = args.input_files.iter().any(|file| matches!(file, InputFile::Stdin));
    if args.detach && background.is_none() {
        return detach::start(context, &settings.data_dir, stdin_taken);
    }
    let inputs = inputs::gather(args, &context.current)?;
    let mut file_of_definition = None;
    let source = match workflow {
        workflow::Workflow::Code(entry) => Source::Code(entry),
        workflow::Workflow::Written { definition, file } => {
            file_of_definition = Some(file);
            let json = serde_json::to_value(&*definition)
                .map_err(|e| CommandError::from_failure(Failure::new(Code(9006), e.to_string())))?;
            Source::Definition(json)
        }
    };
    let terminal = if background.is_some() { None } else { Terminal::find(stdin_taken) };
    let (session, submission) = submission(args, context, settings, (source, inputs), terminal.is_some())?;
    let how = How { terminal, background, definition: file_of_definition, record_only: args.no_drive };
    block_on(drive::drive(&session, context, submission, how))
}

fn submission<'a>(
    args: &RunArgs,
    context: &'a Context<'a>,
    settings: Settings,
    (source, inputs): (Source, serde_json::Map<String, serde_json::Value>),
    interactive: bool,
) -> Result<(Session<'a>, Submission), CommandError> {
    let flags = Flags {
        budget: args.budget,
        require_approval: args.require_approval,
        strict_channels: args.strict_channels,
        apply: args.apply,
        backend: None,
        notify: args.notify.clone(),
        interactive,
    };
    let session = Session::open(context, settings)?;
    let submission = session.submission(source, serde_json::Value::Object(inputs), flags);
    Ok((session, submission))
}

fn backend(name: &str) -> Result<Backend, CliError> {
    parse_backend(name).map_err(|(kind, message)| match kind {
        crate::document::Kind::Later => CliError::LaterBackend { message },
        _ => CliError::NoSuchBackend { message },
    })
}

/// Steps without a sandbox are refused by name, not run in one all the same.
fn isolated(backend: Option<Backend>) -> Result<(), CliError> {
    match backend {
        Some(Backend::None) => Err(CliError::LaterBackend {
            message: "running steps without a sandbox (backend \"none\") belongs to a later release"
                .to_owned(),
        }),
        _ => Ok(()),
    }
}
