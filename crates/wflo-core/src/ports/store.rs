//! The store: one atomic, durable commit for everything that belongs together.
//!
//! A [`Batch`] is committed whole or not at all, and is durable (power loss included) when
//! [`Store::commit`] returns. Batches of many callers share one flush (group commit); one that fails
//! does not touch the others.
//!
//! Batches that one task hands over are committed in that order. Who need not wait for a flush before
//! going on computing may [`Store::post`] a batch: what builds on it is then committed behind it, or
//! not at all.
//!
//! **Architecture Invariant:** events are appended in the commit of the state that they change; a
//! batch with a stale [`Fence`] changes nothing; a hold that does not fit changes nothing; nothing is
//! committed under the fence of a posted batch that was refused.

mod batch;
mod error;
mod filter;
mod queue;
mod retention;
mod slice;

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::BoxFuture;
use crate::approval::{Approval, Purpose};
use crate::budget::{Budget, BudgetChange, Hold, Standing};
use crate::content::{Link, Name, Outline};
use crate::cost::Spent;
use crate::effect::{CancelledWait, EffectKey, EffectRecord};
use crate::event::Recorded;
use crate::id::{ApprovalId, EngineId, HoldId, RunId};
use crate::money::NanoUsd;
use crate::run::RunRecord;

pub use batch::{Batch, EffectEnd, Fence, Op, OpResult};
pub use error::StoreError;
pub use filter::{ApprovalFilter, RunFilter};
pub use queue::{EngineRow, InboxMessage, Timer};
pub use retention::{Leftover, Reclaimed, RunTrees};
pub use slice::{Fold, Part, SliceOp, SliceStore, Want};

/// What becomes of a posted batch: ready once it is durable, or will never be.
pub type Receipt = BoxFuture<'static, Result<Vec<OpResult>, StoreError>>;

/// Durable state. See the module's invariants.
pub trait Store: Send + Sync + 'static {
    /// Commits a batch; one result for each op.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<OpResult>, StoreError>>;
    /// Gives a batch its place in the order of commits, and returns before it is durable.
    ///
    /// If it is refused, every later batch under its fence is refused too, with the same error; a newer
    /// epoch of the run starts afresh. Batches without a fence are refused.
    fn post(&self, batch: Batch) -> BoxFuture<'_, Result<Receipt, StoreError>>;
    /// A run.
    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRecord>, StoreError>>;
    /// The definition that a run runs.
    fn definition(&self, run: RunId) -> BoxFuture<'_, Result<Value, StoreError>>;
    /// Runs, newest first.
    fn runs(&self, filter: RunFilter) -> BoxFuture<'_, Result<Vec<RunRecord>, StoreError>>;
    /// Events of a run after `after` (0 for all), at most `limit` (0 for all), in order.
    fn events(&self, run: RunId, after: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>>;
    /// Events of a run that the fold needs (journal events left out), in order.
    fn machine_events(&self, run: RunId) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>>;
    /// The journal of one generation of a step, by path and position, without its large values
    /// ([`Kept`](crate::effect::Kept)).
    fn effects(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>>;
    /// The effects of one generation that the step stopped waiting for, by path and position.
    fn cancelled_waits(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<CancelledWait>, StoreError>>;
    /// Every effect of a run, oldest first, without its large values.
    fn run_effects(&self, run: RunId) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>>;
    /// One effect, with all its values.
    fn effect(&self, run: RunId, key: EffectKey) -> BoxFuture<'_, Result<Option<EffectRecord>, StoreError>>;
    /// What a run's journal takes: of each effect the JSON of its request, answer and attributes in bytes,
    /// and its path, which is kept in several places, four times; at least `least`.
    fn journaled(&self, run: RunId, least: u64) -> BoxFuture<'_, Result<u64, StoreError>>;
    /// A run's request to a model, put together; none where it was not kept, or not all of it is there.
    fn kept_request(&self, run: RunId, outline: Outline)
    -> BoxFuture<'_, Result<Option<String>, StoreError>>;
    /// The links of a list of a run's requests, from this one backwards, at most `most`.
    fn content_links(
        &self,
        run: RunId,
        last: Name,
        most: u32,
    ) -> BoxFuture<'_, Result<Vec<Link>, StoreError>>;
    /// A text of a run's requests.
    fn content_text(&self, run: RunId, name: Name) -> BoxFuture<'_, Result<Option<String>, StoreError>>;
    /// Which of these pieces of a run's requests are not kept yet.
    fn new_content(&self, run: RunId, pieces: Vec<Name>) -> BoxFuture<'_, Result<HashSet<Name>, StoreError>>;
    /// What that takes, in bytes ([`Piece::bytes`](crate::content::Piece::bytes)).
    fn kept_content(&self, run: RunId) -> BoxFuture<'_, Result<u64, StoreError>>;
    /// An approval.
    fn approval(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<Approval>, StoreError>>;
    /// Approvals, newest first.
    fn approvals(&self, filter: ApprovalFilter) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>>;
    /// A run's questions of one purpose, newest first. Of a budget's, the missing amount does not matter.
    fn approvals_about(
        &self,
        run: RunId,
        purpose: Purpose,
    ) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>>;
    /// The budgets with these keys, any scope and period.
    fn budgets(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>>;
    /// Every budget, in the order in which they were opened.
    fn all_budgets(&self) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>>;
    /// The standing budgets.
    fn standing_budgets(&self) -> BoxFuture<'_, Result<Vec<Standing>, StoreError>>;
    /// What became of limits, oldest first.
    fn budget_changes(&self) -> BoxFuture<'_, Result<Vec<BudgetChange>, StoreError>>;
    /// What a hold reserves, if it is still open.
    fn hold(&self, id: HoldId) -> BoxFuture<'_, Result<Option<Hold>, StoreError>>;
    /// What the open holds of a run reserve, oldest first.
    fn open_holds(&self, run: RunId) -> BoxFuture<'_, Result<Vec<Hold>, StoreError>>;
    /// What all effects of a run were billed.
    fn run_cost(&self, run: RunId) -> BoxFuture<'_, Result<NanoUsd, StoreError>>;
    /// What all effects of a step were billed, over all its generations.
    fn step_cost(&self, run: RunId, step: String) -> BoxFuture<'_, Result<NanoUsd, StoreError>>;
    /// Messages for the runs of one engine, oldest first.
    fn inbox(&self, engine: EngineId) -> BoxFuture<'_, Result<Vec<InboxMessage>, StoreError>>;
    /// Messages for one run, oldest first.
    fn run_inbox(&self, run: RunId) -> BoxFuture<'_, Result<Vec<InboxMessage>, StoreError>>;
    /// Timers of the runs of one engine, or of one run.
    fn timers(
        &self,
        engine: Option<EngineId>,
        run: Option<RunId>,
    ) -> BoxFuture<'_, Result<Vec<Timer>, StoreError>>;
    /// Engines that announced themselves.
    fn engines(&self) -> BoxFuture<'_, Result<Vec<EngineRow>, StoreError>>;
    /// A number that changes whenever any process has committed anything. Cheap: polled every few
    /// milliseconds.
    fn change_counter(&self) -> BoxFuture<'_, Result<u64, StoreError>>;
    /// How many bills were above their hold. Stays 0.
    fn overruns(&self) -> BoxFuture<'_, Result<u64, StoreError>>;
    /// Trees of workspace stores that runs need, each once.
    fn trees(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>>;
    /// The same by run, for each run that needs some.
    fn run_trees(&self) -> BoxFuture<'_, Result<Vec<RunTrees>, StoreError>>;
    /// What removed runs spent, oldest removal first.
    fn spent(&self) -> BoxFuture<'_, Result<Vec<Spent>, StoreError>>;
    /// Removed runs whose records still stand in users' databases.
    fn leftovers(&self) -> BoxFuture<'_, Result<Vec<Leftover>, StoreError>>;
    /// Removes what nothing refers to (blobs, definitions, accounts of periods that are long over) and
    /// gives free space back to the file system. Safe beside other processes; commits go on meanwhile.
    fn collect(&self, now: Timestamp) -> BoxFuture<'_, Result<Reclaimed, StoreError>>;
}
