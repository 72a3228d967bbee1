//! Google's embedContent and batchEmbedContents.
//!
//! Owns reading what a batch is for: each of its requests names a model, and one price is held for all.

use serde::Deserialize;

use super::stream::Stream;
use super::{Generate, is_of_the_path, model, readable};
use crate::dialect::errors::Told;
use crate::dialect::json::{BodyError, Fields};
use crate::dialect::request::{Request, RequestError, WantedTier};
use crate::dialect::wire::{Asked, Events, Wire};
use crate::dialect::{Dialect, facts};
use crate::framing::Framing;
use crate::price::Tier;

/// `embedContent` and `batchEmbedContents`.
pub(in crate::dialect) struct Embed;

impl Wire for Embed {
    fn dialect(&self) -> Dialect {
        Dialect::Google
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        #[derive(Deserialize)]
        struct One {
            model: Option<String>,
        }
        readable(asked.query)?;
        let fields = Fields::read_proto(body)?;
        fields.refuse_other_spellings(&["content", "requests", "model"])?;
        let model = model(asked)?;
        let requests = fields.get("requests").filter(|field| field.value != "null");
        let named = match requests {
            Some(field) => serde_json::from_str::<Vec<One>>(field.value)
                .map_err(|_| BodyError::WrongKind {
                    field: "requests".to_owned(),
                    wanted: "a list of requests",
                })?
                .into_iter()
                .filter_map(|one| one.model)
                .collect(),
            None => Vec::new(),
        };
        // Each of them must name the model of the path, which is the one that is priced.
        let all = named.into_iter().chain(fields.text("model")?);
        for name in all {
            is_of_the_path(&name, &model)?;
        }
        Ok(Request {
            messages: requests.map_or(1, |field| facts::elements(field.value)),
            tier: WantedTier::Named(Tier::Standard),
            ..Request::of(asked, model, body)?
        })
    }

    fn events(&self, choices: u64) -> Box<dyn Events> {
        Box::new(Stream::new(choices))
    }

    fn error_event(&self, framing: Framing, told: Told<'_>) -> String {
        Generate { streams: false }.error_event(framing, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Endpoint;

    #[test]
    fn a_batch_for_another_model_than_the_paths_is_refused() {
        let embed = |body: &str| {
            let suffix = "/v1beta/models/gemini-embedding-001:batchEmbedContents";
            let (dialect, endpoint) = (Dialect::Google, Endpoint::Embeddings);
            Request::read(&Asked { dialect, endpoint, suffix, query: None, beta: "" }, body.as_bytes())
        };
        let two = r#"{"requests":[{"model":"models/gemini-embedding-001"},{"model":"models/gemini-embedding-001"}]}"#;
        assert_eq!(embed(two).unwrap().messages, 2);
        assert!(embed(r#"{"requests":[{"model":"models/dearer"}]}"#).is_err());
        assert!(embed(r#"{"model":"models/dearer"}"#).is_err());
    }
}
