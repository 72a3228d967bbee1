//! The price map as a table: sorted by name whatever its case, searched by halving.
//!
//! Owns the look-up of (provider, model) and nothing about money. The compiled table is made by `build.rs`
//! from `prices/model_prices.json`; an installed one takes its place for the whole process.

use std::sync::{PoisonError, RwLock};

use std::borrow::Cow;

use crate::dialect::Dialect;
use crate::dialect::limit::OutputLimit;

use super::map::Entry;
use super::{
    Dimension as D, End, Kind, Price, PriceSource, Rate, Template, Tier as T, Uplift, Window, names,
};

pub(super) struct Model {
    name: &'static str,
    provider: &'static str,
    kind: Kind,
    /// 0 when the map does not say.
    context_tokens: u64,
    max_output_tokens: u64,
    rates: &'static [Rate],
    uplift: Uplift,
    searches: bool,
    per_prompt: bool,
    windows: &'static [Window],
}

#[allow(clippy::unreadable_literal)]
mod compiled {
    use super::{D, Kind, Model, Rate, T, Uplift, Window};
    include!(concat!(env!("OUT_DIR"), "/price_table.rs"));
}

/// The installed table, when there is one. Its memory is never given back: prices are borrowed from it
/// for ever, and an operator installs few.
static INSTALLED: RwLock<Option<Table>> = RwLock::new(None);

#[derive(Clone, Copy)]
struct Table {
    models: &'static [Model],
    hash: &'static str,
}

fn current() -> Table {
    let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
    installed.unwrap_or(Table { models: &compiled::MODELS, hash: compiled::MAP_HASH })
}

/// Puts a table in the place of the compiled one, for every look-up from now on.
pub(super) fn replace(entries: Vec<Entry>, hash: String) {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let models = entries.into_iter().map(|entry| Model {
        name: leak(entry.name),
        provider: leak(entry.provider),
        kind: entry.kind,
        context_tokens: entry.context_tokens,
        max_output_tokens: entry.max_output_tokens,
        rates: Box::leak(entry.rates.into_boxed_slice()),
        uplift: entry.uplift,
        searches: entry.searches,
        per_prompt: entry.per_prompt,
        windows: Box::leak(entry.windows.into_boxed_slice()),
    });
    let mut models: Vec<Model> = models.collect();
    models.sort_by(|a, b| order(a.name, b.name));
    let table = Table { models: Box::leak(models.into_boxed_slice()), hash: leak(hash) };
    *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(table);
}

/// Goes back to the compiled table.
pub(super) fn restore() {
    *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// The rates of the entry of just this name.
pub(super) fn rates(name: &str) -> Option<&'static [Rate]> {
    find(name).filter(|model| model.name == name).map(|model| model.rates)
}

/// Models of the compiled table.
pub(super) fn compiled_count() -> usize {
    compiled::MODELS.len()
}

/// BLAKE3 of the price map in use, in hex.
pub fn map_hash() -> &'static str {
    current().hash
}

/// BLAKE3 of the price map that this build was compiled from, in hex.
pub(super) fn compiled_hash() -> &'static str {
    compiled::MAP_HASH
}

/// Every (provider, model) of the map, sorted by the map's name of the model.
pub fn known_models() -> impl Iterator<Item = (&'static str, &'static str)> {
    current().models.iter().map(|model| (names::family(model.provider), model.name))
}

/// Whether the map has prices of this provider.
pub fn has_provider(name: &str) -> bool {
    let name = names::canonical(name);
    current().models.iter().any(|model| !model.provider.is_empty() && names::serves(name, model.provider))
}

/// A model of the map.
#[derive(Debug, Clone)]
pub struct Known {
    /// The map's name of it.
    pub name: &'static str,
    /// Who serves it.
    pub provider: &'static str,
    /// Its price.
    pub price: Price,
}

/// Every model of the map with its price, sorted by name.
pub fn known() -> impl Iterator<Item = Known> {
    current().models.iter().map(|model| Known {
        name: model.name,
        provider: names::family(model.provider),
        price: model.price(),
    })
}

/// By the letters whatever their case, then by case.
pub(super) fn order(a: &str, b: &str) -> std::cmp::Ordering {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    a.bytes().map(lower).cmp(b.bytes().map(lower)).then_with(|| a.cmp(b))
}

/// The entry of this name, else the one that differs in case alone.
fn find(name: &str) -> Option<&'static Model> {
    let models = current().models;
    match models.binary_search_by(|model| order(model.name, name)) {
        Ok(at) => models.get(at),
        Err(at) => {
            let near = [at.checked_sub(1), Some(at)].into_iter().flatten();
            near.filter_map(|at| models.get(at)).find(|model| model.name.eq_ignore_ascii_case(name))
        }
    }
}

/// The map's price of `model` when `provider` serves it.
///
/// The map writes most models `provider/model`, and those of the providers that it began with
/// plainly. A plain name counts only at its own provider: the same model costs another price
/// elsewhere.
pub fn lookup(provider: &str, model: &str) -> Option<Price> {
    entry(names::canonical(provider), model).map(Model::price)
}

fn entry(provider: &str, model: &str) -> Option<&'static Model> {
    let serves = |found: &&'static Model| names::serves(provider, found.provider);
    let found = names::candidates(provider, model).iter().find_map(|name| find(name).filter(serves));
    found.or_else(|| match provider {
        "together_ai" => find(names::together(model)?),
        _ => None,
    })
}

/// The price of a model of which only the name and the dialect are known, and perhaps the provider: who is
/// then taken to serve it, and the price. Without a provider the map's own entry of that name counts, then a
/// provider that stands before the name, then the dialect's own.
pub fn resolve(provider: Option<&str>, dialect: Dialect, model: &str) -> Option<(&'static str, Price)> {
    let told = |model: &'static Model| (names::family(model.provider), model.price());
    if let Some(provider) = provider {
        return entry(names::canonical(provider), model).map(told);
    }
    let before = || {
        let (provider, rest) = model.split_once('/')?;
        entry(names::canonical(provider), rest)
    };
    let own = match dialect {
        Dialect::OpenAi => "openai",
        Dialect::Anthropic => "anthropic",
        Dialect::Google => "gemini",
        Dialect::Cohere => "cohere",
    };
    find(model).or_else(before).or_else(|| entry(own, model)).map(told)
}

/// A price of the same model at another provider, for the hint of a refusal: provider, and USD per
/// million input and output tokens.
pub fn suggestion(model: &str) -> Option<(&'static str, String, String)> {
    let found = find(model)?;
    let price = found.price();
    if !price.prices(D::Input) {
        return None;
    }
    let million = |dimension| {
        // Femto-USD for one token are nano-USD for a million, and what is below a millionth is not worth saying.
        let micros = price.rate(dimension, T::Standard, 0).div_ceil(1_000);
        let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    Some((found.provider, million(D::Input), million(D::Output)))
}

impl Model {
    fn price(&self) -> Price {
        let known = |tokens: u64| (tokens > 0).then_some(tokens);
        Price {
            rates: Cow::Borrowed(self.rates),
            context_tokens: known(self.context_tokens),
            max_output_tokens: known(self.max_output_tokens),
            uplift: self.uplift,
            region: 1_000,
            kind: self.kind,
            template: match self.provider {
                "openai" => Template::OpenAi,
                "anthropic" => Template::Anthropic,
                "gemini" => Template::Google,
                "cohere" | "cohere_chat" => Template::Cohere,
                _ => Template::Unknown,
            },
            end: match self.provider {
                "openai" | "anthropic" => End::Provider,
                _ => End::Told(OutputLimit::MaxTokens),
            },
            own: matches!(self.provider, "openai" | "anthropic" | "gemini" | "cohere" | "cohere_chat"),
            searches: self.searches,
            per_prompt: self.per_prompt,
            reports: matches!(self.provider, "openrouter" | "perplexity" | "xai"),
            windows: self.windows,
            source: PriceSource::Map,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_models_cost_what_the_map_says() {
        let mini = lookup("openai", "gpt-5-mini").unwrap();
        assert_eq!(mini.rate(D::Input, T::Standard, 10), 250_000_000);
        assert_eq!(mini.rate(D::CacheRead, T::Standard, 10), 25_000_000);
        assert_eq!(mini.rate(D::Output, T::Priority, 10), 3_600_000_000);
        assert_eq!((mini.context_tokens, mini.max_output_tokens), (Some(272_000), Some(128_000)));
        let sonnet = lookup("anthropic", "claude-sonnet-4-5").unwrap();
        assert_eq!(sonnet.rate(D::CacheWriteLong, T::Standard, 10), 6_000_000_000);
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
    fn a_name_is_found_however_it_is_written() {
        let input =
            |provider, model| lookup(provider, model).map(|price| price.rate(D::Input, T::Standard, 1));
        let plain = input("openai", "gpt-5-mini");
        assert!(plain.is_some());
        for name in ["openai/gpt-5-mini", "GPT-5-mini", "gpt-5-mini-2031-01-01"] {
            assert_eq!(input("openai", name), plain, "{name}");
        }
        assert!(input("google", "gemini-2.5-flash").is_some(), "by the dialect's name");
        assert!(input("cohere", "command-r-plus-08-2024").is_some());
        assert!(input("vertex_ai", "gemini-2.5-flash").is_some());
        let from = |model: &str| resolve(None, Dialect::OpenAi, model).map(|(provider, _)| provider);
        assert_eq!(from("anthropic/claude-sonnet-4-5"), Some("anthropic"));
        assert_eq!(from("gpt-4o"), Some("openai"));
        assert_eq!(from("no-such-model"), None);
    }

    #[test]
    fn long_context_changes_the_rate_of_the_whole_request() {
        let model = lookup("openai", "gpt-5.4").unwrap();
        assert_eq!(model.rate(D::Input, T::Standard, 272_000), 2_500_000_000);
        assert_eq!(model.rate(D::Input, T::Standard, 272_001), 5_000_000_000);
        assert_eq!(model.dearest(&[D::Input], &[T::Standard], 272_000), 2_500_000_000);
        assert_eq!(model.dearest(&[D::Input], &[T::Standard], 300_000), 5_000_000_000);
    }

    #[test]
    fn a_range_of_a_table_prices_the_whole_request() {
        let qwen = lookup("dashscope", "qwen-flash").unwrap();
        assert_eq!(qwen.rate(D::Input, T::Standard, 256_000), 50_000_000);
        assert_eq!(qwen.rate(D::CacheRead, T::Standard, 256_001), 250_000_000, "as the range's input");
        assert_eq!(qwen.rate(D::Output, T::Flex, 256_001), 2_000_000_000, "no tiers");
    }

    #[test]
    fn a_fine_tuned_model_is_priced_by_its_base() {
        assert!(lookup("openai", "ft:gpt-4.1-mini-2025-04-14:acme::abc123").is_some());
    }

    #[test]
    fn the_map_is_the_one_that_its_readme_describes() {
        assert!(include_str!("../../prices/README.md").contains(compiled_hash()), "{}", compiled_hash());
    }

    #[test]
    fn the_table_is_sorted_and_large() {
        assert!(compiled::MODELS.is_sorted_by(|a, b| order(a.name, b.name).is_lt()));
        assert!(compiled::MODELS.len() > 4_000, "{}", compiled::MODELS.len());
    }
}
