//! `wflo runs …`: see, resume, cancel, pause, retry and trace runs.

mod events;
mod list;
mod resume;
mod retry;
mod show;
mod stop;
mod trace;

pub(crate) use list::{age, coloured};
pub(crate) use show::{changed_files, in_colour, letter};

use crate::cli::RunsCommand;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::block_on;

/// Carries out one of the verbs.
pub(crate) fn run(command: &RunsCommand, context: &Context<'_>) -> Result<Exit, CommandError> {
    match command {
        RunsCommand::List { status, workflow, limit } => {
            let filter = list::filter(status.as_deref(), workflow.as_deref(), *limit)?;
            block_on(list::run(filter, context))
        }
        RunsCommand::Show(one) => block_on(show::run(&one.run, context)),
        RunsCommand::Events { run, follow } => block_on(events::run(&run.run, *follow, context)),
        RunsCommand::Resume(one) => block_on(resume::run(&one.run, context)),
        RunsCommand::Cancel { run, reason } => {
            block_on(stop::run(&run.run, &stop::Stop::Cancel { reason: reason.clone() }, context))
        }
        RunsCommand::Pause(one) => block_on(stop::run(&one.run, &stop::Stop::Pause, context)),
        RunsCommand::Retry { run, budget } => block_on(retry::run(&run.run, *budget, context)),
        RunsCommand::Trace(one) => block_on(trace::run(&one.run, context)),
    }
}
