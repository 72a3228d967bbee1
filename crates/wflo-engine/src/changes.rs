//! What a run changed in its project's files, and what became of those changes.
//!
//! Owns the order of a run's layers, the view that they make, and the record of their end. It writes
//! no file of the project: [`wflo_sandbox::workspace::apply()`] does.
//!
//! **Architecture Invariant:** what `diff` and `apply` see of a run is what its next step would see.

use wflo_core::error::Coded as _;
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{EngineId, RunId};
use wflo_core::machine::RunState;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Fence, Op, Store, StoreError};
use wflo_core::run::RunRecord;
use wflo_sandbox::workspace::{self, Change, View, WorkspaceError};

use crate::engine::load;
use crate::error::EngineError;
use crate::launch::Launch;

/// So many events are read at once.
const PAGE: u32 = 1_000;

/// What became of a run's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They were written to the project: so many files, over all times.
    Applied {
        /// How many.
        files: u64,
    },
    /// They were thrown away: all that had not been written before.
    Discarded {
        /// How many files had been written.
        applied: u64,
    },
}

impl Fate {
    /// Whether nothing more can become of the changes.
    #[must_use]
    pub fn is_discarded(self) -> bool {
        matches!(self, Fate::Discarded { .. })
    }

    /// How many files were written to the project, over all times.
    #[must_use]
    pub fn applied(self) -> u64 {
        match self {
            Fate::Applied { files } | Fate::Discarded { applied: files } => files,
        }
    }
}

/// The layers that a run's steps left, in the order in which they ended: step and layer.
///
/// Steps that ended at the same moment (those that a retry took over) are in the definition's order.
pub fn layers(state: &RunState) -> Vec<(&str, &str)> {
    let steps = state.definition.steps.iter().zip(&state.steps);
    let mut done: Vec<_> = steps
        .filter_map(|(spec, step)| Some((step.finished_at?, spec.name.as_str(), step.layer.as_deref()?)))
        .collect();
    done.sort_by_key(|(at, ..)| *at);
    done.into_iter().map(|(_, step, layer)| (step, layer)).collect()
}

/// How the run's steps are launched.
///
/// # Errors
/// [`EngineError::Unreadable`] for a record of another build.
pub fn launch_of(record: &RunRecord) -> Result<Launch, EngineError> {
    serde_json::from_value(record.options.launch.clone()).map_err(|e| EngineError::Unreadable(e.to_string()))
}

/// A run's files: its layers, in the order in which their steps ended, over the sealed project.
///
/// # Errors
/// Store errors; that a tree was pruned or is damaged.
pub async fn workspace_view(
    store: &dyn Store,
    workspaces: &workspace::Store,
    record: &RunRecord,
) -> Result<View, EngineError> {
    let (_, state) = load(store, record).await?;
    view(workspaces, record, &state)?.map_err(|e| EngineError::Failure(e.to_failure()))
}

fn view(
    workspaces: &workspace::Store,
    record: &RunRecord,
    state: &RunState,
) -> Result<Result<View, WorkspaceError>, EngineError> {
    let launch = launch_of(record)?;
    let bad_id =
        |e: &dyn std::fmt::Display| EngineError::Unreadable(format!("a stored tree has no readable id: {e}"));
    let sealed = launch.sealed.parse().map_err(|e| bad_id(&e))?;
    let layers = layers(state)
        .into_iter()
        .map(|(_, layer)| layer.parse())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad_id(&e))?;
    let undone = launch.undone.iter().map(|layer| layer.parse()).collect::<Result<Vec<_>, _>>();
    let undone = undone.map_err(|e| bad_id(&e))?;
    Ok(View::open(workspaces, &sealed, &layers).and_then(|view| view.taking_back(workspaces, &undone)))
}

/// What became of a run's changes; `None` while nobody has decided.
///
/// # Errors
/// Store errors.
pub async fn fate(store: &dyn Store, run: RunId) -> Result<Option<Fate>, EngineError> {
    let (mut fate, mut seen) = (None, 0);
    loop {
        let page = store.events(run, seen, PAGE).await?;
        let Some(last) = page.last() else { return Ok(fate) };
        seen = last.seq;
        for recorded in page {
            let EventBody::WorkspaceApplied { files, discarded } = recorded.event.body else { continue };
            let before = fate.map_or(0, Fate::applied);
            fate = Some(match discarded {
                true => Fate::Discarded { applied: before },
                false => Fate::Applied { files: before + files },
            });
        }
    }
}

/// How many files of a run that has ended are neither in the project by an apply nor thrown away.
///
/// # Errors
/// Store errors; that a tree is damaged. Nothing is left to apply of one that is not there any more.
pub async fn unapplied(
    store: &dyn Store,
    workspaces: &workspace::Store,
    record: &RunRecord,
) -> Result<u64, EngineError> {
    let applied = match fate(store, record.id).await? {
        Some(Fate::Discarded { .. }) => return Ok(0),
        Some(Fate::Applied { files }) => files,
        None => 0,
    };
    let (_, state) = load(store, record).await?;
    if layers(&state).is_empty() && record.options.rolls_back.is_none() {
        return Ok(0);
    }
    let named = |e: WorkspaceError| EngineError::Failure(e.to_failure());
    let changes = match view(workspaces, record, &state)? {
        Ok(view) => workspace::diff(&view, workspaces).map_err(named)?,
        Err(WorkspaceError::Missing { .. }) => return Ok(0),
        Err(e) => return Err(named(e)),
    };
    Ok(files_in(&changes).saturating_sub(applied))
}

/// How many of the changes are files or links: folders are not counted.
pub fn files_in(changes: &[Change]) -> u64 {
    let is_folder = |change: &&Change| {
        let folder = |entry: &Option<workspace::Entry>| entry.as_ref().is_none_or(workspace::Entry::is_dir);
        folder(&change.before) && folder(&change.after)
    };
    let folders = changes.iter().filter(is_folder).count();
    u64::try_from(changes.len() - folders).unwrap_or(u64::MAX)
}

/// Records that so many files of a run that has ended were written to the project. Where the changes
/// were discarded meanwhile this is recorded all the same: the files are there.
///
/// # Errors
/// Store errors; [`EngineError::Failure`] when the run has not ended.
pub async fn record_applied(
    store: &dyn Store,
    clock: &dyn Clock,
    record: &RunRecord,
    files: u64,
) -> Result<(), EngineError> {
    while record_on(store, clock, record, files, None).await? == Recording::Overtaken {}
    Ok(())
}

/// Records that the changes of a run that has ended are not wanted, if their fate is still what its
/// caller has seen; else gives what it is now, and records nothing.
///
/// # Errors
/// As for [`record_applied`].
pub async fn record_discarded(
    store: &dyn Store,
    clock: &dyn Clock,
    record: &RunRecord,
    files: u64,
    seen: Option<Fate>,
) -> Result<Result<(), Option<Fate>>, EngineError> {
    loop {
        match record_on(store, clock, record, files, Some(seen)).await? {
            Recording::Done => return Ok(Ok(())),
            Recording::Overtaken => {}
            Recording::Other(now) => return Ok(Err(now)),
        }
    }
}

/// What became of an attempt to record a fate.
#[derive(PartialEq, Eq)]
enum Recording {
    Done,
    /// Somebody else recorded something in between.
    Overtaken,
    /// The fate is not the one that was seen.
    Other(Option<Fate>),
}

/// Claim, append and release in one commit: that the changes were applied, or, on top of the fate that was
/// `seen`, that they are not wanted.
async fn record_on(
    store: &dyn Store,
    clock: &dyn Clock,
    record: &RunRecord,
    files: u64,
    seen: Option<Option<Fate>>,
) -> Result<Recording, EngineError> {
    let run = record.id;
    if !record.status.is_terminal() {
        return Err(EngineError::Failure(wflo_core::error::Failure::new(
            wflo_core::error::Code(3017),
            format!("run {run} is {}, so its files are not final", record.status),
        )));
    }
    // The lease first: whatever is recorded after the fate was read moves it.
    let expected = store.run(run).await?.ok_or(EngineError::NoRun(run))?.lease_epoch;
    if let Some(seen) = seen {
        let now = fate(store, run).await?;
        if now != seen {
            return Ok(Recording::Other(now));
        }
    }
    let discarded = seen.is_some();
    let body = EventBody::WorkspaceApplied { files, discarded };
    let mut ops = vec![
        Op::Claim { run, expected, engine: EngineId::from_uuid(clock.uuid()) },
        Op::AppendEvents { run, events: vec![Event { at: clock.now(), body }] },
        Op::Release { run },
    ];
    if discarded {
        ops.push(Op::DropTrees { run });
    }
    match store.commit(Batch { fence: Some(Fence { run, epoch: expected }), ops }).await {
        Ok(_) => Ok(Recording::Done),
        Err(StoreError::LeaseLost { .. }) => Ok(Recording::Overtaken),
        Err(error) => Err(error.into()),
    }
}
