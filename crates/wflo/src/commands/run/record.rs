//! Recordings of model calls: written after a run, checked before one is answered from it.

use std::path::Path;

use wflo_core::id::RunId;
use wflo_engine::Recording;

use crate::commands::Context;
use crate::failure::CommandError;
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
    recording.write(file)?;
    let count = match recording.calls() {
        1 => "1 answer".to_owned(),
        n => format!("{n} answers"),
    };
    context.printer.note(format_args!("{count} of {run} recorded in {}.", file.display()));
    Ok(())
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
