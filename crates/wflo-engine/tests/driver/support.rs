//! An engine on a runtime of its own, steps that do what a script says, and a store that fails on order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wflo_core::approval::{Approval, ApprovalRequest, ApprovalStatus, Binding, Decision, OnTimeout, Purpose};
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Zone};
use wflo_core::canonical::Digest;
use wflo_core::definition::Definition;
use wflo_core::effect::{CancelledWait, EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::error::{Code, Failure};
use wflo_core::event::{Event, EventBody, Recorded, Wait};
use wflo_core::id::{ApprovalId, BudgetId, EngineId, HoldId, RunId};
use wflo_core::machine::CommandBody;
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{
    ApprovalFilter, Batch, EffectEnd, EngineRow, Fence, InboxMessage, Op, OpResult, Receipt, RunFilter,
    Store, StoreError, Timer,
};
use wflo_core::run::{RunOptions, RunRecord, RunStatus};
use wflo_engine::clock::SystemClock;
use wflo_engine::executor::{Attempt, End, Executor, RunContext};
use wflo_engine::inbox::Message;
use wflo_engine::journal::{Intent, Journal};
use wflo_engine::{Engine, Options, Progress};
use wflo_store::{SqliteStore, StoreOptions};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

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

struct Playing {
    script: Arc<Script>,
    store: Arc<dyn Store>,
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
    End::Failed { error, timed_out: false, no_retry: None, keep: Vec::new() }
}

/// Runs until it is asked to end.
pub(crate) async fn until_stopped(attempt: &Attempt) -> End {
    attempt.stopped().await;
    End::Stopped
}

/// Suspends for people; once they have said yes, succeeds.
pub(crate) async fn asks(attempt: Attempt, store: Arc<dyn Store>) -> End {
    let filter = ApprovalFilter { run: Some(attempt.run), ..ApprovalFilter::default() };
    let known = match store.approvals(filter).await {
        Ok(known) => known,
        Err(e) => return End::Lost { reason: e.to_string() },
    };
    let mine = known.into_iter().find(|a| {
        a.request.step.as_deref() == Some(&attempt.step)
            && a.request.generation == attempt.generation
            && a.status != ApprovalStatus::Superseded
    });
    let id = match mine {
        Some(a) if a.status != ApprovalStatus::Pending => return succeeded(&attempt.step),
        Some(a) => a.id,
        None => {
            let digest = Digest::of_bytes(b"x");
            let request = ApprovalRequest {
                purpose: Purpose::Output,
                step: Some(attempt.step.clone()),
                generation: attempt.generation,
                title: "go on".into(),
                evidence: json!({}),
                binding: Binding { action: digest.clone(), code: digest.clone(), evidence: digest },
                approvers: vec![],
                quorum: 1,
                expires_at: None,
                on_timeout: OnTimeout::Hold,
                notify: vec![],
            };
            let ask = CommandBody::Ask { request: Box::new(request) };
            let events = match attempt.driver.tell(ask, Vec::new()).await {
                Ok(events) => events,
                Err(_) => return End::Stopped,
            };
            events
                .iter()
                .find_map(|e| match e.body {
                    EventBody::ApprovalRequested { approval_id, .. } => Some(approval_id),
                    _ => None,
                })
                .unwrap()
        }
    };
    End::Suspended { on: vec![Wait::Approval { approval_id: id }] }
}

pub(crate) const PRICE: i64 = 10;

/// A call that is paid for: journaled and held before, settled after; one whose answer was lost is
/// charged and made again.
pub(crate) async fn pays(attempt: &Attempt, store: &Arc<dyn Store>) -> Result<(), StoreError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (step, generation) = (&attempt.step, attempt.generation);
    let journal =
        Journal::load(Arc::clone(store), Arc::clone(&clock), attempt.fence(), step, generation).await?;
    let budget = budget_of(attempt.run);
    let hold = HoldId::from_uuid(clock.uuid());
    let amount = NanoUsd::from_nanos(PRICE);
    let mut ops = vec![Op::OpenBudget(Box::new(budget.clone()))];
    let take = Op::Hold { id: hold, run: attempt.run, budgets: vec![budget.id], amounts: amount.into() };
    let row: EffectRecord = match journal.get("0", 0) {
        Some(row) if row.state != EffectState::Intent => return Ok(()),
        Some(row) => {
            let mut carried = NanoUsd::ZERO;
            if let Some(lost) = store.hold(row.hold.unwrap()).await? {
                ops.push(Op::Settle { id: lost.id, actual: lost.amounts, at: clock.now() });
                carried = lost.amounts.cost;
            }
            ops.push(take);
            journal.reopen(row, Some(hold), carried, Value::Null, ops).await?
        }
        None => {
            ops.push(take);
            let intent = Intent {
                path: "0".into(),
                seq: 0,
                kind: EffectKind::Llm,
                name: "chat".into(),
                fingerprint: Digest::of_bytes(b"call"),
                request: json!({}),
                hold: Some(hold),
                attributes: json!({}),
                after: 0,
            };
            journal.intend(intent, ops).await?
        }
    };
    let mut end = journal.ok(json!("answer"));
    end.cost = NanoUsd::from_nanos(PRICE / 2);
    let settle = Op::Settle { id: hold, actual: end.cost.into(), at: clock.now() };
    journal.finish(row, end, vec![settle], Vec::new()).await?;
    Ok(())
}

pub(crate) fn budget_of(run: RunId) -> Budget {
    Budget {
        id: BudgetId::from_uuid(run.uuid()),
        scope: Scope::Run,
        key: run.to_string(),
        period: Period::Total,
        period_start: String::new(),
        time_zone: Zone::utc(),
        standing: false,
        measure: Measure::Cost,
        limit: Amount::from_units(1_000_000),
        settled: Amount::ZERO,
        held: Amount::ZERO,
        action_on_exceeded: OnExceeded::Halt,
        alert_thresholds: vec![],
    }
}

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
    let decision = Decision { approved, by: "local:me".into(), comment: None, amount: None, at: clock.now() };
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

/// How the chosen commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fail {
    /// Nothing was written.
    Before,
    /// It was written, and its writer does not learn of it.
    After,
}

/// Fails from the n-th commit of a run on, for ever: what a full disk or a lost machine looks like.
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) left: AtomicI64,
    pub(crate) fail: Fail,
}

impl Store for Faulty {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<OpResult>, StoreError>> {
        Box::pin(async move {
            let gone = || StoreError::Failed("as the test wants it".to_owned());
            if batch.fence.is_none() {
                return self.inner.commit(batch).await;
            }
            match self.left.fetch_sub(1, Ordering::SeqCst) {
                1.. => self.inner.commit(batch).await,
                0 if self.fail == Fail::After => self.inner.commit(batch).await.and(Err(gone())),
                _ => Err(gone()),
            }
        })
    }
    /// A posted batch fails as a commit does, and takes what builds on it with it: so does every later one.
    fn post(&self, batch: Batch) -> BoxFuture<'_, Result<Receipt, StoreError>> {
        Box::pin(async move {
            let gone = || StoreError::Failed("as the test wants it".to_owned());
            match self.left.fetch_sub(1, Ordering::SeqCst) {
                1.. => self.inner.post(batch).await,
                0 if self.fail == Fail::After => {
                    let receipt = self.inner.post(batch).await?;
                    let receipt: Receipt = Box::pin(async move { receipt.await.and(Err(gone())) });
                    Ok(receipt)
                }
                _ => {
                    let receipt: Receipt = Box::pin(async move { Err(gone()) });
                    Ok(receipt)
                }
            }
        })
    }
    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        self.inner.run(id)
    }
    fn definition(&self, run: RunId) -> BoxFuture<'_, Result<Value, StoreError>> {
        self.inner.definition(run)
    }
    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Vec<RunRecord>, StoreError>> {
        self.inner.runs(filter)
    }
    fn events(&self, run: RunId, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        self.inner.events(run, after, limit)
    }
    fn machine_events(&self, run: RunId) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        self.inner.machine_events(run)
    }
    fn effects(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>> {
        self.inner.effects(run, step, generation)
    }
    fn cancelled_waits(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<CancelledWait>, StoreError>> {
        self.inner.cancelled_waits(run, step, generation)
    }
    fn run_effects(&self, run: RunId) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>> {
        self.inner.run_effects(run)
    }
    fn effect(&self, run: RunId, key: EffectKey) -> BoxFuture<'_, Result<Option<EffectRecord>, StoreError>> {
        self.inner.effect(run, key)
    }
    fn journaled(&self, run: RunId, least: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.journaled(run, least)
    }
    fn approval(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<Approval>, StoreError>> {
        self.inner.approval(id)
    }
    fn approvals(&self, filter: ApprovalFilter) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>> {
        self.inner.approvals(filter)
    }
    fn budgets(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>> {
        self.inner.budgets(keys)
    }
    fn all_budgets(&self) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>> {
        self.inner.all_budgets()
    }
    fn standing_budgets(&self) -> BoxFuture<'_, Result<Vec<wflo_core::budget::Standing>, StoreError>> {
        self.inner.standing_budgets()
    }
    fn budget_changes(&self) -> BoxFuture<'_, Result<Vec<wflo_core::budget::BudgetChange>, StoreError>> {
        self.inner.budget_changes()
    }
    fn hold(&self, id: HoldId) -> BoxFuture<'_, Result<Option<wflo_core::budget::Hold>, StoreError>> {
        self.inner.hold(id)
    }
    fn open_holds(&self, run: RunId) -> BoxFuture<'_, Result<Vec<wflo_core::budget::Hold>, StoreError>> {
        self.inner.open_holds(run)
    }
    fn run_cost(&self, run: RunId) -> BoxFuture<'_, Result<NanoUsd, StoreError>> {
        self.inner.run_cost(run)
    }
    fn step_cost(&self, run: RunId, step: String) -> BoxFuture<'_, Result<NanoUsd, StoreError>> {
        self.inner.step_cost(run, step)
    }
    fn inbox(&self, engine: EngineId) -> BoxFuture<'_, Result<Vec<InboxMessage>, StoreError>> {
        self.inner.inbox(engine)
    }
    fn run_inbox(&self, run: RunId) -> BoxFuture<'_, Result<Vec<InboxMessage>, StoreError>> {
        self.inner.run_inbox(run)
    }
    fn timers(
        &self,
        engine: Option<EngineId>,
        run: Option<RunId>,
    ) -> BoxFuture<'_, Result<Vec<Timer>, StoreError>> {
        self.inner.timers(engine, run)
    }
    fn engines(&self) -> BoxFuture<'_, Result<Vec<EngineRow>, StoreError>> {
        self.inner.engines()
    }
    fn change_counter(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.change_counter()
    }
    fn overruns(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.overruns()
    }
    fn approvals_about(
        &self,
        run: RunId,
        purpose: Purpose,
    ) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>> {
        self.inner.approvals_about(run, purpose)
    }
    fn trees(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        self.inner.trees()
    }
    fn spent(&self) -> BoxFuture<'_, Result<Vec<wflo_core::cost::Spent>, StoreError>> {
        self.inner.spent()
    }
    fn leftovers(&self) -> BoxFuture<'_, Result<Vec<wflo_core::ports::store::Leftover>, StoreError>> {
        self.inner.leftovers()
    }
    fn collect(
        &self,
        now: jiff::Timestamp,
    ) -> BoxFuture<'_, Result<wflo_core::ports::store::Reclaimed, StoreError>> {
        self.inner.collect(now)
    }
}
