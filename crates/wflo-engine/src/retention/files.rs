//! Runs whose files go while they stay: by number, by age, until the rest fits a quota.
//!
//! Snapshots are names for what a run's commits refer to, and no layer can go without those above it; so
//! a run's files go together. What the run did, said and cost stays. The order:
//!
//! 1. one commit takes back the run's list of trees; crash: it has its files, or they are garbage;
//! 2. trees that no run needs any more go (`trees`); crash: the next pass takes them.
//!
//! **Architecture Invariant:** the files of a run go only after it has ended, while no retry of it goes
//! on, and once nothing of them is left to decide about. Nothing has to be held between the look and the
//! commit: an end and a decision are for good, and a retry or a rollback that begins meanwhile holds what it
//! takes over by itself, first by a pin and then by its own list.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use wflo_core::error::Coded as _;
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{EngineId, RunId};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Fence, Op, RunFilter, Store, StoreError};
use wflo_core::run::{RunRecord, RunStatus};
use wflo_sandbox::workspace::{self, Digest, Usage, WorkspaceError};

use super::trees::needed_by_others;
use super::{Staying, Why, going_on, project_of};
use crate::changes;
use crate::error::EngineError;
use crate::failpoint;

/// Every place at which a test may kill a removal of files, in the order in which one passes them first.
pub const FILES_FAILPOINTS: [&str; 4] =
    ["prune.files.before", "prune.files.after", "prune.trees.asked", "prune.trees.after"];

/// Which runs are to lose their files. One of the limits is enough; with neither, all but those that are
/// kept.
#[derive(Debug, Clone, Default)]
pub struct FilesSelection {
    /// Those that ended before this.
    pub ended_before: Option<Timestamp>,
    /// The oldest, until the files that are left take no more bytes on the disk.
    pub max_bytes: Option<u64>,
    /// Not the newest so many of those that have ended and have files.
    pub keep: usize,
    /// Of so many at most, and no more than [`LOOKED`] are looked at: for who does it beside other work.
    pub most: Option<usize>,
}

/// So many runs that are to lose their files are looked at, where there is a bound.
pub const LOOKED: usize = 2_000;

/// What a removal of files would do.
#[derive(Debug, Default)]
pub struct FilesPlan {
    /// Runs whose files go, oldest first.
    pub remove: Vec<Losing>,
    /// Runs that were selected and keep them.
    pub stay: Vec<Staying>,
    /// Disk space of the files that are left, in bytes: of all data directories that share them.
    pub left: u64,
}

/// A run that loses its files.
#[derive(Debug)]
pub struct Losing {
    /// The run.
    pub record: RunRecord,
    /// Disk space that comes back with them, in bytes, once those before it are gone.
    pub bytes: u64,
}

/// Finds the runs of `project` whose files go. Changes nothing. `storage` is the file of `store`.
///
/// # Errors
/// Store errors; when stored trees cannot be read.
pub async fn plan_files(
    store: Arc<dyn Store>,
    workspaces: &workspace::Store,
    project: &Path,
    storage: PathBuf,
    selection: &FilesSelection,
) -> Result<FilesPlan, EngineError> {
    let mut needed = BTreeMap::new();
    for needs in store.run_trees().await? {
        // A run of an earlier version does not say which; its files go with it.
        if let Ok(trees) = needs.trees.iter().map(|tree| tree.parse()).collect::<Result<Vec<Digest>, _>>() {
            needed.insert(needs.run, trees);
        }
    }
    let mut usage = counted(workspaces, storage, &needed).await?;
    let terminal = RunFilter { statuses: RunStatus::TERMINAL.to_vec(), ..RunFilter::default() };
    let mut ended: Vec<RunRecord> = store.runs(terminal).await?;
    ended.retain(|run| needed.contains_key(&run.id) && project_of(run).is_ok_and(|of| of == project));
    ended.sort_by_key(|run| std::cmp::Reverse(run.finished_at));
    let kept: BTreeSet<RunId> = ended.iter().take(selection.keep).map(|run| run.id).collect();
    let going_on = going_on(store.as_ref()).await?;
    let mut plan = FilesPlan::default();
    for record in ended.into_iter().rev().filter(|run| !kept.contains(&run.id)) {
        if !is_wanted_gone(selection, &record, usage.bytes()) {
            continue;
        }
        if selection
            .most
            .is_some_and(|most| plan.remove.len() >= most || plan.remove.len() + plan.stay.len() >= LOOKED)
        {
            break;
        }
        let run = record.id;
        if let Some(why) = needs_files(store.as_ref(), workspaces, &record, &going_on).await? {
            plan.stay.push(Staying { run, why });
            continue;
        }
        let trees = needed.get(&run).map(Vec::as_slice).unwrap_or_default();
        let bytes = usage.remove(trees).map_err(named)?;
        plan.remove.push(Losing { record, bytes });
    }
    plan.left = usage.bytes();
    Ok(plan)
}

fn is_wanted_gone(selection: &FilesSelection, record: &RunRecord, bytes: u64) -> bool {
    let old = selection.ended_before.map(|before| record.finished_at.is_some_and(|at| at < before));
    let full = selection.max_bytes.map(|most| bytes > most);
    match (old, full) {
        (None, None) => true,
        (old, full) => old.unwrap_or(false) || full.unwrap_or(false),
    }
}

/// What all files of the store take that somebody needs.
async fn counted<'a>(
    workspaces: &'a workspace::Store,
    storage: PathBuf,
    needed: &BTreeMap<RunId, Vec<Digest>>,
) -> Result<Usage<'a>, EngineError> {
    let mut usage = workspaces.usage();
    for trees in needed.values() {
        usage.add(trees).map_err(named)?;
    }
    usage.add(&needed_by_others(workspaces, &storage).await?).map_err(named)?;
    Ok(usage)
}

async fn needs_files(
    store: &dyn Store,
    workspaces: &workspace::Store,
    record: &RunRecord,
    going_on: &HashMap<String, RunId>,
) -> Result<Option<Why>, EngineError> {
    if let Some(other) = going_on.get(&record.budget_key) {
        return Ok(Some(Why::Needed(format!("{other}, which retries it, has not ended"))));
    }
    match changes::unapplied(store, workspaces, record).await {
        Ok(0) => Ok(None),
        Ok(files) => Ok(Some(Why::Unapplied(files))),
        // Somebody else has just removed the run.
        Err(EngineError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(EngineError::Store(e)) => Err(e.into()),
        Err(e) => Ok(Some(Why::Unreadable(e.failure()))),
    }
}

/// Takes back what keeps a run's files; the next collection of trees frees them.
///
/// # Errors
/// Store errors.
pub async fn remove_files(store: &dyn Store, run: RunId) -> Result<(), EngineError> {
    failpoint::pass("prune.files.before");
    match store.commit(Batch { fence: None, ops: vec![Op::DropTrees { run }] }).await {
        // Somebody else removed the run whole.
        Ok(_) | Err(StoreError::NotFound { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    failpoint::pass("prune.files.after");
    Ok(())
}

/// The same, said in the run's events by the same commit; `false` where something else was recorded for the run at
/// that moment: another pass looks at it again.
///
/// # Errors
/// Store errors.
pub async fn remove_files_saying(
    store: &dyn Store,
    clock: &dyn Clock,
    run: RunId,
    message: String,
) -> Result<bool, EngineError> {
    failpoint::pass("prune.files.before");
    let Some(expected) = store.run(run).await?.map(|run| run.lease_epoch) else { return Ok(false) };
    let body = EventBody::Notice { notice: "snapshots.pruned".to_owned(), message };
    let ops = vec![
        Op::Claim { run, expected, engine: EngineId::from_uuid(clock.uuid()) },
        Op::AppendEvents { run, events: vec![Event { at: clock.now(), body }] },
        Op::Release { run },
        Op::DropTrees { run },
    ];
    let removed = match store.commit(Batch { fence: Some(Fence { run, epoch: expected }), ops }).await {
        Ok(_) => true,
        Err(StoreError::NotFound { .. } | StoreError::LeaseLost { .. }) => false,
        Err(e) => return Err(e.into()),
    };
    failpoint::pass("prune.files.after");
    Ok(removed)
}

fn named(error: WorkspaceError) -> EngineError {
    EngineError::Failure(error.to_failure())
}
