//! Events: the facts of a run, in order. A run's state is the fold of them.
//!
//! Two families share one sequence. *Machine events* are made by [`crate::machine`] and fold into the
//! run's state. *Journal events* are made by the driver beside an effect's record; the fold passes
//! over them, so they may stand anywhere between machine events.

mod ending;
mod family;
mod wait;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::{ApprovalRequest, Decision};
use crate::budget::{Figures, Quantity, Shortfall};
use crate::canonical::Digest;
use crate::effect::{EffectKey, EffectKind};
use crate::error::Failure;
use crate::id::{ApprovalId, BudgetId, RunId};
use crate::machine::Changes;
use crate::money::NanoUsd;
use crate::resources::Resources;

pub use ending::{AfterFailure, Ending, LeftBehind};
pub use wait::Wait;

/// The [`Notice`](EventBody::Notice) of a program's model call that the gateway ended.
pub const CALL_REFUSED: &str = "call.refused";

/// One fact and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, UTC.
    #[serde(rename = "time")]
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventBody {
    /// The run was accepted.
    #[serde(rename = "run.started")]
    RunStarted {
        /// The workflow's name.
        workflow: String,
        /// The workflow's version.
        version: Digest,
    },
    /// Everything left waits.
    #[serde(rename = "run.waiting")]
    RunWaiting {
        /// For what.
        on: Vec<Wait>,
    },
    /// Something runs again.
    #[serde(rename = "run.running")]
    RunRunning {},
    /// A person paused it, or wflo did because its operator must put something right.
    #[serde(rename = "run.paused")]
    RunPaused {
        /// Who.
        by: String,
        /// What must be put right before it can go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Failure>,
    },
    /// A person resumed it.
    #[serde(rename = "run.resumed")]
    RunResumed {
        /// Who.
        by: String,
    },
    /// It will end once what runs has stopped.
    #[serde(rename = "run.stopping")]
    RunStopping {
        /// Why.
        #[serde(flatten)]
        ending: Ending,
    },
    /// Every step succeeded or was skipped.
    #[serde(rename = "run.completed")]
    RunCompleted {},
    /// A step failed.
    #[serde(rename = "run.failed")]
    RunFailed {
        /// Its error.
        error: Failure,
    },
    /// A person cancelled it.
    #[serde(rename = "run.cancelled")]
    RunCancelled {
        /// Who and why, as an error.
        error: Failure,
    },
    /// An approval or policy said no.
    #[serde(rename = "run.rejected")]
    RunRejected {
        /// The refusal.
        error: Failure,
    },
    /// A budget ran out.
    #[serde(rename = "run.halted")]
    RunHalted {
        /// The arithmetic.
        error: Failure,
    },
    /// A time-out ended it.
    #[serde(rename = "run.timed_out")]
    RunTimedOut {
        /// Which.
        error: Failure,
    },

    /// It holds the files of another run as they stood before a step of that run.
    #[serde(rename = "run.rolled_back")]
    RunRolledBack {
        /// The other run.
        of: RunId,
        /// The step.
        step: String,
    },

    /// An attempt of a step began.
    #[serde(rename = "step.started")]
    StepStarted {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// Counts the attempts of the generation from 1.
        attempt: u32,
        /// The lease under which it runs.
        epoch: u64,
    },
    /// An attempt ended without a word: its worker died, or its engine.
    #[serde(rename = "step.lost")]
    StepLost {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// The attempt.
        attempt: u32,
        /// How it died.
        reason: String,
        /// How long the generation had been active by then, in milliseconds.
        #[serde(default)]
        active_ms: u64,
        /// Where the engine died: how many effects of the generation had an answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answered: Option<u32>,
    },
    /// An attempt ended because it waits.
    #[serde(rename = "step.suspended")]
    StepSuspended {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// The attempt.
        attempt: u32,
        /// For what.
        on: Vec<Wait>,
        /// How long the generation had been active by then, in milliseconds.
        #[serde(default)]
        active_ms: u64,
    },
    /// An attempt was ended from outside (pause, stop); the step can go on later.
    #[serde(rename = "step.stopped")]
    StepStopped {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// The attempt.
        attempt: u32,
        /// How long the generation had been active by then, in milliseconds.
        #[serde(default)]
        active_ms: u64,
    },
    /// What an attempt's sandbox took of the machine: stands before the attempt's end, in the same commit.
    #[serde(rename = "sandbox.used")]
    SandboxUsed {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// The attempt.
        attempt: u32,
        /// What it took.
        #[serde(flatten)]
        resources: Resources,
    },
    /// A step is done.
    #[serde(rename = "step.succeeded")]
    StepSucceeded {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// What it returned.
        output: Value,
        /// What it changed of the run's variables.
        #[serde(flatten)]
        changes: Changes,
        /// What its model calls were billed, all generations.
        cost_usd: NanoUsd,
        /// The workspace layer it left, if it changed files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layer: Option<String>,
    },
    /// A generation of a step failed.
    #[serde(rename = "step.failed")]
    StepFailed {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// Its error.
        error: Failure,
        /// Whether it was a time-out.
        timed_out: bool,
        /// What follows.
        then: AfterFailure,
        /// What a program left although it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<LeftBehind>,
    },
    /// The data changes of a generation were undone, or could not be.
    #[serde(rename = "step.undone")]
    StepUndone {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
        /// What was restored and what could not be.
        report: Value,
        /// Why it could not be undone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Failure>,
        /// Whether a retry follows.
        retry: bool,
    },
    /// A new generation will begin.
    #[serde(rename = "step.retrying")]
    StepRetrying {
        /// The step.
        step: String,
        /// The new journal.
        generation: u32,
        /// When.
        due: Timestamp,
    },
    /// The backoff before a generation is over.
    #[serde(rename = "step.woken")]
    StepWoken {
        /// The step.
        step: String,
        /// Its journal.
        generation: u32,
    },
    /// A condition was false, or a step before it was skipped.
    #[serde(rename = "step.skipped")]
    StepSkipped {
        /// The step.
        step: String,
        /// Which step decided it.
        because: String,
    },
    /// A step will not run because the run ends.
    #[serde(rename = "step.cancelled")]
    StepCancelled {
        /// The step.
        step: String,
        /// Whether its data changes are undone first.
        undo: bool,
    },

    /// A question was put.
    #[serde(rename = "approval.requested")]
    ApprovalRequested {
        /// Its id.
        approval_id: ApprovalId,
        /// The question. Boxed: it is much larger than the other facts.
        #[serde(flatten)]
        request: Box<ApprovalRequest>,
    },
    /// It was answered.
    #[serde(rename = "approval.decided")]
    ApprovalDecided {
        /// Its id.
        approval_id: ApprovalId,
        /// The answer.
        #[serde(flatten)]
        decision: Decision,
    },
    /// It was used.
    #[serde(rename = "approval.consumed")]
    ApprovalConsumed {
        /// Its id.
        approval_id: ApprovalId,
        /// What it released, for people.
        released: String,
    },
    /// It is no longer needed, or another replaced it.
    #[serde(rename = "approval.superseded")]
    ApprovalSuperseded {
        /// Its id.
        approval_id: ApprovalId,
        /// Why.
        reason: String,
    },
    /// Nobody decided in time; it goes on waiting.
    #[serde(rename = "approval.escalated")]
    ApprovalEscalated {
        /// Its id.
        approval_id: ApprovalId,
    },
    /// A durable sleep is over.
    #[serde(rename = "timer.fired")]
    TimerFired {
        /// The step.
        step: String,
        /// The sleeping effect's branch.
        path: String,
        /// The sleeping effect's position.
        #[serde(rename = "effect_seq")]
        seq: u32,
    },
    /// A message from outside.
    #[serde(rename = "signal.received")]
    SignalReceived {
        /// Its name.
        name: String,
        /// Its content.
        payload: Value,
    },
    /// A call did not fit into a budget.
    #[serde(rename = "budget.exhausted")]
    BudgetExhausted {
        /// The step whose call it was.
        step: String,
        /// The arithmetic.
        #[serde(flatten)]
        shortfall: Box<Shortfall>,
    },

    /// An effect's intent is durable.
    #[serde(rename = "effect.started")]
    EffectStarted {
        /// Its identity.
        #[serde(flatten)]
        key: EffectKey,
        /// Its kind.
        kind: EffectKind,
        /// Its name.
        name: String,
    },
    /// An effect's result is durable.
    #[serde(rename = "effect.finished")]
    EffectFinished {
        /// Its identity.
        #[serde(flatten)]
        key: EffectKey,
        /// Its kind.
        kind: EffectKind,
        /// Its name.
        name: String,
        /// What it was billed.
        cost_usd: NanoUsd,
        /// The bill is the whole hold because the real one was lost.
        #[serde(default)]
        uncertain: bool,
        /// Its error, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Failure>,
    },
    /// A program repeated itself differently on resume; its call is new and paid.
    #[serde(rename = "replay.miss")]
    ReplayMiss {
        /// The new call.
        #[serde(flatten)]
        key: EffectKey,
    },
    /// A budget passed a threshold.
    #[serde(rename = "budget.alert")]
    BudgetAlert {
        /// Which budget.
        budget_id: BudgetId,
        /// Its name for people.
        budget: String,
        /// The share of the limit, in thousandths.
        threshold: u32,
        /// What is spent, and of how much.
        #[serde(flatten)]
        figures: Figures,
    },
    /// A call waits for room in a budget: for running calls, for its next period, or for a top-up.
    #[serde(rename = "budget.queued")]
    BudgetQueued {
        /// The call.
        key: EffectKey,
        /// The arithmetic.
        shortfall: Box<Shortfall>,
        /// When the budget's next period begins, if it has one.
        due: Option<Timestamp>,
        /// Until when it waits; then the run is halted.
        until: Timestamp,
    },
    /// A person raised a budget's limit.
    #[serde(rename = "budget.topped_up")]
    BudgetToppedUp {
        /// Which budget.
        budget_id: BudgetId,
        /// By how much.
        #[serde(flatten)]
        amount: Quantity,
        /// Who.
        by: String,
    },
    /// A channel is not configured; the terminal asks instead.
    #[serde(rename = "notification.undelivered")]
    NotificationUndelivered {
        /// The channel.
        channel: String,
        /// What it would have said.
        message: String,
    },
    /// A line that a step logged or printed.
    #[serde(rename = "log")]
    Log {
        /// The step.
        step: String,
        /// `debug`, `info`, `warning`, `error`, `stdout`, `stderr`.
        level: String,
        /// The text.
        message: String,
        /// Further fields.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        fields: Value,
    },
    /// An event that a step published by `context.emit`.
    #[serde(rename = "emitted")]
    Emitted {
        /// The step.
        step: String,
        /// Its name.
        name: String,
        /// Its content.
        data: Value,
    },
    /// Something people should know about the run: changed code, degraded limits, what the sandbox dropped.
    #[serde(rename = "run.notice")]
    Notice {
        /// A stable name, such as `code.changed`.
        notice: String,
        /// The text.
        message: String,
    },
    /// A connection of a step to another host is about to begin; nothing of it has left before.
    #[serde(rename = "egress.opened")]
    EgressOpened {
        /// The step.
        step: String,
        /// Counts the connections of the attempt from 1.
        connection: u64,
        /// The host, as a rule names it.
        host: String,
        /// The port.
        port: u16,
        /// `tls`, `http`, `https` (a request of TLS that is ended on the way) or `tcp`.
        way: String,
        /// Method and path of a request that can be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
        /// The secrets whose values it carries, by name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<String>,
    },
    /// A connection of a step to another host has ended.
    #[serde(rename = "egress.closed")]
    EgressClosed {
        /// The step.
        step: String,
        /// As it was opened.
        connection: u64,
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// The address that was connected to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// Bytes to the host.
        sent_bytes: u64,
        /// Bytes from it.
        received_bytes: u64,
        /// How long it lasted, in milliseconds.
        duration_ms: u64,
        /// `done`, `refused`, `timed_out`, `broken`, or `cut` by the end of the attempt.
        end: String,
        /// Why it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Failure>,
    },
    /// A step asked for a host, or in a way, that is not allowed; nothing has left.
    #[serde(rename = "egress.refused")]
    EgressRefused {
        /// The step.
        step: String,
        /// The host, where it could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Why.
        error: Failure,
    },
    /// People let a host in, or keep it out, from now on.
    #[serde(rename = "egress.changed")]
    EgressChanged {
        /// The host, as a rule.
        rule: String,
        /// Whether it may be reached.
        allowed: bool,
        /// Who.
        by: String,
    },
    /// Connections and refusals of an attempt that have no event of their own, since the last such event of it: their
    /// sums are those of all of them.
    #[serde(rename = "egress.more")]
    EgressMore {
        /// The step.
        step: String,
        /// Connections that were begun, to hosts that an event names.
        connections: u64,
        /// Refusals.
        refused: u64,
        /// Bytes that such connections sent that have ended.
        sent_bytes: u64,
        /// Bytes that they received.
        received_bytes: u64,
    },
    /// The run's files were written to the project, or dropped.
    #[serde(rename = "workspace.applied")]
    WorkspaceApplied {
        /// How many files.
        files: u64,
        /// Whether they were dropped instead.
        discarded: bool,
        /// Which of the files that the run changed are in the project by that, or are hidden and can never be: ranges
        /// of their places among all of them, sorted by path, from 0, the end of each not in it. Absent where that is
        /// not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        which: Option<Vec<(u64, u64)>>,
    },
}

/// An event with its place in its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The run.
    pub run_id: crate::id::RunId,
    /// Its position, from 1, without gaps.
    pub seq: u64,
    /// The fact.
    #[serde(flatten)]
    pub event: Event,
}
