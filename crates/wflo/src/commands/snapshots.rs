//! `wflo snapshots …`: a run's files as they stood after each of its steps.
//!
//! Owns the way from what was typed to a snapshot, held. Snapshots are the engine's; writing, comparing
//! and checking files is the workspace's.

mod diff;
mod error;
mod itself;
mod list;
mod prune;
mod restore;
mod rollback;
mod show;

use wflo_core::run::RunRecord;
use wflo_engine::snapshots::{Snapshot, snapshots};
use wflo_sandbox::workspace::{self, Pin, View, WorkspaceError};

use crate::cli::{At, SnapshotRef, SnapshotsCommand};
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::{Session, block_on};

use error::SnapshotsError;

pub(crate) use itself::begin as prune_by_itself;

/// Carries out one of the verbs.
pub(crate) fn run(command: &SnapshotsCommand, context: &Context<'_>) -> Result<Exit, CommandError> {
    block_on(async {
        match command {
            SnapshotsCommand::List { run, limit } => list::run(run.as_ref(), *limit, context).await,
            SnapshotsCommand::Show { snapshot } => show::run(snapshot, context).await,
            SnapshotsCommand::Diff { before, after, stat } => {
                diff::run(before, after.as_ref(), *stat, context).await
            }
            SnapshotsCommand::Rollback { run, step } => rollback::run(run, step, context).await,
            SnapshotsCommand::Prune(args) if args.by_itself => itself::run(context).await,
            SnapshotsCommand::Prune(args) => prune::run(args, context).await,
            SnapshotsCommand::Restore(args) => restore::run(args, context).await,
        }
    })
}

/// A snapshot whose files stay for as long as this does.
struct Held {
    snapshot: Snapshot,
    record: RunRecord,
    view: View,
    store: workspace::Store,
    #[expect(dead_code, reason = "a lock is held, not read")]
    pin: Pin,
}

/// The snapshot that is meant, held.
///
/// # Errors
/// That there is none, or that its files are gone.
async fn held(session: &Session<'_>, which: &SnapshotRef) -> Result<Held, CommandError> {
    let record = pick::run(session, &which.run).await?;
    let all = snapshots(session.store.as_ref(), &record).await.map_err(CommandError::engine)?;
    let found = all.iter().rev().find(|snapshot| match &which.at {
        At::Start => snapshot.step.is_none(),
        At::Step(step) => snapshot.step.as_ref() == Some(step),
        At::End => true,
    });
    let snapshot = found.cloned().ok_or_else(|| {
        let step = if let At::Step(step) = &which.at { step.clone() } else { String::new() };
        SnapshotsError::NoSnapshot { run: record.id, step }
    })?;
    let store = freed::workspaces(&session.settings, &session.settings.project.root)?;
    match snapshot.hold(&store) {
        Ok((view, pin)) => Ok(Held { snapshot, record, view, store, pin }),
        Err(WorkspaceError::Missing { .. }) => Err(SnapshotsError::Gone { id: snapshot.to_string() }.into()),
        Err(error) => Err(error.into()),
    }
}
