//! The list of models, and one of them: answered here, from prices.
//!
//! Owns what clients are told of models. Nothing is asked of a provider: such a request would leave
//! outside of the ledger, with whatever its path, query and headers hold, and a model that has no price
//! here cannot be called anyway.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use wflo_core::money::NanoUsd;

use super::{Ask, Head, Part};
use crate::dialect::{Dialect, Endpoint};
use crate::error::GatewayError;
use crate::route::Routes;

/// When a model came into being is not known, and clients want a time.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Answers a request for the list, or for one model.
pub(super) fn answer(routes: &Routes, ask: &Ask) -> Part {
    let (status, body) = match ask.suffix.strip_prefix("/models/") {
        None => (StatusCode::OK, list(ask.dialect, &routes.served(ask.dialect)).to_string()),
        Some(id) => match routes.find(Some(ask.dialect), Some(Endpoint::Chat), id) {
            Ok(route) => (StatusCode::OK, one(ask.dialect, id, &route.provider.name).to_string()),
            Err(error @ GatewayError::Unpriced { .. }) => (StatusCode::NOT_FOUND, error.body(ask.dialect)),
            Err(error) => return Part::Failed(error),
        },
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Part::Whole(Head { status, headers, delivery: None, cost: NanoUsd::ZERO, held: None }, body.into(), None)
}

fn list(dialect: Dialect, models: &[(String, String)]) -> Value {
    let data: Vec<Value> = models.iter().map(|(id, provider)| one(dialect, id, provider)).collect();
    match dialect {
        Dialect::Anthropic => json!({
            "data": data,
            "has_more": false,
            "first_id": models.first().map(|(id, _)| id),
            "last_id": models.last().map(|(id, _)| id),
        }),
        _ => json!({ "object": "list", "data": data }),
    }
}

fn one(dialect: Dialect, id: &str, provider: &str) -> Value {
    match dialect {
        Dialect::Anthropic => json!({ "type": "model", "id": id, "display_name": id, "created_at": CREATED }),
        _ => json!({ "id": id, "object": "model", "created": 0, "owned_by": provider }),
    }
}
