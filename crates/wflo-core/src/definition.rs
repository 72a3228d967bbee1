//! Workflow definitions: what a user's file becomes, whatever language it was written in.
//!
//! A [`Definition`] that exists is valid: [`Definition::parse`] is the only way to make one, and it
//! reports every problem at once, each with its code and place.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::Digest;
use crate::effect::{EffectClass, OnAmbiguous};
use crate::error::Failure;
use crate::money::NanoUsd;
use crate::size::{Bytes, MilliCpus, Millis};

mod approval;
mod backoff;
mod budget;
mod compare;
mod inputs;
mod references;
mod validate;

pub use approval::{ApprovalSpec, AskWhen, GateSpec, OnRejected};
pub use backoff::Backoff;
pub use budget::{BudgetSpec, Per};
pub use compare::Difference;
pub use inputs::{MISSING as MISSING_INPUT, check_inputs, nearest};
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
    /// Files, folders and links there together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_limit: Option<u32>,
    /// What goes from each disk and to it in a second.
    #[serde(default, skip_serializing_if = "IoSpec::is_empty")]
    pub io: IoSpec,
    /// What may go over the network.
    #[serde(default, skip_serializing_if = "NetworkSpec::is_empty")]
    pub network: NetworkSpec,
    /// Must be false in this release.
    #[serde(default)]
    pub network_enabled: bool,
    /// Hosts that steps want to reach; whoever starts the run allows them.
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

impl SandboxSpec {
    /// What a limit of files may be. A sandbox has some of its own; each takes about a KiB of the kernel's memory.
    pub const INODES: std::ops::RangeInclusive<u32> = 100..=(4 << 20);
}

/// Limits on disks, on each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoSpec {
    /// Bytes that are read in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Bytes>,
    /// Bytes that are written in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Bytes>,
    /// Operations that read, in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ops: Option<u32>,
    /// Operations that write, in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_ops: Option<u32>,
}

impl IoSpec {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == IoSpec::default()
    }
}

/// What may go to hosts and from them, all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Bytes that a run sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Bytes>,
    /// Bytes that it receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Bytes>,
    /// Connections that it makes; of a host whose requests are looked at, requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Of those, how many each sandbox has open at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// And how many it begins in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
}

impl NetworkSpec {
    /// The most that anybody may set. What is open at once takes descriptors of this machine, two each.
    pub const MOST: NetworkSpec = NetworkSpec {
        sent: Some(Bytes(1 << 40)),
        received: Some(Bytes(16 << 40)),
        requests: Some(1_000_000_000),
        connections: Some(1_000),
        requests_per_minute: Some(60_000),
    };

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == NetworkSpec::default()
    }

    /// The lower of each.
    #[must_use]
    pub fn narrowed(self, other: NetworkSpec) -> NetworkSpec {
        fn lower<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        NetworkSpec {
            sent: lower(self.sent, other.sent),
            received: lower(self.received, other.received),
            requests: lower(self.requests, other.requests),
            connections: lower(self.connections, other.connections),
            requests_per_minute: lower(self.requests_per_minute, other.requests_per_minute),
        }
    }

    /// The names of what is not between 1 and the most, with what that is.
    pub fn out_of_range(&self) -> impl Iterator<Item = (&'static str, String)> {
        fn is_wrong<T: Ord>(given: Option<T>, least: T, most: Option<T>) -> bool {
            given.is_some_and(|given| given < least || most.is_some_and(|most| given > most))
        }
        let most = NetworkSpec::MOST;
        let bytes = |key, given, most: Option<Bytes>| {
            is_wrong(given, Bytes(1), most).then(|| (key, most.map(|most| most.to_string())))
        };
        let count = |key, given, most: Option<u32>| {
            is_wrong(given, 1, most).then(|| (key, most.map(|most| most.to_string())))
        };
        let found = [
            bytes("sent", self.sent, most.sent),
            bytes("received", self.received, most.received),
            count("requests", self.requests, most.requests),
            count("connections", self.connections, most.connections),
            count("requests_per_minute", self.requests_per_minute, most.requests_per_minute),
        ];
        found.into_iter().flatten().map(|(key, most)| (key, most.unwrap_or_default()))
    }
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
    /// Where it was defined: `workflow.py:12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
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
    /// The longest one generation may be active; durable waits do not count. Of a gate: how long people
    /// have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<Millis>,
    /// The agent that its costs are attributed to; the step's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Limits on this step's money.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetSpec>,
    /// Whether its model calls may be answered from the cache, where there is one; they may when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
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
    /// A program that knows nothing of wflo. Only the command line makes one: its definition is that step.
    Program {
        /// Its name and arguments, taken literally.
        argv: Vec<String>,
    },
    /// A question to people.
    Approval(GateSpec),
    /// A condition; when false, what depends on it is skipped.
    Condition {
        /// CEL.
        when: String,
    },
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
        plain.steps.iter_mut().for_each(|step| step.place = None);
        plain.policies.iter_mut().for_each(|policy| policy.place = None);
        Digest::of_json(&plain)
    }

    /// The positions of all steps that are over before the one at `index` begins: those it depends on, those
    /// that they depend on, and so on.
    pub fn before(&self, index: usize) -> BTreeSet<usize> {
        let positions: BTreeMap<&str, usize> =
            self.steps.iter().enumerate().map(|(at, step)| (step.name.as_str(), at)).collect();
        let mut before = BTreeSet::new();
        let mut left = vec![index];
        while let Some(at) = left.pop() {
            let direct = self.steps[at].depends_on.iter().filter_map(|name| positions.get(name.as_str()));
            left.extend(direct.copied().filter(|at| before.insert(*at)));
        }
        before
    }

    /// Of a program that was run as it is (`wflo run -- CMD`): what was typed.
    pub fn program(&self) -> Option<&[String]> {
        match &self.steps.first()?.kind {
            StepKind::Program { argv } => Some(argv),
            _ => None,
        }
    }

    /// Whether any step is code, which may read what nothing declares.
    pub fn has_code(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.kind, StepKind::Agent { handler: Some(_), .. }))
    }

    /// The position of a step.
    pub fn index_of(&self, step: &str) -> Option<usize> {
        self.steps.iter().position(|s| s.name == step)
    }
}

impl StepSpec {
    /// Whether a worker runs it (code, prompt, command or program), as opposed to the machine itself.
    pub const fn needs_worker(&self) -> bool {
        matches!(self.kind, StepKind::Agent { .. } | StepKind::Tool { .. } | StepKind::Program { .. })
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
            StepKind::Program { .. } => "program",
            StepKind::Approval(_) => "approval",
            StepKind::Condition { .. } => "condition",
        }
    }
}
