//! `[models.NAME]`: the operator's price of a model, in USD per million tokens, and what is done when it
//! cannot be asked.

use std::collections::BTreeMap;

use wflo_core::money::PicoUsd;
use wflo_gateway::price::{Dimension, ModelSettings, Tier, femto};

use super::routing::Detoured;
use crate::document::{Field, Kind, Problem, Value};

/// A model's price and size.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// The provider that answers for it; none means the one whose dialect fits.
    pub(crate) provider: Option<String>,
    /// The price of input; none means the price map's.
    input: Option<String>,
    /// The price of output.
    output: Option<String>,
    /// The price of input that the provider had cached.
    cached_input: Option<String>,
    /// The price of input that is written to the provider's cache.
    cache_write: Option<String>,
    /// The price of anything else that is counted.
    rates: BTreeMap<Dimension, String>,
    /// Prices at a service tier.
    tiers: BTreeMap<String, BTreeMap<Dimension, String>>,
    /// Prices of requests with more input than so many tokens.
    above: BTreeMap<String, BTreeMap<Dimension, String>>,
    /// How many tokens a request and its answer may have together.
    pub(crate) context_tokens: Option<u64>,
    /// How many tokens an answer may have.
    pub(crate) max_output_tokens: Option<u64>,
    /// How many tokens its server's template adds to a request.
    template_tokens: Option<u64>,
    /// What is done when it cannot be asked, and how long it is waited for.
    pub(super) detour: Detoured,
}

impl Model {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Problem> {
        if field.path.contains('*') {
            return Err(field
                .problem(Kind::WrongValue, "is no model: a `*` stands for nothing here")
                .hint("write an entry for each model"));
        }
        let mut reader = field.table()?;
        let model = Model {
            provider: reader.optional("provider").map(|name| name.name().map(str::to_owned)).transpose()?,
            input: reader.optional("input").map(|field| read_price(&field)).transpose()?,
            output: reader.optional("output").map(|field| read_price(&field)).transpose()?,
            cached_input: reader.optional("cached_input").map(|field| read_price(&field)).transpose()?,
            cache_write: reader.optional("cache_write").map(|field| read_price(&field)).transpose()?,
            rates: reader.optional("rates").map(|field| read_rates(&field)).transpose()?.unwrap_or_default(),
            tiers: reader
                .optional("tiers")
                .map(|field| {
                    read_tables(&field, |name| {
                        let known = Tier::ALL.iter().any(|tier| tier.name() == name);
                        known
                            .then_some(())
                            .ok_or("one of standard, flex, priority, ultrafast, balanced, batch")
                    })
                })
                .transpose()?
                .unwrap_or_default(),
            above: reader
                .optional("above")
                .map(|field| {
                    read_tables(&field, |name| {
                        name.parse::<u64>().map(|_| ()).map_err(|_| "a number of tokens, such as 200000")
                    })
                })
                .transpose()?
                .unwrap_or_default(),
            context_tokens: reader.optional("context_tokens").map(|field| read_tokens(&field)).transpose()?,
            max_output_tokens: reader
                .optional("max_output_tokens")
                .map(|field| read_tokens(&field))
                .transpose()?,
            template_tokens: reader
                .optional("template_tokens")
                .map(|field| read_tokens(&field))
                .transpose()?,
            detour: Detoured::read(&mut reader)?,
        };
        // A misspelt key is the likelier mistake than one that is missing.
        reader.finish()?;
        // One of them alone is no price; and an entry that says nothing is a price that was forgotten.
        let empty = model.input.is_none() && model.output.is_none() && !model.says_more();
        if model.input.is_some() || empty {
            reader.required("output")?;
        }
        if model.output.is_some() || empty {
            reader.required("input")?;
        }
        Ok(model)
    }

    /// Whether it says anything but a price of its own.
    fn says_more(&self) -> bool {
        let sizes = [self.context_tokens, self.max_output_tokens, self.template_tokens];
        sizes.iter().any(Option::is_some) || !self.detour.is_empty()
    }

    /// As the gateway wants it.
    pub(crate) fn priced(&self) -> ModelSettings {
        ModelSettings {
            provider: self.provider.clone(),
            input: self.input.clone(),
            output: self.output.clone(),
            cached_input: self.cached_input.clone(),
            cache_write: self.cache_write.clone(),
            rates: self.rates.clone(),
            tiers: self.tiers.clone(),
            above: self.above.clone(),
            context_tokens: self.context_tokens,
            max_output_tokens: self.max_output_tokens,
            template_tokens: self.template_tokens,
        }
    }
}

/// A price of tokens, as it was written.
fn read_price(field: &Field<'_>) -> Result<String, Problem> {
    let text = read_text(field, "a price in USD per million tokens, such as \"0.10\"")?;
    match PicoUsd::per_token_from_usd_per_million(text) {
        Ok(price) if price >= PicoUsd::ZERO => Ok(text.to_owned()),
        _ => Err(field.wrong(format!(
            "a price in USD per million tokens, such as \"0.10\", with at most 6 decimals, not `{text}`"
        ))),
    }
}

fn read_text<'a>(field: &Field<'a>, wanted: &str) -> Result<&'a str, Problem> {
    match &field.node.value {
        Value::Text(text) | Value::Untyped(text) | Value::Number(text) => Ok(text),
        _ => Err(field.wrong(wanted)),
    }
}

/// Prices by the names of what is counted.
fn read_rates(field: &Field<'_>) -> Result<BTreeMap<Dimension, String>, Problem> {
    let mut rates = BTreeMap::new();
    for (name, field) in field.named()? {
        let dimension = Dimension::ALL.into_iter().find(|dimension| dimension.name() == name);
        let dimension = dimension.ok_or_else(|| {
            let names: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.name()).collect();
            field.wrong(format!("the price of one of {}", names.join(", ")))
        })?;
        let text = read_text(&field, "a price in USD, such as \"0.10\"")?;
        if femto(dimension, text).is_none() {
            return Err(field.wrong(format!(
                "a price in USD (per million for tokens, per second for time), such as \"0.10\", not `{text}`"
            )));
        }
        rates.insert(dimension, text.to_owned());
    }
    Ok(rates)
}

/// Tables of prices, each under a name that `check` knows.
fn read_tables(
    field: &Field<'_>,
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<BTreeMap<String, BTreeMap<Dimension, String>>, Problem> {
    let mut tables = BTreeMap::new();
    for (name, field) in field.named()? {
        check(name).map_err(|wanted| field.wrong(format!("under {wanted}")))?;
        tables.insert(name.to_owned(), read_rates(&field)?);
    }
    Ok(tables)
}

fn read_tokens(field: &Field<'_>) -> Result<u64, Problem> {
    match field.whole()? {
        0 => Err(field.wrong("at least 1")),
        tokens => Ok(tokens),
    }
}
