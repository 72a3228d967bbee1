//! Reserve before forward: the upper bound of what one call can cost.
//!
//! Owns the bound and nothing else; holding money is the ledger's, prices are `price`'s. Pure: a
//! bound reads a request's facts and a price, so it costs no more for a hostile body than the one
//! walk that found the facts.
//!
//! **Architecture Invariant:** for every response the upstream can return,
//! `settle(response) <= upper_bound(request)`. `tests/bound.rs` tries to break it.
//!
//! What it rests on, each stated in `docs/reference/gateway.md`: a byte-level tokenizer makes at
//! most one token of a byte, and JSON text is never shorter than the text it encodes; a provider
//! refuses input larger than its model's context window; a server writes at most what it is told by a
//! name that it is sure to read ([`OutputLimit`]), a provider at its own address at most its own model's
//! maximum where it was told nothing. What a request says under other names can only raise the bound.

mod fees;
mod input;
mod output;
mod text;

use wflo_core::error::{Code, Coded};
use wflo_core::money::NanoUsd;

use crate::dialect::limit::OutputLimit;
use crate::dialect::request::Request;
use crate::dialect::{Dialect, Endpoint};
use crate::price::{Dimension, Price, Tier};

pub(crate) use text::{encoding, spared};

/// A request whose cost nobody can bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// Neither the request nor the price says where the output ends.
    #[error("the most that {model} can write is not known, and the request sets no `max_tokens`")]
    NoOutputLimit {
        /// The model.
        model: String,
    },
    /// Neither the template nor the context window of the model is known.
    #[error("the most that {model} can read is not known{because}")]
    NoInputLimit {
        /// The model.
        model: String,
        /// What in the request needs it.
        because: String,
    },
    /// The price says nothing of what such a call is billed by.
    #[error("the price of {model} says nothing of {what}")]
    Unpriced {
        /// The model.
        model: String,
        /// What the call is billed by.
        what: &'static str,
    },
    /// The model searches the web by itself, at a fee per search.
    #[error("{model} searches the web on its own, and each search is billed")]
    Searches {
        /// The model.
        model: String,
    },
}

impl Coded for BoundError {
    fn code(&self) -> Code {
        Code(4003)
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            BoundError::NoOutputLimit { model } => {
                format!(
                    "Send `max_tokens`, or set `max_output_tokens` under [models.\"{model}\"] in wflo.toml."
                )
            }
            BoundError::NoInputLimit { model, .. } => {
                format!("Set `context_tokens` under [models.\"{model}\"] in wflo.toml.")
            }
            BoundError::Unpriced { model, .. } => {
                format!("Price it under [models.\"{model}\"] in wflo.toml.")
            }
            BoundError::Searches { model } => {
                format!(
                    "Price it under [models.\"{model}\"] in wflo.toml if your contract has no such fee, or use another model."
                )
            }
        })
    }
}

/// The upper bound of one call, and what must be sent for it to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The most that the call can be billed, in nano-USD, rounded up.
    pub cost: NanoUsd,
    /// The most input tokens.
    pub input_tokens: u64,
    /// The most output tokens, over all choices.
    pub output_tokens: u64,
    /// The limit to write into the request: without it the upstream would not stop there.
    pub write: Option<(OutputLimit, u64)>,
}

/// The most that `request` can be billed at `price`.
///
/// # Errors
/// [`BoundError`] when input or output has no limit that anybody stated.
pub fn upper_bound(request: &Request, price: &Price) -> Result<Bound, BoundError> {
    counted_bound(request, price, 0)
}

/// The same once the text of `body`, which `request` was read from, is counted; `None` where it cannot be:
/// the model's encoding must be published, and its own provider must serve it.
///
/// # Errors
/// As [`upper_bound`].
pub fn closer_bound(request: &Request, price: &Price, body: &[u8]) -> Result<Option<Bound>, BoundError> {
    let spared = encoding(request, price).map(|encoding| spared(request, encoding, body));
    spared.map(|spared| counted_bound(request, price, spared)).transpose()
}

/// The most that a request can be billed whose text has so many fewer tokens than bytes.
pub(crate) fn counted_bound(request: &Request, price: &Price, spared: u64) -> Result<Bound, BoundError> {
    if price.searches {
        return Err(BoundError::Searches { model: request.model.clone() });
    }
    priced(request, price)?;
    let input_tokens = input::limit(request, price, spared)?;
    let output = output::limit(request, price)?;
    let tiers = tiers(request, price);
    let input_rate = price.dearest(&input::dimensions(request, price), &tiers, input_tokens);
    let output_rate = price.dearest(&output::DIMENSIONS, &tiers, input_tokens);
    let cost = |rate: u64, tokens: u64| i128::from(rate).saturating_mul(i128::from(tokens));
    let mut sum = cost(input_rate, input_tokens).saturating_add(cost(output_rate, output.tokens));
    // In the order in which a bill has them: each is rounded up.
    let factors = [
        price.region,
        if request.geo_us { price.uplift.geo_us } else { 1_000 },
        if request.fast { price.uplift.fast } else { 1_000 },
    ];
    for factor in factors {
        sum = crate::price::raised(sum, factor);
    }
    let cost = crate::price::nanos(sum.saturating_add(fees::limit(request, price)?));
    if cost == NanoUsd::ZERO && price.rates.iter().any(|rate| rate.femto > 0 && !fees::is_asked_for(rate)) {
        // Nothing would be held for it, so no budget would ever refuse it.
        return Err(BoundError::Unpriced {
            model: request.model.clone(),
            what: "what such a call is billed by",
        });
    }
    Ok(Bound { cost, input_tokens, output_tokens: output.tokens, write: output.write })
}

/// Whether the price says what such a call is billed by: a model that is priced by the image, the second or
/// the page alone would be free by the token.
fn priced(request: &Request, price: &Price) -> Result<(), BoundError> {
    let unpriced = |what| Err(BoundError::Unpriced { model: request.model.clone(), what });
    match request.endpoint {
        Endpoint::Rerank if price.prices(Dimension::Queries) || price.prices(Dimension::Input) => Ok(()),
        Endpoint::Rerank => unpriced("its search units"),
        Endpoint::Embeddings if price.prices(Dimension::Input) || price.prices(Dimension::Characters) => {
            Ok(())
        }
        Endpoint::Embeddings => unpriced("its input tokens"),
        _ if !price.prices(Dimension::Input) => unpriced("its input tokens"),
        _ if !price.prices(Dimension::Output) => unpriced("its output tokens"),
        _ => Ok(()),
    }
}

/// Every tier that the call may be billed at.
fn tiers(request: &Request, price: &Price) -> Vec<Tier> {
    let mut tiers = request.tier.reachable().to_vec();
    // Anthropic says by itself that a call was served at its priority tier.
    if request.dialect == Dialect::Anthropic && price.rates.iter().any(|rate| rate.tier == Tier::Priority) {
        tiers.push(Tier::Priority);
    }
    // They should be lower, and nobody has promised that.
    if !price.windows.is_empty() {
        tiers.push(Tier::OffPeak);
    }
    tiers
}

/// The dimensions of a dialect's input that can be billed at their own rate.
pub(crate) const CACHE_DIMENSIONS: [Dimension; 4] =
    [Dimension::Input, Dimension::CacheRead, Dimension::CacheReadExplicit, Dimension::CacheWrite];
