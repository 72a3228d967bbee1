//! `[models.NAME]`: the operator's price of a model, in USD per million tokens.

use wflo_core::money::PicoUsd;

use crate::document::{Field, Problem, Value};

/// A model's price and size.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// The provider that answers for it; none means the one whose dialect fits.
    pub(crate) provider: Option<String>,
    /// The price of one input token.
    pub(crate) input: PicoUsd,
    /// The price of one output token.
    pub(crate) output: PicoUsd,
    /// How many tokens a request and its answer may have together.
    pub(crate) context_tokens: Option<u64>,
    /// How many tokens an answer may have.
    pub(crate) max_output_tokens: Option<u64>,
}

impl Model {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let model = Model {
            provider: reader.optional("provider").map(|name| name.name().map(str::to_owned)).transpose()?,
            input: read_price(&reader.required("input")?)?,
            output: read_price(&reader.required("output")?)?,
            context_tokens: reader.optional("context_tokens").map(|field| read_tokens(&field)).transpose()?,
            max_output_tokens: reader
                .optional("max_output_tokens")
                .map(|field| read_tokens(&field))
                .transpose()?,
        };
        reader.finish()?;
        Ok(model)
    }
}

fn read_price(field: &Field<'_>) -> Result<PicoUsd, Problem> {
    let (Value::Text(text) | Value::Untyped(text) | Value::Number(text)) = &field.node.value else {
        return Err(field.wrong("a price in USD per million tokens, such as \"0.10\""));
    };
    match PicoUsd::per_token_from_usd_per_million(text) {
        Ok(price) if price >= PicoUsd::ZERO => Ok(price),
        _ => Err(field.wrong(format!(
            "a price in USD per million tokens, such as \"0.10\", with at most 6 decimals, not `{text}`"
        ))),
    }
}

fn read_tokens(field: &Field<'_>) -> Result<u64, Problem> {
    match field.whole()? {
        0 => Err(field.wrong("at least 1")),
        tokens => Ok(tokens),
    }
}
