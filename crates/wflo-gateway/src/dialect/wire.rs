//! What differs by dialect and endpoint, behind one trait.
//!
//! Owns the table of endpoints: how each one's request is read, where its answer's usage stands, what an
//! event of its stream means, in what form an error interrupts it. Everything else in the gateway is the
//! same for all of them.

use super::json::{BodyError, Edit, Fields};
use super::limit::OutputLimit;
use super::request::{Request, RequestError};
use super::{Dialect, Endpoint, anthropic, cohere, errors, google, opaque, openai, responses};
use crate::framing::Framing;
use crate::usage::{self, Usage};

/// What is asked, beside the body.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The protocol.
    pub dialect: Dialect,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The path under the provider's address: some dialects name the model there.
    pub suffix: &'a str,
    /// The query: some dialects say there whether they want a stream.
    pub query: Option<&'a str>,
    /// The `anthropic-beta` header, which can change the context window.
    pub beta: &'a str,
}

/// One endpoint of one dialect.
pub trait Wire: Sync {
    /// The protocol.
    fn dialect(&self) -> Dialect;

    /// Reads a request.
    ///
    /// # Errors
    /// [`RequestError`] when the body cannot be read safely, lacks a model, or has no bound.
    fn request(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError>;

    /// The edit that tells the server to end each answer at `limit`; `name` is how this server is told,
    /// where its dialect has more than one name for it.
    ///
    /// # Errors
    /// [`BodyError`] when `body` is not one that [`Wire::request`] reads.
    fn end_at(&self, body: &[u8], name: OutputLimit, limit: u64) -> Result<Edit, BodyError> {
        Ok(name.edit(&Fields::read(body)?, limit))
    }

    /// The edits after which no limit that the request states is above `limit`, and the server is told so.
    ///
    /// # Errors
    /// As [`Wire::end_at`].
    fn lowered(&self, body: &[u8], name: OutputLimit, limit: u64) -> Result<Vec<Edit>, BodyError> {
        name.lowered(&Fields::read(body)?, limit)
    }

    /// In what pieces a successful answer of this content type is streamed; `None` when it is whole.
    fn framing(&self, content_type: &str) -> Option<Framing> {
        content_type.trim_start().starts_with("text/event-stream").then_some(Framing::Events)
    }

    /// The usage of a whole answer; `None` when it has none or cannot be read.
    fn usage(&self, body: &[u8]) -> Option<Usage> {
        usage::of_answer(self.dialect(), body)
    }

    /// A reader of one stream's events, in which `choices` answers are written.
    fn events(&self, choices: u64) -> Box<dyn Events>;

    /// What ends a stream that has begun with an error. The connection is then closed without the
    /// stream's end mark: several clients ignore the error alone.
    fn error_event(&self, framing: Framing, told: errors::Told<'_>) -> String;
}

/// Reads the events of one stream, in their order.
pub trait Events: Send {
    /// What the data of the next event means.
    fn read(&mut self, data: &[u8]) -> Event;
}

/// What one event of a stream means for the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The call's usage as far as the stream has told it: takes the place of what came before.
    pub usage: Option<Usage>,
    /// The choices that this event ends.
    pub finished: u64,
    /// The event carries usage and nothing else, and is left out for a client that did not ask for it.
    pub only_usage: bool,
    /// The answer is complete, every choice of it: what may follow is an end mark and no more.
    pub complete: bool,
    /// Every choice has ended, and the answer is complete if nothing follows: of a stream without an end mark.
    pub last: bool,
    /// The stream's end mark: nothing follows.
    pub done: bool,
    /// The provider reports an error inside the stream.
    pub error: bool,
}

/// The endpoint's own.
pub fn wire(dialect: Dialect, endpoint: Endpoint) -> &'static dyn Wire {
    match (dialect, endpoint) {
        (Dialect::OpenAi, Endpoint::Passthrough) => &opaque::Opaque(Dialect::OpenAi),
        (Dialect::Anthropic, Endpoint::Passthrough) => &opaque::Opaque(Dialect::Anthropic),
        (Dialect::Google, Endpoint::Passthrough) => &opaque::Opaque(Dialect::Google),
        (Dialect::Cohere, Endpoint::Passthrough) => &opaque::Opaque(Dialect::Cohere),
        (Dialect::Anthropic, Endpoint::CountTokens) => &anthropic::Messages { billed: false },
        (Dialect::Google, Endpoint::StreamGenerate) => &google::Generate { streams: true },
        (Dialect::Google, Endpoint::CountTokens) => &google::CountTokens,
        (Dialect::Google, Endpoint::Embeddings) => &google::Embed,
        (Dialect::Google, _) => &google::Generate { streams: false },
        (Dialect::Cohere, Endpoint::Embeddings) => &cohere::Embed,
        (Dialect::Cohere, Endpoint::Rerank) => &cohere::Rerank,
        (Dialect::Cohere, _) => &cohere::Chat,
        (Dialect::Anthropic, _) => &anthropic::Messages { billed: true },
        (_, Endpoint::Responses) => &responses::Responses,
        (_, Endpoint::CountTokens) => &responses::InputTokens,
        (_, _) => &openai::Chat,
    }
}
