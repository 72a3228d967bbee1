//! What a run changed in its project's files, and what became of those changes.
//!
//! Owns the order of a run's layers, the view that they make, and the record of their end. It writes
//! no file of the project: [`wflo_sandbox::workspace::apply()`] does.
//!
//! Who applies and who discards may be two processes. Each decides alone
//! ([`wflo_sandbox::workspace::deciding()`]), so that no file is written behind a discard and no discard
//! overtakes the record of files that are written already:
//!
//! *Applying.* 1. the project's decisions are locked; 2. the fate is read: of discarded changes nothing is
//! written; 3. the files are written (their own journal: `workspace::apply`); 4. one commit says which. 5. unlocked.
//!
//! | a crash after | leaves |
//! |---|---|
//! | 1, 2 | nothing: the lock ends with its process |
//! | 3, in part | that journal: no discard of this run until it is finished or undone |
//! | 3 | files that no record has; the next apply finds them there and records them |
//! | 4 | all of it |
//!
//! *Discarding.* 1. locked; 2. an apply of this run that was cut short refuses it; 3. one commit, fenced by what
//! was read, drops the list of trees and says so; 4. unlocked. A crash before 3 leaves nothing, after it all of it.
//!
//! **Architecture Invariant:** what `diff` and `apply` see of a run is what its next step would see.

use std::collections::BTreeSet;

use wflo_core::error::Coded as _;
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{EngineId, RunId};
use wflo_core::machine::RunState;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Fence, Op, Store, StoreError};
use wflo_core::run::RunRecord;
use wflo_sandbox::workspace::{self, Change, Hidden, HideRules, RelPath, View, WorkspaceError};

use crate::engine::load;
use crate::error::EngineError;
use crate::failpoint;
use crate::launch::Launch;

mod places;

pub use places::Places;

/// So many events are read at once.
const PAGE: u32 = 1_000;

/// What became of a run's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// They were written to the project.
    Applied(Written),
    /// They were thrown away: all that had not been written.
    Discarded(Written),
}

/// Files of a run that were written to the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// How many, over all times.
    pub files: u64,
    /// Which are there by that, or were met as hidden: these can never be.
    pub places: Places,
    /// How many more are there of which the records of earlier versions do not say which.
    pub unnamed: u64,
}

impl Fate {
    /// Whether nothing more can become of the changes.
    #[must_use]
    pub fn is_discarded(&self) -> bool {
        matches!(self, Fate::Discarded(_))
    }

    /// What was written to the project.
    #[must_use]
    pub fn written(&self) -> &Written {
        match self {
            Fate::Applied(written) | Fate::Discarded(written) => written,
        }
    }

    /// How many files were written to the project, over all times.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.written().files
    }

    /// Nothing takes a discard back: what is written after it was being written when it came.
    fn and_then(before: Option<Fate>, files: u64, discarded: bool, which: Option<Vec<(u64, u64)>>) -> Fate {
        let was = before.as_ref().is_some_and(Fate::is_discarded);
        let mut written = before.map(|fate| fate.written().clone()).unwrap_or_default();
        if !discarded {
            written.files += files;
            match which {
                Some(which) => written.places.add(which),
                None => written.unnamed += files,
            }
        }
        if was || discarded { Fate::Discarded(written) } else { Fate::Applied(written) }
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
    let earlier = launch.earlier.as_ref().map(|layer| layer.parse()).transpose().map_err(|e| bad_id(&e))?;
    let opened = View::open(workspaces, &sealed, &layers)
        .and_then(|view| view.begun_on(workspaces, earlier.as_ref()))
        .and_then(|view| view.taking_back(workspaces, &undone));
    Ok(opened)
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
            let EventBody::WorkspaceApplied { files, discarded, which } = recorded.event.body else {
                continue;
            };
            fate = Some(Fate::and_then(fate, files, discarded, which));
        }
    }
}

/// How many files of a run that has ended are neither in the project by an apply nor thrown away. What is hidden can
/// never be applied, so nobody has to decide about it: what was hidden from the run by its name is not counted, and
/// what an apply met as hidden stands in that apply's record.
///
/// # Errors
/// Store errors; that a tree is damaged. Nothing is left to apply of one that is not there any more.
pub async fn unapplied(
    store: &dyn Store,
    workspaces: &workspace::Store,
    record: &RunRecord,
) -> Result<u64, EngineError> {
    let written = match fate(store, record.id).await? {
        Some(Fate::Discarded(_)) => return Ok(0),
        Some(Fate::Applied(written)) => written,
        None => Written::default(),
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
    // Of a project that has gone no name is hidden; nothing is applied to it, either.
    let launch = launch_of(record)?;
    let rules = HideRules::default().with_globs(launch.hide);
    let hidden = Hidden::new(&launch.project, &rules).ok();
    let decided: BTreeSet<&RelPath> = written.places.among(&changes).collect();
    let is_open = |change: &Change| {
        let is_hidden = hidden.as_ref().is_some_and(|hidden| hidden.bars(&change.path).is_some());
        !is_hidden && !decided.contains(&change.path)
    };
    let left = places::files(&changes).filter(|(_, change)| is_open(change)).count() as u64;
    Ok(left.saturating_sub(written.unnamed))
}

/// How many of the changes are files or links: folders are not counted.
pub fn files_in(changes: &[Change]) -> u64 {
    u64::try_from(places::files(changes).count()).unwrap_or(u64::MAX)
}

/// A test may kill an apply here: the files are written, and no record has them.
pub fn passed_written() {
    failpoint::pass("apply.written");
}

/// Records that so many files of a run that has ended were written to the project, and which are there now or can
/// never be.
/// Where the changes were discarded meanwhile this is recorded all the same: the files are there.
///
/// # Errors
/// Store errors; [`EngineError::Failure`] when the run has not ended.
pub async fn record_applied(
    store: &dyn Store,
    clock: &dyn Clock,
    record: &RunRecord,
    files: u64,
    which: Option<Places>,
) -> Result<(), EngineError> {
    let said = Said::Applied(which);
    while record_on(store, clock, record, files, &said).await? == Recording::Overtaken {}
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
    let said = Said::Discarded(seen);
    loop {
        match record_on(store, clock, record, files, &said).await? {
            Recording::Done => return Ok(Ok(())),
            Recording::Overtaken => {}
            Recording::Other(now) => return Ok(Err(now)),
        }
    }
}

/// What is to be recorded.
enum Said {
    /// These are in the project.
    Applied(Option<Places>),
    /// Nobody wants them; on top of the fate that was seen.
    Discarded(Option<Fate>),
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

/// Claim, append and release in one commit.
async fn record_on(
    store: &dyn Store,
    clock: &dyn Clock,
    record: &RunRecord,
    files: u64,
    said: &Said,
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
    let which = match said {
        Said::Applied(which) => which.clone().map(Places::into_ranges),
        Said::Discarded(seen) => {
            let now = fate(store, run).await?;
            if now != *seen {
                return Ok(Recording::Other(now));
            }
            None
        }
    };
    let discarded = matches!(said, Said::Discarded(_));
    let body = EventBody::WorkspaceApplied { files, discarded, which };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discard_is_for_good_and_what_was_written_beside_it_is_said() {
        let one = Fate::and_then(None, 2, false, Some(vec![(0, 2)]));
        assert!(!one.is_discarded());
        let both = Fate::and_then(Some(one), 3, true, None);
        let late = Fate::and_then(Some(both), 1, false, Some(vec![(4, 5)]));
        let places = Places::from_iter([0, 1, 4]);
        assert_eq!(late, Fate::Discarded(Written { files: 3, places, unnamed: 0 }));
    }

    #[test]
    fn a_record_of_an_earlier_version_says_how_many_and_not_which() {
        let fate = Fate::and_then(None, 2, false, None);
        assert_eq!(fate, Fate::Applied(Written { files: 2, places: Places::default(), unnamed: 2 }));
    }
}
