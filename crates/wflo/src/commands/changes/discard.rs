//! `wflo discard`: a run's changes are not wanted.

use serde::Serialize;
use wflo_core::error::Code;
use wflo_core::id::RunId;
use wflo_core::run::RunRecord;
use wflo_engine::changes::{Fate, launch_of, record_discarded};
use wflo_engine::retention::Trees;
use wflo_sandbox::workspace::{WorkspaceError, pending_apply};

use crate::cli::DiscardArgs;
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::size;
use crate::session::Session;

use super::apply::yes;
use super::error::ChangesError;
use super::{Files, count, deciding, files_in, open_fate};

/// A stored tree that is not there any more.
const GONE: Code = Code(5105);

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
    let (store, clock) = (session.store.as_ref(), session.clock.as_ref());
    let (files, applied) = loop {
        let seen = open_fate(&session, &record).await?;
        let (files, applied) = wanted(&session, &record, seen.as_ref()).await?;
        // Off a terminal the command itself is the answer.
        if printer.may_ask() && !args.yes {
            let what = if applied > 0 { "is left of what run" } else { "run" };
            printer.aside(format_args!("Throw away what {what} {run} changed ({})? [y/N]", count(files)));
            if !yes() {
                printer.note("Nothing was discarded.");
                return Ok(Exit::Failed);
            }
        }
        let _alone = deciding(&session, &record)?;
        refuse_half(&session, &record)?;
        let recorded = record_discarded(store, clock, &record, files, seen).await;
        // Else somebody brought files in while this waited for an answer: perhaps not all.
        if recorded.map_err(CommandError::engine)?.is_ok() {
            break (files, applied);
        }
    };
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
    if applied > 0 {
        printer.line("What was applied before stays in the project.");
    }
    if let Err(why) = freed {
        printer.note(format_args!("Its files go with a later pass (`wflo runs prune`): {why}"));
    }
    Ok(Exit::Success)
}

/// How many files there are to throw away, and how many were applied before.
///
/// # Errors
/// [`ChangesError::Nothing`]; [`ChangesError::Applied`] where the project has all of them.
async fn wanted(
    session: &Session<'_>,
    record: &RunRecord,
    seen: Option<&Fate>,
) -> Result<(u64, u64), CommandError> {
    let run = record.id;
    let Some(written) = seen.map(Fate::written) else {
        let changes = Files::open(session, record).await?.changes()?;
        return match changes.is_empty() {
            true => Err(ChangesError::Nothing { run }.into()),
            false => Ok((files_in(&changes), 0)),
        };
    };
    let files = match Files::open(session, record).await {
        Ok(files) => files,
        // Nothing is left where the trees are gone (`wflo snapshots prune`).
        Err(error) if error.failures.iter().all(|failure| failure.code == GONE.to_string()) => {
            return Err(ChangesError::Applied { run }.into());
        }
        Err(error) => return Err(error),
    };
    match files.left(written)?.files {
        0 => Err(ChangesError::Applied { run }.into()),
        left => Ok((left, written.files)),
    }
}

/// An apply of this run that was cut short: the project has half of what it is to be.
fn refuse_half(session: &Session<'_>, record: &RunRecord) -> Result<(), CommandError> {
    let project = launch_of(record).map_err(CommandError::engine)?.project;
    if !project.is_dir() {
        return Ok(());
    }
    let store = freed::workspaces(&session.settings, &session.settings.project.root)?;
    match pending_apply(&store, &project)? {
        Some(half) if half.by == Some(record.id.to_string()) => {
            Err(WorkspaceError::ApplyInterrupted { id: half.id }.into())
        }
        _ => Ok(()),
    }
}
