//! The most output tokens of a request, and the rates that they can be billed at.

use super::BoundError;
use crate::dialect::Endpoint;
use crate::dialect::limit::OutputLimit;
use crate::dialect::request::Request;
use crate::dialect::thoughts::Thoughts;
use crate::price::{Dimension, End, Price};

/// Tokens that servers were seen to count beside `max_tokens`: end marks.
const END_MARKS: u64 = 8;

pub(super) struct Output {
    pub(super) tokens: u64,
    /// What the server must be told for that.
    pub(super) write: Option<(OutputLimit, u64)>,
}

pub(super) fn limit(request: &Request, price: &Price) -> Result<Output, BoundError> {
    if matches!(request.endpoint, Endpoint::Embeddings | Endpoint::Rerank) {
        return Ok(Output { tokens: 0, write: None });
    }
    let no_limit = || BoundError::NoOutputLimit { model: request.model.clone() };
    let each = match price.end {
        End::Provider => {
            // Its own names are sure to be read; a limit by another name may be ignored.
            let told = OutputLimit::MaxCompletionTokens.is_in(request.stated);
            let most = if told { None } else { Some(most(price).ok_or_else(no_limit)?) };
            request.max_output.max(most).ok_or_else(no_limit)?
        }
        // It may read a field that nobody here knows as "write more".
        End::Told(_) if request.unknown_field.is_some() => {
            price.context_tokens.ok_or_else(no_limit)?.max(request.max_output.unwrap_or(0))
        }
        End::Told(_) => request.max_output.or_else(|| most(price)).ok_or_else(no_limit)?,
    };
    let write = match price.end {
        // What the client said by another name is what it wants.
        End::Told(name) if !name.is_in(request.stated) => Some((name, request.max_output.unwrap_or(each))),
        _ => None,
    };
    let beside = match (price.end, request.thoughts) {
        // A budget above the limit is in it already.
        (End::Told(_), Thoughts::Budget(tokens)) => tokens.max(request.extra_output),
        // The answer and its thoughts share the window.
        (End::Told(_), Thoughts::Unbounded) => {
            let window = price.context_tokens.ok_or_else(no_limit)?;
            window.saturating_sub(each).max(request.extra_output)
        }
        _ => request.extra_output,
    };
    let tokens = each.saturating_add(END_MARKS).saturating_add(beside).saturating_mul(request.choices);
    Ok(Output { tokens, write })
}

/// The most that the model can write. Input and output share the window, so the output alone is within it.
fn most(price: &Price) -> Option<u64> {
    price.max_output_tokens.or(price.context_tokens)
}

/// What the output can be billed as: everything that the model has a price for. Which of it a request wants
/// can be written in more ways than one, and what makes pictures or films makes them unasked.
pub(super) const DIMENSIONS: [Dimension; 5] = [
    Dimension::Output,
    Dimension::Reasoning,
    Dimension::ImageOutput,
    Dimension::VideoOutput,
    Dimension::AudioOutput,
];
