//! When a command that does not stay to the end leaves a run.
//!
//! A wait for a person, or a long one, is a rest: whoever decides, or `runs resume`, goes on. A short
//! sleep or the pause before another try is not: a run would stand still in the middle of its work until
//! somebody looked after it.

use jiff::{SignedDuration, Timestamp};
use wflo_core::approval::ApprovalStatus;
use wflo_core::event::{Event, EventBody};
use wflo_core::id::RunId;
use wflo_core::machine::TimerKey;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{ApprovalFilter, Store};
use wflo_core::run::RunStatus;
use wflo_engine::engine::{Engine, load};
use wflo_engine::{EngineError, Progress};
use wflo_store::SqliteStore;

use super::Until;
use crate::failure::CommandError;

/// A timer that is due within this is waited for.
const SOON: SignedDuration = SignedDuration::from_mins(15);

/// Waits until a run is over, or is left to others.
///
/// # Errors
/// Store errors.
pub(super) async fn over(
    engine: Engine,
    store: &SqliteStore,
    clock: &dyn Clock,
    run: RunId,
    until: Until,
) -> Result<Progress, CommandError> {
    if until == Until::Ended {
        return tokio::select! {
            ended = engine.ended(run) => ended.map_err(CommandError::engine),
            held = held(&engine, store, run) => held,
        };
    }
    loop {
        // Before the question, so that what happens after it is heard.
        let mut live = store.subscribe();
        let progress = engine.settled(run).await.map_err(CommandError::engine)?;
        if progress != Progress::Parked(RunStatus::Waiting) || !goes_on_soon(store, run, clock.now()).await? {
            return Ok(progress);
        }
        loop {
            use tokio::sync::broadcast::error::RecvError;
            match live.recv().await {
                Ok(event) if event.run_id != run => {}
                Ok(_) | Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Err(CommandError::engine(EngineError::ShuttingDown)),
            }
        }
    }
}

/// Resolves once a run is paused for something that this process lacks: whoever resumes it does that in
/// another one.
async fn held(engine: &Engine, store: &SqliteStore, run: RunId) -> Result<Progress, CommandError> {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        // Before the question, so that what happens after it is heard.
        let mut live = store.subscribe();
        let progress = engine.settled(run).await.map_err(CommandError::engine)?;
        if progress == Progress::Parked(RunStatus::Paused) && lacks(store, run).await? {
            return Ok(progress);
        }
        loop {
            match live.recv().await {
                Ok(event) if event.run_id == run && event.event.as_ref().is_none_or(is_pause) => {
                    break;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Err(CommandError::engine(EngineError::ShuttingDown)),
            }
        }
    }
}

fn is_pause(event: &Event) -> bool {
    matches!(event.body, EventBody::RunPaused { .. })
}

/// Whether a paused run waits for something to be put right.
async fn lacks(store: &SqliteStore, run: RunId) -> Result<bool, CommandError> {
    let record = store.run(run).await?.ok_or_else(|| CommandError::engine(EngineError::NoRun(run)))?;
    let (_, state) = load(store, &record).await.map_err(CommandError::engine)?;
    Ok(state.paused_for.is_some())
}

/// Whether a timer alone, and soon, lets the run go on.
async fn goes_on_soon(store: &SqliteStore, run: RunId, now: Timestamp) -> Result<bool, CommandError> {
    let statuses = vec![ApprovalStatus::Pending];
    let asked = store.approvals(ApprovalFilter { statuses, run: Some(run), limit: 1 }).await?;
    if !asked.is_empty() {
        return Ok(false);
    }
    let timers = store.timers(None, Some(run)).await?;
    Ok(timers.iter().any(|timer| {
        // The run's time-out ends it; it is not what lets it go on.
        let goes_on = matches!(timer.key.parse(), Ok(TimerKey::Backoff { .. } | TimerKey::Sleep { .. }));
        goes_on && timer.due.duration_since(now) <= SOON
    }))
}
