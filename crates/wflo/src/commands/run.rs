//! `wflo run`: from what was typed to a run.

mod inputs;
mod workflow;

use crate::cli::RunArgs;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::{CliError, CommandError};
use crate::settings::{Backend, parse_backend};

/// Runs a workflow.
pub(crate) fn run(args: &RunArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    if let Some(program) = args.command.first() {
        return Err(CliError::ProgramRun { program: program.to_string_lossy().into_owned() }.into());
    }
    let backend = args.sandbox.as_deref().map(backend).transpose()?;
    let settings = context.settings(args.workflow.as_deref().map(workflow::file_of))?;
    let workflow = workflow::resolve(args.workflow.as_deref(), &settings, &context.current)?;
    let inputs = inputs::gather(args, &context.current)?;
    let _ = (backend, workflow, inputs);
    Ok(Exit::Internal)
}

fn backend(name: &str) -> Result<Backend, CliError> {
    parse_backend(name).map_err(|(kind, message)| match kind {
        crate::document::Kind::Later => CliError::LaterBackend { message },
        _ => CliError::NoSuchBackend { message },
    })
}
