//! Prices that the operator writes under `[models]` of `wflo.toml`.
//!
//! Owns the parsing of those entries into a [`Price`]; an entry wins over the compiled map.

use std::collections::BTreeMap;

use wflo_core::error::{Code, Coded};
use wflo_core::money::{NanoUsd, PicoUsd};

use crate::dialect::limit::OutputLimit;

use super::{Dimension, End, Kind, Price, PriceSource, Rate, Template, Tier, Uplift, lookup};
use crate::usage::Unit;

/// One `[models."name"]` entry. Prices are decimal texts in USD per million tokens, with at most
/// six decimals.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// The provider that serves the model; absent when the gateway can tell.
    pub provider: Option<String>,
    /// Input tokens.
    pub input: Option<String>,
    /// Output tokens.
    pub output: Option<String>,
    /// Input tokens read from the provider's cache; absent: as input.
    pub cached_input: Option<String>,
    /// Input tokens written to the provider's cache; absent: as input.
    pub cache_write: Option<String>,
    /// Prices of any dimension by its name: USD per million for tokens, per second for time, for one of
    /// anything else.
    #[serde(default)]
    pub rates: BTreeMap<Dimension, String>,
    /// The same at a service tier, by its name; what a tier does not price costs what it costs otherwise.
    #[serde(default)]
    pub tiers: BTreeMap<String, BTreeMap<Dimension, String>>,
    /// The same for requests with more input tokens than a threshold, by the threshold.
    #[serde(default)]
    pub above: BTreeMap<String, BTreeMap<Dimension, String>>,
    /// Most input tokens that the model reads.
    pub context_tokens: Option<u64>,
    /// Most output tokens that the model writes.
    pub max_output_tokens: Option<u64>,
    /// Most tokens that the server's template adds to a request, where nobody here knows the template.
    pub template_tokens: Option<u64>,
}

/// A `[models]` entry that is no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// A price is not a decimal.
    #[error(
        "`{given}` in models.\"{model}\".{field} is not a price: write USD, per million for tokens, such as \"0.25\""
    )]
    NotAPrice {
        /// The model.
        model: String,
        /// The setting.
        field: String,
        /// What was written.
        given: String,
    },
    /// A tier or a threshold that is none.
    #[error("`{given}` in models.\"{model}\".{field} is {wanted}")]
    NotAKey {
        /// The model.
        model: String,
        /// The setting.
        field: &'static str,
        /// What was written.
        given: String,
        /// What it is not.
        wanted: &'static str,
    },
    /// A provider that takes the prices of one that there is not.
    #[error("providers.{provider}.prices names `{given}`, and the price map knows no provider of that name")]
    NotAProvider {
        /// The provider.
        provider: String,
        /// What was written.
        given: String,
    },
    /// Only one of input and output is priced.
    #[error("models.\"{model}\" prices only one of input and output")]
    HalfPriced {
        /// The model.
        model: String,
    },
}

impl Coded for PriceError {
    fn code(&self) -> Code {
        Code(4015)
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PriceError::NotAPrice { .. } => {
                "A decimal text with at most six decimals, zero or more.".to_owned()
            }
            PriceError::NotAKey { field: "tiers", .. } => {
                "Write one of flex, priority, ultrafast, balanced, batch.".to_owned()
            }
            PriceError::NotAKey { .. } => "Write a threshold in tokens, such as \"200000\".".to_owned(),
            PriceError::NotAProvider { .. } => {
                "`wflo costs models NAME` shows the providers that are known, among them openai, anthropic, google, cohere, azure and openrouter.".to_owned()
            }
            PriceError::HalfPriced { .. } => "Write both; \"0\" is a price.".to_owned(),
        })
    }
}

impl ModelSettings {
    /// The price that this entry gives to `model` at `provider`, or `None` when it prices nothing
    /// and the map does not know the model either. An entry without prices may still correct the
    /// map's limits.
    ///
    /// # Errors
    /// [`PriceError`] when a price does not parse, or only one of input and output is given.
    pub fn price(&self, provider: &str, model: &str) -> Result<Option<Price>, PriceError> {
        let known = lookup(provider, model);
        let mut rates = Vec::new();
        let mut add = |dimension, tier, above, field: &str, given: &String| {
            let femto = femto(dimension, given).ok_or_else(|| PriceError::NotAPrice {
                model: model.to_owned(),
                field: field.to_owned(),
                given: given.clone(),
            })?;
            rates.push(Rate { dimension, tier, above, femto });
            Ok::<(), PriceError>(())
        };
        let named = [
            ("input", Dimension::Input, &self.input),
            ("output", Dimension::Output, &self.output),
            ("cached_input", Dimension::CacheRead, &self.cached_input),
            ("cache_write", Dimension::CacheWrite, &self.cache_write),
        ];
        for (field, dimension, given) in named {
            given.iter().try_for_each(|given| add(dimension, Tier::Standard, 0, field, given))?;
        }
        for (dimension, given) in &self.rates {
            add(*dimension, Tier::Standard, 0, &format!("rates.{}", dimension.name()), given)?;
        }
        let not_a_key = |field, given: &str, wanted| PriceError::NotAKey {
            model: model.to_owned(),
            field,
            given: given.to_owned(),
            wanted,
        };
        for (name, given) in &self.tiers {
            let tier = Tier::ALL.into_iter().find(|tier| tier.name() == name);
            let tier = tier.ok_or_else(|| not_a_key("tiers", name, "not the name of a service tier"))?;
            for (dimension, given) in given {
                add(*dimension, tier, 0, &format!("tiers.{name}.{}", dimension.name()), given)?;
            }
        }
        for (tokens, given) in &self.above {
            let above = tokens.parse().map_err(|_| not_a_key("above", tokens, "not a number of tokens"))?;
            for (dimension, given) in given {
                add(
                    *dimension,
                    Tier::Standard,
                    above,
                    &format!("above.{tokens}.{}", dimension.name()),
                    given,
                )?;
            }
        }
        let stated = |dimension| {
            let base = (dimension, Tier::Standard, 0);
            rates.iter().any(|rate: &Rate| (rate.dimension, rate.tier, rate.above) == base)
        };
        if stated(Dimension::Input) != stated(Dimension::Output) {
            return Err(PriceError::HalfPriced { model: model.to_owned() });
        }
        let mut price = match (rates.is_empty(), known) {
            (true, Some(known)) => known,
            (true, None) => return Ok(None),
            (false, known) => Price {
                rates: rates.into(),
                // What the model is does not change with what the operator pays for it.
                context_tokens: known.as_ref().and_then(|known| known.context_tokens),
                max_output_tokens: known.as_ref().and_then(|known| known.max_output_tokens),
                uplift: Uplift::NONE,
                region: 1_000,
                kind: known.as_ref().map_or(Kind::Chat, |known| known.kind),
                template: known.as_ref().map_or(Template::Unknown, |known| known.template),
                end: known.as_ref().map_or(End::Told(OutputLimit::MaxTokens), |known| known.end),
                own: known.as_ref().is_some_and(|known| known.own),
                searches: false,
                per_prompt: false,
                reports: false,
                windows: &[],
                source: PriceSource::Operator,
            },
        };
        price.context_tokens = self.context_tokens.or(price.context_tokens);
        price.max_output_tokens = self.max_output_tokens.or(price.max_output_tokens);
        if let (Some(tokens), Template::Unknown) = (self.template_tokens, price.template) {
            price.template = Template::Stated(tokens);
        }
        Ok(Some(price))
    }
}

/// A decimal text as femto-USD for one: tokens are priced by the million, time by the second, anything
/// else by the piece.
pub fn femto(dimension: Dimension, given: &str) -> Option<u64> {
    let unit = match dimension.unit() {
        // USD per million is pico-USD × 10⁶ for a million, so femto-USD × 10³ for one.
        Unit::InputTokens | Unit::OutputTokens | Unit::OtherTokens => {
            PicoUsd::per_token_from_usd_per_million(given).ok()?.0.checked_mul(1_000)?
        }
        Unit::Count | Unit::Milliseconds => {
            let nanos = given.parse::<NanoUsd>().ok()?.nanos();
            i128::from(nanos).checked_mul(1_000_000)?
        }
    };
    u64::try_from(unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(input: &str, output: &str) -> ModelSettings {
        ModelSettings { input: Some(input.into()), output: Some(output.into()), ..ModelSettings::default() }
    }

    #[test]
    fn an_entry_prices_a_model_nobody_knows() {
        let price = entry("0.10", "0.40").price("local", "smollm2-135m").unwrap().unwrap();
        assert_eq!(price.rate(Dimension::Input, Tier::Priority, 1), 100_000_000);
        assert_eq!(price.rate(Dimension::CacheWriteLong, Tier::Standard, 1), 100_000_000);
        assert_eq!(price.template, Template::Unknown);
    }

    #[test]
    fn zero_is_a_price_and_nonsense_is_not() {
        assert!(entry("0", "0").price("local", "m").unwrap().is_some());
        assert!(entry("1e-3", "0").price("local", "m").is_err());
        assert!(entry("-1", "0").price("local", "m").is_err());
        let half = ModelSettings { input: Some("1".into()), ..ModelSettings::default() };
        assert!(half.price("local", "m").is_err());
    }

    #[test]
    fn limits_alone_correct_the_map() {
        let entry = ModelSettings { max_output_tokens: Some(100), ..ModelSettings::default() };
        let price = entry.price("openai", "gpt-5-mini").unwrap().unwrap();
        assert_eq!(price.max_output_tokens, Some(100));
        assert_eq!(price.rate(Dimension::Output, Tier::Standard, 1), 2_000_000_000);
    }

    #[test]
    fn a_template_is_stated_where_it_is_not_known() {
        let entry = ModelSettings { template_tokens: Some(300), ..entry("1", "2") };
        assert_eq!(entry.price("local", "m").unwrap().unwrap().template, Template::Stated(300));
        assert_eq!(
            entry.price("deepseek", "deepseek-chat").unwrap().unwrap().template,
            Template::Stated(300)
        );
        assert_eq!(entry.price("openai", "gpt-5-mini").unwrap().unwrap().template, Template::OpenAi);
    }

    #[test]
    fn every_dimension_tier_and_threshold_can_be_priced() {
        let entry: ModelSettings = serde_json::from_value(serde_json::json!({
            "input": "1", "output": "2",
            "rates": {"reasoning": "3", "web_searches": "0.01", "input_seconds": "0.0001"},
            "tiers": {"priority": {"input": "1.5"}},
            "above": {"200000": {"input": "2"}},
        }))
        .unwrap();
        let price = entry.price("local", "m").unwrap().unwrap();
        let rate = |dimension, tier, input| price.rate(dimension, tier, input);
        assert_eq!(rate(Dimension::Reasoning, Tier::Standard, 1), 3_000_000_000);
        assert_eq!(rate(Dimension::WebSearches, Tier::Standard, 1), 10_000_000_000_000);
        assert_eq!(rate(Dimension::InputTime, Tier::Standard, 1), 100_000_000_000);
        assert_eq!(rate(Dimension::Input, Tier::Priority, 1), 1_500_000_000);
        assert_eq!(rate(Dimension::Input, Tier::Standard, 200_001), 2_000_000_000);
        for (field, value) in
            [("tiers", serde_json::json!({"fastest": {}})), ("above", serde_json::json!({"many": {}}))]
        {
            let entry: ModelSettings =
                serde_json::from_value(serde_json::json!({"input": "1", "output": "2", field: value}))
                    .unwrap();
            assert!(matches!(entry.price("local", "m"), Err(PriceError::NotAKey { .. })), "{field}");
        }
    }
}
