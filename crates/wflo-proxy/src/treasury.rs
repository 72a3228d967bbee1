//! The way between what is held in memory and the store.
//!
//! Owns the one task that takes slices, folds what was spent, answers recalls, and asks others for what
//! they do not use. It does one thing at a time, so what it knows of the store is what it did last.

mod hope;
mod recover;

pub use self::recover::recover_dead;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wflo_core::budget::Budget;
use wflo_core::id::{BudgetId, EngineId};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Fold, Op, OpResult, SliceOp, SliceStore, StoreError, Want};
use wflo_core::slice::{Alert, Spender};
use wflo_store::lock::EngineLock;

use crate::failpoint;
use crate::log::Log;
use crate::spending::{Folding, Spending};

/// How often the store is asked whether anybody has committed something.
const LOOK: Duration = Duration::from_millis(20);

/// How long others have to answer a recall before they are asked again.
const RECALL: Duration = Duration::from_millis(500);

/// So often is a fold tried as it is before its calls are stored as one sum.
const TRIES: u32 = 4;

/// What the treasury works with.
#[derive(Clone)]
pub struct TreasuryOptions {
    /// The store.
    pub store: Arc<dyn SliceStore>,
    /// Its folder, which also holds locks and logs.
    pub data_dir: PathBuf,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// This process.
    pub pid: u32,
    /// How long what was spent may be in the log alone.
    pub fold_every: Duration,
}

/// Why there is no treasury.
#[derive(Debug, thiserror::Error)]
pub enum TreasuryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lock or the log could not be made.
    #[error("{what} could not be written: {source}")]
    File {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// What everybody shares.
pub(crate) struct Treasury {
    pub(crate) options: TreasuryOptions,
    spender: EngineId,
    spending: Mutex<Spending>,
    wake: Notify,
    /// Rises whenever the store has changed.
    changes: watch::Sender<u64>,
    alerts: tokio::sync::broadcast::Sender<Alert>,
    failing: AtomicBool,
    /// Folds in a row that the store did not take as they were.
    refused: AtomicU32,
    /// Folds whose calls it took only as one sum.
    quarantined: AtomicU64,
}

/// The running treasury.
pub(crate) struct Running {
    pub(crate) treasury: Arc<Treasury>,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
    /// Held until the very end: it is the proof that nobody may take the slices.
    lock: EngineLock,
}

impl Treasury {
    /// Announces this process, brings in what dead ones have left, and begins.
    pub(crate) async fn start(options: TreasuryOptions) -> Result<Running, TreasuryError> {
        let spender = EngineId::from_uuid(options.clock.uuid());
        let file = |what| move |source| TreasuryError::File { what, source };
        let lock = EngineLock::acquire(&options.data_dir, spender, options.pid)
            .map_err(file("the lock of this process"))?;
        let log = Log::create(&options.data_dir, spender).map_err(file("the log of calls"))?;
        let moment = options.clock.moment();
        let announced = Spender {
            id: spender,
            pid: options.pid,
            boot_id: moment.boot_id.clone(),
            position: 0,
            started_at: moment.wall,
        };
        commit(&*options.store, SliceOp::Open(Box::new(announced))).await?;
        recover::all(&*options.store, &options.data_dir, &moment).await?;
        let treasury = Arc::new(Treasury {
            spender,
            spending: Mutex::new(Spending::new(spender, log)),
            wake: Notify::new(),
            changes: watch::Sender::new(0),
            alerts: tokio::sync::broadcast::Sender::new(64),
            failing: AtomicBool::new(false),
            refused: AtomicU32::new(0),
            quarantined: AtomicU64::new(0),
            options,
        });
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(Arc::clone(&treasury).run(Arc::clone(&stop)));
        Ok(Running { treasury, stop, task, lock })
    }

    pub(crate) fn spending(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody waits, or a hold came free.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Tells of each change of the store, by any process.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Thresholds that are passed from now on.
    pub(crate) fn alerts(&self) -> tokio::sync::broadcast::Receiver<Alert> {
        self.alerts.subscribe()
    }

    /// Whether calls can be recorded, and the store took what it was given last.
    pub(crate) fn is_well(&self) -> bool {
        !self.failing.load(Ordering::Relaxed) && !self.spending().is_mute()
    }

    /// Folds whose calls the store took only as one sum.
    pub(crate) fn quarantined(&self) -> u64 {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Gives nothing more of those of the budgets that have more in use than their limit is.
    pub(crate) async fn retire(&self, budgets: Vec<BudgetId>) -> Result<(), StoreError> {
        for budget in self.options.store.budgets_by_id(budgets).await? {
            if budget.left().is_negative() {
                self.spending().retire(budget.id);
            }
        }
        self.wake();
        Ok(())
    }

    async fn run(self: Arc<Self>, stop: Arc<Notify>) {
        let mut fold_at = Instant::now() + self.options.fold_every;
        let mut recalled_at: Option<Instant> = None;
        let mut version = None;
        loop {
            let stopped = tokio::select! {
                () = self.wake.notified() => false,
                () = tokio::time::sleep(LOOK) => false,
                () = stop.notified() => true,
            };
            if stopped {
                return;
            }
            let now_version = self.options.store.change_counter().await.ok();
            let changed = now_version != version;
            version = now_version;
            let mut recalled = Vec::new();
            if changed {
                self.changes.send_modify(|changes| *changes += 1);
                recalled = self.recalled().await;
            }
            if !recalled.is_empty() || Instant::now() >= fold_at {
                self.fold(&recalled).await;
                fold_at = Instant::now() + self.options.fold_every;
            }
            self.provide(&mut recalled_at).await;
            let ahead = self.spending().ahead();
            if !ahead.is_empty() {
                self.take(&ahead).await;
            }
        }
    }

    /// Budgets of which this process holds something that somebody else waits for.
    async fn recalled(&self) -> Vec<BudgetId> {
        let slices = self.options.store.slices().await.unwrap_or_default();
        let own = slices.into_iter().filter(|slice| slice.spender == self.spender && slice.recalled);
        let own: Vec<BudgetId> = own.map(|slice| slice.budget).collect();
        if !own.is_empty()
            && let Err(error) = self.retire(own.clone()).await
        {
            tracing::warn!(%error, "budgets that are recalled could not be read");
        }
        own
    }

    /// Brings what was spent into the store, and back what is not needed; more of what is recalled.
    async fn fold(&self, recalled: &[BudgetId]) {
        let folding = self.spending().fold(recalled, false, self.options.clock.now());
        let Some(folding) = folding else {
            self.answer(recalled).await;
            return;
        };
        let outcome = self.put(&folding.0, recalled).await;
        self.fold_ended(folding, outcome);
    }

    /// Commits a fold. One that the store refuses again and again as it is (not for want of space, nor
    /// because the file is locked) is put with its calls as one sum: what it charges is the same, and what
    /// the store cannot hold of one call does not keep all others out.
    async fn put(&self, fold: &Arc<Fold>, recalled: &[BudgetId]) -> Result<Vec<OpResult>, StoreError> {
        let ops = |fold: Arc<Fold>| {
            let mut ops = vec![Op::Slice(SliceOp::Fold(fold))];
            if !recalled.is_empty() {
                let (spender, budgets) = (self.spender, recalled.to_vec());
                ops.push(Op::Slice(SliceOp::Answered { spender, budgets }));
            }
            ops
        };
        let store = &self.options.store;
        failpoint::pass("gateway.fold.before");
        let outcome = store.commit(Batch { fence: None, ops: ops(Arc::clone(fold)) }).await;
        failpoint::pass("gateway.fold.after");
        let Err(StoreError::Failed(reason)) = &outcome else {
            self.refused.store(0, Ordering::Relaxed);
            return outcome;
        };
        if self.refused.fetch_add(1, Ordering::Relaxed) + 1 < TRIES && !fold.ends {
            return outcome;
        }
        tracing::error!(
            reason,
            calls = fold.calls.len(),
            "the store does not take these calls; their sum is stored"
        );
        let summed = store.commit(Batch { fence: None, ops: ops(Arc::new(recover::summed(fold))) }).await?;
        self.refused.store(0, Ordering::Relaxed);
        self.quarantined.fetch_add(1, Ordering::Relaxed);
        Ok(summed)
    }

    async fn answer(&self, recalled: &[BudgetId]) {
        if recalled.is_empty() {
            return;
        }
        let answered = SliceOp::Answered { spender: self.spender, budgets: recalled.to_vec() };
        if let Err(error) = commit(&*self.options.store, answered).await {
            tracing::warn!(%error, "a recall could not be answered");
        }
    }

    fn fold_ended(&self, folding: Folding, outcome: Result<Vec<OpResult>, StoreError>) {
        match outcome {
            Ok(results) => {
                self.failing.store(false, Ordering::Relaxed);
                self.spending().folded(&folding);
                for result in results {
                    let OpResult::Folded(alerts) = result else { continue };
                    for alert in alerts {
                        // Nobody listening is no failure.
                        let _ = self.alerts.send(alert);
                    }
                }
            }
            Err(error) => {
                self.failing.store(true, Ordering::Relaxed);
                tracing::error!(%error, "what was spent could not be brought into the store");
                self.spending().not_folded(folding);
            }
        }
    }

    /// Brings room for those that wait, or refuses those for whom there is none.
    async fn provide(&self, recalled_at: &mut Option<Instant>) {
        loop {
            let lacking = self.spending().serve();
            if lacking.is_empty() {
                return;
            }
            let mut again = false;
            for wants in lacking {
                again |= match self.take(&wants).await {
                    Taken::All => true,
                    Taken::Short(budget) => self.short(&budget, recalled_at).await,
                    Taken::Failed(message) => {
                        self.spending().fail_waiters(&message);
                        return;
                    }
                };
            }
            if !again {
                return;
            }
        }
    }

    /// What can be done about a budget that has not the room. Whether it is worth asking again at once.
    async fn short(&self, budget: &Budget, recalled_at: &mut Option<Instant>) -> bool {
        let still = self.spending().short(budget);
        if !still.waits {
            // They are refused; others may be next.
            return true;
        }
        if !still.others || recalled_at.is_some_and(|at| at.elapsed() < RECALL) {
            return false;
        }
        *recalled_at = Some(Instant::now());
        let options = &self.options;
        match recover::all(&*options.store, &options.data_dir, &options.clock.moment()).await {
            Ok(0) => {}
            Ok(_) => return true,
            Err(error) => tracing::warn!(%error, "what a dead process has left could not be brought in"),
        }
        let recall = SliceOp::Recall { spender: Some(self.spender), budgets: vec![budget.id] };
        if let Err(error) = commit(&*options.store, recall).await {
            tracing::warn!(%error, "a slice could not be recalled");
        }
        false
    }

    async fn take(&self, wants: &[Want]) -> Taken {
        let take = SliceOp::Take { spender: self.spender, wants: wants.to_vec() };
        failpoint::pass("gateway.slice.before");
        let taken = commit(&*self.options.store, take).await;
        failpoint::pass("gateway.slice.after");
        match taken {
            Ok(OpResult::Granted(granted)) => {
                self.spending().grant(wants, &granted);
                Taken::All
            }
            Ok(_) => Taken::Failed("the store answered something else".to_owned()),
            Err(StoreError::Short(shortfall)) => Taken::Short(Box::new(shortfall.budget)),
            Err(error) => {
                tracing::error!(%error, "no slice could be taken");
                Taken::Failed(error.to_string())
            }
        }
    }
}

enum Taken {
    All,
    Short(Box<Budget>),
    Failed(String),
}

impl Running {
    /// Brings everything into the store and ends. Calls that still run keep their slices: whoever comes
    /// next charges them in full.
    pub(crate) async fn stop(self) {
        let Running { treasury, stop, task, lock } = self;
        stop.notify_one();
        // The loop ends between two of its works, never within one.
        let _ = task.await;
        let ends = treasury.spending().running() == 0;
        let folding = treasury.spending().fold(&[], ends, treasury.options.clock.now());
        if let Some(folding) = folding {
            let outcome = treasury.put(&folding.0, &[]).await;
            treasury.fold_ended(folding, outcome);
        }
        drop(lock);
    }
}

async fn commit(store: &dyn SliceStore, op: SliceOp) -> Result<OpResult, StoreError> {
    let results = store.commit(Batch { fence: None, ops: vec![Op::Slice(op)] }).await?;
    results.into_iter().next().ok_or_else(|| StoreError::Failed("the store answered nothing".to_owned()))
}

#[cfg(test)]
mod tests;
