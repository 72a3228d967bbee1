//! Slices in the store: taken all or none in one commit, folded many calls at a time.

use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::{Amount, Budget};
use crate::id::{BudgetId, EngineId};
use crate::key::VirtualKey;
use crate::ports::BoxFuture;
use crate::slice::{CallRecord, CallsLine, Slice, Spender};

use super::{Store, StoreError};

/// What is wanted of one budget, in its measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Of which.
    pub budget: BudgetId,
    /// Less is of no use.
    pub least: Amount,
    /// More is not wanted; of what is left beyond the least, half at most is given.
    pub most: Amount,
}

/// What a process has spent of a slice since it last said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Of which budget.
    pub budget: BudgetId,
    /// What calls took of it.
    pub settled: Amount,
    /// What the slice becomes smaller by: the settled, and what is given back.
    pub freed: Amount,
}

/// What a process did since it last said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Whose.
    pub spender: EngineId,
    /// The position that the store must have: what was folded once is not folded again.
    pub from: u64,
    /// The last record of the log that this covers.
    pub to: u64,
    /// Of each budget.
    pub parts: Vec<Part>,
    /// The calls behind that.
    pub calls: Vec<CallRecord>,
    /// Calls that were billed above their hold.
    pub overruns: u32,
    /// The process ends: what is left of its slices is free, and it is forgotten.
    pub ends: bool,
    /// When.
    pub at: Timestamp,
}

/// A change of slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SliceOp {
    /// A process that will take slices announces itself.
    Open(Box<Spender>),
    /// Takes of every budget or of none. Result: [`OpResult::Granted`](super::OpResult::Granted), in the
    /// order of the wants; [`StoreError::Short`] names the first that has not the least.
    Take {
        /// For whom.
        spender: EngineId,
        /// Of what, each budget once.
        wants: Vec<Want>,
    },
    /// Brings into the store what was spent. Result: [`OpResult::Folded`](super::OpResult::Folded).
    /// [`StoreError::NotFound`] when the process is not known (any more), [`StoreError::Failed`] when the
    /// position is another.
    Fold(Arc<Fold>),
    /// Asks everybody else for what they do not use of these budgets.
    Recall {
        /// Who asks; none where it is no process that has slices itself.
        spender: Option<EngineId>,
        /// Of which budgets.
        budgets: Vec<BudgetId>,
    },
    /// A file says this limit. Where it said another one before (that with which the account was opened, the
    /// first time), the account's changes by the difference, so that what it was topped up by stays; whatever is
    /// in use of it: below that nothing more is granted, and everybody is asked for what no call holds.
    Limit {
        /// Of which.
        budget: BudgetId,
        /// What it says.
        limit: Amount,
        /// Whether it may say more than before. Where runs hold on the account, too, their own files and code do not
        /// let others raise it.
        raises: bool,
        /// Who says so, for its history.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// Removes the records of calls that were brought in before then, some at a time; those whose bill was lost stay,
    /// and so do all sums.
    Forget {
        /// Until when, exclusively.
        before: Timestamp,
    },
    /// A recall is answered: what the process could give back it has given.
    Answered {
        /// By whom.
        spender: EngineId,
        /// Of which budgets.
        budgets: Vec<BudgetId>,
    },
}

/// What is read of slices.
pub trait SliceStore: Store {
    /// Processes that hold slices, oldest first.
    fn spenders(&self) -> BoxFuture<'_, Result<Vec<Spender>, StoreError>>;
    /// All slices.
    fn slices(&self) -> BoxFuture<'_, Result<Vec<Slice>, StoreError>>;
    /// Budgets by id; those that are not there are left out.
    fn budgets_by_id(&self, ids: Vec<BudgetId>) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>>;
    /// Sums of the calls outside of runs, oldest hour first.
    fn calls_lines(&self) -> BoxFuture<'_, Result<Vec<CallsLine>, StoreError>>;
    /// Calls outside of runs whose bill was lost, oldest first, with the process that made them.
    fn uncertain_calls(&self) -> BoxFuture<'_, Result<Vec<(EngineId, CallRecord)>, StoreError>>;
    /// Every call of one process, oldest first.
    fn calls_of(&self, spender: EngineId) -> BoxFuture<'_, Result<Vec<CallRecord>, StoreError>>;
    /// All virtual keys, oldest first.
    fn keys(&self) -> BoxFuture<'_, Result<Vec<VirtualKey>, StoreError>>;
}
