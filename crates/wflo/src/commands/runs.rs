//! `wflo runs …`: see, resume, cancel, pause, retry, trace and remove runs.

mod events;
mod json;
mod list;
mod prune;
mod resume;
mod retry;
pub(crate) mod show;
mod stop;
mod trace;

pub(crate) use json::{exit_of_run, run_json};
pub(crate) use list::age;
pub(crate) use prune::{Kept, STAY, kept, runs};
pub(crate) use show::{changed_files, in_colour, letter};
pub(crate) use trace::{Kind as SpanKind, Reader, Span, Status as SpanStatus, spans_of};

use std::path::Path;

use wflo_engine::Again;

use crate::cli::{RunRef, RunsCommand};
use crate::commands::detach::Child;
use crate::commands::run::record;
use crate::commands::{Context, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::block_on;

/// Carries out one of the verbs.
pub(crate) fn run(
    command: &RunsCommand,
    context: &Context<'_>,
    background: Option<Child>,
) -> Result<Exit, CommandError> {
    match command {
        RunsCommand::List { status, workflow, limit } => {
            let filter = list::filter(status.as_deref(), workflow.as_deref(), *limit)?;
            block_on(list::run(filter, context))
        }
        RunsCommand::Show(one) => block_on(show::run(&one.run, context)),
        RunsCommand::Events { run, follow } => block_on(events::run(&run.run, *follow, context)),
        RunsCommand::Resume { run, detach } => block_on(resume::run(&run.run, detach, context, background)),
        RunsCommand::Cancel { run, reason } => {
            block_on(stop::run(&run.run, &stop::Stop::Cancel { reason: reason.clone() }, context))
        }
        RunsCommand::Pause(one) => block_on(stop::run(&one.run, &stop::Stop::Pause, context)),
        RunsCommand::Retry { run, budget, from, detach } => {
            let again = Again { top_up: *budget, by: who::local(), from: from.clone() };
            block_on(retry::run(&run.run, &again, detach, context, background))
        }
        RunsCommand::Record { run, file } => block_on(record(&run.run, file, context)),
        RunsCommand::Prune(args) => block_on(prune::run(args, context)),
        RunsCommand::Trace { run, content, full } => {
            block_on(trace::run(&run.run, *content || *full, *full, context))
        }
    }
}

/// Writes the answers of a run's model calls to a file.
async fn record(which: &RunRef, file: &Path, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let run = pick::run(&session, which).await?.id;
    record::write(&session, context, run, &context.current.join(file)).await?;
    Ok(Exit::Success)
}
