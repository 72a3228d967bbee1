//! The compiled price map: static, sorted by name, searched by halving.
//!
//! Owns the look-up of (provider, model) and nothing about money. The data is made by `build.rs`
//! from `prices/model_prices.json`.

use std::borrow::Cow;

use crate::dialect::limit::OutputLimit;

use super::{Dimension as D, End, Kind, Price, PriceSource, Rate, Template, Tier as T, Uplift};

struct Model {
    name: &'static str,
    provider: &'static str,
    kind: Kind,
    /// 0 when the map does not say.
    context_tokens: u64,
    max_output_tokens: u64,
    rates: (usize, usize),
    per_request: u64,
    uplift: Uplift,
    searches: bool,
}

#[allow(clippy::unreadable_literal)]
mod compiled {
    use super::{D, Kind, Model, Rate, T, Uplift};
    include!(concat!(env!("OUT_DIR"), "/price_table.rs"));
}

/// BLAKE3 of the price map that this build was compiled from, in hex.
pub fn map_hash() -> &'static str {
    compiled::MAP_HASH
}

/// Every (provider, model) of the map, sorted by the map's name of the model.
pub fn known_models() -> impl Iterator<Item = (&'static str, &'static str)> {
    compiled::MODELS.iter().map(|model| (model.provider, model.name))
}

fn find(name: &str) -> Option<&'static Model> {
    compiled::MODELS
        .binary_search_by(|model| model.name.cmp(name))
        .ok()
        .and_then(|at| compiled::MODELS.get(at))
}

/// The map's price of `model` when `provider` serves it.
///
/// The map writes most models `provider/model`, and those of the providers that it began with
/// plainly. A plain name counts only at its own provider: the same model costs another price
/// elsewhere.
pub fn lookup(provider: &str, model: &str) -> Option<Price> {
    // A fine-tuned model is `ft:BASE:organisation::id` at OpenAI; the map prices `ft:BASE`.
    let model = match model.strip_prefix("ft:").and_then(|rest| rest.split_once(':')) {
        Some((base, _)) => Cow::Owned(format!("ft:{base}")),
        None => Cow::Borrowed(model),
    };
    let plain = find(&model).filter(|found| {
        found.provider == provider || (provider == "openai" && found.provider == "text-completion-openai")
    });
    plain.or_else(|| find(&format!("{provider}/{model}"))).and_then(Model::price)
}

/// A price of the same model at another provider, for the hint of a refusal: provider, and USD per
/// million input and output tokens.
pub fn suggestion(model: &str) -> Option<(&'static str, String, String)> {
    let found = find(model)?;
    let price = found.price()?;
    let million = |pico: u64| {
        let text = format!("{}.{:06}", pico / 1_000_000, pico % 1_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    Some((
        found.provider,
        million(price.rate(D::Input, T::Standard, 0)),
        million(price.rate(D::Output, T::Standard, 0)),
    ))
}

impl Model {
    fn price(&self) -> Option<Price> {
        let known = |tokens: u64| (tokens > 0).then_some(tokens);
        Some(Price {
            rates: Cow::Borrowed(compiled::RATES.get(self.rates.0..self.rates.1)?),
            context_tokens: known(self.context_tokens),
            max_output_tokens: known(self.max_output_tokens),
            per_request: self.per_request,
            uplift: self.uplift,
            region: 1_000,
            kind: self.kind,
            template: match self.provider {
                "openai" => Template::OpenAi,
                "anthropic" => Template::Anthropic,
                _ => Template::Unknown,
            },
            end: match self.provider {
                "openai" | "anthropic" => End::Provider,
                _ => End::Told(OutputLimit::MaxTokens),
            },
            searches: self.searches,
            source: PriceSource::Map,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_models_cost_what_the_map_says() {
        let mini = lookup("openai", "gpt-5-mini").unwrap();
        assert_eq!(mini.rate(D::Input, T::Standard, 10), 250_000);
        assert_eq!(mini.rate(D::CacheRead, T::Standard, 10), 25_000);
        assert_eq!(mini.rate(D::Output, T::Priority, 10), 3_600_000);
        assert_eq!((mini.context_tokens, mini.max_output_tokens), (Some(272_000), Some(128_000)));
        let sonnet = lookup("anthropic", "claude-sonnet-4-5").unwrap();
        assert_eq!(sonnet.rate(D::CacheWriteLong, T::Standard, 10), 6_000_000);
        assert_eq!(sonnet.template, Template::Anthropic);
    }

    #[test]
    fn a_plain_name_counts_only_at_its_own_provider() {
        assert!(lookup("local", "gpt-5-mini").is_none());
        assert!(lookup("openai", "claude-sonnet-4-5").is_none());
        assert!(lookup("groq", "openai/gpt-oss-120b").is_some_and(|p| p.template == Template::Unknown));
        assert_eq!(suggestion("gpt-5-mini").unwrap(), ("openai", "0.25".to_owned(), "2".to_owned()));
    }

    #[test]
    fn long_context_changes_the_rate_of_the_whole_request() {
        let model = lookup("openai", "gpt-5.4").unwrap();
        assert_eq!(model.rate(D::Input, T::Standard, 272_000), 2_500_000);
        assert_eq!(model.rate(D::Input, T::Standard, 272_001), 5_000_000);
        assert_eq!(model.dearest(&[D::Input], &[T::Standard], 272_000), 2_500_000);
        assert_eq!(model.dearest(&[D::Input], &[T::Standard], 300_000), 5_000_000);
    }

    #[test]
    fn a_fine_tuned_model_is_priced_by_its_base() {
        assert!(lookup("openai", "ft:gpt-4.1-mini-2025-04-14:acme::abc123").is_some());
    }

    #[test]
    fn the_map_is_the_one_that_its_readme_describes() {
        assert!(include_str!("../../prices/README.md").contains(map_hash()), "{}", map_hash());
    }

    #[test]
    fn the_table_is_sorted_and_large() {
        assert!(compiled::MODELS.is_sorted_by(|a, b| a.name < b.name));
        assert!(compiled::MODELS.len() > 3_000, "{}", compiled::MODELS.len());
    }
}
