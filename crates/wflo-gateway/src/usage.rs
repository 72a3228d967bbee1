//! What a call used, in wflo's own dimensions.
//!
//! Owns the normalised counts and the one reading of a provider's usage: [`read`], with a file per
//! dialect. Streams, whole bodies and the command line all use it. Turning counts into money is
//! `price`'s.
//!
//! **Architecture Invariant:** every token is in exactly one count, and no number that a provider
//! writes (negative, fractional, larger than any count, no number at all) makes a reader panic or a sum
//! overflow. A total that is no count makes the whole usage unknown, which is charged as such; a detail
//! that is no count is left out, so that its tokens stay in what they are a part of.

mod anthropic;
mod cohere;
mod dimension;
mod google;
mod number;
mod openai;

use std::collections::BTreeMap;

use serde_json::Value;
use wflo_core::money::PicoUsd;

use crate::dialect::Dialect;
use crate::price::Tier;

pub use anthropic::merge as merge_anthropic;
pub use dimension::{Dimension, Unit};

/// What one call used.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Only what is not zero.
    #[serde(flatten)]
    counts: BTreeMap<Dimension, u64>,
    /// The tier that served the call, where the provider says so.
    #[serde(skip)]
    pub tier: Option<Tier>,
    /// Inference was kept in the United States, at a higher price.
    #[serde(skip)]
    pub geo_us: bool,
    /// Served in the provider's fast mode, at a higher price.
    #[serde(skip)]
    pub fast: bool,
    /// What the provider itself says that the call cost.
    #[serde(skip)]
    pub reported: Option<PicoUsd>,
}

impl Usage {
    /// These counts, at the standard tier.
    pub fn of(counts: &[(Dimension, u64)]) -> Usage {
        let mut usage = Usage::default();
        for (dimension, count) in counts {
            usage.add(*dimension, *count);
        }
        usage
    }

    /// The count of one dimension.
    pub fn get(&self, dimension: Dimension) -> u64 {
        self.counts.get(&dimension).copied().unwrap_or(0)
    }

    /// Adds to one dimension.
    pub fn add(&mut self, dimension: Dimension, count: u64) {
        if count > 0 {
            let sum = self.counts.entry(dimension).or_insert(0);
            *sum = sum.saturating_add(count);
        }
    }

    /// What is not zero, in the order in which bills list it.
    pub fn counts(&self) -> impl Iterator<Item = (Dimension, u64)> {
        self.counts.iter().map(|(dimension, count)| (*dimension, *count))
    }

    /// All input tokens, cached ones included.
    pub fn total_input(&self) -> u64 {
        self.total(Unit::InputTokens)
    }

    /// All output tokens, reasoning included.
    pub fn total_output(&self) -> u64 {
        self.total(Unit::OutputTokens)
    }

    /// The input tokens that came from a cache of the provider.
    pub fn cached_input(&self) -> u64 {
        use Dimension::{AudioCacheRead, CacheRead, CacheReadExplicit};
        [CacheRead, CacheReadExplicit, AudioCacheRead]
            .into_iter()
            .fold(0, |sum, dimension| sum.saturating_add(self.get(dimension)))
    }

    fn total(&self, unit: Unit) -> u64 {
        let counts = self.counts().filter(|(dimension, _)| dimension.unit() == unit);
        counts.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}

/// Reads a usage object as a provider of `dialect` writes it, or a whole answer that holds one: the
/// latter also tells the service tier and the tools that ran. `None` when it says nothing that can be
/// billed, or nothing that can be believed.
pub fn read(dialect: Dialect, value: &Value) -> Option<Usage> {
    let field = match dialect {
        Dialect::Google => "usageMetadata",
        Dialect::Cohere if value.get("usage").is_none() => "meta",
        _ => "usage",
    };
    // The events of a responses stream hold the answer.
    let value = value.get("response").filter(|inner| inner.is_object()).unwrap_or(value);
    let (usage, answer) = match value.get(field) {
        Some(usage) if usage.is_object() => (usage, value),
        _ => (value, &Value::Null),
    };
    if !usage.is_object() {
        return None;
    }
    match dialect {
        Dialect::OpenAi => openai::read(usage, answer),
        Dialect::Anthropic => anthropic::read(usage),
        Dialect::Google => google::read(usage, answer),
        Dialect::Cohere => cohere::read(usage),
    }
}

/// The usage of a whole answer, such as a body or the last event of a stream; `None` when it has none or
/// is no JSON. Only what billing needs is kept of the answer while it is read.
pub fn of_answer(dialect: Dialect, json: &[u8]) -> Option<Usage> {
    let answer: Answer = serde_json::from_slice(json).ok()?;
    read(dialect, &answer.0)
}

/// An answer without its content.
struct Answer(Value);

/// Members of an answer that billing reads whole.
const KEPT: [&str; 8] = [
    "usage",
    "usageMetadata",
    "meta",
    "service_tier",
    "tool_usage",
    "num_search_queries",
    "groundingMetadata",
    "type",
];

/// Members of an answer in which what billing reads may stand.
const ENTERED: [&str; 6] = ["output", "candidates", "choices", "message", "annotations", "response"];

mod answer {
    //! Reads an answer and drops its content, which may be megabytes, on the way.

    use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
    use serde_json::{Map, Value};

    use super::{Answer, ENTERED, KEPT};

    impl<'de> Deserialize<'de> for Answer {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Answer, D::Error> {
            Skeleton.deserialize(deserializer).map(Answer)
        }
    }

    struct Skeleton;

    impl<'de> DeserializeSeed<'de> for Skeleton {
        type Value = Value;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
            deserializer.deserialize_any(self)
        }
    }

    impl<'de> Visitor<'de> for Skeleton {
        type Value = Value;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an answer")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
            let mut kept = Map::new();
            while let Some(name) = map.next_key::<String>()? {
                if KEPT.contains(&name.as_str()) {
                    kept.insert(name, map.next_value()?);
                } else if ENTERED.contains(&name.as_str()) {
                    kept.insert(name, map.next_value_seed(Skeleton)?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(Value::Object(kept))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
            let mut kept = Vec::new();
            while let Some(value) = seq.next_element_seed(Skeleton)? {
                kept.push(value);
            }
            Ok(Value::Array(kept))
        }

        fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
            Ok(Value::Null)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
            Ok(Value::Null)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
            Ok(Value::Null)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
            Ok(Value::Null)
        }

        fn visit_str<E>(self, _: &str) -> Result<Value, E> {
            Ok(Value::Null)
        }

        fn visit_unit<E>(self) -> Result<Value, E> {
            Ok(Value::Null)
        }
    }
}

/// A total that is divided into its parts: what is asked for is taken from what is left, so that the
/// parts are never more than the total, whatever a provider says of them.
struct Parts {
    left: u64,
}

impl Parts {
    fn of(total: u64) -> Parts {
        Parts { left: total }
    }

    fn take(&mut self, part: u64) -> u64 {
        let taken = part.min(self.left);
        self.left -= taken;
        taken
    }
}

#[cfg(test)]
mod tests;
