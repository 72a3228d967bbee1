//! Usage as OpenAI writes it, and everything compatible with it: chat, responses, embeddings, images,
//! transcriptions.
//!
//! The two names of each total are `prompt_tokens` and `completion_tokens` (chat), `input_tokens` and
//! `output_tokens` (responses); details stand under `…_tokens_details` of either name, at the realtime API
//! under `…_token_details`.

use serde_json::Value;
use wflo_core::money::PicoUsd;

use super::number::{count, seconds, usd};
use super::{Dimension as D, Parts, Usage};
use crate::price::Tier;

pub(super) fn read(usage: &Value, answer: &Value) -> Option<Usage> {
    let mut read = Usage { tier: tier(usage, answer), reported: reported(usage), ..Usage::default() };
    tools(usage, answer, &mut read);
    // A transcription may be billed by its length.
    if usage["type"] == "duration" {
        read.add(D::InputTime, seconds(&usage["seconds"])?);
        return Some(read);
    }
    let prompt = total(usage, ["prompt_tokens", "input_tokens"])?;
    let completion = total(usage, ["completion_tokens", "output_tokens"])?;
    if prompt.is_none() && completion.is_none() {
        // Embeddings of some servers say only a total.
        let all = count(usage.get("total_tokens")?)?;
        read.add(D::Input, all);
        return Some(read);
    }
    input(usage, prompt.unwrap_or(0), &mut read);
    output(usage, prompt.unwrap_or(0), completion.unwrap_or(0), &mut read);
    Some(read)
}

/// A total under either name: `None` when it is there and no count, `Some(None)` when it is not there.
#[allow(clippy::option_option)]
fn total(usage: &Value, names: [&str; 2]) -> Option<Option<u64>> {
    match names.iter().find_map(|name| usage.get(name).filter(|value| !value.is_null())) {
        Some(value) => count(value).map(Some),
        None => Some(None),
    }
}

fn details<'a>(usage: &'a Value, side: [&str; 2]) -> &'a Value {
    let names =
        side.iter().flat_map(|side| [format!("{side}_tokens_details"), format!("{side}_token_details")]);
    names.filter_map(|name| usage.get(&name)).find(|value| value.is_object()).unwrap_or(&Value::Null)
}

fn input(usage: &Value, prompt: u64, read: &mut Usage) {
    let details = details(usage, ["prompt", "input"]);
    let part = |value: &Value| count(value).unwrap_or(0);
    let cached = first(&[
        // DeepSeek's name, and the one of servers that put Anthropic's models behind OpenAI's dialect.
        &usage["prompt_cache_hit_tokens"],
        &usage["cache_read_input_tokens"],
        &details["cached_tokens"],
    ]);
    let written = first(&[
        &usage["cache_creation_input_tokens"],
        &details["cache_write_tokens"],
        &details["cache_creation_tokens"],
        &details["cache_creation_input_tokens"],
    ]);
    let mut parts = Parts::of(prompt);
    let mut cached = Parts::of(parts.take(cached));
    let by_kind = &details["cached_tokens_details"];
    let audio_cached = cached.take(part(&by_kind["audio_tokens"]));
    let text_cached = cached.take(part(&by_kind["text_tokens"]));
    let image_cached = cached.take(part(&by_kind["image_tokens"]));
    read.add(D::AudioCacheRead, audio_cached);
    let explicit = details["cache_type"] == "ephemeral";
    let rest = text_cached.saturating_add(image_cached).saturating_add(cached.left);
    read.add(if explicit { D::CacheReadExplicit } else { D::CacheRead }, rest);

    let mut written = Parts::of(parts.take(written));
    let ttl = [
        &details["cache_creation_token_details"],
        &details["cache_write_tokens_details"],
        &usage["cache_creation"],
    ];
    let lived = |names: [&str; 2]| {
        ttl.iter()
            .flat_map(|value| names.map(|name| part(&value[name])))
            .find(|count| *count > 0)
            .unwrap_or(0)
    };
    read.add(D::CacheWriteLong, written.take(lived(["ephemeral_1h_input_tokens", "ttl_1h_tokens"])));
    read.add(D::CacheWriteLongest, written.take(lived(["ephemeral_12h_input_tokens", "ttl_12h_tokens"])));
    read.add(D::CacheWrite, written.left);

    // Kinds count cached tokens too.
    let kinds = [
        ("audio_tokens", audio_cached, D::AudioInput),
        ("image_tokens", image_cached, D::ImageInput),
        ("video_tokens", 0, D::VideoInput),
    ];
    for (name, already, dimension) in kinds {
        read.add(dimension, parts.take(part(&details[name]).saturating_sub(already)));
    }
    read.add(D::Input, parts.left);
    let units = [("character_count", D::Characters), ("image_count", D::Images), ("query_count", D::Queries)];
    for (name, dimension) in units {
        read.add(dimension, part(&details[name]));
    }
    let times = [("video_length_seconds", D::VideoTime), ("audio_length_seconds", D::AudioTime)];
    for (name, dimension) in times {
        read.add(dimension, seconds(&details[name]).unwrap_or(0));
    }
    read.add(D::Citations, part(&usage["citation_tokens"]));
}

fn output(usage: &Value, prompt: u64, completion: u64, read: &mut Usage) {
    let details = details(usage, ["completion", "output"]);
    let part = |value: &Value| count(value).unwrap_or(0);
    let reasoning =
        first(&[&details["reasoning_tokens"], &usage["reasoning_tokens"], &details["thinking_tokens"]]);
    // Some providers count reasoning beside the completion. Their total gives them away, and so does
    // reasoning that is more than the completion.
    let beside = reasoning > completion
        || count(&usage["total_tokens"]) == Some(prompt.saturating_add(completion).saturating_add(reasoning));
    let mut parts = Parts::of(if beside { completion.saturating_add(reasoning) } else { completion });
    read.add(D::Reasoning, parts.take(reasoning));
    let kinds = [
        ("audio_tokens", D::AudioOutput),
        ("image_tokens", D::ImageOutput),
        ("video_tokens", D::VideoOutput),
    ];
    for (name, dimension) in kinds {
        read.add(dimension, parts.take(part(&details[name])));
    }
    read.add(D::Output, parts.left);
}

/// The first of these that is a count above zero.
fn first(values: &[&Value]) -> u64 {
    values.iter().filter_map(|value| count(value)).find(|count| *count > 0).unwrap_or(0)
}

fn tier(usage: &Value, answer: &Value) -> Option<Tier> {
    [&answer["service_tier"], &usage["service_tier"]]
        .iter()
        .find_map(|value| value.as_str())
        .and_then(Tier::served)
}

/// What the provider says that the call cost: OpenRouter `cost`, Perplexity `cost.total_cost`, xAI ticks of
/// 1e-10 USD.
fn reported(usage: &Value) -> Option<PicoUsd> {
    if let Some(ticks) = usage["cost_in_usd_ticks"].as_u64() {
        return Some(PicoUsd(i128::from(ticks) * 100));
    }
    match &usage["cost"] {
        Value::Object(parts) => parts.get("total_cost").and_then(usd),
        number => usd(number),
    }
}

/// What ran at the provider. The totals of a usage object win over the items of an answer.
fn tools(usage: &Value, answer: &Value, read: &mut Usage) {
    let of = |value: &Value| count(value).filter(|count| *count > 0);
    let output = answer["output"].as_array().map_or(&[][..], Vec::as_slice);
    let items = |kind: &str| output.iter().filter(|item| item["type"] == kind).count() as u64;
    let cited = |kind: &str| {
        let choices = answer["choices"].as_array().into_iter().flatten();
        let mut notes =
            choices.flat_map(|choice| choice["message"]["annotations"].as_array().into_iter().flatten());
        u64::from(notes.any(|note| note["type"] == kind))
    };
    let details = details(usage, ["prompt", "input"]);
    let stated = [
        &usage["server_tool_use"]["web_search_requests"],
        &usage["server_side_tool_usage_details"]["web_search_calls"],
        &details["web_search_requests"],
        &usage["num_search_queries"],
        &answer["num_search_queries"],
        &answer["tool_usage"]["web_search"]["num_requests"],
        &usage["tool_usage"]["web_search"]["num_requests"],
    ];
    let searches = stated.into_iter().find_map(of).unwrap_or_else(|| match items("web_search_call") {
        // A chat answer shows only that it cites pages, not how often it searched.
        0 => cited("url_citation"),
        calls => calls,
    });
    let searched = match usage["search_context_size"].as_str() {
        Some("low") => D::WebSearchesLow,
        Some("high") => D::WebSearchesHigh,
        _ => D::WebSearches,
    };
    read.add(searched, searches);
    read.add(D::MapSearches, of(&details["google_maps_grounding_requests"]).unwrap_or(0));
    read.add(D::PageVisits, of(&usage["server_tool_use"]["browser_open_requests"]).unwrap_or(0));
    read.add(
        D::FileSearches,
        match items("file_search_call") {
            0 => cited("file_citation"),
            calls => calls,
        },
    );
}
