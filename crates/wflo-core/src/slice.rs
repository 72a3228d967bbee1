//! Slices: parts of budgets that one process may spend without asking the store for each call.
//!
//! A slice stands in its budget's `held`, so `settled + held <= limit` is checked where it is taken and
//! nowhere else. What the process spends of it is moved to `settled` later, many calls at a time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::budget::{Amount, Figures, Measure};
use crate::cost::PromptCache;
use crate::id::{BudgetId, EngineId, KeyId};
use crate::money::NanoUsd;

/// A process that holds slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spender {
    /// Its id; its lock file `<data>/engines/<id>.lock` says whether it lives.
    pub id: EngineId,
    /// Its process.
    pub pid: u32,
    /// The boot that it was started in: what it wrote and did not sync is whole as long as this one lasts.
    pub boot_id: String,
    /// The last record of its log that is in the store.
    pub position: u64,
    /// Since when.
    pub started_at: Timestamp,
}

/// What a process holds of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Whose.
    pub spender: EngineId,
    /// Of which budget.
    pub budget: BudgetId,
    /// What that counts.
    pub measure: Measure,
    /// What is neither settled nor given back, in its unit.
    pub amount: Amount,
    /// Somebody waits for what of it is not used.
    pub recalled: bool,
}

/// One call that was made outside of a run, as reports see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The intent's number in its process's log; with the process it names the call.
    pub seq: u64,
    /// When it ended, in milliseconds since 1970.
    pub at_ms: i64,
    /// By which key; none where any is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// Who was called.
    pub provider: String,
    /// Which model.
    pub model: String,
    /// The HTTP status of the answer; 0 when it is not known.
    pub status: u16,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Of these, read from the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// What was charged.
    #[serde(rename = "cost_usd")]
    pub cost: NanoUsd,
    /// The bill was lost, so the upper bound is charged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncertain: bool,
    /// From the request to the settlement, in microseconds.
    pub took_us: u64,
    /// It was answered from the cache, and would have cost this.
    #[serde(rename = "saved_usd", default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<NanoUsd>,
    /// What the provider's own cache did.
    #[serde(flatten)]
    pub prompt_cache: PromptCache,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A threshold of a budget that bills outside of runs have passed: said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The budget, by the name that people know.
    pub budget: String,
    /// Which share of the limit, in thousandths.
    pub threshold: u32,
    /// What is settled, and the limit.
    pub figures: Figures,
}

/// What calls outside of runs came to: one line for each hour, key, provider and model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallsLine {
    /// The hour, as RFC 3339 text in UTC.
    pub hour: String,
    /// By which key.
    pub key: Option<KeyId>,
    /// Who was called.
    pub provider: String,
    /// Which model.
    pub model: String,
    /// What it came to.
    pub sum: crate::cost::Sum,
}
