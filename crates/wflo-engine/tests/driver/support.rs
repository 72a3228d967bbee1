//! An engine on a runtime of its own, steps that do what a script says, and a store that fails on order.

mod acts;
mod faulty;
mod script;

pub(crate) use acts::{PRICE, asks, budget_of, pays};
pub(crate) use faulty::{Fail, Faulty};
pub(crate) use script::{Script, failed, succeeded, until_stopped};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wflo_core::approval::{Approval, ApprovalStatus, Decision};
use wflo_core::canonical::Digest;
use wflo_core::definition::Definition;
use wflo_core::event::{EventBody, Recorded};
use wflo_core::id::{ApprovalId, RunId};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{ApprovalFilter, Store};
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_engine::clock::SystemClock;
use wflo_engine::inbox::Message;
use wflo_engine::{Engine, Options, Progress};
use wflo_store::{SqliteStore, StoreOptions};

use self::script::Playing;

pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn successes(events: &[Recorded]) -> Vec<String> {
    let done = events.iter().filter_map(|e| match &e.event.body {
        EventBody::StepSucceeded { step, .. } => Some(step.clone()),
        _ => None,
    });
    done.collect()
}

/// A process that drives, as far as the data directory can tell.
pub(crate) struct Host {
    runtime: tokio::runtime::Runtime,
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Host {
    pub(crate) fn start(dir: &Path, script: &Arc<Script>) -> Host {
        Host::over(dir, script, open(dir), 8)
    }

    pub(crate) fn over(dir: &Path, script: &Arc<Script>, store: Arc<dyn Store>, max_steps: usize) -> Host {
        Host::with_clock(dir, script, store, max_steps, Arc::new(SystemClock::default()))
    }

    pub(crate) fn with_clock(
        dir: &Path,
        script: &Arc<Script>,
        store: Arc<dyn Store>,
        max_steps: usize,
        clock: Arc<dyn Clock>,
    ) -> Host {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let playing = Playing { script: Arc::clone(script), store: Arc::clone(&store) };
        let options = Options {
            data_dir: dir.to_owned(),
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            executor: Arc::new(playing),
            max_steps,
            max_runs: 4,
            max_queued: 100,
        };
        let engine = runtime.block_on(Engine::start(options)).unwrap();
        Host { runtime, engine, store, clock }
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("in time") })
    }

    /// Everything of it is gone between two instructions; nobody is told.
    pub(crate) fn kill(self) {
        let Host { runtime, engine, .. } = self;
        drop(engine);
        runtime.shutdown_timeout(PATIENCE);
    }

    pub(crate) fn submit(&self, definition: &Value) -> RunId {
        self.block_on(self.try_submit(definition)).unwrap()
    }

    pub(crate) async fn try_submit(&self, definition: &Value) -> Result<RunId, wflo_engine::EngineError> {
        let definition = Definition::parse(definition).unwrap();
        let (id, now) = (RunId::from_uuid(self.clock.uuid()), self.clock.now());
        let digest = Digest::of_bytes(b"v");
        let record = RunRecord {
            id,
            workflow: definition.name.clone(),
            version: digest.clone(),
            label: None,
            code: digest,
            inputs: json!({}),
            options: RunOptions::default(),
            status: RunStatus::Pending,
            outputs: None,
            error: None,
            retried_from: None,
            budget_key: id.to_string(),
            trace_id: "0".repeat(32),
            lease_epoch: 1,
            engine: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        self.engine.submit(record, &definition, Vec::new()).await
    }

    pub(crate) fn status(&self, run: RunId) -> RunStatus {
        self.block_on(self.store.run(run)).unwrap().unwrap().status
    }

    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        until(what, &mut holds);
    }

    /// What the engine says of a run: `driven`, `waiting`, `ended` or `given up`.
    pub(crate) fn runtime_settled(&self, run: RunId) -> &'static str {
        let said = self.block_on(async {
            tokio::time::timeout(Duration::from_millis(5), self.engine.settled(run)).await
        });
        match said {
            Err(_) => "driven",
            Ok(Ok(Progress::Ended(_))) => "ended",
            Ok(Ok(Progress::Parked(status))) if !matches!(status, RunStatus::Waiting | RunStatus::Paused) => {
                "given up"
            }
            Ok(Ok(Progress::GivenUp(_))) => "given up",
            Ok(_) => "waiting",
        }
    }

    pub(crate) fn until_status(&self, run: RunId, wanted: RunStatus) {
        until(&format!("{run} is {wanted}"), || self.status(run) == wanted);
    }

    pub(crate) fn send(&self, run: RunId, message: &Message) {
        self.block_on(self.engine.send(run, message)).unwrap();
    }

    pub(crate) fn pending(&self, run: RunId) -> Vec<Approval> {
        let filter = ApprovalFilter { statuses: vec![ApprovalStatus::Pending], run: Some(run), limit: 0 };
        self.block_on(self.store.approvals(filter)).unwrap()
    }

    pub(crate) fn events(&self, run: RunId) -> Vec<Recorded> {
        self.block_on(self.store.events(run, 0, 0)).unwrap()
    }

    /// Says yes to whatever is asked until the run has ended.
    pub(crate) fn finish(&self, run: RunId) -> RunStatus {
        until(&format!("{run} ends"), || {
            for approval in self.pending(run) {
                self.send(run, &decide(approval.id, true, &*self.clock));
            }
            self.status(run).is_terminal()
        });
        self.status(run)
    }
}

pub(crate) fn decide(approval: ApprovalId, approved: bool, clock: &dyn Clock) -> Message {
    let decision = Decision {
        approved,
        by: "local:me".into(),
        comment: None,
        amount: None,
        lasts: None,
        at: clock.now(),
    };
    Message::Decide { approval, decision }
}

pub(crate) fn cancel() -> Message {
    Message::Cancel { by: "local:me".into(), reason: None }
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

pub(crate) fn open(dir: &Path) -> Arc<dyn Store> {
    let file: PathBuf = dir.join("wflo.db");
    Arc::new(SqliteStore::open(file, StoreOptions::default()).unwrap())
}

pub(crate) fn step(name: &str, after: &[&str]) -> Value {
    json!({ "name": name, "type": "agent", "handler": "code", "depends_on": after })
}

pub(crate) fn workflow(steps: Vec<Value>) -> Value {
    json!({ "name": "test", "steps": steps })
}
