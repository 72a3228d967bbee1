//! `wflo discard`: a run's changes are not wanted.

use std::io::IsTerminal;

use serde::Serialize;
use wflo_core::id::RunId;
use wflo_engine::changes::{Fate, record_fate};

use crate::cli::DiscardArgs;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;

use super::apply::yes;
use super::error::ChangesError;
use super::{Files, count, files_in, open_fate};

/// What `--json` prints.
#[derive(Serialize)]
struct Done {
    run_id: RunId,
    discarded: u64,
}

pub(super) async fn run(args: &DiscardArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let session = pick::existing(context)?;
    let record = pick::run(&session, &args.run).await?;
    let run = record.id;
    if let Some(Fate::Applied { .. }) = open_fate(&session, &record).await? {
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
    let recorded = record_fate(session.store.as_ref(), session.clock.as_ref(), &record, files, true).await;
    recorded.map_err(CommandError::engine)?;
    printer.object(&Done { run_id: run, discarded: files });
    printer.line(format_args!("Discarded {} of run {run}.", count(files)));
    Ok(Exit::Success)
}
