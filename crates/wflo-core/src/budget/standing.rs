//! Standing budgets, which people keep with `wflo budgets set`, and what became of limits.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Amount, Measure, OnExceeded, Period, Scope, Zone};
use crate::id::BudgetId;

/// A limit that holds until somebody changes it: its account is opened anew in each period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What it covers: what outlives runs, or an agent of all runs.
    pub scope: Scope,
    /// Which one.
    pub key: String,
    /// Over which span.
    pub period: Period,
    /// In which time zone.
    pub time_zone: Zone,
    /// What is counted.
    pub measure: Measure,
    /// The most.
    pub limit: Amount,
    /// What happens when a call does not fit; whatever the run says when absent.
    pub action_on_exceeded: Option<OnExceeded>,
    /// Shares of the limit at which an alert is raised, in thousandths, ascending.
    pub alert_thresholds: Vec<u32>,
    /// The fewest output tokens that a call may be cut down to.
    pub min_output_tokens: Option<u64>,
}

impl Standing {
    /// Whether it is of one of these labels.
    pub fn labelled(&self, labels: &BTreeMap<String, String>) -> bool {
        let (name, value) = self.key.split_once('=').unwrap_or_default();
        self.scope == Scope::Label && labels.get(name).is_some_and(|labelled| labelled == value)
    }
}

/// What became of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A standing budget was made or changed.
    Set,
    /// A standing budget was taken away.
    Removed,
    /// The limit of one period was raised or lowered.
    ToppedUp,
    /// A share of the limit was passed.
    Alert,
    /// What was counted was said anew.
    Corrected,
}

/// One line of a budget's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetChange {
    /// When.
    pub at: Timestamp,
    /// Who; a run for an alert.
    pub by: String,
    /// What happened.
    pub change: Change,
    /// Of which account; none for a standing budget as such.
    pub budget: Option<BudgetId>,
    /// What it covers.
    pub scope: Scope,
    /// Which one.
    pub key: String,
    /// Over which span.
    pub period: Period,
    /// The span's start; empty for a standing budget as such.
    pub period_start: String,
    /// What is counted.
    pub measure: Measure,
    /// The limit before; what was settled, for an alert and a correction.
    pub before: Option<Amount>,
    /// The limit after; the limit, for an alert; what is settled, for a correction.
    pub after: Option<Amount>,
    /// Why, for a correction.
    pub reason: Option<String>,
}
