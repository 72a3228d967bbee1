//! Compiles the pinned price map (`prices/model_prices.json`) into a sorted table of typed constants.
//!
//! Start-up then parses nothing: a look-up is a binary search over static data. Only what token
//! billing needs is kept; rates are whole pico-USD per token, rounded up.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

type Failure = Box<dyn std::error::Error>;

/// (dimension, tier, above this many input tokens, pico-USD per token), as Rust literals.
type Rate = (&'static str, &'static str, u64, u64);

const MAP: &str = "prices/model_prices.json";

/// Longest name first: `cache_creation_input_token_cost_above_1hr` is a dimension of its own.
const DIMENSIONS: [(&str, &str); 11] = [
    ("cache_creation_input_token_cost_above_1hr", "CacheWriteLong"),
    ("cache_creation_input_token_cost", "CacheWrite"),
    ("cache_read_input_audio_token_cost", "AudioCacheRead"),
    ("cache_read_input_token_cost", "CacheRead"),
    ("output_cost_per_reasoning_token", "Reasoning"),
    ("output_cost_per_audio_token", "AudioOutput"),
    ("output_cost_per_image_token", "ImageOutput"),
    ("output_cost_per_token", "Output"),
    ("input_cost_per_audio_token", "AudioInput"),
    ("input_cost_per_image_token", "ImageInput"),
    ("input_cost_per_token", "Input"),
];

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed={MAP}");
    println!("cargo::rerun-if-changed=build.rs");
    let text = std::fs::read(MAP)?;
    let map: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&text)?;
    let mut rows: Vec<(usize, Rate)> = Vec::new();
    let mut offsets: HashMap<Vec<Rate>, (usize, usize)> = HashMap::new();
    let mut models = String::new();
    let mut count = 0_usize;
    for (name, model) in &map {
        let kind = match model["mode"].as_str() {
            Some("chat" | "completion" | "responses") => "Chat",
            Some("embedding") => "Embedding",
            _ => continue,
        };
        let Some(rates) = rates(model)? else { continue };
        let (start, end) = *offsets.entry(rates.clone()).or_insert_with(|| {
            let start = rows.len();
            rows.extend(rates.iter().map(|rate| (start, *rate)));
            (start, rows.len())
        });
        let provider = model["litellm_provider"].as_str().unwrap_or_default();
        let uplift =
            |value: &serde_json::Value| value.as_f64().map_or(1_000, |f| (f * 1_000.0).ceil() as u64);
        let searches = provider == "perplexity"
            || (name.contains("search") || name.contains("research"))
                && !model["search_context_cost_per_query"].is_null();
        writeln!(
            models,
            "Model{{name:{name:?},provider:{provider:?},kind:Kind::{kind},context_tokens:{},max_output_tokens:{},rates:({start},{end}),per_request:{},uplift:Uplift{{geo_us:{},fast:{},region_us:{},region_eu:{}}},searches:{searches}}},",
            tokens(&model["max_input_tokens"]),
            // `max_tokens` is the map's older name of the same limit.
            tokens(if model["max_output_tokens"].is_null() {
                &model["max_tokens"]
            } else {
                &model["max_output_tokens"]
            }),
            pico(&model["input_cost_per_request"])?.unwrap_or(0),
            uplift(&model["provider_specific_entry"]["us"]),
            uplift(&model["provider_specific_entry"]["fast"]),
            uplift(&model["regional_processing_uplift_multiplier_us"]),
            uplift(&model["regional_processing_uplift_multiplier_eu"]),
        )?;
        count += 1;
    }
    let mut out = format!("pub(super) const MAP_HASH: &str = {:?};\n", blake3::hash(&text).to_hex().as_str());
    writeln!(out, "pub(super) static RATES: [Rate; {}] = [", rows.len())?;
    for (_, (dimension, tier, above, pico)) in &rows {
        writeln!(out, "Rate{{dimension:D::{dimension},tier:T::{tier},above:{above},pico:{pico}}},")?;
    }
    // `BTreeMap` iterates by byte order, which is what the binary search compares by.
    writeln!(out, "];\npub(super) static MODELS: [Model; {count}] = [\n{models}];")?;
    std::fs::write(std::path::Path::new(&std::env::var("OUT_DIR")?).join("price_table.rs"), out)?;
    Ok(())
}

fn tokens(value: &serde_json::Value) -> u64 {
    value.as_f64().map_or(0, |f| f as u64)
}

/// The token rates of one model; `None` when it has no price per input token, which is what every
/// bill here starts from.
fn rates(model: &serde_json::Value) -> Result<Option<Vec<Rate>>, Failure> {
    let mut rates = Vec::new();
    for (key, value) in model.as_object().into_iter().flatten() {
        let Some((dimension, tier, above)) = meaning(key) else { continue };
        rates.extend(pico(value)?.map(|pico| (dimension, tier, above, pico)));
    }
    // `tiered_pricing`: each range is a threshold; the first is the base price.
    for range in model["tiered_pricing"].as_array().into_iter().flatten() {
        let above = tokens(&range["range"][0]);
        for (key, value) in range.as_object().into_iter().flatten() {
            let Some((dimension, tier, _)) = meaning(key) else { continue };
            rates.extend(pico(value)?.map(|pico| (dimension, tier, above, pico)));
        }
    }
    rates.sort_unstable();
    rates.dedup();
    let priced = rates
        .iter()
        .any(|(dimension, tier, above, _)| (*dimension, *tier, *above) == ("Input", "Standard", 0));
    Ok(priced.then_some(rates))
}

/// What a key of the map prices, or `None` for what token billing does not use (batch rates among
/// them: the batch endpoints are not served).
fn meaning(key: &str) -> Option<(&'static str, &'static str, u64)> {
    let (dimension, mut rest) =
        DIMENSIONS.iter().find_map(|(prefix, name)| key.strip_prefix(prefix).map(|rest| (*name, rest)))?;
    let mut above = 0;
    if let Some(threshold) = rest.strip_prefix("_above_") {
        let (thousands, after) = threshold.split_once("k_tokens")?;
        above = thousands.parse::<u64>().ok()? * 1_000;
        rest = after;
    }
    let tier = match rest {
        "" => "Standard",
        "_flex" => "Flex",
        "_priority" => "Priority",
        "_ultrafast" => "Ultrafast",
        "_balanced" => "Balanced",
        "_decisions" => "Decisions",
        _ => return None,
    };
    Some((dimension, tier, above))
}

/// A price in USD as whole pico-USD, rounded up; noise below a femto-USD is the map's own binary
/// floating point (`8.900000000000001e-07`) and is dropped first.
fn pico(value: &serde_json::Value) -> Result<Option<u64>, Failure> {
    let Some(usd) = value.as_f64() else { return Ok(None) };
    if !(0.0..1_000.0).contains(&usd) {
        return Err(format!("a price of {usd} USD is not believable").into());
    }
    let femto = (usd * 1e15).round() as u64;
    Ok(Some(femto.div_ceil(1_000)))
}
