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

use std::collections::{BTreeMap, HashMap, VecDeque};
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
}

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

/// What a look at one run has found.
#[derive(Debug)]
pub enum Looked {
    /// Its files can go; they are counted as gone from here on.
    Goes(Box<Losing>),
    /// They stay.
    Stays(Staying),
}

/// The runs of a project that are to lose their files, one after the other, oldest first. Changes nothing.
pub struct FilesPass<'a> {
    store: Arc<dyn Store>,
    workspaces: &'a workspace::Store,
    selection: &'a FilesSelection,
    needed: BTreeMap<RunId, Vec<Digest>>,
    usage: Usage<'a>,
    going_on: HashMap<String, RunId>,
    queue: VecDeque<RunRecord>,
}

impl<'a> FilesPass<'a> {
    /// Begins one. `storage` is the file of `store`.
    ///
    /// # Errors
    /// Store errors; when stored trees cannot be read.
    pub async fn begin(
        store: Arc<dyn Store>,
        workspaces: &'a workspace::Store,
        project: &Path,
        storage: PathBuf,
        selection: &'a FilesSelection,
    ) -> Result<FilesPass<'a>, EngineError> {
        let mut needed = BTreeMap::new();
        for needs in store.run_trees().await? {
            // A run of an earlier version does not say which; its files go with it.
            if let Ok(trees) = needs.trees.iter().map(|tree| tree.parse()).collect::<Result<Vec<Digest>, _>>()
            {
                needed.insert(needs.run, trees);
            }
        }
        let usage = counted(workspaces, storage, &needed).await?;
        let terminal = RunFilter { statuses: RunStatus::TERMINAL.to_vec(), ..RunFilter::default() };
        let mut ended: Vec<RunRecord> = store.runs(terminal).await?;
        ended.retain(|run| needed.contains_key(&run.id) && project_of(run).is_ok_and(|of| of == project));
        ended.sort_by_key(|run| std::cmp::Reverse(run.finished_at));
        let queue = ended.into_iter().skip(selection.keep).rev().collect();
        let going_on = going_on(store.as_ref()).await?;
        Ok(FilesPass { store, workspaces, selection, needed, usage, going_on, queue })
    }

    /// Goes on behind a run, where an earlier pass stopped; those before it come last.
    pub fn behind(&mut self, run: RunId) {
        if let Some(at) = self.queue.iter().position(|queued| queued.id == run) {
            self.queue.rotate_left(at + 1);
        }
    }

    /// The next run that is to lose its files, as far as its age and the space say.
    pub fn next_wanted(&mut self) -> Option<RunRecord> {
        loop {
            let record = self.queue.pop_front()?;
            if is_wanted_gone(self.selection, &record, self.usage.bytes()) {
                return Some(record);
            }
        }
    }

    /// Whether its files can go. This may take a comparison of all of them.
    ///
    /// # Errors
    /// Store errors; when stored trees cannot be read.
    pub async fn look_at(&mut self, record: RunRecord) -> Result<Looked, EngineError> {
        let run = record.id;
        if let Some(why) = needs_files(self.store.as_ref(), self.workspaces, &record, &self.going_on).await? {
            return Ok(Looked::Stays(Staying { run, why }));
        }
        let trees = self.needed.get(&run).map(Vec::as_slice).unwrap_or_default();
        let bytes = self.usage.remove(trees).map_err(named)?;
        Ok(Looked::Goes(Box::new(Losing { record, bytes })))
    }
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
    let mut pass = FilesPass::begin(store, workspaces, project, storage, selection).await?;
    let mut plan = FilesPlan::default();
    while let Some(record) = pass.next_wanted() {
        match pass.look_at(record).await? {
            Looked::Goes(losing) => plan.remove.push(*losing),
            Looked::Stays(staying) => plan.stay.push(staying),
        }
    }
    plan.left = pass.usage.bytes();
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
