//! `wflo snapshots list`.

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::id::RunId;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{RunFilter, Store as _};
use wflo_engine::snapshots::{Snapshot, snapshots};
use wflo_sandbox::workspace::{self, Digest, Manifest, Sealed, WorkspaceError};

use crate::cli::RunRef;
use crate::commands::runs::age;
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::{Table, size};

/// One line with `--json`.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    run_id: RunId,
    step: Option<&'a str>,
    time: Timestamp,
    /// Files and links that the step changed, removals included; of the first, all that there are.
    files: Option<u64>,
    /// Of those files.
    bytes: Option<u64>,
    /// Whether its files are still there.
    kept: bool,
}

pub(super) async fn run(
    run: Option<&RunRef>,
    limit: u32,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let Some(session) = pick::session(context)? else {
        printer.note("No runs yet. Start one with `wflo run`.");
        return Ok(Exit::Success);
    };
    let runs = match run {
        Some(run) => vec![pick::run(&session, run).await?],
        None => session.store.runs(RunFilter { limit, ..RunFilter::default() }).await?,
    };
    let store = freed::workspaces(&session.settings, &session.settings.project.root)?;
    let now = session.clock.now();
    let table = Table::new(&["SNAPSHOT", "AGE", "FILES", "SIZE"]);
    let mut table = table.within(printer.width(), &[], &[]).ids(&[0]).right(&[1, 2, 3]);
    let mut any = false;
    for record in &runs {
        let all = snapshots(session.store.as_ref(), record).await.map_err(CommandError::engine)?;
        for snapshot in all.iter().filter(|snapshot| snapshot.step.is_none() || snapshot.layer.is_some()) {
            any = true;
            let counted = counted(&store, snapshot)?;
            printer.object(&Line {
                id: snapshot.to_string(),
                run_id: snapshot.run,
                step: snapshot.step.as_deref(),
                time: snapshot.at,
                files: counted.map(|(files, _)| files),
                bytes: counted.map(|(_, bytes)| bytes),
                kept: counted.is_some(),
            });
            let (files, bytes) = match counted {
                // Of a step, what it left; of the first, the whole project.
                Some((files, bytes)) if snapshot.step.is_some() => (format!("{files} changed"), size(bytes)),
                Some((files, bytes)) => (files.to_string(), size(bytes)),
                None => ("gone".to_owned(), String::new()),
            };
            table.row(vec![snapshot.to_string(), age(now, snapshot.at), files, bytes]);
        }
    }
    if any {
        printer.line(table);
    } else {
        printer.note("No runs yet. Start one with `wflo run`.");
    }
    Ok(Exit::Success)
}

/// Files and bytes of what a step left, or of what was submitted; `None` when they are gone.
fn counted(store: &workspace::Store, snapshot: &Snapshot) -> Result<Option<(u64, u64)>, WorkspaceError> {
    let digest =
        |id: &str| id.parse::<Digest>().map_err(|_| WorkspaceError::Damaged { what: format!("tree `{id}`") });
    let counted = match &snapshot.layer {
        Some(layer) => store.manifest(&digest(layer)?).map(|manifest| count(&[&manifest])),
        None => Sealed::open(store, &digest(snapshot.sealed())?)
            .map(|sealed| count(&[&sealed.manifest, &sealed.rest.manifest])),
    };
    match counted {
        Ok(counted) => Ok(Some(counted)),
        Err(WorkspaceError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn count(manifests: &[&Manifest]) -> (u64, u64) {
    let files =
        manifests.iter().flat_map(|manifest| manifest.entries.values()).filter(|entry| !entry.is_dir());
    let bytes = manifests.iter().map(|manifest| manifest.bytes()).sum();
    (u64::try_from(files.count()).unwrap_or(u64::MAX), bytes)
}
