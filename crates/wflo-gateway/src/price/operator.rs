//! Prices that the operator writes under `[models]` of `wflo.toml`.
//!
//! Owns the parsing of those entries into a [`Price`]; an entry wins over the compiled map.

use wflo_core::error::{Code, Coded};
use wflo_core::money::PicoUsd;

use crate::dialect::limit::OutputLimit;

use super::{Dimension, End, Kind, Price, PriceSource, Rate, Template, Tier, Uplift, lookup};

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
    /// Most input tokens that the model reads.
    pub context_tokens: Option<u64>,
    /// Most output tokens that the model writes.
    pub max_output_tokens: Option<u64>,
}

/// A `[models]` entry that is no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// A price is not a decimal in USD per million tokens.
    #[error(
        "`{given}` in models.\"{model}\".{field} is not a price: write USD per million tokens, such as \"0.25\""
    )]
    NotAPrice {
        /// The model.
        model: String,
        /// The setting.
        field: &'static str,
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
        let parse = |field: &'static str, given: &Option<String>| match given {
            None => Ok(None),
            Some(text) => PicoUsd::per_token_from_usd_per_million(text)
                .ok()
                .and_then(|pico| u64::try_from(pico.0).ok())
                .map(Some)
                .ok_or_else(|| PriceError::NotAPrice { model: model.to_owned(), field, given: text.clone() }),
        };
        let (input, output) = (parse("input", &self.input)?, parse("output", &self.output)?);
        let cached = parse("cached_input", &self.cached_input)?;
        let written = parse("cache_write", &self.cache_write)?;
        let known = lookup(provider, model);
        let mut price = match (input, output) {
            (Some(input), Some(output)) => {
                let rate = |dimension, pico| Rate { dimension, tier: Tier::Standard, above: 0, pico };
                let mut rates = vec![rate(Dimension::Input, input), rate(Dimension::Output, output)];
                rates.extend(cached.map(|pico| rate(Dimension::CacheRead, pico)));
                rates.extend(written.map(|pico| rate(Dimension::CacheWrite, pico)));
                Price {
                    rates: rates.into(),
                    // What the model is does not change with what the operator pays for it.
                    context_tokens: known.as_ref().and_then(|known| known.context_tokens),
                    max_output_tokens: known.as_ref().and_then(|known| known.max_output_tokens),
                    per_request: 0,
                    uplift: Uplift::NONE,
                    region: 1_000,
                    kind: known.as_ref().map_or(Kind::Chat, |known| known.kind),
                    template: known.as_ref().map_or(Template::Unknown, |known| known.template),
                    end: known.as_ref().map_or(End::Told(OutputLimit::MaxTokens), |known| known.end),
                    searches: false,
                    source: PriceSource::Operator,
                }
            }
            (None, None) => match known {
                Some(known) => known,
                None => return Ok(None),
            },
            _ => return Err(PriceError::HalfPriced { model: model.to_owned() }),
        };
        price.context_tokens = self.context_tokens.or(price.context_tokens);
        price.max_output_tokens = self.max_output_tokens.or(price.max_output_tokens);
        Ok(Some(price))
    }
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
        assert_eq!(price.rate(Dimension::Input, Tier::Priority, 1), 100_000);
        assert_eq!(price.rate(Dimension::CacheWriteLong, Tier::Standard, 1), 100_000);
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
        assert_eq!(price.rate(Dimension::Output, Tier::Standard, 1), 2_000_000);
    }
}
