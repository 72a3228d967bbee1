//! `wflo run`: from what was typed to a run.

mod inputs;
pub(crate) mod watch;
mod workflow;

use crate::cli::RunArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::session::{Flags, Session, block_on};
use crate::settings::{Backend, parse_backend};
use wflo_core::error::{Code, Failure};
use wflo_core::ports::store::Store;
use wflo_engine::{Source, Submission};

/// Runs a workflow.
pub(crate) fn run(args: &RunArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    if let Some(program) = args.command.first() {
        return Err(CliError::ProgramRun { program: program.to_string_lossy().into_owned() }.into());
    }
    let backend = args.sandbox.as_deref().map(backend).transpose()?;
    let settings = context.settings(args.workflow.as_deref().map(workflow::file_of))?;
    let workflow = workflow::resolve(args.workflow.as_deref(), &settings, &context.current)?;
    let inputs = inputs::gather(args, &context.current)?;
    let source = match workflow {
        workflow::Workflow::Code(entry) => Source::Code(entry),
        workflow::Workflow::Written { definition, .. } => {
            let json = serde_json::to_value(&*definition)
                .map_err(|e| CommandError::from_failure(Failure::new(Code(9006), e.to_string())))?;
            Source::Definition(json)
        }
    };
    let flags = Flags {
        budget: args.budget,
        require_approval: args.require_approval,
        strict_channels: args.strict_channels,
        apply: args.apply,
        backend: backend.map(|b| b.name().to_owned()),
        notify: args.notify.clone(),
        interactive: false,
    };
    let session = Session::open(context, settings)?;
    let submission = session.submission(source, serde_json::Value::Object(inputs), flags);
    block_on(drive(&session, context, submission))
}

async fn drive(
    session: &Session<'_>,
    context: &Context<'_>,
    submission: Submission,
) -> Result<Exit, CommandError> {
    let runtime = session.runtime().await?;
    let submitted = runtime.submit(submission).await.map_err(CommandError::engine);
    let status = match submitted {
        Ok(id) => {
            let shown =
                watch::follow(session, context, &runtime, id, |event| context.printer.object(event)).await;
            shown.map(|status| (id, status))
        }
        Err(e) => Err(e),
    };
    runtime.shutdown().await;
    let (id, _) = status?;
    let run = watch::run_json(session.store.as_ref(), id).await?;
    context.printer.object(&serde_json::json!({ "type": "run.finished", "run": run }));
    let record = session.store.run(id).await?;
    Ok(record.map_or(Exit::Internal, |record| watch::exit_of(&record)))
}

fn backend(name: &str) -> Result<Backend, CliError> {
    parse_backend(name).map_err(|(kind, message)| match kind {
        crate::document::Kind::Later => CliError::LaterBackend { message },
        _ => CliError::NoSuchBackend { message },
    })
}
