//! Rollback of a run's files: a new run that holds them as they stood before one of its steps.
//!
//! What no record names is never read, so the order is short:
//! 1. the trees of the old run's last snapshot are pinned; crash: nothing has happened;
//! 2. one commit makes the new run with its events and says which trees it needs; crash: the new run;
//! 3. the pins are let go.
//!
//! A removal of the old run that comes before 1 makes the pin fail; after 1 it leaves the trees, and after 2
//! they are the new run's own. No file is written: the new run's seal and layers are the old one's.
//!
//! **Architecture Invariant:** the old run is not changed, and neither is the project: the new run's files
//! reach it by `apply`, as those of any run.

use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::RunId;
use wflo_core::machine::RunState;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Op, Store};
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_sandbox::workspace;

use crate::budgets;
use crate::changes::{fate, launch_of};
use crate::engine::load;
use crate::error::EngineError;
use crate::failpoint;
use crate::launch::Launch;
use crate::snapshots::{self, Snapshot};

/// It has not ended.
const NOT_ENDED: Code = Code(3017);
/// Its files were discarded.
const FILES_DISCARDED: Code = Code(3015);
/// Nothing was written by that step or after it.
const NOTHING: Code = Code(5252);

/// Every place at which a test may kill a rollback.
pub const FAILPOINTS: [&str; 2] = ["rollback.pinned", "rollback.committed"];

/// A rollback that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The new run.
    pub run: RunId,
    /// The steps whose files it takes back, in the order in which they ended.
    pub taken_back: Vec<String>,
}

/// Makes a run that holds the files of `old` as they stood before `step`. What ended after that step goes
/// with it, whether or not it depended on it: its layer was made on top.
///
/// # Errors
/// When the old run has not ended, its files are gone, or no file was written from that step on; store errors.
pub async fn rollback(
    store: &dyn Store,
    clock: &dyn Clock,
    workspaces: &workspace::Store,
    old: &RunRecord,
    step: &str,
) -> Result<RolledBack, EngineError> {
    if !old.status.is_terminal() {
        let message = format!("run {} is {}, so its files are not final", old.id, old.status);
        let hint = format!("wait for its end, or end it with `wflo runs cancel {}`", old.id);
        return Err(failure(NOT_ENDED, message, hint));
    }
    if fate(store, old.id).await?.is_some_and(|fate| fate.is_discarded()) {
        let message = format!("the files that {} left were discarded", old.id);
        return Err(failure(FILES_DISCARDED, message, "start afresh with `wflo run`".to_owned()));
    }
    let (definition, state) = load(store, old).await?;
    let all = snapshots::of(old, &state)?;
    let nothing = |what: &str| {
        let hint = format!("`wflo snapshots list {}` lists the steps that wrote files", old.id);
        failure(NOTHING, format!("nothing to roll back: {what}"), hint)
    };
    let at = all.iter().position(|snapshot| snapshot.step.as_deref() == Some(step));
    let (kept, undone) = match at {
        Some(at) => all.split_at(at),
        None => return Err(nothing(&format!("run {} has no step `{step}` that succeeded", old.id))),
    };
    let taken_back: Vec<String> =
        undone.iter().filter(|one| one.layer.is_some()).filter_map(|one| one.step.clone()).collect();
    if taken_back.is_empty() {
        return Err(nothing(&format!("neither `{step}` nor a step after it wrote files")));
    }
    let mut launch = launch_of(old)?;
    // What was said to the old run is said to this one: a retry of it takes it over.
    launch.said_hosts = launch.said_with(&state.hosts);
    // What an earlier rollback took back was on top of these.
    let layers = undone.iter().filter_map(|one| one.layer.clone());
    launch.undone = layers.chain(std::mem::take(&mut launch.undone)).collect();
    let trees = trees(kept, &launch);
    let held = all.last().map(|last| last.hold(workspaces)).transpose();
    let _held = held.map_err(|e| EngineError::Failure(e.to_failure()))?;
    let ids = launch.undone.iter().chain(&launch.earlier).map(|layer| layer.parse());
    let ids = ids.collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(|e| EngineError::Unreadable(format!("a stored tree has no readable id: {e}")))?;
    let _undone = workspaces.pin(&ids).map_err(|e| EngineError::Failure(e.to_failure()))?;
    failpoint::pass("rollback.pinned");
    let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
    let (run, now) = (RunId::from_uuid(clock.uuid()), clock.now());
    let options = RunOptions {
        apply: false,
        carried: Vec::new(),
        rolls_back: Some(old.id),
        launch: serde_json::to_value(&launch).map_err(unreadable)?,
        ..old.options.clone()
    };
    let record = RunRecord {
        id: run,
        options,
        status: RunStatus::Pending,
        outputs: None,
        error: None,
        retried_from: None,
        budget_key: budgets::run_key(run),
        trace_id: clock.uuid().simple().to_string(),
        lease_epoch: 1,
        engine: None,
        created_at: now,
        updated_at: now,
        finished_at: None,
        ..old.clone()
    };
    let digest = definition.digest().map_err(unreadable)?.to_string();
    let definition = serde_json::to_value(&*definition).map_err(unreadable)?;
    let events = events(old, &state, kept, step, now)?;
    let ended = events.last().map_or(now, |event| event.at);
    let ops = vec![
        Op::PutDefinition { digest: digest.clone(), definition },
        Op::CreateRun { run: Box::new(record), definition: digest },
        Op::KeepTrees { run, trees },
        Op::AppendEvents { run, events },
        Op::SetRun { run, status: RunStatus::RolledBack, outputs: None, error: None, at: ended },
    ];
    store.commit(Batch { fence: None, ops }).await?;
    failpoint::pass("rollback.committed");
    Ok(RolledBack { run, taken_back })
}

/// What the new run needs: also what it takes back, to tell its states from an edit of somebody, and what the layers
/// that it keeps were made on.
fn trees(kept: &[Snapshot], launch: &Launch) -> Vec<String> {
    let layers = kept.iter().filter_map(|one| one.layer.clone());
    let others = launch.undone.iter().chain(&launch.earlier).cloned();
    std::iter::once(launch.sealed.clone()).chain(layers).chain(others).collect()
}

/// The new run's history: what it kept, in the order in which it had ended, and nothing else.
fn events(
    old: &RunRecord,
    state: &RunState,
    kept: &[Snapshot],
    step: &str,
    now: jiff::Timestamp,
) -> Result<Vec<Event>, EngineError> {
    let (workflow, version) = (old.workflow.clone(), old.version.clone());
    let mut bodies = vec![EventBody::RunStarted { workflow, version }];
    for name in kept.iter().filter_map(|one| one.step.as_ref()) {
        let Some(done) = state.step(name) else { continue };
        bodies.push(EventBody::StepSucceeded {
            step: name.clone(),
            generation: 1,
            output: done.output.as_deref().cloned().unwrap_or_default(),
            changes: done.changes.clone(),
            cost_usd: NanoUsd::ZERO,
            layer: done.layer.clone(),
        });
    }
    let is_kept = |name: &String| kept.iter().any(|one| one.step.as_ref() == Some(name));
    let others = state.definition.steps.iter().map(|spec| &spec.name).filter(|name| !is_kept(name));
    bodies.extend(others.map(|step| EventBody::StepCancelled { step: step.clone(), undo: false }));
    bodies.push(EventBody::RunRolledBack { of: old.id, step: step.to_owned() });
    // One moment each: the order of layers is the order in which their steps ended.
    let later = |n: usize| jiff::SignedDuration::from_micros(i64::try_from(n).unwrap_or(i64::MAX));
    let events = bodies.into_iter().enumerate().map(|(n, body)| {
        let at = now.checked_add(later(n)).map_err(|e| EngineError::Unreadable(e.to_string()))?;
        Ok(Event { at, body })
    });
    events.collect()
}

fn failure(code: Code, message: String, hint: String) -> EngineError {
    EngineError::Failure(Failure::new(code, message).with_hint(hint))
}
