//! A request to an endpoint that the gateway does not know, let through by the operator's configuration.
//!
//! Owns what can be seen of it all the same: a model's name, and usage wherever a known answer has it.

use serde::Deserialize;

use super::errors::Told;
use super::request::{Request, RequestError};
use super::wire::{Asked, Event, Events, Wire, wire};
use super::{Dialect, Endpoint};
use crate::framing::Framing;
use crate::usage;

/// Any endpoint of a dialect.
pub(super) struct Opaque(pub(super) Dialect);

impl Wire for Opaque {
    fn dialect(&self) -> Dialect {
        self.0
    }

    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        #[derive(Deserialize)]
        struct Named {
            model: Option<String>,
        }
        let named = serde_json::from_slice::<Named>(body).ok().and_then(|named| named.model);
        Ok(Request::bare(asked, named.unwrap_or_default(), body))
    }

    fn events(&self, _: u64) -> Box<dyn Events> {
        Box::new(Stream(self.0))
    }

    fn error_event(&self, framing: Framing, told: Told<'_>) -> String {
        let known = match self.0 {
            Dialect::OpenAi | Dialect::Cohere => Endpoint::Chat,
            Dialect::Anthropic => Endpoint::Messages,
            Dialect::Google => Endpoint::Generate,
        };
        wire(self.0, known).error_event(framing, told)
    }
}

/// Any event may be the last.
struct Stream(Dialect);

impl Events for Stream {
    fn read(&mut self, data: &[u8]) -> Event {
        if data.trim_ascii() == b"[DONE]" {
            return Event { done: true, ..Event::default() };
        }
        Event { usage: usage::of_answer(self.0, data), last: true, ..Event::default() }
    }
}
