//! Recordings of model calls: written after a run, checked before one is answered from it.

use std::path::{Path, PathBuf};

use wflo_core::error::Coded as _;
use wflo_core::id::RunId;
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::Recording;

use crate::commands::Context;
use crate::failure::CommandError;
use crate::plain;
use crate::session::Session;

/// Writes the answers that a run has so far.
///
/// # Errors
/// Store errors; a file that cannot be written.
pub(crate) async fn write(
    session: &Session<'_>,
    context: &Context<'_>,
    run: RunId,
    file: &Path,
) -> Result<(), CommandError> {
    let recording = Recording::of_run(session.store.as_ref(), run).await.map_err(CommandError::engine)?;
    if recording.calls() == 0 && file.exists() {
        let file = file.display();
        context.printer.warning(format_args!("{run} called no model: {file} is left as it was"));
        return Ok(());
    }
    recording.write(file).map_err(|error| {
        // The run is over and paid for: its answers are kept, wherever else they may go.
        let file = file.display();
        let hint = format!("`wflo runs record {run} FILE` writes the answers elsewhere, or to {file} once that can be written: the run has them.");
        CommandError::from_failure(error.to_failure().with_hint(hint))
    })?;
    let count = match recording.calls() {
        1 => "1 answer".to_owned(),
        n => format!("{n} answers"),
    };
    context.printer.note(format_args!("{count} of {run} recorded in {}.", file.display()));
    Ok(())
}

/// Where a recording will be written, once it can be: a run is paid for before.
///
/// # Errors
/// When it cannot.
pub(super) fn prepared(current: &Path, file: &Path) -> Result<PathBuf, CommandError> {
    let file = current.join(file);
    Recording::prepare(&file)?;
    Ok(file)
}

/// Says which of its recording's answers a replayed run did not ask for: a test that asks for none of them
/// tests nothing.
pub(crate) async fn remark(session: &Session<'_>, context: &Context<'_>, record: &RunRecord) {
    // One that ended early did not come to all of them, and of a retry's the run before was given some.
    if record.status != RunStatus::Completed || record.retried_from.is_some() {
        return;
    }
    let left = match Recording::left_by(session.store.as_ref(), record).await {
        Ok(left) => left,
        Err(error) => {
            // The run has ended as it did, whatever became of the file since.
            context.printer.warning(format_args!("which recorded answers were used is not known: {error}"));
            return;
        }
    };
    let Some((all, left)) = left.filter(|(_, left)| *left > 0) else { return };
    let file = plain::line(record.options.recording.as_deref().unwrap_or_default());
    context.printer.warning(match (all, left) {
        (1, 1) => format!("the 1 recorded answer of {file} was not used: this run called no model"),
        _ if all == left => {
            format!("none of the {all} recorded answers of {file} was used: this run called no model")
        }
        (_, 1) => format!("1 of {all} recorded answers of {file} was not used"),
        _ => format!("{left} of {all} recorded answers of {file} were not used"),
    });
    context.printer.hint(
        "a replayed run begins where the recorded one began: put back the files and rows that it changed, or record anew",
    );
}

/// A recording's own path, once it reads.
///
/// # Errors
/// When it does not.
pub(super) fn checked(current: &Path, file: &Path) -> Result<String, CommandError> {
    let file = current.join(file);
    Recording::read(&file)?;
    Ok(file.display().to_string())
}
