//! Questions that a definition asks: gates, and steps that want approval.

use serde::{Deserialize, Serialize};

use super::{one, yes};
use crate::approval::OnTimeout;
use crate::size::Millis;

/// An approval gate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GateSpec {
    /// Who may decide.
    #[serde(default)]
    pub approvers: Vec<String>,
    /// How many of them.
    #[serde(default = "one")]
    pub quorum: u32,
    /// What happens when people take longer than the step's own `timeout_seconds`.
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
