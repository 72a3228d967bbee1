//! Retention: which runs go, that they go whole, and that what only they held is given back.
//!
//! Nothing is removed unless somebody asks, or has set what is to go (`[snapshots]`). Removing is a sequence, and a crash between two lines leaves
//! what the next pass takes up:
//! 1. a run's rows go in one commit, which also keeps what it spent and in which databases it may have
//!    left records; crash: as before, or the run is gone and its files are garbage;
//! 2. its records go from those databases, and then the note that they are to go; crash: they go again;
//! 3. what no row points to any more goes: blobs, pages; crash: the rest goes with the next pass;
//! 4. trees of workspaces that no run needs go; crash: as 3.
//!
//! **Architecture Invariant:** a run goes only after it has ended and only while no retry of it goes on;
//! files that nobody decided about are not thrown away unless that was asked for.

mod files;
mod images;
mod records;
mod trees;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use wflo_core::cost;
use wflo_core::effect::{EffectKind, EffectRecord};
use wflo_core::error::{Coded as _, Failure};
use wflo_core::id::RunId;
use wflo_core::ports::store::{Batch, Op, RunFilter, Store, StoreError};
use wflo_core::run::{RunRecord, RunStatus};
use wflo_sandbox::workspace;

pub use files::{
    FILES_FAILPOINTS, FilesPass, FilesPlan, FilesSelection, Looked, Losing, plan_files, remove_files,
    remove_files_saying,
};
pub use images::remove_images;
pub use records::{Forgotten, Waiting, forget_records};
pub use trees::{Trees, collect_trees};

use crate::changes;
use crate::error::EngineError;
use crate::failpoint;

/// Every place at which a test may kill a removal, in the order in which one passes them first.
pub const FAILPOINTS: [&str; 7] = [
    "prune.run.before",
    "prune.run.after",
    "prune.records.forgotten",
    "prune.records.after",
    "prune.store.after",
    "prune.trees.asked",
    "prune.trees.after",
];

/// Which runs are to go.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only those that ended before this.
    pub ended_before: Option<Timestamp>,
    /// Not the newest so many of those that have ended.
    pub keep: usize,
    /// Also those with files that were neither applied nor discarded.
    pub discard_changes: bool,
}

/// What a removal would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Runs that go, oldest first.
    pub remove: Vec<Going>,
    /// Runs that were selected and stay.
    pub stay: Vec<Staying>,
}

/// A run that goes.
#[derive(Debug)]
pub struct Going {
    /// The run.
    pub record: RunRecord,
    /// How many files go with it that nobody decided about.
    pub unapplied: u64,
}

/// A run that was selected and stays.
#[derive(Debug)]
pub struct Staying {
    /// The run.
    pub run: RunId,
    /// Why.
    pub why: Why,
}

/// Why a run, or its files, stay.
#[derive(Debug)]
pub enum Why {
    /// It changed files that were neither applied nor discarded: so many.
    Unapplied(u64),
    /// Something needs it.
    Needed(String),
    /// Its files cannot be read, so nobody knows whether some are wanted.
    Unreadable(Failure),
}

/// Finds the runs that go. Changes nothing.
///
/// `workspaces` opens the store of a project's trees.
///
/// # Errors
/// Store errors.
pub async fn plan(
    store: &dyn Store,
    selection: &Selection,
    workspaces: impl Fn(&Path) -> Result<workspace::Store, workspace::WorkspaceError>,
) -> Result<Plan, EngineError> {
    let terminal = RunFilter { statuses: RunStatus::TERMINAL.to_vec(), ..RunFilter::default() };
    let kept: BTreeSet<RunId> = match u32::try_from(selection.keep).unwrap_or(u32::MAX) {
        0 => BTreeSet::new(),
        limit => {
            let newest = RunFilter { limit, ..terminal.clone() };
            store.runs(newest).await?.into_iter().map(|run| run.id).collect()
        }
    };
    let going_on = going_on(store).await?;
    let selected = RunFilter { finished_before: selection.ended_before, ..terminal };
    let mut plan = Plan::default();
    for record in store.runs(selected).await?.into_iter().rev().filter(|run| !kept.contains(&run.id)) {
        let run = record.id;
        if let Some(other) = going_on.get(&record.budget_key) {
            let why = Why::Needed(format!("{other}, which retries it, has not ended"));
            plan.stay.push(Staying { run, why });
            continue;
        }
        match unapplied(store, &record, &workspaces).await {
            Ok(files) if files > 0 && !selection.discard_changes => {
                plan.stay.push(Staying { run, why: Why::Unapplied(files) });
            }
            Ok(unapplied) => plan.remove.push(Going { record, unapplied }),
            // Somebody else has just removed it.
            Err(EngineError::Store(StoreError::NotFound { .. })) => {}
            Err(EngineError::Store(e)) => return Err(e.into()),
            Err(_) if selection.discard_changes => plan.remove.push(Going { record, unapplied: 0 }),
            Err(e) => plan.stay.push(Staying { run, why: Why::Unreadable(e.failure()) }),
        }
    }
    Ok(plan)
}

/// Runs that have not ended, by the budget that they share with what they retry.
async fn going_on(store: &dyn Store) -> Result<HashMap<String, RunId>, EngineError> {
    let open = RunFilter { statuses: RunStatus::OPEN.to_vec(), ..RunFilter::default() };
    Ok(store.runs(open).await?.into_iter().map(|run| (run.budget_key, run.id)).collect())
}

async fn unapplied(
    store: &dyn Store,
    record: &RunRecord,
    workspaces: impl Fn(&Path) -> Result<workspace::Store, workspace::WorkspaceError>,
) -> Result<u64, EngineError> {
    let Ok(project) = project_of(record) else { return Ok(0) };
    let workspaces = workspaces(&project).map_err(|e| EngineError::Failure(e.to_failure()))?;
    changes::unapplied(store, &workspaces, record).await
}

/// The project that a run's trees belong to.
///
/// # Errors
/// [`EngineError::Unreadable`] for a record of another build.
pub fn project_of(record: &RunRecord) -> Result<PathBuf, EngineError> {
    changes::launch_of(record).map(|launch| launch.project)
}

/// Removes a run; `Err` says why it stays.
///
/// # Errors
/// Store errors.
pub async fn remove(store: &dyn Store, record: &RunRecord) -> Result<Result<(), String>, EngineError> {
    failpoint::pass("prune.run.before");
    let effects = store.run_effects(record.id).await?;
    let op = Op::RemoveRun {
        run: record.id,
        epoch: record.lease_epoch,
        spent: cost::of_run(record, &effects),
        databases: databases(&effects),
    };
    match store.commit(Batch { fence: None, ops: vec![op] }).await {
        Ok(_) => {
            failpoint::pass("prune.run.after");
            Ok(Ok(()))
        }
        Err(StoreError::StillNeeded { why, .. }) => Ok(Err(why)),
        Err(StoreError::LeaseLost { .. }) => Ok(Err("something was recorded for it meanwhile".to_owned())),
        // Somebody else removed it.
        Err(StoreError::NotFound { .. }) => Ok(Ok(())),
        Err(e) => Err(e.into()),
    }
}

/// A test may kill the removal here: the store has given back what nothing points to.
pub fn passed_store() {
    failpoint::pass("prune.store.after");
}

/// Databases that a run spoke to.
fn databases(effects: &[EffectRecord]) -> Vec<String> {
    let named = effects
        .iter()
        .filter(|effect| effect.kind == EffectKind::Db)
        .filter_map(|effect| effect.attributes["database"].as_str().map(str::to_owned));
    named.collect::<BTreeSet<_>>().into_iter().collect()
}
