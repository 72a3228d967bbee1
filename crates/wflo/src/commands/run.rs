//! `wflo run`: from what was typed to a run that has ended, waits, or goes on in the background.

mod agent;
mod inputs;
mod program;
pub(crate) mod record;
pub(crate) mod workflow;

use std::io::IsTerminal as _;

use wflo_core::id::RunId;
use wflo_engine::images::{Building, Installed};
use wflo_engine::{Runtime, Source, Submission};

use crate::cli::{InputFile, RunArgs};
use crate::commands::detach::{self, Child};
use crate::commands::drive::{self, How, Taken};
use crate::commands::runs::run_json;
use crate::commands::sandbox::images;
use crate::commands::{Context, egress};
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::plain;
use crate::session::{Flags, Session, block_on};
use crate::settings::{Backend, Settings, parse_backend};
use crate::trust;

/// Runs a workflow.
pub(crate) fn run(
    args: &RunArgs,
    context: &Context<'_>,
    background: Option<Child>,
) -> Result<Exit, CommandError> {
    let is_handed_over = args.from_sdk && background.is_none();
    run_here(args, context, background).map_err(|error| match is_handed_over {
        true => handed_over(context, error),
        false => error,
    })
}

/// The SDK raises what went wrong: it is given the failures as JSON, and they are not printed as well.
fn handed_over(context: &Context<'_>, mut error: CommandError) -> CommandError {
    for failure in error.failures.drain(..) {
        context.printer.object(&serde_json::json!({ "error": failure }));
    }
    error
}

fn run_here(args: &RunArgs, context: &Context<'_>, background: Option<Child>) -> Result<Exit, CommandError> {
    let given = args.sandbox.as_deref().map(backend).transpose()?;
    let mut settings = context.settings(args.workflow.as_deref().map(workflow::file_of))?;
    settings.metrics.listen = args.metrics.or(settings.metrics.listen);
    let is_program = !args.command.is_empty();
    // What packages bring is a program like any other, so that they are there before one is looked for.
    let mut installed = Installed::default();
    if is_program && images::wants(&settings) {
        if background.is_none() {
            trust::settle(context, &settings, &[], !std::io::stdin().is_terminal())?;
        }
        installed = block_on(images::for_run(context, &settings, given, building(args)))?;
    }
    let source = match is_program {
        true => program::resolve(args, &settings, &installed, context)?,
        false => workflow::resolve(args.workflow.as_deref(), &settings, &context.current)?.into_source()?,
    };
    let stdin_taken = match is_program {
        // What is piped in is the program's; at a terminal it shares it with questions.
        true => !std::io::stdin().is_terminal(),
        false => args.from_sdk || args.input_files.iter().any(|file| matches!(file, InputFile::Stdin)),
    };
    if background.is_none() {
        // A program is named by hand; what a file of the project leads to is the project's word.
        let led = match &source {
            Source::Program { program, .. } => trust::led_to(program),
            _ => Vec::new(),
        };
        trust::settle(context, &settings, &led, stdin_taken)?;
        // Here there may be somebody to ask; behind a run in the background there is nobody.
        trust::store::settle_ahead(context, &settings, stdin_taken)?;
        if let Some(by_hand) = given.and_then(trust::by_hand) {
            // Said by hand: whoever resumes it is not asked again. Where that cannot be kept, they are.
            let _ = trust::accept(&settings, &[by_hand]);
        }
        if !args.allow_hosts.is_empty() {
            let hosts: Vec<_> =
                args.allow_hosts.iter().map(|host| trust::host_by_hand(&host.to_string())).collect();
            let _ = trust::accept(&settings, &hosts);
        }
    }
    if background.is_none()
        && let Source::Program { program, .. } = &source
        && !program.shown.is_empty()
    {
        // Named by hand: whoever resumes it is not asked about them.
        let (led, mut named) = (trust::led_to(program), trust::of_program(program));
        named.retain(|asked| !led.contains(asked));
        let _ = trust::accept(&settings, &named);
    }
    if background.is_none() {
        let named = settings.sandbox.allow_hosts.iter().filter_map(|host| host.parse().ok());
        let named: Vec<_> = named.chain(args.allow_hosts.iter().cloned()).collect();
        egress::remark_direct(context.printer, &named);
    }
    if background.is_none() && is_program {
        program::report_hidden(&settings, context);
    }
    let recorded_in =
        args.record.as_deref().map(|file| record::prepared(&context.current, file)).transpose()?;
    if !is_program && images::wants(&settings) {
        installed = block_on(images::for_workflow(context, &settings, &source, given, building(args)))?;
    }
    if args.detach.is_wanted() {
        return detach::start(context, &settings.data_dir, stdin_taken && !is_program);
    }
    let (inputs, caller) = if args.from_sdk {
        let handed = inputs::handed(&context.current)?;
        (handed.inputs, Some(handed.definition))
    } else {
        (inputs::gather(args, &context.current)?, None)
    };
    let quiet = background.is_some() || context.printer.json_wanted();
    let mut how = How::whole(&args.detach, background, stdin_taken);
    if is_program {
        how = how.of_program(context);
    }
    let asked = (source, inputs, given);
    let (session, mut submission) = submission(args, context, settings, asked, how.terminal.is_some())?;
    submission.caller = caller;
    submission.installed = installed;
    let mut started = None;
    let exit = block_on(drive::drive(&session, context, how, async |runtime| {
        if !quiet {
            name_left_behind(context, runtime).await?;
        }
        if args.no_drive {
            let prepared = runtime.prepare(submission).await.map_err(CommandError::engine)?;
            let run = runtime.record(prepared).await.map_err(CommandError::engine)?;
            return recorded(&session, context, run).await;
        }
        let run = runtime.submit(submission).await.map_err(CommandError::engine)?;
        started = Some(run);
        Ok(Taken::Run { run, seen: 0 })
    }))?;
    if let (Some(file), Some(run)) = (recorded_in, started) {
        block_on(record::write(&session, context, run, &file))?;
    }
    Ok(exit)
}

fn building(args: &RunArgs) -> Building {
    if args.no_build { Building::Never } else { Building::WhereMissing }
}

fn submission<'a>(
    args: &RunArgs,
    context: &'a Context<'a>,
    settings: Settings,
    (source, inputs, backend): (Source, serde_json::Map<String, serde_json::Value>, Option<Backend>),
    interactive: bool,
) -> Result<(Session<'a>, Submission), CommandError> {
    let flags = Flags {
        budget: args.budget,
        labels: args.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect(),
        require_approval: args.require_approval,
        strict_channels: args.strict_channels,
        apply: args.apply,
        trace: args.trace,
        backend,
        notify: args.notify.clone(),
        allow_hosts: args.allow_hosts.iter().map(ToString::to_string).collect(),
        ask_rules: args.ask_rules.iter().map(ToString::to_string).collect(),
        ask_hosts: args.ask_hosts,
        recording: args.replay.as_deref().map(|file| record::checked(&context.current, file)).transpose()?,
        interactive,
    };
    let session = Session::open(context, settings)?;
    let submission = session.submission(source, serde_json::Value::Object(inputs), flags)?;
    Ok((session, submission))
}

async fn recorded(session: &Session<'_>, context: &Context<'_>, run: RunId) -> Result<Taken, CommandError> {
    if context.printer.json_wanted() {
        let json = run_json(session.store.as_ref(), run).await?;
        context.printer.object(&serde_json::json!({ "run_id": run, "run": json }));
    }
    context.printer.line(run);
    context.printer.note(format_args!("Recorded. `wflo runs resume {run}` starts it."));
    Ok(Taken::Nothing(Exit::Success))
}

/// Runs of earlier processes that could go on.
async fn name_left_behind(context: &Context<'_>, runtime: &Runtime) -> Result<(), CommandError> {
    let left = runtime.engine.left_behind().await.map_err(CommandError::engine)?;
    match left.as_slice() {
        [] => {}
        [run] => context.printer.note(format_args!(
            "Run {} of {} was left behind: `wflo runs resume {0}` goes on with it.",
            run.id,
            plain::short(&run.workflow, 60)
        )),
        [newest, ..] => context.printer.note(format_args!(
            "{} runs were left behind (`wflo runs list`): `wflo runs resume {}` goes on with the newest.",
            left.len(),
            newest.id
        )),
    }
    Ok(())
}

fn backend(name: &str) -> Result<Backend, CliError> {
    parse_backend(name).map_err(|message| CliError::NoSuchBackend { message })
}
