//! The store: one atomic, durable commit for everything that belongs together.
//!
//! A [`Batch`] is committed whole or not at all, and is durable (power loss included) when
//! [`Store::commit`] returns. Batches of many callers share one flush (group commit); one that fails
//! does not touch the others.
//!
//! **Architecture Invariant:** events are appended in the commit of the state that they change; a
//! batch with a stale [`Fence`] changes nothing; a hold that does not fit changes nothing.

use jiff::Timestamp;
use serde_json::Value;

use super::BoxFuture;
use super::clock::Moment;
use crate::approval::{Approval, ApprovalStatus, Decision};
use crate::budget::{Budget, Shortfall};
use crate::effect::{EffectKey, EffectRecord};
use crate::error::{Code, Coded, Failure};
use crate::event::{Event, Recorded};
use crate::id::{ApprovalId, BudgetId, EngineId, HoldId, RunId};
use crate::money::NanoUsd;
use crate::run::{RunRecord, RunStatus};

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

/// One change.
#[derive(Debug, Clone)]
pub enum Op {
    /// Keeps a canonical definition under its digest; keeping it again changes nothing.
    PutDefinition {
        /// Digest of the canonical definition.
        digest: String,
        /// The definition.
        definition: Value,
    },
    /// A new run, with the definition it runs. Its `lease_epoch` and `engine` are stored as given.
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
        /// The row; its state must be `Intent`.
        effect: Box<EffectRecord>,
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
    /// Copies finished effects of one generation into the next, keeping their relative order (orders
    /// become dense from 1), without cost and hold: a retry does not pay again.
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
    /// Opens a budget account unless one exists for (scope, key, period, period start): then the lower
    /// limit stays in force only through its own account, and the existing one is unchanged.
    OpenBudget(Box<Budget>),
    /// Reserves `amount` on all `budgets` or on none: [`StoreError::Short`] names the first that could not.
    Hold {
        /// The reservation's id.
        id: HoldId,
        /// The run whose call it is.
        run: RunId,
        /// Every budget that applies.
        budgets: Vec<BudgetId>,
        /// The call's upper bound.
        amount: NanoUsd,
    },
    /// Turns a hold into a bill of `actual` and frees the rest. Appends a `budget.alert` event to the
    /// hold's run for each threshold newly passed. Settling twice changes nothing.
    /// `actual > amount` is charged as it is and counted in [`Store::overruns`].
    Settle {
        /// The reservation.
        id: HoldId,
        /// The bill.
        actual: NanoUsd,
        /// For the alerts.
        at: Timestamp,
    },
    /// Frees a hold whose call was certainly never sent.
    ReleaseHold {
        /// The reservation.
        id: HoldId,
    },
    /// Raises (or, below zero, lowers, but never under what is settled and held) a budget's limit.
    TopUp {
        /// The budget.
        budget: BudgetId,
        /// By how much.
        amount: NanoUsd,
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
}

/// A message for a run's driver.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxMessage {
    /// Its number, ascending.
    pub id: i64,
    /// The run.
    pub run: RunId,
    /// The message.
    pub message: Value,
}

/// A durable timer.
#[derive(Debug, Clone, PartialEq)]
pub struct Timer {
    /// The run.
    pub run: RunId,
    /// Its name within the run.
    pub key: String,
    /// When by wall time.
    pub due: Timestamp,
    /// Both clocks when it was set.
    pub set: Moment,
}

/// An engine that announced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineRow {
    /// Its id.
    pub id: EngineId,
    /// Its process.
    pub pid: u32,
    /// Since when.
    pub started_at: Timestamp,
}

/// Which runs a listing wants.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only these; all when empty.
    pub statuses: Vec<RunStatus>,
    /// Only runs of this workflow.
    pub workflow: Option<String>,
    /// Only runs driven by this engine.
    pub engine: Option<EngineId>,
    /// At most this many, newest first; 0 means all.
    pub limit: u32,
}

/// Which approvals a listing wants.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// Only these; all when empty.
    pub statuses: Vec<ApprovalStatus>,
    /// Only of this run.
    pub run: Option<RunId>,
    /// At most this many, newest first; 0 means all.
    pub limit: u32,
}

/// Why the store could not do what was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// Another process has taken the run over.
    #[error("the lease on {run} is lost: it is at epoch {current}, this writer holds {held}")]
    LeaseLost {
        /// The run.
        run: RunId,
        /// What the store says.
        current: u64,
        /// What the writer holds.
        held: u64,
    },
    /// A hold does not fit.
    #[error("{}", .0.explain())]
    Short(Box<Shortfall>),
    /// No such thing.
    #[error("there is no {noun} `{id}`")]
    NotFound {
        /// What.
        noun: &'static str,
        /// Which.
        id: String,
    },
    /// The run exists already.
    #[error("run {0} exists already")]
    RunExists(RunId),
    /// The effect exists already.
    #[error("effect {0} exists already")]
    EffectExists(EffectKey),
    /// The effect has a result already.
    #[error("effect {0} is not open")]
    EffectNotOpen(EffectKey),
    /// Somebody else was first.
    #[error("approval {id} is already {}", status.as_str())]
    AlreadyDecided {
        /// Which.
        id: ApprovalId,
        /// Where it stands.
        status: ApprovalStatus,
    },
    /// It was not approved, or is used up.
    #[error("approval {id} is {}, not approved", status.as_str())]
    NotApproved {
        /// Which.
        id: ApprovalId,
        /// Where it stands.
        status: ApprovalStatus,
    },
    /// The disk is full.
    #[error("the disk that holds {path} is full; nothing was lost, nothing more is recorded")]
    DiskFull {
        /// The data file.
        path: String,
    },
    /// The data file is damaged or is not wflo's.
    #[error("{path} is not a usable wflo database: {detail}")]
    Corrupt {
        /// The data file.
        path: String,
        /// What SQLite or Postgres says.
        detail: String,
    },
    /// Another program holds the data file.
    #[error("{path} is locked by another program")]
    Locked {
        /// The data file.
        path: String,
    },
    /// It was written by a newer wflo.
    #[error("{path} was written by a newer wflo (schema {found}, this one knows {known})")]
    TooNew {
        /// The data file.
        path: String,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Anything else.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Coded for StoreError {
    fn code(&self) -> Code {
        Code(match self {
            StoreError::LeaseLost { .. } => 2001,
            StoreError::Short(_) => 4001,
            StoreError::NotFound { .. } => 2002,
            StoreError::RunExists(_) | StoreError::EffectExists(_) | StoreError::EffectNotOpen(_) => 2003,
            StoreError::AlreadyDecided { .. } => 7001,
            StoreError::NotApproved { .. } => 7002,
            StoreError::DiskFull { .. } => 2004,
            StoreError::Corrupt { .. } => 2005,
            StoreError::Locked { .. } => 2006,
            StoreError::TooNew { .. } => 2007,
            StoreError::Failed(_) => 2008,
            StoreError::Closed => 2009,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            StoreError::LeaseLost { .. } => "another wflo process drives this run now; watch it with `wflo runs events ID --follow`".to_owned(),
            StoreError::Short(_) => "raise the limit with --budget, or approve a top-up with `wflo approvals approve ID --amount USD`".to_owned(),
            StoreError::DiskFull { .. } => "free some space, then `wflo runs resume ID`".to_owned(),
            StoreError::Corrupt { path, .. } => format!("wflo changed nothing; restore {path} from a backup, or move it away to start afresh"),
            StoreError::Locked { .. } => "close the other program, or use another --data-dir".to_owned(),
            StoreError::TooNew { .. } => "upgrade wflo".to_owned(),
            _ => return None,
        })
    }
}

/// Durable state. See the module's invariants.
pub trait Store: Send + Sync + 'static {
    /// Commits a batch; one result for each op.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<OpResult>, StoreError>>;
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
    /// The journal of one generation of a step, by path and position.
    fn effects(
        &self,
        run: RunId,
        step: String,
        generation: u32,
    ) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>>;
    /// Every effect of a run, oldest first.
    fn run_effects(&self, run: RunId) -> BoxFuture<'_, Result<Vec<EffectRecord>, StoreError>>;
    /// An approval.
    fn approval(&self, id: ApprovalId) -> BoxFuture<'_, Result<Option<Approval>, StoreError>>;
    /// Approvals, newest first.
    fn approvals(&self, filter: ApprovalFilter) -> BoxFuture<'_, Result<Vec<Approval>, StoreError>>;
    /// The budgets with these keys, any scope and period.
    fn budgets(&self, keys: Vec<String>) -> BoxFuture<'_, Result<Vec<Budget>, StoreError>>;
    /// What a hold reserves, if it is still open.
    fn hold(&self, id: HoldId) -> BoxFuture<'_, Result<Option<crate::budget::Hold>, StoreError>>;
    /// What all effects of a run were billed.
    fn run_cost(&self, run: RunId) -> BoxFuture<'_, Result<NanoUsd, StoreError>>;
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
}
