//! `wflo snapshots restore`: its files in a folder of their own.

use serde::Serialize;
use wflo_engine::changes::launch_of;
use wflo_engine::snapshots;
use wflo_sandbox::workspace::{RelPath, RestoreOptions, Restored, WorkspaceError};

use crate::cli::RestoreArgs;
use crate::commands::changes::{definitions, hidden, in_project, name_bare};
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::size;

use super::held;

/// What `--json` prints.
#[derive(Serialize)]
struct Done<'a> {
    id: String,
    target: String,
    #[serde(flatten)]
    restored: &'a Restored,
}

pub(super) async fn run(args: &RestoreArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let session = pick::existing(context)?;
    let held = held(&session, &args.snapshot).await?;
    let root = &session.settings.project.root;
    let launch = launch_of(&held.record).map_err(CommandError::engine)?;
    let paths: Vec<RelPath> = in_project(&args.paths, root, &context.current)?;
    if paths.contains(&RelPath::root()) {
        return Err(WorkspaceError::BadPath { shown: ".".to_owned() }.into());
    }
    let hidden = (root.clone(), hidden(&session.settings, &launch.hide)?);
    let definitions = definitions(&session.settings, &launch);
    let programs = session.settings.programs();
    let options = RestoreOptions { paths, over: args.force, hidden: Some(hidden), definitions, programs };
    let target = context.current.join(&args.to);
    let restored = snapshots::restore(&held.view, &held.store, &target, &options)?;
    let target = target.canonicalize().unwrap_or(target);
    printer.object(&Done {
        id: held.snapshot.to_string(),
        target: target.display().to_string(),
        restored: &restored,
    });
    for path in &restored.hidden {
        printer.warning(format_args!("{path} was left out: hidden paths of a project are never written"));
    }
    name_bare(printer, &restored.without_attributes);
    printer.line(format_args!(
        "Restored {} files, {} folders and {} links ({}) to {}",
        restored.files,
        restored.folders,
        restored.links,
        size(restored.bytes),
        target.display()
    ));
    Ok(Exit::Success)
}
