//! A batch: the changes that are committed together, and the lease under which.

use jiff::Timestamp;
use serde_json::Value;

use crate::approval::{Approval, ApprovalStatus, Decision};
use crate::budget::{Amount, Amounts, Budget, Standing};
use crate::content::Piece;
use crate::cost::Spent;
use crate::effect::{EffectKey, EffectRecord};
use crate::error::Failure;
use crate::event::Event;
use crate::id::{ApprovalId, BudgetId, EngineId, HoldId, KeyId, RunId};
use crate::key::{KeyChange, VirtualKey};
use crate::money::NanoUsd;
use crate::ports::clock::Moment;
use crate::run::{RunRecord, RunStatus};
use crate::slice::Alert;

use super::retention::Leftover;
use super::slice::SliceOp;

/// The lease under which a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The run.
    pub run: RunId,
    /// The epoch that its writer holds.
    pub epoch: u64,
}

/// What belongs together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Refuses the batch when the lease has moved on.
    pub fence: Option<Fence>,
    /// Executed in order.
    pub ops: Vec<Op>,
}

/// One change.
#[derive(Debug, Clone)]
pub enum Op {
    /// Keeps a canonical definition under its digest; keeping it again changes nothing. It is kept for
    /// as long as a run has it, so it goes with the run that needs it.
    PutDefinition {
        /// Digest of the canonical definition.
        digest: String,
        /// The definition.
        definition: Value,
    },
    /// A new run, with the definition it runs. Its `lease_epoch` and `engine` are stored as given. The
    /// run that it retries must be there ([`StoreError::NotFound`](super::StoreError::NotFound)).
    CreateRun {
        /// The run.
        run: Box<RunRecord>,
        /// Digest of its definition.
        definition: String,
    },
    /// Appends events to a run, numbering them on from its last. Result: [`OpResult::Seq`] of the first.
    AppendEvents {
        /// The run.
        run: RunId,
        /// The facts.
        events: Vec<Event>,
    },
    /// The run's row as the fold now says.
    SetRun {
        /// The run.
        run: RunId,
        /// Where it stands.
        status: RunStatus,
        /// Its result, once terminal.
        outputs: Option<Value>,
        /// Why it did not complete, once terminal.
        error: Option<Failure>,
        /// When.
        at: Timestamp,
    },
    /// Takes a run over: its epoch must be `expected`, it becomes `expected + 1` and belongs to `engine`.
    Claim {
        /// The run.
        run: RunId,
        /// The epoch seen.
        expected: u64,
        /// The new driver.
        engine: EngineId,
    },
    /// Gives a run up: no engine drives it, the epoch stays.
    Release {
        /// The run.
        run: RunId,
    },
    /// An effect's intent. A key that exists already fails the batch with [`StoreError::EffectExists`].
    PutEffect {
        /// The run.
        run: RunId,
        /// The row; its state must be `Intent`, its request must be here.
        effect: Box<EffectRecord>,
    },
    /// Keeps pieces of what was asked of a model, for as long as the run is there; keeping one again changes
    /// nothing. They go with the intent of the call whose outline names them. Result: [`OpResult::Kept`].
    KeepContent {
        /// The run.
        run: RunId,
        /// The pieces.
        pieces: Vec<Piece>,
    },
    /// An effect's result. Its `order` is the next of its generation. Result: [`OpResult::Order`].
    /// Fails with [`StoreError::EffectNotOpen`] unless it is an intent.
    FinishEffect {
        /// The run.
        run: RunId,
        /// The effect.
        key: EffectKey,
        /// How it ended.
        end: EffectEnd,
    },
    /// An intent whose result was lost is tried again: its hold is replaced, and what the lost try was
    /// billed is carried and marked uncertain ([`Op::FinishEffect`] adds to it).
    /// Fails with [`StoreError::EffectNotOpen`] unless it is an intent.
    ReopenEffect {
        /// The run.
        run: RunId,
        /// The effect.
        key: EffectKey,
        /// The new hold.
        hold: Option<HoldId>,
        /// What the lost try was billed.
        carried: NanoUsd,
        /// Merged over the attributes of the intent (objects, by key).
        attributes: Value,
    },
    /// The step stopped waiting for an effect, which need not have a row. Saying it again changes nothing.
    CancelWait {
        /// The run.
        run: RunId,
        /// The effect.
        key: EffectKey,
        /// The `order` of the last answer that the step had been given by then.
        after: u32,
    },
    /// An intent is answered on top of changes that are not made yet. Its `order` is the next of its
    /// generation. Result: [`OpResult::Order`]. Fails with [`StoreError::EffectNotOpen`] unless it is an
    /// intent.
    PreviewEffect {
        /// The run.
        run: RunId,
        /// The effect.
        key: EffectKey,
        /// What the step is told.
        outcome: Result<Value, Failure>,
        /// Merged over the attributes of the intent (objects, by key).
        attributes: Value,
    },
    /// What a previewed effect rests on is committed: its answer stands.
    /// Fails with [`StoreError::EffectNotOpen`] unless it is previewed.
    ConfirmEffect {
        /// The run.
        run: RunId,
        /// The effect.
        key: EffectKey,
        /// When.
        at: Timestamp,
    },
    /// The changes that a generation's previewed effects rest on will not be made as they were previewed:
    /// `first` becomes an intent again, all others of them are dropped, and so is every cancelled wait
    /// since. Finished effects stay.
    /// Fails with [`StoreError::EffectNotOpen`] unless `first` is previewed.
    RewindEffects {
        /// The run.
        run: RunId,
        /// The earliest of the changes; names the generation.
        first: EffectKey,
        /// Merged over its attributes (objects, by key).
        attributes: Value,
    },
    /// Copies finished effects and cancelled waits of one generation into the next, keeping their
    /// relative order (orders become dense from 1), without cost and hold: a retry does not pay again.
    CopyEffects {
        /// The run.
        run: RunId,
        /// The step.
        step: String,
        /// The old journal.
        from: u32,
        /// The new journal.
        to: u32,
        /// Which: path and position.
        keep: Vec<(String, u32)>,
    },
    /// Copies finished effects and cancelled waits of another run's generation into the first one of this
    /// run, as [`Op::CopyEffects`] does; they are marked as `carried`.
    CarryEffects {
        /// The other run.
        source: RunId,
        /// This run.
        run: RunId,
        /// The step.
        step: String,
        /// The journal of the other run.
        generation: u32,
        /// Which: path and position.
        keep: Vec<(String, u32)>,
    },
    /// Opens a budget account unless one exists for (scope, key, period, period start): then the lower
    /// limit stays in force only through its own account, and the existing one is unchanged.
    OpenBudget(Box<Budget>),
    /// Reserves what each of `budgets` counts of `amounts`, on all or on none: [`StoreError::Short`] names the
    /// first that could not.
    Hold {
        /// The reservation's id.
        id: HoldId,
        /// The run whose call it is.
        run: RunId,
        /// Every budget that applies.
        budgets: Vec<BudgetId>,
        /// The call's upper bound, of each measure.
        amounts: Amounts,
    },
    /// Turns a hold into a bill of `actual` and frees the rest. Appends a `budget.alert` event to the
    /// hold's run for each threshold newly passed. Settling twice changes nothing.
    /// What is more than was held is charged as it is and counted in [`Store::overruns`].
    Settle {
        /// The reservation.
        id: HoldId,
        /// The bill, of each measure.
        actual: Amounts,
        /// For the alerts.
        at: Timestamp,
    },
    /// Frees a hold whose call was certainly never sent.
    ReleaseHold {
        /// The reservation.
        id: HoldId,
    },
    /// Raises (or, below zero, lowers, but never under what is settled and held) a budget's limit, and keeps
    /// that in its history.
    TopUp {
        /// The budget.
        budget: BudgetId,
        /// By how much.
        amount: Amount,
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// Says anew what an account has counted, and keeps that with its reason in its history. What is counted
    /// afterwards (calls under way, what a gateway has not brought into the store) comes on top.
    CorrectBudget {
        /// The budget.
        budget: BudgetId,
        /// What was counted.
        settled: Amount,
        /// Who says so.
        by: String,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// Makes or changes a standing budget. The accounts of it that are open get the difference, so that what
    /// they were topped up by stays; a limit is not lowered under what is settled and held.
    SetStanding {
        /// The budget.
        standing: Box<Standing>,
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// Takes a standing budget away: no further call is held on it. What its accounts counted stays in its
    /// history.
    RemoveStanding {
        /// The budget; its limit does not matter.
        standing: Box<Standing>,
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A new question.
    PutApproval(Box<Approval>),
    /// An answer; fails with [`StoreError::AlreadyDecided`] unless it is pending.
    DecideApproval {
        /// Which.
        id: ApprovalId,
        /// `Approved`, `Rejected` or `Expired`.
        status: ApprovalStatus,
        /// The answer.
        decision: Decision,
    },
    /// Uses an approval once; fails with [`StoreError::NotApproved`] unless it is `Approved`.
    ConsumeApproval {
        /// Which.
        id: ApprovalId,
        /// When.
        at: Timestamp,
    },
    /// Replaces a pending or approved question.
    SupersedeApproval {
        /// Which.
        id: ApprovalId,
    },
    /// A message for a run's driver, from any process. Needs no fence.
    PushInbox {
        /// The run.
        run: RunId,
        /// The message; its shape belongs to the engine.
        message: Value,
        /// When.
        at: Timestamp,
    },
    /// Removes messages that the batch's events have answered.
    DropInbox {
        /// Their numbers.
        ids: Vec<i64>,
    },
    /// A durable timer of a run; the same key is replaced.
    PutTimer {
        /// The run.
        run: RunId,
        /// Its name within the run.
        key: String,
        /// When by wall time.
        due: Timestamp,
        /// When by both clocks, as seen when it was set: `due` on the boot clock is
        /// `set.boot_ms + (due - set.wall)`.
        set: Moment,
    },
    /// Removes a timer.
    DropTimer {
        /// The run.
        run: RunId,
        /// Its name within the run.
        key: String,
    },
    /// The run needs these trees of its workspace store (its seal, the layers of its steps): they are
    /// among [`Store::trees`](super::Store::trees) until it drops them or is removed.
    KeepTrees {
        /// The run.
        run: RunId,
        /// Their ids.
        trees: Vec<String>,
    },
    /// The run needs none of its trees any more.
    DropTrees {
        /// The run.
        run: RunId,
    },
    /// Removes a run and everything that only it had: events, effects, approvals, holds, messages,
    /// timers, trees, and its budgets unless another run of its chain of retries is charged to them.
    /// What remains: a line of costs each, and for each database that it wrote to a
    /// [`Leftover`](super::Leftover).
    ///
    /// Fails with [`StoreError::LeaseLost`](super::StoreError::LeaseLost) unless its epoch is `epoch`,
    /// with [`StoreError::StillNeeded`](super::StoreError::StillNeeded) while it has not ended, while a
    /// run of its chain has not, and while a call of it is not settled.
    RemoveRun {
        /// The run.
        run: RunId,
        /// The epoch seen by who counted its costs.
        epoch: u64,
        /// What it spent.
        spent: Vec<Spent>,
        /// Databases in which it may have left records.
        databases: Vec<String>,
    },
    /// A removed run's records are gone from a database.
    DropLeftover(Leftover),
    /// An engine announces itself: its lock file is `<data>/engines/<id>.lock`.
    PutEngine {
        /// Its id.
        id: EngineId,
        /// Its process.
        pid: u32,
        /// When.
        at: Timestamp,
    },
    /// An engine is gone.
    DropEngine {
        /// Its id.
        id: EngineId,
    },
    /// A change of slices. Needs no fence.
    Slice(SliceOp),
    /// A virtual key that was just made.
    PutKey(Box<VirtualKey>),
    /// Something of a key is changed, whatever else of it is changed meanwhile.
    ChangeKey {
        /// Which.
        id: KeyId,
        /// What.
        change: Box<KeyChange>,
    },
    /// A key is good for nothing from now on; what was revoked stays so.
    RevokeKey {
        /// Which.
        id: KeyId,
        /// Since when.
        at: Timestamp,
    },
}

/// What an [`Op`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// Nothing.
    Done,
    /// The first sequence number given.
    Seq(u64),
    /// The effect's position in delivery order.
    Order(u32),
    /// What was taken of each budget.
    Granted(Vec<Amount>),
    /// Alerts that bills made due.
    Folded(Vec<Alert>),
    /// What is newly kept of requests to models, in bytes ([`Piece::bytes`](crate::content::Piece::bytes)).
    Kept(u64),
}

/// How an effect ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectEnd {
    /// Its result or its error.
    pub outcome: Result<Value, Failure>,
    /// What it was billed.
    pub cost: NanoUsd,
    /// The bill is the whole hold because the real one was lost.
    pub uncertain: bool,
    /// Merged over the attributes of the intent (objects, by key).
    pub attributes: Value,
    /// When it became known.
    pub at: Timestamp,
}
