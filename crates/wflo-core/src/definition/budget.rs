//! Limits that a definition, a settings file or the command line sets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::budget::{Amount, Measure, OnExceeded, Period, Scope, Zone};
use crate::money::NanoUsd;
use crate::size::Millis;

/// Limits on what one scope may take: of money, of calls, of tokens, of time. At least one of them is set, and
/// each is an account of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetSpec {
    /// The most money, in USD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<NanoUsd>,
    /// The most calls of models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_calls: Option<u64>,
    /// The most calls of tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<u64>,
    /// The most input and output tokens, together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The longest that its steps may run, each for itself, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<Millis>,
    /// What it covers.
    #[serde(default)]
    pub per: Per,
    /// Over which span; `per: hour` and the like say it as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// In which time zone the span begins; UTC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Zone>,
    /// Which agent, with `per: agent`; all of them, each its own, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Which label, with `per: label`: `user`, each of its values its own, or `user=anna`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Which workflow, with `per: workflow`; each its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Shares of the limit at which an alert is raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_thresholds: Option<Vec<f64>>,
    /// What happens when a call does not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_on_exceeded: Option<OnExceeded>,
    /// How long a call is queued at most, with `action_on_exceeded: queue`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout_seconds: Option<Millis>,
    /// The fewest output tokens that an answer may be cut down to so that its call fits; without it no call
    /// is cut for this budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_output_tokens: Option<u64>,
}

impl BudgetSpec {
    /// What it limits, and how far.
    pub fn limits(&self) -> Vec<(Measure, Amount)> {
        let limits = [
            (Measure::Cost, self.max_cost_usd.map(Amount::from)),
            (Measure::ModelCalls, self.max_model_calls.map(Amount::from)),
            (Measure::ToolCalls, self.max_tool_calls.map(Amount::from)),
            (Measure::Tokens, self.max_tokens.map(Amount::from)),
            (Measure::Seconds, self.max_seconds.map(|most| Amount::from(most.0))),
        ];
        limits.into_iter().filter_map(|(measure, limit)| Some((measure, limit?))).collect()
    }

    /// Which of these labels it limits: the name of the account.
    pub fn labelled(&self, labels: &BTreeMap<String, String>) -> Option<String> {
        let wanted = self.label.as_deref()?;
        let (name, only) = wanted.split_once('=').map_or((wanted, None), |(name, v)| (name, Some(v)));
        let value = labels.get(name).filter(|value| only.is_none_or(|only| only == *value))?;
        Some(format!("{name}={value}"))
    }

    /// What is wrong with it, one sentence each.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let limits = self.limits();
        if limits.is_empty() {
            wrong.push(
                "a budget needs max_cost_usd, max_model_calls, max_tool_calls, max_tokens or max_seconds"
                    .to_owned(),
            );
        }
        for (measure, limit) in limits {
            if limit.is_negative() || limit.units() == i64::MAX {
                let name = if measure.is_cost() { "cost_usd" } else { measure.name() };
                wrong.push(format!("max_{name} must be 0 or more"));
            }
        }
        let (scope, period) = self.covers();
        if self.period.is_some() && (scope.is_of_a_run() || self.per.is_a_period()) {
            wrong.push("a period goes with workflow, org, label, key or gateway".to_owned());
        }
        if self.time_zone.is_some() && period == Period::Total {
            wrong.push("a time_zone says where a period begins, and this budget has none".to_owned());
        }
        for (name, given, wanted) in [
            ("label", self.label.is_some(), Scope::Label),
            ("workflow", self.workflow.is_some(), Scope::Workflow),
        ] {
            if given && scope != wanted {
                wrong.push(format!("`{name}` goes with a budget per {name}"));
            }
        }
        if scope == Scope::Label && self.label.is_none() {
            wrong.push("a budget per label says which: `user`, or `user=anna`".to_owned());
        }
        if scope == Scope::Key && self.max_seconds.is_some() {
            wrong.push("max_seconds is of steps, and the calls with a key have none".to_owned());
        }
        let share = |t: &f64| t.is_finite() && *t > 0.0 && *t <= 1.0;
        if self.alert_thresholds.as_ref().is_some_and(|thresholds| !thresholds.iter().all(share)) {
            wrong.push("alert_thresholds are shares between 0 and 1, such as 0.75".to_owned());
        }
        if self.min_output_tokens == Some(0) {
            wrong.push("min_output_tokens must be at least 1".to_owned());
        }
        wrong
    }

    /// Scope and period: `per: day` is a workflow's day.
    pub fn covers(&self) -> (Scope, Period) {
        let (scope, said) = match self.per {
            Per::Run => (Scope::Run, None),
            Per::Step => (Scope::Step, None),
            Per::Agent => (Scope::Agent, None),
            Per::Workflow => (Scope::Workflow, None),
            Per::Org => (Scope::Org, None),
            Per::Label => (Scope::Label, None),
            Per::Key => (Scope::Key, None),
            Per::Gateway => (Scope::Gateway, None),
            Per::Hour => (Scope::Workflow, Some(Period::Hour)),
            Per::Day => (Scope::Workflow, Some(Period::Day)),
            Per::Week => (Scope::Workflow, Some(Period::Week)),
            Per::Month => (Scope::Workflow, Some(Period::Month)),
        };
        (scope, said.or(self.period).unwrap_or_default())
    }
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
    /// All runs of the organisation.
    Org,
    /// All runs with the same value of a label.
    Label,
    /// All calls with the same API key; only of the standalone gateway.
    Key,
    /// All calls of the standalone gateway.
    Gateway,
    /// All runs of the workflow in a clock hour.
    Hour,
    /// …in a day.
    Day,
    /// …in a week.
    Week,
    /// …in a month.
    Month,
}

impl Per {
    /// Whether it says a period itself.
    pub const fn is_a_period(self) -> bool {
        matches!(self, Per::Hour | Per::Day | Per::Week | Per::Month)
    }
}
