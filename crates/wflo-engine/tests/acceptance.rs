//! Accepting a run: durable when it returns, whole or not at all, and one flush when it can begin.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows #[test] functions only"
)]

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::canonical::Digest;
use wflo_core::definition::Definition;
use wflo_core::error::Failure;
use wflo_core::event::EventBody;
use wflo_core::id::{HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{Fence, Op, RunFilter, Store as _};
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_engine::clock::SystemClock;
use wflo_engine::executor::{Attempt, End, Executor, RunContext};
use wflo_engine::{Engine, EngineError, Options, Progress};
use wflo_store::{SqliteStore, StoreOptions};

/// Steps wait until they are let go.
struct Held(tokio::sync::Semaphore);

impl Executor for Held {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, End> {
        Box::pin(async move {
            tokio::select! {
                permit = self.0.acquire() => permit.unwrap().forget(),
                _ = attempt.stopped() => return End::Stopped,
            }
            let output = json!(attempt.step);
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

struct Host {
    engine: Engine,
    store: Arc<SqliteStore>,
    steps: Arc<Held>,
    definition: Definition,
}

impl Host {
    async fn new(dir: &Path, max_runs: usize) -> Host {
        let store = Arc::new(SqliteStore::open(dir.join("wflo.db"), StoreOptions::default()).unwrap());
        let steps = Arc::new(Held(tokio::sync::Semaphore::new(0)));
        let engine = Engine::start(Options {
            data_dir: dir.to_owned(),
            store: Arc::clone(&store) as _,
            clock: Arc::new(SystemClock::default()),
            executor: Arc::clone(&steps) as _,
            max_steps: 8,
            max_runs,
            max_queued: 8,
        })
        .await
        .unwrap();
        let step = |name: &str, on: &[&str]| json!({"name": name, "type": "agent", "handler": "code", "depends_on": on});
        let definition = json!({"name": "two", "steps": [step("one", &[]), step("two", &["one"])]});
        Host { engine, store, steps, definition: Definition::parse(&definition).unwrap() }
    }

    fn record(&self) -> RunRecord {
        let clock = SystemClock::default();
        let (id, now) = (RunId::from_uuid(clock.uuid()), clock.now());
        RunRecord {
            id,
            workflow: "two".to_owned(),
            version: Digest::of_bytes(b"version"),
            label: None,
            code: Digest::of_bytes(b"code"),
            inputs: json!({}),
            options: RunOptions::default(),
            status: RunStatus::Pending,
            outputs: None,
            error: None,
            retried_from: None,
            budget_key: id.to_string(),
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            lease_epoch: 1,
            engine: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
        }
    }

    async fn submit(&self, with: Vec<Op>) -> Result<RunId, EngineError> {
        self.engine.submit(self.record(), &self.definition, with).await
    }

    fn commits(&self) -> u64 {
        *self.store.commits().borrow()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_can_begin_is_accepted_and_begun_in_one_flush() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), 1).await;
    let before = host.commits();
    let run = host.submit(Vec::new()).await.unwrap();
    assert_eq!(host.commits() - before, 1);
    assert_eq!(host.store.run(run).await.unwrap().unwrap().status, RunStatus::Running);
    let events = host.store.events(run, 0, 0).await.unwrap();
    assert!(matches!(events[0].event.body, EventBody::RunStarted { .. }));
    assert!(matches!(&events[1].event.body, EventBody::StepStarted { step, .. } if step == "one"));
    host.steps.0.add_permits(2);
    assert_eq!(host.engine.ended(run).await.unwrap(), Progress::Ended(RunStatus::Completed));
    // The second step computes during the flush of the first one's end, and their ends may share one.
    let flushes = host.commits() - before;
    assert!((2..=3).contains(&flushes), "each step is one flush more, or less: {flushes}");
    host.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_without_a_place_is_durable_before_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), 1).await;
    let first = host.submit(Vec::new()).await.unwrap();
    let second = host.submit(Vec::new()).await.unwrap();
    assert_eq!(host.store.run(second).await.unwrap().unwrap().status, RunStatus::Pending);
    assert!(host.store.events(second, 0, 0).await.unwrap().is_empty());
    host.steps.0.add_permits(4);
    for run in [first, second] {
        assert_eq!(host.engine.ended(run).await.unwrap(), Progress::Ended(RunStatus::Completed));
    }
    host.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_the_store_refuses_was_never_there() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(dir.path(), 1).await;
    let unknown = HoldId::from_uuid(SystemClock::default().uuid());
    let at = SystemClock::default().now();
    let refused =
        host.submit(vec![Op::Settle { id: unknown, actual: NanoUsd::ZERO.into(), at }]).await.unwrap_err();
    assert!(matches!(refused, EngineError::Store(_)), "{refused:?}");
    assert!(host.store.runs(RunFilter::default()).await.unwrap().is_empty());
    // Its place is free again.
    let run = host.submit(Vec::new()).await.unwrap();
    host.steps.0.add_permits(2);
    assert_eq!(host.engine.ended(run).await.unwrap(), Progress::Ended(RunStatus::Completed));
    host.engine.shutdown().await;
}
