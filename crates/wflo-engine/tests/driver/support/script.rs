//! Steps that do what a test says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wflo_core::effect::{EffectKind, EffectRecord};
use wflo_core::error::{Code, Failure};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{EffectEnd, Fence, Op, Store, StoreError};
use wflo_core::run::RunStatus;
use wflo_engine::clock::SystemClock;
use wflo_engine::executor::{Attempt, End, Executor, RunContext};

use super::successes;

pub(crate) type Act = Arc<dyn Fn(Attempt, Arc<dyn Store>) -> BoxFuture<'static, End> + Send + Sync>;

/// Carries out steps as told; what is not told succeeds.
#[derive(Default)]
pub(crate) struct Script {
    acts: Mutex<HashMap<String, Act>>,
    /// Step, generation, attempt, in the order in which they began.
    pub(crate) began: Mutex<Vec<(String, u32, u32)>>,
    /// Steps that were begun although their success was durable.
    pub(crate) repeated: Mutex<Vec<String>>,
    pub(crate) undone: AtomicUsize,
    /// Whether the database has the writes that journals have no end for.
    pub(crate) made: AtomicBool,
    pub(crate) live: AtomicUsize,
    pub(crate) most_live: AtomicUsize,
    /// When runs were left: how many attempts were live then, and where the run stood in the store.
    pub(crate) left: Mutex<Vec<(usize, RunStatus)>>,
}

impl Script {
    pub(crate) fn on<F, Fut>(&self, step: &str, act: F)
    where
        F: Fn(Attempt, Arc<dyn Store>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = End> + Send + 'static,
    {
        let act: Act = Arc::new(move |attempt, store| Box::pin(act(attempt, store)));
        self.acts.lock().unwrap().insert(step.to_owned(), act);
    }

    pub(crate) fn times(&self, step: &str) -> usize {
        self.began.lock().unwrap().iter().filter(|(name, ..)| name == step).count()
    }
}

pub(super) struct Playing {
    pub(super) script: Arc<Script>,
    pub(super) store: Arc<dyn Store>,
}

struct Live<'a>(&'a Script);

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Executor for Playing {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, End> {
        Box::pin(async move {
            let now = self.script.live.fetch_add(1, Ordering::SeqCst) + 1;
            let _live = Live(&self.script);
            self.script.most_live.fetch_max(now, Ordering::SeqCst);
            if let Ok(events) = self.store.machine_events(attempt.run).await
                && successes(&events).contains(&attempt.step)
            {
                self.script.repeated.lock().unwrap().push(attempt.step.clone());
            }
            let said = (attempt.step.clone(), attempt.generation, attempt.attempt);
            self.script.began.lock().unwrap().push(said);
            let act = self.script.acts.lock().unwrap().get(&attempt.step).cloned();
            match act {
                Some(act) => act(attempt, Arc::clone(&self.store)).await,
                None => succeeded(&attempt.step),
            }
        })
    }

    fn leave(&self, run: RunId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let live = self.script.live.load(Ordering::SeqCst);
            if let Ok(Some(run)) = self.store.run(run).await {
                self.script.left.lock().unwrap().push((live, run.status));
            }
        })
    }

    fn made(&self, run: RunId, rows: Vec<EffectRecord>) -> BoxFuture<'_, Result<Vec<Op>, StoreError>> {
        let clock = SystemClock::default();
        let open = rows.into_iter().filter(|row| row.kind == EffectKind::Db && row.order().is_none());
        let ops = open.filter(|_| self.script.made.load(Ordering::SeqCst)).flat_map(|row| {
            let end = EffectEnd {
                outcome: Ok(json!("made")),
                cost: NanoUsd::ZERO,
                uncertain: false,
                attributes: Value::Null,
                at: clock.now(),
            };
            let body = EventBody::EffectFinished {
                key: row.key.clone(),
                kind: row.kind,
                name: row.name,
                cost_usd: NanoUsd::ZERO,
                uncertain: false,
                error: None,
            };
            let events = vec![Event { at: clock.now(), body }];
            [Op::FinishEffect { run, key: row.key, end }, Op::AppendEvents { run, events }]
        });
        let ops = ops.collect();
        Box::pin(async move { Ok(ops) })
    }

    fn compensate(
        &self,
        _: Arc<RunContext>,
        _: String,
        _: u32,
        _: Fence,
    ) -> BoxFuture<'_, (Value, Option<Failure>)> {
        self.script.undone.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { (json!({}), None) })
    }
}

pub(crate) fn succeeded(step: &str) -> End {
    let output = json!({ "from": step });
    End::Succeeded { output, state: None, cost: NanoUsd::ZERO, layer: None, ops: Vec::new() }
}

pub(crate) fn failed() -> End {
    let error = Failure::new(Code(3999), "boom");
    End::Failed { error, timed_out: false, no_retry: None, keep: Vec::new(), left: None }
}

/// Runs until it is asked to end.
pub(crate) async fn until_stopped(attempt: &Attempt) -> End {
    attempt.stopped().await;
    End::Stopped
}
