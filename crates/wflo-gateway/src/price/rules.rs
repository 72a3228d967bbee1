//! What providers do differently from what the map's keys say.
//!
//! Owns the rules that the map's own project applies per provider when it computes a bill (its cost
//! calculators), carried out once on an entry's rates: fallbacks that need more than one rate, providers
//! that ignore service tiers or thresholds, tables of tiers, and fees that stand outside of the entry.
//! After them a bill is counts times [`super::Price::rate`], whoever the provider is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::map::{self, MapError};
use super::{Dimension as D, Rate, Tier};

/// The dimensions that a table of tiers prices whole.
const TIERED: [D; 8] = [
    D::Input,
    D::CacheRead,
    D::CacheReadExplicit,
    D::CacheWrite,
    D::CacheWriteLong,
    D::CacheWriteLongest,
    D::Output,
    D::Reasoning,
];

/// Providers whose calculators know no service tiers.
const WITHOUT_TIERS: [&str; 8] = [
    "xai",
    "fireworks_ai",
    "deepseek",
    "tencent",
    "perplexity",
    "dashscope",
    "qwencloud",
    "qwen_ai_platform",
];

/// Providers that bill by text alone: other kinds of tokens cost as the text does.
const TEXT_ALONE: [&str; 4] = ["perplexity", "dashscope", "qwencloud", "qwen_ai_platform"];

pub(super) fn apply(
    name: &str,
    provider: &str,
    model: &Value,
    map: &BTreeMap<String, Value>,
    rates: &mut Vec<Rate>,
) -> Result<(), MapError> {
    batches(rates);
    if WITHOUT_TIERS.contains(&provider) {
        rates.retain(|rate| matches!(rate.tier, Tier::Standard | Tier::Batch));
    }
    if TEXT_ALONE.contains(&provider) {
        let text = [
            D::Input,
            D::CacheRead,
            D::CacheReadExplicit,
            D::CacheWrite,
            D::Output,
            D::Reasoning,
            D::Citations,
        ];
        rates.retain(|rate| {
            let kept = rate.dimension.unit().is_no_token() || text.contains(&rate.dimension);
            kept && rate.above == 0
        });
    }
    match provider {
        // It bills by itself, without a discount for what was cached.
        "perplexity" => {
            rates.retain(|rate| {
                !matches!(rate.dimension, D::CacheRead | D::CacheReadExplicit | D::CacheWrite)
            });
        }
        "xai" => xai(rates),
        _ if provider.starts_with("fireworks_ai") => half_price_cache(rates),
        _ => {}
    }
    tiers(name, model, rates)?;
    images_as_output(rates);
    off_peak(name, model, rates)?;
    recordings(model, rates);
    searches(name, provider, model, rates)?;
    sessions(provider, map, rates)?;
    Ok(())
}

/// The standard rate of a dimension below every threshold.
fn base(rates: &[Rate], dimension: D, tier: Tier) -> Option<u64> {
    rates
        .iter()
        .find(|rate| rate.dimension == dimension && rate.tier == tier && rate.above == 0)
        .map(|rate| rate.femto)
}

fn rate(dimension: D, tier: Tier, above: u64, femto: u64) -> Rate {
    Rate { dimension, tier, above, femto }
}

/// Reasoning and audio are billed as output; a threshold is reached, not passed.
fn xai(rates: &mut Vec<Rate>) {
    rates.retain(|rate| {
        !matches!(rate.dimension, D::Reasoning | D::AudioOutput | D::ImageOutput | D::VideoOutput)
    });
    for rate in rates.iter_mut().filter(|rate| rate.above > 0) {
        rate.above -= 1;
    }
}

/// What was cached costs half, where the entry does not say.
fn half_price_cache(rates: &mut Vec<Rate>) {
    if let (None, Some(input)) =
        (base(rates, D::CacheRead, Tier::Standard), base(rates, D::Input, Tier::Standard))
    {
        rates.push(rate(D::CacheRead, Tier::Standard, 0, input.div_ceil(2)));
    }
}

/// Batch prices that are not stated are half of the standard ones; stated input leaves no discount for
/// what it does not state, which then costs as the input does.
fn batches(rates: &mut Vec<Rate>) {
    let add = |rates: &mut Vec<Rate>, dimension: D| {
        let standard = base(rates, dimension, Tier::Standard);
        if let (None, Some(standard)) = (base(rates, dimension, Tier::Batch), standard) {
            rates.push(rate(dimension, Tier::Batch, 0, standard.div_ceil(2)));
        }
    };
    let stated = base(rates, D::Input, Tier::Batch).is_some();
    for dimension in [D::Input, D::Output, D::ImageOutput] {
        add(rates, dimension);
    }
    if !stated {
        for dimension in [D::CacheRead, D::CacheWrite] {
            add(rates, dimension);
        }
    }
}

/// `tiered_pricing`: each range is a threshold, and prices a request whole; what a range leaves out costs
/// as its input, or as the model's own output.
fn tiers(name: &str, model: &Value, rates: &mut Vec<Rate>) -> Result<(), MapError> {
    let mut table = Vec::new();
    for range in model["tiered_pricing"].as_array().into_iter().flatten() {
        let start = range["range"][0].as_f64().filter(|start| *start >= 0.0);
        let (Some(start), true) = (start, range.get("input_cost_per_token").is_some()) else { continue };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        table.push((start as u64, map::rates(name, range)?));
    }
    if table.is_empty() {
        return Ok(());
    }
    let own_output = base(rates, D::Output, Tier::Standard).unwrap_or(0);
    let own_reasoning = base(rates, D::Reasoning, Tier::Standard);
    rates.retain(|rate| !TIERED.contains(&rate.dimension));
    table.sort_by_key(|(start, _)| *start);
    for (at, (start, range)) in table.iter().enumerate() {
        // Whatever lies below the first range is priced by it.
        let above = if at == 0 { 0 } else { *start };
        let of = |dimension: D| base(range, dimension, Tier::Standard);
        let input = of(D::Input).unwrap_or(0);
        let read = of(D::CacheRead).unwrap_or(input);
        let written = of(D::CacheWrite).unwrap_or(input);
        let output = of(D::Output);
        let reasoning = of(D::Reasoning).or(output).or(own_reasoning).unwrap_or(own_output);
        let priced = [
            (D::Input, input),
            (D::CacheRead, read),
            (D::CacheReadExplicit, of(D::CacheReadExplicit).unwrap_or(read)),
            (D::CacheWrite, written),
            (D::CacheWriteLong, of(D::CacheWriteLong).unwrap_or(written)),
            (D::CacheWriteLongest, of(D::CacheWriteLongest).unwrap_or(written)),
            (D::Output, output.unwrap_or(own_output)),
            (D::Reasoning, reasoning),
        ];
        rates.extend(priced.map(|(dimension, femto)| rate(dimension, Tier::Standard, above, femto)));
    }
    Ok(())
}

/// A model that makes pictures and has no price of text counts them as its output.
fn images_as_output(rates: &mut Vec<Rate>) {
    if base(rates, D::Output, Tier::Standard).unwrap_or(0) > 0 {
        return;
    }
    if let Some(image) = base(rates, D::ImageOutput, Tier::Standard) {
        rates.retain(|rate| (rate.dimension, rate.tier, rate.above) != (D::Output, Tier::Standard, 0));
        rates.push(rate(D::Output, Tier::Standard, 0, image));
    }
}

/// Prices of the hours at which the provider asks for less.
fn off_peak(name: &str, model: &Value, rates: &mut Vec<Rate>) -> Result<(), MapError> {
    let block = &model["off_peak_pricing"];
    if block.is_object() {
        let lower = map::rates(name, block)?.into_iter();
        rates.extend(lower.map(|rate| Rate { tier: Tier::OffPeak, above: 0, ..rate }));
    }
    Ok(())
}

/// A recording that is transcribed is billed by its length, under whichever name that has a price.
fn recordings(model: &Value, rates: &mut Vec<Rate>) {
    if model["mode"] != "audio_transcription" {
        return;
    }
    if let Some(by_second) = base(rates, D::OutputTime, Tier::Standard).filter(|femto| *femto > 0) {
        rates.retain(|rate| rate.dimension != D::InputTime);
        rates.push(rate(D::InputTime, Tier::Standard, 0, by_second));
    }
}

/// Gemini at either of Google's addresses.
pub(super) fn is_google(provider: &str, name: &str) -> bool {
    provider == "gemini" || provider.starts_with("vertex_ai") && !name.contains("claude")
}

/// Fees of searches. Google and xAI have list prices that the map leaves out.
fn searches(name: &str, provider: &str, model: &Value, rates: &mut Vec<Rate>) -> Result<(), MapError> {
    let costs = &model["search_context_cost_per_query"];
    let cost = |size: &str| {
        let key = format!("search_context_size_{size}");
        map::femto(name, &key, &costs[key.as_str()])
    };
    let (low, medium, high) = (cost("low")?, cost("medium")?, cost("high")?);
    let tokens = base(rates, D::Input, Tier::Standard).is_some();
    const MILLI: u64 = 1_000_000_000_000;
    let mut push = |dimension, femto| rates.push(rate(dimension, Tier::Standard, 0, femto));
    if is_google(provider, name) && tokens {
        push(D::WebSearches, medium.unwrap_or(35 * MILLI));
        let per_query = model["web_search_billing_unit"].as_str() == Some("per_query");
        let stated = map::femto(
            name,
            "google_maps_grounding_cost_per_query",
            &model["google_maps_grounding_cost_per_query"],
        )?;
        push(D::MapSearches, stated.unwrap_or(if per_query { 14 * MILLI } else { 25 * MILLI }));
        return Ok(());
    }
    match provider {
        // It counts its own searches at its lowest price.
        "perplexity" => {
            for dimension in [D::WebSearches, D::WebSearchesLow, D::WebSearchesHigh] {
                low.into_iter().for_each(|femto| push(dimension, femto));
            }
        }
        "xai" if tokens => {
            let stated = [medium, low, high].into_iter().flatten().find(|femto| *femto > 0);
            push(D::WebSearches, stated.unwrap_or(5 * MILLI));
        }
        _ => {
            let by_size = [(D::WebSearchesLow, low), (D::WebSearches, medium), (D::WebSearchesHigh, high)];
            for (dimension, femto) in by_size {
                femto.into_iter().for_each(|femto| push(dimension, femto));
            }
        }
    }
    match provider {
        "groq" if tokens => push(D::PageVisits, MILLI),
        // 2.50 USD per thousand calls.
        "openai" if tokens => push(D::FileSearches, 5 * MILLI / 2),
        _ => {}
    }
    Ok(())
}

/// A code interpreter's sessions have an entry of their own for all of a provider's models.
fn sessions(provider: &str, map: &BTreeMap<String, Value>, rates: &mut Vec<Rate>) -> Result<(), MapError> {
    let container = format!("{provider}/container");
    let Some(entry) = map.get(&container).filter(|_| !provider.is_empty()) else { return Ok(()) };
    let key = "code_interpreter_cost_per_session";
    if let Some(femto) = map::femto(&container, key, &entry[key])? {
        rates.push(rate(D::CodeSessions, Tier::Standard, 0, femto));
    }
    Ok(())
}
