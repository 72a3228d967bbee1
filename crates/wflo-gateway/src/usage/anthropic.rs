//! Usage as Anthropic writes it: the cached tokens stand beside the input, not in it.

use serde_json::{Map, Value};

use super::number::count;
use super::{Dimension as D, Parts, Usage};
use crate::price::Tier;

pub(super) fn read(usage: &Value) -> Option<Usage> {
    let mut read = Usage {
        tier: usage["service_tier"].as_str().and_then(Tier::served),
        geo_us: usage["inference_geo"].as_str().is_some_and(|geo| geo.eq_ignore_ascii_case("us")),
        fast: usage["speed"] == "fast",
        ..Usage::default()
    };
    // With compaction or other models' help the totals are of the last round; each round is billed.
    match usage["iterations"].as_array().filter(|rounds| !rounds.is_empty()) {
        Some(rounds) => rounds.iter().try_for_each(|round| tokens(round, &mut read))?,
        None => tokens(usage, &mut read)?,
    }
    read.add(D::WebSearches, count(&usage["server_tool_use"]["web_search_requests"]).unwrap_or(0));
    Some(read)
}

fn tokens(usage: &Value, read: &mut Usage) -> Option<()> {
    read.add(D::Input, count(&usage["input_tokens"])?);
    let output = count(&usage["output_tokens"])?;
    // Caching is a part of the bill of its own, so what is no count there makes the bill unknown.
    let beside = |name: &str| match &usage[name] {
        Value::Null => Some(0),
        value => count(value),
    };
    read.add(D::CacheRead, beside("cache_read_input_tokens")?);
    let lived = &usage["cache_creation"];
    let long = count(&lived["ephemeral_1h_input_tokens"]).unwrap_or(0);
    let short = count(&lived["ephemeral_5m_input_tokens"]).unwrap_or(0);
    let written = beside("cache_creation_input_tokens")?.max(short.saturating_add(long));
    read.add(D::CacheWriteLong, long);
    read.add(D::CacheWrite, written - long);
    let mut parts = Parts::of(output);
    let thought = count(&usage["output_tokens_details"]["thinking_tokens"]).unwrap_or(0);
    read.add(D::Reasoning, parts.take(thought));
    read.add(D::Output, parts.left);
    Some(())
}

/// Puts a later usage of the same stream over an earlier one: its counts are cumulative, and what it
/// does not say stands.
pub fn merge(earlier: &mut Map<String, Value>, later: &Map<String, Value>) {
    for (name, value) in later.iter().filter(|(_, value)| !value.is_null()) {
        earlier.insert(name.clone(), value.clone());
    }
}
