//! `wflo snapshots rollback`: a new run that holds a run's files as they stood before a step.

use serde::Serialize;
use wflo_core::id::RunId;
use wflo_engine::rollback::{RolledBack, rollback};

use crate::cli::RunRef;
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;

/// What `--json` prints.
#[derive(Serialize)]
struct Done<'a> {
    run_id: RunId,
    rolls_back: RunId,
    before: &'a str,
    taken_back: &'a [String],
}

pub(super) async fn run(which: &RunRef, step: &str, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let session = pick::existing(context)?;
    let old = pick::run(&session, which).await?;
    let workspaces = freed::workspaces(&session.settings, &session.settings.project.root)?;
    let (store, clock) = (session.store.as_ref(), session.clock.as_ref());
    let made = rollback(store, clock, &workspaces, &old, step).await.map_err(CommandError::engine)?;
    let RolledBack { run, taken_back } = &made;
    printer.object(&Done { run_id: *run, rolls_back: old.id, before: step, taken_back });
    printer.line(format_args!("{run} holds the files of {} as they stood before `{step}`.", old.id));
    printer.note(format_args!(
        "Takes back: {}. `wflo diff {run}` shows it, `wflo apply {run}` brings it into the project.",
        taken_back.join(", ")
    ));
    Ok(Exit::Success)
}
