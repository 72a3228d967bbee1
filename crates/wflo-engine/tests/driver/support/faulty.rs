//! A store that fails on order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::Value;
use wflo_core::approval::{Approval, Purpose};
use wflo_core::budget::Budget;
use wflo_core::content::{Link, Name, Outline};
use wflo_core::effect::{CancelledWait, EffectKey, EffectRecord};
use wflo_core::event::Recorded;
use wflo_core::id::{ApprovalId, EngineId, HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::store::{
    ApprovalFilter, Batch, EngineRow, InboxMessage, OpResult, Receipt, RunFilter, Store, StoreError, Timer,
};
use wflo_core::run::RunRecord;

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
    fn kept_request(
        &self,
        run: RunId,
        outline: Outline,
    ) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        self.inner.kept_request(run, outline)
    }
    fn content_links(
        &self,
        run: RunId,
        last: Name,
        most: u32,
    ) -> BoxFuture<'_, Result<Vec<Link>, StoreError>> {
        self.inner.content_links(run, last, most)
    }
    fn content_text(&self, run: RunId, name: Name) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        self.inner.content_text(run, name)
    }
    fn new_content(&self, run: RunId, pieces: Vec<Name>) -> BoxFuture<'_, Result<HashSet<Name>, StoreError>> {
        self.inner.new_content(run, pieces)
    }
    fn kept_content(&self, run: RunId) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.kept_content(run)
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
    fn run_trees(&self) -> BoxFuture<'_, Result<Vec<wflo_core::ports::store::RunTrees>, StoreError>> {
        self.inner.run_trees()
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
