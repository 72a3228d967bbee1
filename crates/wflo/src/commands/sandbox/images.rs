//! `wflo sandbox images …`: what is installed for a project's steps.

mod build;
mod list;
mod progress;
mod provide;
mod prune;

use wflo_engine::images::{Kind, Record};

use crate::cli::ImagesCommand;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::session::block_on;

use self::provide::provide;
pub(crate) use self::provide::{for_run, for_workflow, wants};

/// Carries out one of the verbs.
pub(crate) fn run(command: &ImagesCommand, context: &Context<'_>) -> Result<Exit, CommandError> {
    block_on(async {
        match command {
            ImagesCommand::Build { again } => build::run(*again, context).await,
            ImagesCommand::List => list::run(context),
            ImagesCommand::Prune(args) => prune::run(args, context).await,
        }
    })
}

/// What of a key a person is shown.
fn short(record: &Record) -> &str {
    record.key.get(..12).unwrap_or(&record.key)
}

/// What it is for, in words.
fn what_for(record: &Record) -> String {
    let version = plain::line(&record.version);
    match record.kind {
        Kind::Python => format!("Python {version}"),
        Kind::System => version,
    }
}

fn counted(count: usize) -> String {
    if count == 1 { "1 package".to_owned() } else { format!("{count} packages") }
}
