//! The workflows that are run here, and the executor that carries out their steps.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wflo_core::canonical::Digest;
use wflo_core::definition::Definition;
use wflo_core::error::Failure;
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::Fence;
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_engine::clock::SystemClock;
use wflo_engine::executor::{Attempt, End, Executor, RunContext};
use wflo_engine::{Engine, Options, Progress};
use wflo_store::{SqliteStore, StoreOptions};

use crate::Outcome;

/// Steps of the workflow that is run most.
pub(crate) const STEPS: u32 = 10;

/// Steps that do nothing, inside this process: what is measured is everything around them.
struct Nothing {
    /// How long a step takes, where runs are to be under way without keeping the engine busy.
    pause: Duration,
}

impl Executor for Nothing {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, End> {
        Box::pin(async move {
            if !self.pause.is_zero() && attempt.step.starts_with("slow") {
                tokio::select! {
                    () = tokio::time::sleep(self.pause) => {}
                    _ = attempt.stopped() => return End::Stopped,
                }
            }
            let output = json!({ "ok": true });
            End::Succeeded { output, state: None, cost: NanoUsd::ZERO, layer: None, ops: Vec::new() }
        })
    }

    fn compensate(
        &self,
        _: Arc<RunContext>,
        _: String,
        _: u32,
        _: Fence,
    ) -> BoxFuture<'_, (Value, Option<Failure>)> {
        Box::pin(async { (Value::Null, None) })
    }
}

/// A line of `count` steps whose names begin with `prefix`.
pub(crate) fn line(prefix: &str, count: u32) -> Outcome<Definition> {
    let steps: Vec<Value> = (0..count)
        .map(|n| {
            let before: Vec<String> =
                n.checked_sub(1).map(|before| format!("{prefix}_{before}")).into_iter().collect();
            json!({ "name": format!("{prefix}_{n}"), "type": "agent", "handler": "code", "depends_on": before })
        })
        .collect();
    parse(&json!({ "name": format!("bench-{prefix}"), "steps": steps }))
}

/// One gate: a run of it waits for a person.
pub(crate) fn gate() -> Outcome<Definition> {
    let gate = json!({ "name": "gate", "type": "approval", "approvers": ["somebody"], "depends_on": [] });
    parse(&json!({ "name": "bench-gate", "steps": [gate] }))
}

fn parse(definition: &Value) -> Outcome<Definition> {
    Definition::parse(definition).map_err(|failures| format!("{failures:?}").into())
}

/// An engine over a store in a folder of its own, without sandboxes.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Bench {
    /// Opens a store at `dir` and starts an engine on it; slow steps take `pause`.
    pub(crate) async fn start(dir: &Path, sync_delay: Duration, pause: Duration) -> Outcome<Bench> {
        let options = StoreOptions { sync_delay, ..StoreOptions::default() };
        let store = Arc::new(SqliteStore::open(dir.join("wflo.db"), options)?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let engine = Engine::start(Options {
            data_dir: dir.to_owned(),
            store: Arc::clone(&store) as _,
            clock: Arc::clone(&clock),
            executor: Arc::new(Nothing { pause }),
            max_steps: 4_096,
            max_runs: 4_096,
            max_queued: 100_000,
        })
        .await?;
        Ok(Bench { engine, store, clock })
    }

    /// Accepts a run; durable when this returns.
    pub(crate) async fn submit(&self, definition: &Definition) -> Outcome<RunId> {
        let run = record(definition, self.clock.as_ref());
        Ok(self.engine.submit(run, definition, Vec::new()).await?)
    }

    /// Accepts a run and drives it to its end.
    pub(crate) async fn complete(&self, definition: &Definition) -> Outcome<()> {
        let run = self.submit(definition).await?;
        match self.engine.settled(run).await? {
            Progress::Ended(RunStatus::Completed) => Ok(()),
            other => Err(format!("{run} did not complete: {other:?}").into()),
        }
    }

    /// Ends the engine.
    pub(crate) async fn stop(self) {
        self.engine.shutdown().await;
    }
}

/// A run as the engine's own submission makes it.
pub(crate) fn record(definition: &Definition, clock: &dyn Clock) -> RunRecord {
    let (id, now) = (RunId::from_uuid(clock.uuid()), clock.now());
    RunRecord {
        id,
        workflow: definition.name.clone(),
        version: Digest::of_bytes(b"version"),
        label: None,
        code: Digest::of_bytes(b"code"),
        inputs: json!({ "text": "a question of the usual length, for somebody to answer" }),
        options: RunOptions::default(),
        status: RunStatus::Pending,
        outputs: None,
        error: None,
        retried_from: None,
        budget_key: wflo_engine::budgets::run_key(id),
        trace_id: clock.uuid().simple().to_string(),
        lease_epoch: 1,
        engine: None,
        created_at: now,
        updated_at: now,
        finished_at: None,
    }
}
