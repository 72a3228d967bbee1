//! The ports on this store.
//!
//! Owns which noun answers a question. Each says itself how it is read.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use wflo_core::approval::{Approval, Purpose};
use wflo_core::budget::{Budget, BudgetChange, Hold, Standing};
use wflo_core::content::{Link, Name, Outline};
use wflo_core::cost::Spent;
use wflo_core::effect::{CancelledWait, EffectKey, EffectRecord};
use wflo_core::event::Recorded;
use wflo_core::id::{ApprovalId, BudgetId, EngineId, HoldId, RunId};
use wflo_core::key::VirtualKey;
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::store::{
    ApprovalFilter, Batch, EngineRow, InboxMessage, Leftover, OpResult, Receipt, Reclaimed, RunFilter,
    RunTrees, SliceStore, Store, StoreError, Timer,
};
use wflo_core::run::RunRecord;
use wflo_core::slice::{CallRecord, CallsLine, Slice, Spender};

use super::{
    SqliteStore, approval, aside, budget, calls, collect, content, definition, effect, engine, event, hold,
    inbox, key, retention, run, slice, standing, timer, why,
};

/// Reads are short and are done where they are asked for.
macro_rules! read {
    ($self:ident, |$conn:ident| $read:expr) => {
        Box::pin(async move { $self.readers.read(|$conn| $read) })
    };
}

impl Store for SqliteStore {
    /// As the port says. A caller that stops waiting does not take its batch back.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<OpResult>, StoreError>> {
        Box::pin(async move {
            let answer = self.enqueue(batch, false).await?;
            answer.await.unwrap_or_else(|_| Err(self.gone()))
        })
    }

    fn post(&self, batch: Batch) -> BoxFuture<'_, Result<Receipt, StoreError>> {
        Box::pin(async move {
            if batch.fence.is_none() {
                return Err(StoreError::Failed("a batch without a fence was posted".to_owned()));
            }
            let answer = self.enqueue(batch, true).await?;
            let ended = Arc::clone(&self.ended);
            let receipt: Receipt = Box::pin(async move { answer.await.unwrap_or_else(|_| Err(why(&ended))) });
            Ok(receipt)
        })
    }

    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>> {
        read!(self, |conn| run::get(conn, &self.blobs, id))
    }

    fn definition(&self, run: RunId) -> BoxFuture<'_, Result<Value, StoreError>> {
        read!(self, |conn| definition::of_run(conn, &self.blobs, run))
    }

    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Vec<RunRecord>, StoreError>> {
        read!(self, |conn| run::list(conn, &self.blobs, &filter))
    }

    fn events(&self, run: RunId, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        read!(self, |conn| event::after(conn, run, after, limit))
    }

    fn machine_events(&self, run: RunId) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        read!(self, |conn| event::of_machine(conn, run))
    }

    fn effects(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>> {
        read!(self, |conn| effect::of_generation(conn, &self.blobs, run, &step, generation))
    }

    fn cancelled_waits(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<CancelledWait>, StoreError>> {
        read!(self, |conn| effect::cancelled_waits(conn, run, &step, generation))
    }

    fn run_effects(&self, run: RunId) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>> {
        read!(self, |conn| effect::of_run(conn, &self.blobs, run))
    }

    fn effect(&self, run: RunId, key: EffectKey) -> BoxFuture<'_, Result<Option<EffectRecord>, StoreError>> {
        read!(self, |conn| effect::get(conn, &self.blobs, run, &key))
    }

    fn journaled(&self, run: RunId, least: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        read!(self, |conn| effect::bytes_of_run(conn, run, least))
    }

    fn kept_request(
        &self,
        run: RunId,
        outline: Outline,
    ) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        read!(self, |conn| content::request(conn, run, &outline))
    }

    fn content_links(
        &self,
        run: RunId,
        last: Name,
        most: u32,
    ) -> BoxFuture<'_, Result<Vec<Link>, StoreError>> {
        read!(self, |conn| content::links(conn, run, last, most))
    }

    fn content_text(&self, run: RunId, name: Name) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        read!(self, |conn| content::text_of(conn, run, &name))
    }

    fn new_content(&self, run: RunId, pieces: Vec<Name>) -> BoxFuture<'_, Result<HashSet<Name>, StoreError>> {
        read!(self, |conn| content::missing(conn, run, &pieces))
    }

    fn kept_content(&self, run: RunId) -> BoxFuture<'_, Result<u64, StoreError>> {
        read!(self, |conn| content::bytes_of_run(conn, run))
    }

    fn approval(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<Approval>, StoreError>> {
        read!(self, |conn| approval::get(conn, &self.blobs, id))
    }

    fn approvals(&self, filter: ApprovalFilter) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>> {
        read!(self, |conn| approval::list(conn, &self.blobs, &filter))
    }

    fn approvals_about(
        &self,
        run: RunId,
        purpose: Purpose,
    ) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>> {
        read!(self, |conn| approval::about(conn, &self.blobs, run, &purpose))
    }

    fn budgets(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>> {
        read!(self, |conn| budget::with_keys(conn, &keys))
    }

    fn all_budgets(&self) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>> {
        read!(self, |conn| budget::all(conn))
    }

    fn standing_budgets(&self) -> BoxFuture<'_, Result<Vec<Standing>, StoreError>> {
        read!(self, |conn| standing::all(conn))
    }

    fn budget_changes(&self) -> BoxFuture<'_, Result<Vec<BudgetChange>, StoreError>> {
        read!(self, |conn| standing::changes(conn))
    }

    fn hold(&self, id: HoldId) -> BoxFuture<'_, Result<Option<Hold>, StoreError>> {
        read!(self, |conn| hold::get(conn, id))
    }

    fn open_holds(&self, run: RunId) -> BoxFuture<'_, Result<Vec<Hold>, StoreError>> {
        read!(self, |conn| hold::of_run(conn, run))
    }

    fn run_cost(&self, run: RunId) -> BoxFuture<'_, Result<NanoUsd, StoreError>> {
        read!(self, |conn| effect::cost_of_run(conn, run))
    }

    fn step_cost(&self, run: RunId, step: String) -> BoxFuture<'_, Result<NanoUsd, StoreError>> {
        read!(self, |conn| effect::cost_of_step(conn, run, &step))
    }

    fn inbox(&self, engine: EngineId) -> BoxFuture<'_, Result<Vec<InboxMessage>, StoreError>> {
        read!(self, |conn| inbox::of_engine(conn, &self.blobs, engine))
    }

    fn run_inbox(&self, run: RunId) -> BoxFuture<'_, Result<Vec<InboxMessage>, StoreError>> {
        read!(self, |conn| inbox::of_run(conn, &self.blobs, run))
    }

    fn timers(
        &self,
        engine: Option<EngineId>,
        run: Option<RunId>,
    ) -> BoxFuture<'_, Result<Vec<Timer>, StoreError>> {
        read!(self, |conn| timer::list(conn, engine, run))
    }

    fn engines(&self) -> BoxFuture<'_, Result<Vec<EngineRow>, StoreError>> {
        read!(self, |conn| engine::list(conn))
    }

    fn change_counter(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.readers.version() })
    }

    fn overruns(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        read!(self, |conn| hold::overruns(conn))
    }

    fn trees(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        read!(self, |conn| retention::trees(conn))
    }

    fn run_trees(&self) -> BoxFuture<'_, Result<Vec<RunTrees>, StoreError>> {
        read!(self, |conn| retention::run_trees(conn))
    }

    fn spent(&self) -> BoxFuture<'_, Result<Vec<Spent>, StoreError>> {
        read!(self, |conn| retention::spent(conn))
    }

    fn leftovers(&self) -> BoxFuture<'_, Result<Vec<Leftover>, StoreError>> {
        read!(self, |conn| retention::leftovers(conn))
    }

    fn collect(&self, now: Timestamp) -> BoxFuture<'_, Result<Reclaimed, StoreError>> {
        let (place, blobs, wait) = (self.place.clone(), self.blobs.clone(), self.wait);
        Box::pin(aside(move || collect::run(&place, &blobs, wait, now)))
    }
}

impl SliceStore for SqliteStore {
    fn spenders(&self) -> BoxFuture<'_, Result<Vec<Spender>, StoreError>> {
        read!(self, |conn| slice::spenders(conn))
    }

    fn slices(&self) -> BoxFuture<'_, Result<Vec<Slice>, StoreError>> {
        read!(self, |conn| slice::slices(conn))
    }

    fn budgets_by_id(&self, ids: Vec<BudgetId>) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>> {
        read!(self, |conn| budget::with_ids(conn, &ids))
    }

    fn calls_lines(&self) -> BoxFuture<'_, Result<Vec<CallsLine>, StoreError>> {
        read!(self, |conn| calls::lines(conn))
    }

    fn uncertain_calls(&self) -> BoxFuture<'_, Result<Vec<(EngineId, CallRecord)>, StoreError>> {
        read!(self, |conn| calls::uncertain(conn))
    }

    fn calls_of(&self, spender: EngineId) -> BoxFuture<'_, Result<Vec<CallRecord>, StoreError>> {
        read!(self, |conn| calls::of(conn, spender))
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<VirtualKey>, StoreError>> {
        read!(self, |conn| key::list(conn))
    }
}
