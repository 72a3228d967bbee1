//! The open price map: what its keys mean.
//!
//! Owns reading `model_prices.json` into entries. The build compiles the pinned map with it, and
//! `wflo costs update` reads a newer one with it, so that both mean the same. What a provider does
//! differently from what the keys say is `rules`'.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kind::Kind;
use super::rules;
use super::{Dimension, Rate, Tier};

/// Factors on a whole bill, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uplift {
    /// Inference kept in the United States (Anthropic's `inference_geo`).
    pub geo_us: u64,
    /// Anthropic's `speed: "fast"`.
    pub fast: u64,
    /// OpenAI's United States endpoint.
    pub region_us: u64,
    /// OpenAI's European endpoint.
    pub region_eu: u64,
    /// Any endpoint of Google's that is not the global one.
    pub region_google: u64,
}

impl Uplift {
    /// No uplift.
    pub const NONE: Uplift =
        Uplift { geo_us: 1_000, fast: 1_000, region_us: 1_000, region_eu: 1_000, region_google: 1_000 };
}

/// Hours of some days at which a model costs less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// A bit for each day, Monday's the lowest.
    pub days: u8,
    /// How far the days' midnight is before UTC's, in minutes.
    pub ahead: u16,
    /// The first minute of the day, in UTC.
    pub from: u16,
    /// The minute after the last, in UTC; one that is not after the first is on the next day.
    pub to: u16,
}

impl Window {
    /// Whether this moment, in seconds since 1970 in UTC, is in it.
    pub fn holds(self, unix_seconds: i64) -> bool {
        let minutes = unix_seconds.div_euclid(60);
        // 1970 began on a Thursday.
        let day = (minutes + i64::from(self.ahead)).div_euclid(1_440).saturating_add(3).rem_euclid(7);
        let minute = minutes.rem_euclid(1_440);
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        let in_hours = if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to };
        in_hours && self.days >> day & 1 == 1
    }
}

/// One model of the map.
pub(crate) struct Entry {
    /// The map's name of it.
    pub name: String,
    /// Who serves it.
    pub provider: String,
    /// What it is called for.
    pub kind: Kind,
    /// Most input tokens, 0 when the map does not say.
    pub context_tokens: u64,
    /// Most output tokens, 0 when the map does not say.
    pub max_output_tokens: u64,
    /// What it costs.
    pub rates: Vec<Rate>,
    /// Factors on the whole bill.
    pub uplift: Uplift,
    /// It searches the web by itself, at a fee per search.
    pub searches: bool,
    /// A search fee is per prompt that was grounded in any number of searches.
    pub per_prompt: bool,
    /// When the off-peak prices apply.
    pub windows: Vec<Window>,
}

/// A text that is no price map.
#[derive(Debug)]
pub enum MapError {
    /// It is no JSON object of objects.
    NotAMap(String),
    /// A price that nobody can believe.
    Price {
        /// The model.
        model: String,
        /// The key.
        key: String,
        /// The amount in USD.
        usd: f64,
    },
    /// A model's name that does something else than be read.
    Name(String),
    /// Fewer priced models than any map that was seen.
    TooFew(usize),
}

impl std::fmt::Display for MapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MapError::NotAMap(reason) => write!(f, "it is no map of models: {reason}"),
            MapError::Price { model, key, usd } => {
                write!(f, "`{key}` of {model} is {usd} USD, which is not believable")
            }
            MapError::Name(name) => write!(f, "the name {name:?} holds control characters"),
            MapError::TooFew(count) => write!(f, "it prices only {count} models"),
        }
    }
}

impl std::error::Error for MapError {}

/// The models of a map, each once: of two of one name nobody knows which is meant.
struct Models(BTreeMap<String, Value>);

impl<'de> serde::Deserialize<'de> for Models {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Models, D::Error> {
        struct Each;
        impl<'de> serde::de::Visitor<'de> for Each {
            type Value = Models;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of models")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Models, A::Error> {
                let mut models = BTreeMap::new();
                while let Some((name, model)) = access.next_entry::<String, Value>()? {
                    if models.contains_key(&name) {
                        return Err(serde::de::Error::custom(format_args!("{name:?} occurs twice")));
                    }
                    models.insert(name, model);
                }
                Ok(Models(models))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Reads a map: its priced models, sorted by name.
///
/// # Errors
/// [`MapError`] when it is no map, or holds a price that is negative or beyond belief.
pub(crate) fn read(text: &[u8]) -> Result<Vec<Entry>, MapError> {
    let Models(map) = serde_json::from_slice(text).map_err(|error| MapError::NotAMap(error.to_string()))?;
    let mut entries = Vec::new();
    for (name, model) in &map {
        // The map describes itself in an entry of its own.
        if name == "sample_spec" || !model.is_object() {
            continue;
        }
        if name.contains(char::is_control) {
            return Err(MapError::Name(name.clone()));
        }
        entries.extend(entry(name, model, &map)?);
    }
    Ok(entries)
}

fn entry(name: &str, model: &Value, map: &BTreeMap<String, Value>) -> Result<Option<Entry>, MapError> {
    let provider = model["litellm_provider"].as_str().unwrap_or_default();
    let mut rates = rates(name, model)?;
    rules::apply(name, provider, model, map, &mut rates)?;
    if rates.is_empty() {
        return Ok(None);
    }
    rates.sort_unstable();
    rates.dedup_by_key(|rate| (rate.dimension, rate.tier, rate.above));
    let uplift = |value: &Value, applies: bool| {
        let factor = value.as_f64().filter(|factor| applies && (1.0..100.0).contains(factor));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        factor.map_or(1_000, |factor| (factor * 1_000.0).round() as u64)
    };
    let specific = &model["provider_specific_entry"];
    Ok(Some(Entry {
        name: name.to_owned(),
        provider: provider.to_owned(),
        kind: Kind::of(model["mode"].as_str()),
        context_tokens: tokens(&model["max_input_tokens"]),
        // `max_tokens` is the map's older name of the same limit.
        max_output_tokens: tokens(if model["max_output_tokens"].is_null() {
            &model["max_tokens"]
        } else {
            &model["max_output_tokens"]
        }),
        rates,
        uplift: Uplift {
            geo_us: uplift(&specific["us"], provider == "anthropic" || provider.starts_with("bedrock")),
            fast: uplift(&specific["fast"], provider == "anthropic"),
            region_us: uplift(&model["regional_processing_uplift_multiplier_us"], true),
            region_eu: uplift(&model["regional_processing_uplift_multiplier_eu"], true),
            region_google: uplift(
                &model["regional_endpoint_uplift_multiplier"],
                provider.starts_with("vertex_ai"),
            ),
        },
        searches: provider == "perplexity"
            || (name.contains("search") || name.contains("research"))
                && !model["search_context_cost_per_query"].is_null(),
        per_prompt: rules::is_google(provider, name)
            && model["web_search_billing_unit"].as_str() != Some("per_query"),
        windows: windows(&model["off_peak_pricing"]),
    }))
}

/// The windows of an off-peak block. What is not understood is no window: the peak price then applies.
fn windows(block: &Value) -> Vec<Window> {
    let ahead = match block["weekday_timezone"].as_str() {
        None | Some("UTC" | "") => Some(0),
        Some("Asia/Shanghai" | "Asia/Singapore" | "Asia/Hong_Kong") => Some(480),
        Some(_) => None,
    };
    let minute = |text: &str| {
        let (hours, minutes) = text.trim().split_once(':')?;
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
    };
    let hours = |value: &Value| -> Vec<(u16, u16)> {
        let one = |text: &str| {
            let (from, to) = text.split_once('-')?;
            Some((minute(from)?, minute(to)?))
        };
        match value {
            Value::String(text) => one(text).into_iter().collect(),
            Value::Array(all) => all.iter().filter_map(Value::as_str).filter_map(one).collect(),
            _ => Vec::new(),
        }
    };
    let every = |(from, to)| Window { days: 0x7f, ahead: 0, from, to };
    let mut windows: Vec<Window> = hours(&block["hours_utc"]).into_iter().map(every).collect();
    for rule in block["windows"].as_array().into_iter().flatten() {
        let days = match &rule["weekdays"] {
            Value::Null => Some(0x7f),
            Value::Array(days) => days.iter().try_fold(0, |set, day| {
                let day = day.as_u64().filter(|day| (1..=7).contains(day))?;
                Some(set | 1_u8 << (day - 1))
            }),
            _ => None,
        };
        if let (Some(days), Some(ahead)) = (days, ahead) {
            windows.extend(hours(&rule["hours_utc"]).into_iter().map(|(from, to)| Window {
                days,
                ahead,
                from,
                to,
            }));
        }
    }
    windows
}

fn tokens(value: &Value) -> u64 {
    // Some entries write their limits as floats.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    value.as_f64().map_or(0, |tokens| tokens as u64)
}

/// The keys of the map, without tier and threshold.
const KEYS: [(&str, Dimension); 40] = [
    ("input_cost_per_token", Dimension::Input),
    ("cache_read_input_token_cost", Dimension::CacheRead),
    ("explicit_cache_read_input_token_cost", Dimension::CacheReadExplicit),
    ("cache_creation_input_token_cost", Dimension::CacheWrite),
    ("cache_creation_input_token_cost_above_1hr", Dimension::CacheWriteLong),
    ("cache_creation_input_token_cost_above_12hr", Dimension::CacheWriteLongest),
    ("input_cost_per_audio_token", Dimension::AudioInput),
    ("cache_read_input_audio_token_cost", Dimension::AudioCacheRead),
    ("input_cost_per_image_token", Dimension::ImageInput),
    ("input_cost_per_video_token", Dimension::VideoInput),
    ("output_cost_per_token", Dimension::Output),
    ("output_cost_per_reasoning_token", Dimension::Reasoning),
    ("output_cost_per_audio_token", Dimension::AudioOutput),
    ("output_cost_per_image_token", Dimension::ImageOutput),
    ("output_cost_per_video_token", Dimension::VideoOutput),
    ("citation_cost_per_token", Dimension::Citations),
    ("input_cost_per_character", Dimension::Characters),
    ("output_cost_per_character", Dimension::OutputCharacters),
    ("input_cost_per_image", Dimension::Images),
    ("input_cost_per_pixel", Dimension::Pixels),
    ("input_cost_per_audio_per_second", Dimension::AudioTime),
    ("input_cost_per_video_per_second", Dimension::VideoTime),
    ("input_cost_per_second", Dimension::InputTime),
    ("output_cost_per_image", Dimension::OutputImages),
    ("output_cost_per_pixel", Dimension::OutputPixels),
    ("output_cost_per_second", Dimension::OutputTime),
    ("output_cost_per_video_per_second", Dimension::OutputVideoTime),
    ("output_cost_per_second_480p", Dimension::OutputTime480),
    ("output_cost_per_second_720p", Dimension::OutputTime720),
    ("output_cost_per_second_768p", Dimension::OutputTime768),
    ("output_cost_per_second_1080p", Dimension::OutputTime1080),
    ("output_cost_per_second_2k", Dimension::OutputTime2k),
    ("output_cost_per_second_4k", Dimension::OutputTime4k),
    ("cost_per_second", Dimension::RunTime),
    ("input_cost_per_query", Dimension::Queries),
    ("input_cost_per_request", Dimension::Requests),
    ("input_cost_per_text_message", Dimension::Messages),
    ("ocr_cost_per_page", Dimension::Pages),
    ("annotation_cost_per_page", Dimension::AnnotatedPages),
    ("ocr_cost_per_credit", Dimension::Credits),
];

/// What the keys of one object of the map say.
pub(super) fn rates(model: &str, object: &Value) -> Result<Vec<Rate>, MapError> {
    let mut rates = Vec::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        let Some((dimension, tier, above)) = meaning(key) else { continue };
        if let Some(femto) = femto(model, key, value)? {
            rates.push(Rate { dimension, tier, above, femto });
        }
    }
    Ok(rates)
}

/// What a key prices: a dimension, a tier, and from how many input tokens on.
fn meaning(key: &str) -> Option<(Dimension, Tier, u64)> {
    KEYS.iter().find_map(|(name, dimension)| {
        let mut rest = key.strip_prefix(name)?;
        let mut above = 0;
        if let Some(threshold) = rest.strip_prefix("_above_") {
            let (number, after) = threshold.split_once("_tokens")?;
            above = match number.strip_suffix('k') {
                Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1_000)?,
                None => number.parse().ok()?,
            };
            rest = after;
        }
        let tier = match rest {
            "" => Tier::Standard,
            "_flex" => Tier::Flex,
            "_priority" => Tier::Priority,
            "_ultrafast" => Tier::Ultrafast,
            "_balanced" => Tier::Balanced,
            "_batches" => Tier::Batch,
            _ => return None,
        };
        Some((*dimension, tier, above))
    })
}

/// A price in USD as whole femto-USD, rounded up; noise below an atto-USD is the map's own binary floating
/// point (`8.900000000000001e-07`) and is dropped first.
pub(super) fn femto(model: &str, key: &str, value: &Value) -> Result<Option<u64>, MapError> {
    // Some maps write numbers as texts; a text that is none is no price of nothing.
    let text = value.as_str().map(|text| text.trim().parse().unwrap_or(f64::NAN));
    let Some(usd) = text.or_else(|| value.as_f64()) else { return Ok(None) };
    if !(0.0..1_000.0).contains(&usd) {
        return Err(MapError::Price { model: model.to_owned(), key: key.to_owned(), usd });
    }
    // Fifteen significant digits are what a decimal keeps through a float.
    let text = format!("{usd:.14e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits: u128 = digits.replace('.', "").parse().unwrap_or(0);
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // digits × 10^(exponent − 14) USD × 10^15 femto.
    let shift = exponent + 1;
    let femto = if shift >= 0 {
        digits.saturating_mul(10_u128.saturating_pow(shift.unsigned_abs()))
    } else {
        digits.div_ceil(10_u128.saturating_pow(shift.unsigned_abs()))
    };
    Ok(Some(u64::try_from(femto).unwrap_or(u64::MAX)))
}
