//! Workflow definitions: what a user's file becomes, whatever language it was written in.
//!
//! A [`Definition`] that exists is valid: [`Definition::parse`] is the only way to make one, and it
//! reports every problem at once, each with its code and place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::OnTimeout;
use crate::budget::OnExceeded;
use crate::canonical::Digest;
use crate::effect::{EffectClass, OnAmbiguous};
use crate::error::Failure;
use crate::money::NanoUsd;
use crate::size::{Bytes, MilliCpus, Millis};

mod inputs;
mod validate;

pub use inputs::check_inputs;
pub use validate::CONDITION_NAMES;

/// An immutable workflow: a DAG of steps with policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The workflow's name.
    pub name: String,
    /// The user's own label for this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What a run must be given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, InputSpec>,
    /// Limits on money.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetSpec>,
    /// How steps are isolated.
    #[serde(default)]
    pub sandbox: SandboxSpec,
    /// Conditions and what they lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicySpec>,
    /// The longest a run may be active; durable waits do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<Millis>,
    /// The steps in the order they were defined.
    pub steps: Vec<StepSpec>,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// `string`, `number`, `integer`, `boolean`, `array`, `object`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether a run without it is refused.
    #[serde(default)]
    pub required: bool,
    /// Its value when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// One limit on money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// The limit in USD.
    pub max_cost_usd: NanoUsd,
    /// What it covers.
    #[serde(default)]
    pub per: Per,
    /// Which agent, with `per: agent`; all of them, each its own, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Shares of the limit at which an alert is raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_thresholds: Option<Vec<f64>>,
    /// What happens when a call does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_on_exceeded: Option<ActionOnExceeded>,
}

/// What a [`BudgetSpec`] covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// One run.
    #[default]
    Run,
    /// Each step.
    Step,
    /// Each agent.
    Agent,
    /// All runs of the workflow.
    Workflow,
    /// All runs of the workflow in a clock hour.
    Hour,
    /// …in a day.
    Day,
    /// …in a week.
    Week,
    /// …in a month.
    Month,
}

/// Every action that the surface knows; two of them belong to a later release and are refused by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionOnExceeded {
    /// See [`OnExceeded::Halt`].
    Halt,
    /// See [`OnExceeded::Ask`].
    Ask,
    /// A later release.
    Queue,
    /// A later release.
    Downgrade,
}

impl ActionOnExceeded {
    /// The action, for the two that work; validation has refused the others.
    pub const fn supported(self) -> Option<OnExceeded> {
        match self {
            ActionOnExceeded::Halt => Some(OnExceeded::Halt),
            ActionOnExceeded::Ask => Some(OnExceeded::Ask),
            ActionOnExceeded::Queue | ActionOnExceeded::Downgrade => None,
        }
    }
}

/// How steps are isolated; absent means what `wflo.toml` or the default says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxSpec {
    /// `native`, or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Memory of the whole tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<Bytes>,
    /// Processor share of the whole tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_limit: Option<MilliCpus>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<u32>,
    /// All that is written inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_limit: Option<Bytes>,
    /// Must be false in this release.
    #[serde(default)]
    pub network_enabled: bool,
    /// Must be empty in this release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_hosts: Vec<String>,
    /// The longest one attempt of a step may be active; durable waits do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<Millis>,
    /// Names of host environment variables passed through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Further paths of the project that are never seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hide: Vec<String>,
}

/// A condition and what it leads to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// Its name.
    pub name: String,
    /// CEL.
    pub condition: String,
    /// What happens when it is true.
    pub actions: Vec<PolicyAction>,
}

/// What a policy does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum PolicyAction {
    /// Ask people first.
    RequireApproval {
        /// Who.
        #[serde(default)]
        approvers: Vec<String>,
    },
    /// Announce on a channel.
    Notify {
        /// A channel's URL.
        channel: String,
    },
    /// Refuse.
    Deny {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Lower the run's limit.
    CapBudget {
        /// The limit in USD.
        max_cost_usd: NanoUsd,
    },
    /// Use another model.
    Route {
        /// Its name.
        model: String,
    },
}

/// A node of the DAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSpec {
    /// Its name, unique in the workflow.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: StepKind,
    /// The steps that must be done first.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// When people are asked about this step's writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalSpec>,
    /// A failure undoes the step's data changes.
    #[serde(default)]
    pub rollback_enabled: bool,
    /// How many further generations a failure may open.
    #[serde(default)]
    pub retries: u32,
    /// How long to wait before each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_backoff: Option<Backoff>,
    /// The longest one generation may be active; durable waits do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<Millis>,
    /// The agent that its costs are attributed to; the step's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Limits on this step's money.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetSpec>,
    /// The class of its guarded effects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_class: Option<EffectClass>,
    /// What happens to a guarded effect whose result was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_ambiguous: Option<OnAmbiguous>,
    /// Where it was defined: `workflow.py:12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum StepKind {
    /// Code, or a prompt.
    Agent {
        /// `code` for a function of the user's file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handler: Option<String>,
        /// The model of a prompt step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// The prompt, with `{{ inputs.x }}` and `{{ outputs.step.x }}`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
        /// The system prompt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system: Option<String>,
        /// The most tokens it may answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
        /// Sampling temperature.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        temperature: Option<f64>,
    },
    /// A command.
    Tool {
        /// Its arguments.
        run: Vec<String>,
    },
    /// A question to people.
    Approval(GateSpec),
    /// A condition; when false, what depends on it is skipped.
    Condition {
        /// CEL.
        when: String,
    },
}

/// An approval gate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GateSpec {
    /// Who may decide.
    #[serde(default)]
    pub approvers: Vec<String>,
    /// How many of them.
    #[serde(default = "one")]
    pub quorum: u32,
    /// How long people have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<Millis>,
    /// What happens then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// Whether a no ends the run.
    #[serde(default)]
    pub on_rejected: OnRejected,
    /// What people are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Channels to announce it on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<String>,
}

/// Whether a no ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRejected {
    /// The run ends as `rejected`.
    #[default]
    Stop,
    /// The run goes on; `outputs.<gate>.approved` is false.
    Continue,
}

/// When people are asked about a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalSpec {
    /// Whether they are asked at all.
    #[serde(default = "yes")]
    pub required: bool,
    /// Who may decide.
    #[serde(default)]
    pub approvers: Vec<String>,
    /// Channels to announce it on.
    #[serde(default)]
    pub notify: Vec<String>,
    /// At the first write, or before the step begins.
    #[serde(default)]
    pub when: AskWhen,
    /// How many of them.
    #[serde(default = "one")]
    pub quorum: u32,
    /// How long people have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<Millis>,
    /// What happens then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
}

/// The moment of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskWhen {
    /// At the first write, else before the output is committed.
    #[default]
    Write,
    /// Before the step begins.
    Start,
}

/// Exponential backoff between generations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The first wait.
    #[serde(default = "Backoff::default_initial")]
    pub initial_seconds: Millis,
    /// What each wait is multiplied by.
    #[serde(default = "Backoff::default_factor")]
    pub factor: f64,
    /// The longest wait.
    #[serde(default = "Backoff::default_max")]
    pub max_seconds: Millis,
    /// Whether a wait is drawn from its upper half.
    #[serde(default = "yes")]
    pub jitter: bool,
}

impl Backoff {
    const fn default_initial() -> Millis {
        Millis(1_000)
    }
    const fn default_factor() -> f64 {
        2.0
    }
    const fn default_max() -> Millis {
        Millis(60_000)
    }

    /// The wait before generation `failures + 1`. `draw` in 0..1 comes from outside.
    pub fn wait(&self, failures: u32, draw: f64) -> Millis {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let full =
            (self.initial_seconds.0 as f64 * self.factor.powi(exponent)).min(self.max_seconds.0 as f64);
        let share = if self.jitter { 0.5 + draw.clamp(0.0, 1.0) / 2.0 } else { 1.0 };
        Millis((full * share) as u64)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            initial_seconds: Self::default_initial(),
            factor: Self::default_factor(),
            max_seconds: Self::default_max(),
            jitter: true,
        }
    }
}

const fn yes() -> bool {
    true
}

const fn one() -> u32 {
    1
}

impl Definition {
    /// Reads and validates a definition.
    ///
    /// # Errors
    /// Every problem found, each with code 1xxx and its place.
    pub fn parse(json: &Value) -> Result<Definition, Vec<Failure>> {
        validate::parse(json)
    }

    /// Hash of the canonical definition. Places do not count: moving a step to another line is not
    /// another workflow.
    ///
    /// # Errors
    /// When the definition holds a number that JSON cannot (never, for a parsed one).
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        let mut plain = self.clone();
        for step in &mut plain.steps {
            step.place = None;
        }
        Digest::of_json(&plain)
    }

    /// The position of a step.
    pub fn index_of(&self, step: &str) -> Option<usize> {
        self.steps.iter().position(|s| s.name == step)
    }
}

impl StepSpec {
    /// Whether a worker runs it (code, prompt or command), as opposed to the machine itself.
    pub const fn needs_worker(&self) -> bool {
        matches!(self.kind, StepKind::Agent { .. } | StepKind::Tool { .. })
    }

    /// The agent that its costs are attributed to.
    pub fn agent_name(&self) -> &str {
        self.agent.as_deref().unwrap_or(&self.name)
    }

    /// The name of its type in JSON.
    pub const fn type_name(&self) -> &'static str {
        match self.kind {
            StepKind::Agent { .. } => "agent",
            StepKind::Tool { .. } => "tool",
            StepKind::Approval(_) => "approval",
            StepKind::Condition { .. } => "condition",
        }
    }
}
