//! The engine: every run that this process drives.
//!
//! Who drives a run: the process that started it or was told to resume it. Liveness of a process is an
//! operating-system lock, not time: nobody takes over from a process that is merely stopped.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use wflo_core::definition::Definition;
use wflo_core::error::Failure;
use wflo_core::id::{EngineId, RunId};
use wflo_core::machine::{self, RunState};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Op, RunFilter, Store};
use wflo_core::run::{RunRecord, RunStatus};
use wflo_store::lock::EngineLock;

use crate::driver::{Acceptance, Mailbox, Msg, ops};
use crate::error::EngineError;
use crate::executor::{Executor, RunContext};
use crate::inbox::Message;
use crate::timers::Timers;
use crate::waiters::{Progress, Waiters};

mod roster;
mod wakers;

/// How an engine is set up.
pub struct Options {
    /// Where `engines/<id>.lock` lives.
    pub data_dir: PathBuf,
    /// Durable state.
    pub store: Arc<dyn Store>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Carries out steps.
    pub executor: Arc<dyn Executor>,
    /// Steps at once, over all runs.
    pub max_steps: usize,
    /// Runs at once that have something to do; more wait in order.
    pub max_runs: usize,
    /// Runs that may wait for that; more are refused.
    pub max_queued: usize,
}

/// What drivers share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) max_steps: usize,
    pub(crate) timers: Timers,
    pub(crate) waiters: Waiters,
}

impl Shared {
    pub(crate) fn follow_timers(&self, run: RunId, was: &RunState, now: &RunState) {
        let (before, after) = (ops::set_timers(was), ops::set_timers(now));
        if before == after {
            return;
        }
        let set = self.clock.moment();
        for (key, due) in &after {
            if before.get(key) != Some(due) {
                self.timers.set(run, key.clone(), *due, &set);
            }
        }
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            self.timers.drop_timer(run, key);
        }
    }
}

struct Inner {
    shared: Arc<Shared>,
    id: EngineId,
    data_dir: PathBuf,
    runs: Mutex<HashMap<RunId, Mailbox>>,
    /// One run is loaded at a time, so that none is loaded twice.
    waking: tokio::sync::Mutex<()>,
    places: Arc<Semaphore>,
    max_queued: usize,
    queued: std::sync::atomic::AtomicUsize,
    closing: watch::Sender<bool>,
    drivers: Mutex<tokio::task::JoinSet<()>>,
    _lock: EngineLock,
}

/// How much an engine has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Steps that may run at once.
    pub slots: usize,
    /// Of those, how many are in use.
    pub slots_used: usize,
    /// Runs that wait until they may begin.
    pub queued_runs: usize,
}

/// Drives runs until it is shut down.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    background: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Engine {
    /// Announces this process on the data directory and begins to listen.
    ///
    /// # Errors
    /// When the data directory cannot be locked or the store cannot be written.
    pub async fn start(options: Options) -> Result<Engine, EngineError> {
        let id = EngineId::from_uuid(options.clock.uuid());
        let pid = std::process::id();
        let lock = EngineLock::acquire(&options.data_dir, id, pid)
            .map_err(|e| lock_refused(&options.data_dir, &e))?;
        let announce = Op::PutEngine { id, pid, at: options.clock.now() };
        options.store.commit(Batch { fence: None, ops: vec![announce] }).await?;
        let shared = Arc::new(Shared {
            timers: Timers::new(Arc::clone(&options.clock)),
            store: options.store,
            clock: options.clock,
            executor: options.executor,
            slots: Arc::new(Semaphore::new(options.max_steps.max(1))),
            max_steps: options.max_steps.max(1),
            waiters: Waiters::default(),
        });
        let inner = Arc::new(Inner {
            shared,
            id,
            data_dir: options.data_dir,
            runs: Mutex::default(),
            waking: tokio::sync::Mutex::default(),
            places: Arc::new(Semaphore::new(options.max_runs.max(1))),
            max_queued: options.max_queued,
            queued: std::sync::atomic::AtomicUsize::new(0),
            closing: watch::channel(false).0,
            drivers: Mutex::default(),
            _lock: lock,
        });
        let engine = Engine { inner, background: Arc::default() };
        let tasks =
            vec![tokio::spawn(engine.clone().watch_inbox()), tokio::spawn(engine.clone().watch_timers())];
        engine.background.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        Ok(engine)
    }

    /// How much it has to do.
    pub fn load(&self) -> Load {
        let shared = &self.inner.shared;
        Load {
            slots: shared.max_steps,
            slots_used: shared.max_steps.saturating_sub(shared.slots.available_permits()),
            queued_runs: self.inner.queued.load(std::sync::atomic::Ordering::Relaxed),
        }
    }

    /// This engine's id.
    pub fn id(&self) -> EngineId {
        self.inner.id
    }

    /// Durable state, for reading.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.shared.store
    }

    /// The clock it uses.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.shared.clock
    }

    /// Accepts a run: durable when this returns. It begins as soon as there is a place.
    ///
    /// # Errors
    /// [`EngineError::Busy`] when too many wait already; store errors.
    pub async fn submit(
        &self,
        mut run: RunRecord,
        definition: &Definition,
        mut with: Vec<Op>,
    ) -> Result<RunId, EngineError> {
        use std::sync::atomic::Ordering;
        if *self.inner.closing.borrow() {
            return Err(EngineError::ShuttingDown);
        }
        let waiting = self.inner.queued.load(Ordering::Relaxed);
        if waiting >= self.inner.max_queued {
            return Err(EngineError::Busy { waiting });
        }
        run.engine = Some(self.inner.id);
        run.lease_epoch = 1;
        run.status = RunStatus::Pending;
        let id = run.id;
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        let digest = definition.digest().map_err(unreadable)?.to_string();
        let json = serde_json::to_value(definition).map_err(unreadable)?;
        let mut ops = vec![
            Op::PutDefinition { digest: digest.clone(), definition: json },
            Op::CreateRun { run: Box::new(run.clone()), definition: digest },
        ];
        ops.append(&mut with);
        let definition = Arc::new(definition.clone());
        let state = RunState::new(Arc::clone(&definition), Arc::new(run.inputs.clone()), run.code.clone());
        let context = RunContext { record: run, definition };
        match Arc::clone(&self.inner.places).try_acquire_owned() {
            // It can begin at once, so its beginning shares the flush of its acceptance.
            Ok(place) => {
                let (reply, answer) = oneshot::channel();
                self.spawn(context, state, 1, Some((place, Acceptance { ops, reply })));
                answer.await.map_err(|_| EngineError::ShuttingDown)??;
            }
            Err(_) => {
                self.inner.shared.store.commit(Batch { fence: None, ops }).await?;
                self.spawn(context, state, 1, None);
            }
        }
        Ok(id)
    }

    /// Takes a run over and drives it, unless a live process does.
    ///
    /// # Errors
    /// [`EngineError::DrivenElsewhere`], [`EngineError::Ended`], [`EngineError::NoRun`]; store errors.
    pub async fn drive(&self, run: RunId) -> Result<(), EngineError> {
        let record = self.record(run).await?;
        if record.status.is_terminal() {
            return Err(EngineError::Ended { run, status: record.status });
        }
        if record.engine == Some(self.inner.id) {
            self.deliver(run, Msg::Inbox).await;
            return Ok(());
        }
        if let Some(pid) = self.live_driver(&record)? {
            return Err(EngineError::DrivenElsewhere { run, pid });
        }
        let claim = Op::Claim { run, expected: record.lease_epoch, engine: self.inner.id };
        self.inner.shared.store.commit(Batch { fence: None, ops: vec![claim] }).await?;
        self.wake(run).await.map(|_| ())
    }

    /// The process that drives a run, if it lives (stopped ones included).
    ///
    /// # Errors
    /// When the lock cannot be asked.
    pub fn live_driver(&self, record: &RunRecord) -> Result<Option<u32>, EngineError> {
        live_driver(&self.inner.data_dir, record)
    }

    /// Leaves a message for a run's driver, whichever process that is.
    ///
    /// # Errors
    /// Store errors.
    pub async fn send(&self, run: RunId, message: &Message) -> Result<(), EngineError> {
        send(self.inner.shared.store.as_ref(), self.inner.shared.clock.as_ref(), run, message).await?;
        if self.runs().contains_key(&run) {
            self.deliver(run, Msg::Inbox).await;
        }
        Ok(())
    }

    /// Waits until a run driven here has ended, rests, or was given up.
    ///
    /// # Errors
    /// Store errors.
    pub async fn settled(&self, run: RunId) -> Result<Progress, EngineError> {
        let mut progress = self.inner.shared.waiters.watch(run);
        if !self.runs().contains_key(&run) {
            let said = progress.borrow().clone();
            if said != Progress::Driving {
                return Ok(said);
            }
            let status = self.record(run).await?.status;
            return Ok(if status.is_terminal() { Progress::Ended(status) } else { Progress::Parked(status) });
        }
        let said = progress.wait_for(|p| *p != Progress::Driving).await;
        said.map(|p| p.clone()).map_err(|_| EngineError::ShuttingDown)
    }

    /// Waits until a run has ended or was given up, however long it rests in between.
    ///
    /// # Errors
    /// Store errors.
    pub async fn ended(&self, run: RunId) -> Result<Progress, EngineError> {
        let mut progress = self.inner.shared.waiters.watch(run);
        let status = self.record(run).await?.status;
        if status.is_terminal() {
            return Ok(Progress::Ended(status));
        }
        // Whoever begins to wait later than that is not told by the shutdown.
        if *self.inner.closing.borrow() {
            return Err(EngineError::ShuttingDown);
        }
        let over = |p: &Progress| matches!(p, Progress::Ended(_) | Progress::GivenUp(_));
        let said = progress.wait_for(over).await;
        said.map(|p| p.clone()).map_err(|_| EngineError::ShuttingDown)
    }

    /// Runs that nobody drives although they could go on: what a start-up lists.
    ///
    /// # Errors
    /// Store errors.
    pub async fn left_behind(&self) -> Result<Vec<RunRecord>, EngineError> {
        let statuses = vec![RunStatus::Pending, RunStatus::Running];
        let runs = self.store().runs(RunFilter { statuses, ..RunFilter::default() }).await?;
        let mut left = Vec::new();
        for run in runs {
            if run.engine != Some(self.inner.id) && self.live_driver(&run)?.is_none() {
                left.push(run);
            }
        }
        Ok(left)
    }

    /// Ends every attempt (running model calls settle first), gives up all leases, and returns once
    /// nothing is left.
    pub async fn shutdown(&self) {
        self.inner.closing.send_replace(true);
        let senders: Vec<_> = {
            let runs = self.inner.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.values().cloned().collect()
        };
        for mailbox in senders {
            // One that is gone has nothing left to end.
            drop(mailbox.put(Msg::Shutdown));
        }
        let mut drivers =
            std::mem::take(&mut *self.inner.drivers.lock().unwrap_or_else(PoisonError::into_inner));
        while drivers.join_next().await.is_some() {}
        for task in self.background.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        let mine = RunFilter { engine: Some(self.inner.id), ..RunFilter::default() };
        let mut ops: Vec<Op> = match self.store().runs(mine).await {
            Ok(runs) => runs.into_iter().map(|r| Op::Release { run: r.id }).collect(),
            Err(_) => Vec::new(),
        };
        ops.push(Op::DropEngine { id: self.inner.id });
        if let Err(e) = self.store().commit(Batch { fence: None, ops }).await {
            tracing::warn!(error = %e, "the engine could not say goodbye; its lock says that it is gone");
        }
        self.inner.shared.waiters.give_up_all(&EngineError::ShuttingDown.failure());
    }

    async fn record(&self, run: RunId) -> Result<RunRecord, EngineError> {
        self.store().run(run).await?.ok_or(EngineError::NoRun(run))
    }
}

/// This process cannot say that it lives, or whether another one does.
fn lock_refused(data_dir: &std::path::Path, error: &std::io::Error) -> EngineError {
    let (folder, code) = (data_dir.display(), wflo_core::error::Code(2010));
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "free some space on the disk that holds it"
        }
        _ => "give this user write access to it, or use another one with --data-dir",
    };
    let failure = Failure::new(code, format!("the data directory {folder} cannot be used: {error}"));
    EngineError::Failure(failure.with_hint(hint))
}

/// Leaves a message for a run's driver from a process that may have no engine.
///
/// # Errors
/// Store errors.
pub async fn send(
    store: &dyn Store,
    clock: &dyn Clock,
    run: RunId,
    message: &Message,
) -> Result<(), EngineError> {
    let message = serde_json::to_value(message).map_err(|e| EngineError::Unreadable(e.to_string()))?;
    let push = Op::PushInbox { run, message, at: clock.now() };
    crate::failpoint::pass("inbox.send.before");
    store.commit(Batch { fence: None, ops: vec![push] }).await?;
    Ok(())
}

/// The process that drives a run, if it lives (stopped ones included).
///
/// # Errors
/// When the engine's lock cannot be asked: then nobody may take over.
pub fn live_driver(data_dir: &std::path::Path, record: &RunRecord) -> Result<Option<u32>, EngineError> {
    let Some(engine) = record.engine else { return Ok(None) };
    wflo_store::lock::holder(data_dir, engine).map_err(|e| lock_refused(data_dir, &e))
}

/// A run's definition and its state, folded from its events.
///
/// # Errors
/// Store errors, and [`EngineError::Unreadable`] for a definition that this build does not know.
pub async fn load(store: &dyn Store, record: &RunRecord) -> Result<(Arc<Definition>, RunState), EngineError> {
    // Its events first: of a run that is removed between the two reads there is no definition, never a
    // definition without events.
    let events = store.machine_events(record.id).await?;
    let json = store.definition(record.id).await?;
    let definition: Definition =
        serde_json::from_value(json).map_err(|e| EngineError::Unreadable(e.to_string()))?;
    let definition = Arc::new(definition);
    let initial =
        RunState::new(Arc::clone(&definition), Arc::new(record.inputs.clone()), record.code.clone());
    Ok((definition, machine::replay(initial, events.iter().map(|e| &e.event))))
}
