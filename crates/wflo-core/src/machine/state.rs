//! The state of a run: what its events fold into.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::variables::Changes;
use crate::approval::{ApprovalRequest, ApprovalStatus, Decision};
use crate::canonical::Digest;
use crate::definition::{Definition, StepSpec};
use crate::error::Failure;
use crate::event::{Ending, Wait};
use crate::id::ApprovalId;
use crate::money::NanoUsd;
use crate::resources::Resources;
use crate::run::RunStatus;

/// Outputs of steps by name, shared with the run's state: they may be large.
pub type Outputs = BTreeMap<String, Arc<Value>>;

/// Outputs as one JSON object.
pub fn object_of(outputs: &Outputs) -> Value {
    Value::Object(outputs.iter().map(|(name, output)| (name.clone(), (**output).clone())).collect())
}

/// A run in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// What it runs.
    pub definition: Arc<Definition>,
    /// Its inputs.
    pub inputs: Arc<Value>,
    /// Digest of the code that runs.
    pub code: Digest,
    /// Where it stands.
    pub status: RunStatus,
    /// One for each step of the definition, in its order.
    pub steps: Vec<StepState>,
    /// Every question put so far.
    pub approvals: BTreeMap<ApprovalId, ApprovalState>,
    /// What people have said of hosts since it began, each once, the latest last.
    pub hosts: Vec<HostChange>,
    /// Whether it is paused.
    pub paused: bool,
    /// What must be put right before it can go on, where it was not a person who paused it.
    pub paused_for: Option<Failure>,
    /// Why it is ending, once it is.
    pub ending: Option<Ending>,
    /// Why it did not complete, once terminal.
    pub error: Option<Failure>,
    /// Active milliseconds before `active_since`, for the run's time-out.
    pub active_ms: u64,
    /// Since when it has been running.
    pub active_since: Option<Timestamp>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A step in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// Where it stands.
    pub status: StepStatus,
    /// Its journal; 0 before the first.
    pub generation: u32,
    /// The last attempt of the generation; 0 before the first.
    pub attempt: u32,
    /// How many generations have failed.
    pub failures: u32,
    /// How many attempts of this generation died without a word.
    pub losses: u32,
    /// How many died with their engine, since the generation got its last answer.
    pub crashes: u32,
    /// How many answers the generation had when an engine died last.
    pub answered: u32,
    /// How long this generation has been active, in milliseconds, as far as it is known.
    pub active_ms: u64,
    /// Whether an approval of the step as a whole was given (gate, or before it begins).
    pub cleared: bool,
    /// What it returned.
    pub output: Option<Arc<Value>>,
    /// What it changed of the run's variables.
    pub changes: Changes,
    /// Its last error.
    pub error: Option<Failure>,
    /// Whether its last error was a time-out.
    pub timed_out: bool,
    /// What its model calls were billed.
    pub cost: NanoUsd,
    /// What its sandboxes took, all attempts.
    pub resources: Resources,
    /// The workspace layer it left.
    pub layer: Option<String>,
    /// Of a program that failed: what it ended with.
    pub exit_code: Option<u8>,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum StepStatus {
    /// Steps before it are not done.
    Blocked,
    /// People are asked before it begins, or it is a gate.
    Asking {
        /// The question.
        approval: ApprovalId,
    },
    /// It may run; no attempt is live.
    Ready,
    /// An attempt is live, or was when its engine died.
    Running {
        /// The lease under which it began.
        epoch: u64,
    },
    /// It has been ended while it waits.
    Waiting {
        /// For what.
        on: Vec<Wait>,
    },
    /// The data changes of its generation are being undone.
    Undoing {
        /// What follows.
        then: AfterUndo,
    },
    /// A new generation begins at `due`.
    Backoff {
        /// When.
        due: Timestamp,
    },
    /// Done.
    Succeeded,
    /// Its last generation failed.
    Failed,
    /// A condition was false.
    Skipped,
    /// The run ended before it was done.
    Cancelled,
}

/// What follows an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterUndo {
    /// A new generation, if the undo worked.
    Retry,
    /// The step has failed.
    Fail,
    /// The step is cancelled with its run.
    Cancel,
}

impl StepStatus {
    /// The name in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            StepStatus::Blocked => "pending",
            StepStatus::Asking { .. } => "waiting",
            StepStatus::Ready => "ready",
            StepStatus::Running { .. } => "running",
            StepStatus::Waiting { .. } => "waiting",
            StepStatus::Undoing { .. } => "undoing",
            StepStatus::Backoff { .. } => "backoff",
            StepStatus::Succeeded => "completed",
            StepStatus::Failed => "failed",
            StepStatus::Skipped => "skipped",
            StepStatus::Cancelled => "cancelled",
        }
    }

    /// Whether nothing can follow.
    pub const fn is_terminal(&self) -> bool {
        matches!(
            self,
            StepStatus::Succeeded | StepStatus::Failed | StepStatus::Skipped | StepStatus::Cancelled
        )
    }

    /// Whether something must be done now for the step to go on.
    pub const fn is_active(&self) -> bool {
        matches!(self, StepStatus::Ready | StepStatus::Running { .. } | StepStatus::Undoing { .. })
    }
}

/// A host that people let in, or kept out, while the run went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostChange {
    /// The host, as a rule.
    pub rule: String,
    /// Whether it may be reached.
    pub allowed: bool,
    /// Whether it was said to a question: a yes opens no more than what was asked about.
    pub is_answer: bool,
}

/// A question in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalState {
    /// The question, without its evidence.
    pub request: Box<ApprovalRequest>,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// The answer.
    pub decision: Option<Decision>,
    /// Whether its time-out has already been announced.
    pub escalated: bool,
}

impl RunState {
    /// A run that has not begun.
    pub fn new(definition: Arc<Definition>, inputs: Arc<Value>, code: Digest) -> Self {
        let blocked = StepState {
            status: StepStatus::Blocked,
            generation: 0,
            attempt: 0,
            failures: 0,
            losses: 0,
            crashes: 0,
            answered: 0,
            active_ms: 0,
            cleared: false,
            output: None,
            changes: Changes::default(),
            error: None,
            timed_out: false,
            cost: NanoUsd::ZERO,
            resources: Resources::default(),
            layer: None,
            exit_code: None,
            started_at: None,
            finished_at: None,
        };
        let steps = vec![blocked; definition.steps.len()];
        RunState {
            definition,
            inputs,
            code,
            status: RunStatus::Pending,
            steps,
            approvals: BTreeMap::new(),
            hosts: Vec::new(),
            paused: false,
            paused_for: None,
            ending: None,
            error: None,
            active_ms: 0,
            active_since: None,
            started_at: None,
            finished_at: None,
        }
    }

    /// What is said of a host replaces what was said before.
    pub(super) fn change_host(&mut self, rule: &str, allowed: bool, is_answer: bool) {
        // What was let in unasked stays let in when a question about it is answered with yes.
        let is_open = |known: &HostChange| known.rule == rule && known.allowed && !known.is_answer;
        let is_answer = is_answer && !(allowed && self.hosts.iter().any(is_open));
        self.hosts.retain(|known| known.rule != rule);
        self.hosts.push(HostChange { rule: rule.to_owned(), allowed, is_answer });
    }

    /// A step by name.
    pub fn step(&self, name: &str) -> Option<&StepState> {
        self.definition.index_of(name).map(|index| &self.steps[index])
    }

    /// The outputs of all steps that succeeded, by name.
    pub fn outputs(&self) -> Value {
        let done = self.definition.steps.iter().zip(&self.steps);
        let outputs =
            done.filter_map(|(spec, step)| Some((spec.name.clone(), step.output.as_deref()?.clone())));
        Value::Object(outputs.collect())
    }

    /// The outputs of the steps that a step names in `depends_on`: what people are shown of it.
    pub fn outputs_named_by(&self, spec: &StepSpec) -> Value {
        let output = |name: &String| Some((name.clone(), self.step(name)?.output.as_deref()?.clone()));
        Value::Object(spec.depends_on.iter().filter_map(output).collect())
    }

    /// The outputs of the steps that are over before `step` begins, by name.
    pub fn outputs_for(&self, step: &str) -> Outputs {
        let index = self.definition.index_of(step);
        let before = index.map(|index| self.definition.before(index)).unwrap_or_default();
        let name = |at: usize| self.definition.steps[at].name.clone();
        before.into_iter().filter_map(|at| Some((name(at), self.steps[at].output.clone()?))).collect()
    }
}
