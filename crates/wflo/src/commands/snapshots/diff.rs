//! `wflo snapshots diff`: between two, or between one and the project as it is now.

use wflo_engine::changes::launch_of;
use wflo_sandbox::workspace::{self, View};

use crate::cli::SnapshotRef;
use crate::commands::changes::{hidden, show};
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;

use super::held;

pub(super) async fn run(
    before: &SnapshotRef,
    after: Option<&SnapshotRef>,
    stat: bool,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let before = held(&session, before).await?;
    let changes = match after {
        Some(after) => {
            let after = held(&session, after).await?;
            workspace::between(&before.view, &after.view, &before.store)?
        }
        None => {
            // Sealed as for a run: what is hidden or shown live is not compared.
            let launch = launch_of(&before.record).map_err(CommandError::engine)?;
            let hidden = hidden(&session.settings, &launch.hide)?;
            let sealed = workspace::seal(&launch.project, &hidden, &before.store)?;
            let now = View { sealed, layers: Vec::new(), undone: Vec::new(), earlier: None };
            workspace::between(&before.view, &now, &before.store)?
        }
    };
    if changes.is_empty() {
        context.printer.note("No difference.");
        return Ok(Exit::Success);
    }
    // Who reads no further has what they wanted.
    let _ = show(&changes, &before.store, None, stat, context.printer)?;
    Ok(Exit::Success)
}
