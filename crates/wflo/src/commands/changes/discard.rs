//! `wflo discard`: a run's changes are not wanted.

use std::io::IsTerminal;

use serde::Serialize;
use wflo_core::id::RunId;
use wflo_engine::changes::{Fate, launch_of, record_discarded};
use wflo_engine::retention::Trees;

use crate::cli::DiscardArgs;
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::size;

use super::apply::yes;
use super::error::ChangesError;
use super::{Files, count, files_in, open_fate};

/// What `--json` prints.
#[derive(Serialize)]
struct Done {
    run_id: RunId,
    discarded: u64,
    /// Disk space of files that only this run held, in bytes.
    freed_bytes: u64,
}

pub(super) async fn run(args: &DiscardArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let session = pick::existing(context)?;
    let record = pick::run(&session, &args.run).await?;
    let run = record.id;
    let seen = open_fate(&session, &record).await?;
    if let Some(Fate::Applied { .. }) = seen {
        return Err(ChangesError::Applied { run }.into());
    }
    let changes = Files::open(&session, &record).await?.changes()?;
    if changes.is_empty() {
        return Err(ChangesError::Nothing { run }.into());
    }
    let files = files_in(&changes);
    // Off a terminal the command itself is the answer.
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if terminal && !args.yes && !printer.json_wanted() {
        printer.note(format_args!("Throw away what run {run} changed ({})? [y/N]", count(files)));
        if !yes() {
            printer.note("Nothing was discarded.");
            return Ok(Exit::Failed);
        }
    }
    let (store, clock) = (session.store.as_ref(), session.clock.as_ref());
    let recorded = record_discarded(store, clock, &record, files, seen).await;
    match recorded.map_err(CommandError::engine)? {
        Ok(()) => {}
        Err(Some(Fate::Discarded)) => return Err(ChangesError::Discarded { run }.into()),
        // Somebody brought them in while this waited for an answer.
        Err(_) => return Err(ChangesError::Applied { run }.into()),
    }
    // It is discarded now, whatever becomes of this: what is not freed here goes with a later pass.
    let project = launch_of(&record).map(|launch| launch.project);
    let freed = match freed::trees(&session, &project.map_err(CommandError::engine)?).await {
        Ok(Trees::Collected(freed)) => Ok(freed.bytes),
        Ok(Trees::Left(why)) => Err(why),
        Err(e) => Err(e.failures.into_iter().map(|failure| failure.message).collect()),
    };
    let freed_bytes = *freed.as_ref().unwrap_or(&0);
    printer.object(&Done { run_id: run, discarded: files, freed_bytes });
    printer.line(format_args!("Discarded {} of run {run}; freed {}.", count(files), size(freed_bytes)));
    if let Err(why) = freed {
        printer.note(format_args!("Its files go with a later pass (`wflo runs prune`): {why}"));
    }
    Ok(Exit::Success)
}
