//! The most that is billed beside tokens: searches, requests, images and characters by the piece.
//!
//! What else a usage may count (recordings by their length, pages that a tool opened, sessions of a code
//! interpreter) is only billed where a request asks for it, and such a request is refused.

use super::BoundError;
use crate::dialect::Endpoint;
use crate::dialect::request::Request;
use crate::price::{Dimension as D, Price, Rate, Tier};

/// The fees in femto-USD.
pub(super) fn limit(request: &Request, price: &Price) -> Result<i128, BoundError> {
    let dearest = |dimensions: &[D]| price.dearest(dimensions, &[Tier::Standard], 0);
    let tools = request.tools;
    if tools.grounded && !price.per_prompt {
        return Err(BoundError::Searches { model: request.model.clone() });
    }
    let by_length = [D::Images, D::VideoTime, D::AudioTime].iter().any(|dimension| price.prices(*dimension));
    if request.facts.unsizable.is_some() && by_length {
        // How many there are, or how long they are, is nowhere in the body.
        let what = "how many pictures, or how long recordings, are behind what the request names";
        return Err(BoundError::Unpriced { model: request.model.clone(), what });
    }
    let searches = tools.searches.saturating_add(u64::from(tools.grounded));
    let mut fees = vec![
        (dearest(&[D::Requests]), 1),
        // How much of what is found a search returns is the request's, and each size has a price.
        (dearest(&[D::WebSearches, D::WebSearchesLow, D::WebSearchesHigh]), searches),
        (dearest(&[D::FileSearches]), tools.file_searches),
        (dearest(&[D::Images]), request.facts.inline_images),
        // A character is at least a byte of the body.
        (dearest(&[D::Characters]), request.body_bytes),
    ];
    if tools.grounded {
        fees.push((dearest(&[D::MapSearches]), 1));
    }
    if matches!(request.endpoint, Endpoint::Embeddings | Endpoint::Rerank) {
        fees.push((dearest(&[D::Queries]), request.queries.max(1)));
    }
    let cost = |(rate, count): (u64, u64)| i128::from(rate).saturating_mul(i128::from(count));
    Ok(fees.into_iter().map(cost).fold(0, i128::saturating_add))
}

/// Whether a rate is for what is only billed where a request asks for it, and then bounds it.
pub(super) fn is_asked_for(rate: &Rate) -> bool {
    rate.dimension.is_search() || rate.dimension == D::FileSearches
}
