//! Limits on money that a definition sets.

use serde::{Deserialize, Serialize};

use crate::budget::OnExceeded;
use crate::money::NanoUsd;

/// One limit on money.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
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
    pub action_on_exceeded: Option<OnExceeded>,
    /// The fewest output tokens that an answer may be cut down to so that its call fits; without it no call
    /// is cut for this budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_output_tokens: Option<u64>,
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
