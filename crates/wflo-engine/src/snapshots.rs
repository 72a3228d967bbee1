//! Snapshots: a run's files as they stood when a step had ended.
//!
//! Nothing is stored for one. A step's layer is sealed and named by the commit of its success, so a
//! snapshot is the run's seal with the layers up to that commit, in the order in which steps ended; it
//! is as durable, as shared and as long-lived as they are, and it never changes.
//!
//! **Architecture Invariant:** what a snapshot names is held by a pin before it is read.

use std::fmt;

use jiff::Timestamp;
use wflo_core::id::RunId;
use wflo_core::machine::{RunState, StepStatus};
use wflo_core::ports::store::Store;
use wflo_core::run::RunRecord;
use wflo_sandbox::workspace::{self, Pin, View, WorkspaceError};

use crate::changes::launch_of;
use crate::engine::load;
use crate::error::EngineError;

/// A run's files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The run.
    pub run: RunId,
    /// The step that had ended; none for the files as they were submitted.
    pub step: Option<String>,
    /// When it had.
    pub at: Timestamp,
    /// The layer that it left; none when it changed no files.
    pub layer: Option<String>,
    sealed: String,
    layers: Vec<String>,
}

/// `run_…@step`, and `run_…@0` for the files as they were submitted: no step has such a name.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.run, self.step.as_deref().unwrap_or("0"))
    }
}

impl Snapshot {
    /// The seal that it begins with.
    #[must_use]
    pub fn sealed(&self) -> &str {
        &self.sealed
    }

    /// Opens its files and holds them: a removal of runs that comes meanwhile leaves them.
    ///
    /// # Errors
    /// [`WorkspaceError::Missing`] once they were discarded or removed; [`WorkspaceError::Damaged`].
    pub fn hold(&self, workspaces: &workspace::Store) -> Result<(View, Pin), WorkspaceError> {
        let digest = |id: &String| {
            let unreadable = |_| WorkspaceError::Damaged { what: format!("tree `{id}`") };
            id.parse().map_err(unreadable)
        };
        let layers = self.layers.iter().map(digest).collect::<Result<Vec<_>, _>>()?;
        View::hold(workspaces, &digest(&self.sealed)?, &layers)
    }
}

/// The snapshots of a run, oldest first: as submitted, then one for each step that has succeeded.
///
/// # Errors
/// Store errors; [`EngineError::Unreadable`] for a record of another build.
pub async fn snapshots(store: &dyn Store, record: &RunRecord) -> Result<Vec<Snapshot>, EngineError> {
    let (_, state) = load(store, record).await?;
    of(record, &state)
}

/// The same of a state that is at hand.
///
/// # Errors
/// [`EngineError::Unreadable`] for a record of another build.
pub fn of(record: &RunRecord, state: &RunState) -> Result<Vec<Snapshot>, EngineError> {
    let sealed = launch_of(record)?.sealed;
    let steps = state.definition.steps.iter().zip(&state.steps);
    let mut ended: Vec<_> = steps
        .filter(|(_, step)| step.status == StepStatus::Succeeded)
        .filter_map(|(spec, step)| Some((step.finished_at?, &spec.name, step.layer.clone())))
        .collect();
    // As [`crate::changes::layers`] does: what a snapshot holds is what the next step saw.
    ended.sort_by_key(|(at, ..)| *at);
    let (run, mut layers) = (record.id, Vec::new());
    let first = Snapshot {
        run,
        step: None,
        at: record.created_at,
        layer: None,
        sealed: sealed.clone(),
        layers: Vec::new(),
    };
    let rest = ended.into_iter().map(|(at, step, layer)| {
        layers.extend(layer.clone());
        Snapshot { run, step: Some(step.clone()), at, layer, sealed: sealed.clone(), layers: layers.clone() }
    });
    Ok(std::iter::once(first).chain(rest).collect())
}

/// Restores a snapshot's files, with the places at which a test may kill it.
///
/// # Errors
/// All of [`workspace::RestoreError`].
pub fn restore(
    view: &View,
    workspaces: &workspace::Store,
    target: &std::path::Path,
    options: &workspace::RestoreOptions,
) -> Result<workspace::Restored, workspace::RestoreError> {
    workspace::restore(view, workspaces, target, options, &|place| crate::failpoint::pass(place))
}
