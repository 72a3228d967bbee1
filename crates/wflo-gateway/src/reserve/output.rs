//! The most output tokens of a request, and the rates that they can be billed at.

use super::BoundError;
use crate::dialect::Endpoint;
use crate::dialect::request::Request;
use crate::price::{Dimension, Price, Template};

/// Tokens that servers were seen to count beside `max_tokens`: end marks.
const END_MARKS: u64 = 8;

pub(super) struct Output {
    pub(super) tokens: u64,
    pub(super) inject: Option<u64>,
}

pub(super) fn limit(request: &Request, price: &Price) -> Result<Output, BoundError> {
    if request.endpoint == Endpoint::Embeddings {
        return Ok(Output { tokens: 0, inject: None });
    }
    // OpenAI and Anthropic refuse what they do not know; another server may read it as "write more".
    if request.unknown_field.is_some() && price.template == Template::Unknown {
        let no_limit = || BoundError::NoOutputLimit { model: request.model.clone() };
        let window = price.context_tokens.ok_or_else(no_limit)?;
        let tokens = window.saturating_add(END_MARKS).saturating_mul(request.choices);
        return Ok(Output { tokens, inject: request.max_output.is_none().then_some(window) });
    }
    let (each, inject) = match (request.max_output, price.max_output_tokens) {
        (Some(asked), _) => (asked, None),
        // A provider ends its own models at their maximum; anybody else must be told to.
        (None, Some(most)) => (most, (price.template == Template::Unknown).then_some(most)),
        (None, None) => match price.context_tokens {
            // Input and output share the window, so the output alone is within it.
            Some(window) => (window, (price.template == Template::Unknown).then_some(window)),
            None => return Err(BoundError::NoOutputLimit { model: request.model.clone() }),
        },
    };
    let tokens =
        each.saturating_add(END_MARKS).saturating_add(request.extra_output).saturating_mul(request.choices);
    Ok(Output { tokens, inject })
}

pub(super) fn dimensions(request: &Request) -> Vec<Dimension> {
    let mut dimensions = vec![Dimension::Output, Dimension::Reasoning];
    if request.audio_output {
        dimensions.push(Dimension::AudioOutput);
    }
    dimensions
}
