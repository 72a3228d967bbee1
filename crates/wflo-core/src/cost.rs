//! Costs: what model calls came to, by run, step, agent, model and day.
//!
//! Owns which effects count as calls and how they are added up. A run that is removed leaves its
//! [`Spent`] lines behind, so that reports stay true.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::effect::{EffectKind, EffectRecord, EffectState};
use crate::id::RunId;
use crate::money::NanoUsd;
use crate::run::RunRecord;

/// What the prompt caches of providers did to bills.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptCache {
    /// Tokens that were written into one.
    #[serde(rename = "cache_write_tokens", default, skip_serializing_if = "is_zero")]
    pub written_tokens: u64,
    /// What was saved against the price of plain input: less for what was read, more for what was written; below
    /// zero where more was written than came of it.
    #[serde(rename = "prompt_cache_saved_usd", default, skip_serializing_if = "is_nothing")]
    pub saved: NanoUsd,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_nothing(amount: &NanoUsd) -> bool {
    *amount == NanoUsd::ZERO
}

impl PromptCache {
    fn add(&mut self, other: &PromptCache) {
        self.written_tokens = self.written_tokens.saturating_add(other.written_tokens);
        self.saved = self.saved.saturating_add(other.saved);
    }
}

/// What some calls came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub calls: u64,
    /// Of those, the ones that were answered from wflo's own cache: nothing was sent, and nothing counts but this
    /// and what they saved.
    #[serde(rename = "cache_hits", default)]
    pub hits: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Of those, the ones that the provider read from its prompt cache.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// What was billed.
    #[serde(rename = "cost_usd")]
    pub cost: NanoUsd,
    /// The part of the cost that is an upper bound, because the real bill was lost.
    #[serde(rename = "uncertain_usd")]
    pub uncertain: NanoUsd,
    /// What the calls that were answered from the cache would have cost.
    #[serde(rename = "saved_usd", default)]
    pub saved: NanoUsd,
    /// What the providers' own caches did.
    #[serde(flatten)]
    pub prompt_cache: PromptCache,
}

impl Sum {
    /// Adds one call.
    pub fn add_call(&mut self, effect: &EffectRecord) {
        let tokens = |name: &str| effect.attributes[name].as_u64().unwrap_or(0);
        let money = |name: &str| {
            let amount = effect.attributes[name].as_str().and_then(|text| text.parse().ok());
            amount.unwrap_or(NanoUsd::ZERO)
        };
        let hit = effect.attributes["cache"].is_object();
        self.add(&Sum {
            calls: 1,
            hits: u64::from(hit),
            saved: if hit { money("saved_usd") } else { NanoUsd::ZERO },
            prompt_cache: PromptCache {
                written_tokens: tokens("cache_write_tokens"),
                saved: money("prompt_cache_saved_usd"),
            },
            input_tokens: tokens("input_tokens"),
            cached_tokens: tokens("cached_tokens"),
            output_tokens: tokens("output_tokens"),
            cost: effect.cost,
            uncertain: effect.uncertain,
        });
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Sum) {
        self.calls = self.calls.saturating_add(other.calls);
        self.hits = self.hits.saturating_add(other.hits);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost = self.cost.saturating_add(other.cost);
        self.uncertain = self.uncertain.saturating_add(other.uncertain);
        self.saved = self.saved.saturating_add(other.saved);
        self.prompt_cache.add(&other.prompt_cache);
    }
}

/// What one step of one run spent on one model in one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: String,
    /// Whose run it was.
    pub labels: BTreeMap<String, String>,
    /// When the run was accepted.
    pub created_at: Timestamp,
    /// The day of the calls, in UTC as on providers' invoices.
    pub day: Date,
    /// The step.
    pub step: String,
    /// The agent that the step worked as.
    pub agent: Option<String>,
    /// Who was called.
    pub provider: Option<String>,
    /// Which model.
    pub model: Option<String>,
    /// What it came to.
    pub sum: Sum,
}

/// Whether an effect is a model call of its own run: what a retry took over was not called again, and
/// what was never sent cost nothing.
pub fn is_call(effect: &EffectRecord) -> bool {
    let sent = !matches!(effect.state, EffectState::Failed { .. }) || effect.cost > NanoUsd::ZERO;
    effect.kind == EffectKind::Llm && sent && effect.attributes["carried"] != true
}

/// The day of a moment, in UTC.
pub fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// What a run spent: a line for each step, agent, model and day, in the order of their first calls.
pub fn of_run(run: &RunRecord, effects: &[EffectRecord]) -> Vec<Spent> {
    let mut lines: Vec<Spent> = Vec::new();
    for effect in effects.iter().filter(|effect| is_call(effect)) {
        let text = |name: &str| effect.attributes[name].as_str().map(str::to_owned);
        let (agent, provider, model) = (text("agent"), text("provider"), text("model"));
        let day = day_of(effect.started_at);
        let same = |line: &&mut Spent| {
            line.step == effect.key.step
                && (line.day, &line.agent, &line.provider, &line.model) == (day, &agent, &provider, &model)
        };
        match lines.iter_mut().find(same) {
            Some(line) => line.sum.add_call(effect),
            None => {
                let mut sum = Sum::default();
                sum.add_call(effect);
                lines.push(Spent {
                    run: run.id,
                    workflow: run.workflow.clone(),
                    labels: run.options.labels.clone(),
                    created_at: run.created_at,
                    day,
                    step: effect.key.step.clone(),
                    agent,
                    provider,
                    model,
                    sum,
                });
            }
        }
    }
    lines
}
