//! The list of models, and one of them: answered here, from prices.
//!
//! Owns what clients are told of models. Nothing is asked of a provider: such a request would leave
//! outside of the ledger, with whatever its path, query and headers hold, and a model that has no price
//! here cannot be called anyway.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use wflo_core::money::NanoUsd;

use super::{Ask, Charge, Head, Part, Whole};
use crate::dialect::{Dialect, target};
use crate::error::GatewayError;
use crate::price::{Kind, Price};
use crate::route::Routes;

/// When a model came into being is not known, and clients want a time.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Answers a request for the list, or for one model.
pub(super) fn answer(routes: &Routes, ask: &Ask) -> Part {
    let find = |id: &str| routes.entry(Some(ask.dialect), id);
    let priced = |id: &str| find(id).ok().and_then(|route| route.price);
    let (status, body) = match target::version(&ask.suffix).1.strip_prefix("/models/") {
        None => {
            let mut models = routes.served(ask.dialect);
            models.retain(|(id, _)| ask.caller.sees(id));
            (StatusCode::OK, list(ask.dialect, &models, priced).to_string())
        }
        Some(id) => match find(id) {
            Ok(route) => {
                let told = one(ask.dialect, id, &route.provider.name, route.price.as_ref());
                (StatusCode::OK, told.to_string())
            }
            Err(error @ GatewayError::Unpriced { .. }) => {
                let status = StatusCode::NOT_FOUND;
                (status, error.body_at(ask.dialect, status))
            }
            Err(error) => return Part::Failed(Box::new(error)),
        },
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let head =
        Head { status, headers, delivery: None, cost: NanoUsd::ZERO, charge: Charge::Nothing, held: None };
    Part::Whole(Box::new(Whole { head, body: body.into(), usage: None }))
}

fn list(dialect: Dialect, models: &[(String, String)], priced: impl Fn(&str) -> Option<Price>) -> Value {
    // Only these two tell what a model can do, for which each one's price is looked up.
    let detailed = matches!(dialect, Dialect::Google | Dialect::Cohere);
    let data: Vec<Value> = models
        .iter()
        .map(|(id, provider)| {
            let price = if detailed { priced(id) } else { None };
            one(dialect, id, provider, price.as_ref())
        })
        .collect();
    match dialect {
        Dialect::Anthropic => json!({
            "data": data,
            "has_more": false,
            "first_id": models.first().map(|(id, _)| id),
            "last_id": models.last().map(|(id, _)| id),
        }),
        Dialect::Google | Dialect::Cohere => json!({ "models": data }),
        Dialect::OpenAi => json!({ "object": "list", "data": data }),
    }
}

fn one(dialect: Dialect, id: &str, provider: &str, price: Option<&Price>) -> Value {
    let embeds = price.is_some_and(|price| price.kind == Kind::Embedding);
    match dialect {
        Dialect::Anthropic => json!({ "type": "model", "id": id, "display_name": id, "created_at": CREATED }),
        Dialect::OpenAi => json!({ "id": id, "object": "model", "created": 0, "owned_by": provider }),
        Dialect::Google => {
            let methods: &[&str] = if embeds {
                &["embedContent", "batchEmbedContents", "countTokens"]
            } else {
                &["generateContent", "streamGenerateContent", "countTokens"]
            };
            json!({
                "name": format!("models/{id}"),
                "version": "001",
                "displayName": id,
                "inputTokenLimit": price.and_then(|price| price.context_tokens),
                "outputTokenLimit": price.and_then(|price| price.max_output_tokens),
                "supportedGenerationMethods": methods,
            })
        }
        Dialect::Cohere => json!({
            "name": id,
            "endpoints": if embeds { ["embed"] } else { ["chat"] },
            "finetuned": false,
            "context_length": price.and_then(|price| price.context_tokens),
        }),
    }
}
