//! Commands: what the outside world tells a run.

use jiff::Timestamp;
use serde_json::Value;

use crate::approval::{ApprovalRequest, Decision};
use crate::budget::{OnExceeded, Shortfall};
use crate::canonical::Digest;
use crate::error::Failure;
use crate::event::{LeftBehind, Wait};
use crate::id::ApprovalId;
use crate::money::NanoUsd;
use crate::resources::Resources;
use crate::run::Carried;

use super::action::TimerKey;

/// A command with the time and the randomness that it may use.
#[derive(Debug, Clone)]
pub struct Command {
    /// When it is applied.
    pub at: Timestamp,
    /// A fresh UUIDv7 from which ids of new approvals are derived.
    pub seed: uuid::Uuid,
    /// A number in 0..1, for jitter.
    pub draw: f64,
    /// What is asked.
    pub body: CommandBody,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum CommandBody {
    /// Begin.
    Start {
        /// The workflow's version.
        version: Digest,
        /// Steps that a retried run had finished.
        carried: Vec<Carried>,
    },
    /// An attempt begins. Accepted when the step is ready, or was running under an older lease.
    StepStarted {
        /// The step.
        step: String,
        /// The lease.
        epoch: u64,
    },
    /// The step returned.
    StepSucceeded {
        /// The step.
        step: String,
        /// The attempt that speaks.
        attempt: Attempt,
        /// What it returned.
        output: Value,
        /// The run variables as it left them; none when it has none.
        state: Option<Value>,
        /// What its model calls were billed.
        cost: NanoUsd,
        /// The workspace layer it left.
        layer: Option<String>,
    },
    /// The step raised, or broke a rule.
    StepFailed {
        /// The step.
        step: String,
        /// The attempt that speaks.
        attempt: Attempt,
        /// Its error.
        error: Failure,
        /// Whether it was a time-out.
        timed_out: bool,
        /// Why a retry is out of the question, given the journal.
        no_retry: Option<Failure>,
        /// What a program left although it failed.
        left: Option<LeftBehind>,
    },
    /// The attempt's worker died without a word, or its engine did and the worker with it.
    StepLost {
        /// The step.
        step: String,
        /// The attempt.
        attempt: Attempt,
        /// How it died.
        reason: String,
        /// How long the generation has been active by then, in milliseconds.
        active_ms: u64,
        /// Where the engine died: how many effects of the generation have an answer.
        answered: Option<u32>,
    },
    /// The attempt waits for nothing but durable things, and has been ended.
    StepSuspended {
        /// The step.
        step: String,
        /// The attempt.
        attempt: Attempt,
        /// For what.
        on: Vec<Wait>,
        /// How long the generation has been active by then, in milliseconds.
        active_ms: u64,
    },
    /// The attempt was ended as asked.
    StepStopped {
        /// The step.
        step: String,
        /// The attempt.
        attempt: Attempt,
        /// How long the generation has been active by then, in milliseconds.
        active_ms: u64,
    },
    /// What the attempt's sandbox took; said before the attempt's end.
    SandboxUsed {
        /// The step.
        step: String,
        /// The attempt.
        attempt: Attempt,
        /// What it took.
        resources: Resources,
    },
    /// The data changes of a step's generation were undone, or could not be.
    StepUndone {
        /// The step.
        step: String,
        /// What was restored and what could not be.
        report: Value,
        /// Why it could not be undone.
        error: Option<Failure>,
    },
    /// A running step asks people (the `StepPreviewed` of the design, and every other question).
    Ask {
        /// The question.
        request: Box<ApprovalRequest>,
    },
    /// Another question replaces this one.
    Supersede {
        /// Which.
        approval: ApprovalId,
        /// Why.
        reason: String,
    },
    /// People answered.
    ApprovalDecided {
        /// Which question.
        approval: ApprovalId,
        /// The answer.
        decision: Decision,
    },
    /// A timer came due.
    TimerFired {
        /// Which.
        timer: TimerKey,
    },
    /// A call of a step did not fit into a budget.
    BudgetExhausted {
        /// The step.
        step: String,
        /// The arithmetic.
        shortfall: Box<Shortfall>,
        /// What the budget says.
        action: OnExceeded,
    },
    /// A policy refused something.
    Denied {
        /// The refusal.
        error: Failure,
    },
    /// People let a host in, or keep it out, while the run goes on.
    ChangeHost {
        /// The host, as a rule.
        rule: String,
        /// Whether it may be reached from now on.
        allowed: bool,
        /// Who.
        by: String,
    },
    /// A message from outside.
    Signal {
        /// Its name.
        name: String,
        /// Its content.
        payload: Value,
    },
    /// A provider has billed more than a call could cost, and a budget is overdrawn by it.
    Overdrawn {
        /// Which, and by how much.
        error: Failure,
    },
    /// Stop what runs; go on at `Resume`.
    Pause {
        /// Who.
        by: String,
        /// What must be put right before it can go on, where it was not a person who paused it.
        error: Option<Failure>,
    },
    /// Go on.
    Resume {
        /// Who.
        by: String,
    },
    /// End.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
}

/// Which attempt speaks; an old one is not listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The journal.
    pub generation: u32,
    /// The attempt within it.
    pub attempt: u32,
}

/// Why a command changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The run has ended.
    #[error("the run has ended as {0}")]
    Terminal(crate::run::RunStatus),
    /// It has begun already.
    #[error("the run has begun already")]
    AlreadyStarted,
    /// It has not begun.
    #[error("the run has not begun")]
    NotStarted,
    /// No such step.
    #[error("there is no step `{0}`")]
    UnknownStep(String),
    /// The step is not where the command supposes.
    #[error("step `{step}` is {status}, so it cannot be {wanted}")]
    StepNot {
        /// The step.
        step: String,
        /// Where it is.
        status: &'static str,
        /// What the command wanted.
        wanted: &'static str,
    },
    /// An attempt that was replaced.
    #[error("attempt {attempt} of generation {generation} of step `{step}` was replaced")]
    StaleAttempt {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// The attempt.
        attempt: u32,
    },
    /// The same question is open, or was answered for good: its answer counts for this asker as well.
    #[error("approval {0} asks this already")]
    AskedAlready(ApprovalId),
    /// No such question, or it is decided.
    #[error("approval {0} is not pending")]
    NotPending(ApprovalId),
    /// No such timer, or it has fired.
    #[error("timer {0} is not set")]
    NoTimer(String),
    /// Not now.
    #[error("the run is {0}, so this changes nothing")]
    NotNow(crate::run::RunStatus),
}
