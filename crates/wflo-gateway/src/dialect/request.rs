//! What must be known of a request before it may be sent.
//!
//! Owns the parsed facts of one request in any dialect. A request that exists is one whose bound
//! can be stated; what cannot be bounded is refused here, with how to make it boundable.

use bytes::Bytes;

use super::facts::Facts;
use super::json::{BodyError, Edit};
use super::limit::{OutputLimit, Stated};
use super::thoughts::Thoughts;
use super::wire::{Asked, wire};
use super::{Dialect, Endpoint};
use crate::price::Tier;

/// A body that is refused before any money is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It cannot be read, or reads differently to different parsers.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A field that a call needs is missing.
    #[error("the request names no `{0}`")]
    Missing(&'static str),
    /// It asks for an answer whose usage nobody could read.
    #[error("{what} asks for an answer in which wflo cannot read what the call used")]
    Unreadable {
        /// What asks for it.
        what: String,
    },
    /// Something in it has no upper bound.
    #[error("the cost of this request has no upper bound: {what}")]
    Unboundable {
        /// What has no bound.
        what: String,
        /// How to bound it.
        instead: String,
    },
}

/// What the tools of a request add to its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tools {
    /// How many.
    pub count: u64,
    /// Bytes of everything that a template writes in another form: tools and output schemas.
    pub bytes: u64,
    /// How many have a definition of the provider's own (Anthropic's `bash`, `text_editor` …).
    pub predefined: u64,
    /// Most searches of the web that the provider makes by itself.
    pub searches: u64,
    /// Most searches of the customer's own files that the provider makes by itself.
    pub file_searches: u64,
    /// Most times that the provider lets the model read the conversation again, with what a tool of the
    /// provider's found.
    pub rounds: u64,
    /// The answer may be grounded in searches, whose number nothing in the request bounds.
    pub grounded: bool,
}

/// What a caller asked of a service tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedTier {
    /// Nothing, or `auto`: the provider's account settings decide.
    Any,
    /// This one; the provider may serve the standard one instead.
    Named(Tier),
    /// One by a name that is not known: whatever the server makes of it.
    Unknown,
}

impl WantedTier {
    /// What a provider's name for a tier asks for. Only names that are known in every letter narrow it:
    /// servers differ in what they make of the others.
    pub fn of(name: &str) -> WantedTier {
        match name {
            "auto" => WantedTier::Any,
            "standard" | "default" => WantedTier::Named(Tier::Standard),
            name => match Tier::named(name) {
                Tier::Standard => WantedTier::Unknown,
                named => WantedTier::Named(named),
            },
        }
    }

    /// The tier that counts where the answer does not say which one served it.
    pub fn asked(self) -> Tier {
        match self {
            WantedTier::Any | WantedTier::Unknown => Tier::Standard,
            WantedTier::Named(tier) => tier,
        }
    }

    /// Every tier that the call may be billed at.
    pub fn reachable(self) -> &'static [Tier] {
        match self {
            WantedTier::Any => &[Tier::Standard, Tier::Flex, Tier::Priority],
            WantedTier::Unknown => &Tier::ALL,
            WantedTier::Named(Tier::Standard | Tier::OffPeak) => &[Tier::Standard],
            WantedTier::Named(Tier::Flex) => &[Tier::Flex, Tier::Standard],
            WantedTier::Named(Tier::Priority) => &[Tier::Priority, Tier::Standard],
            WantedTier::Named(Tier::Ultrafast) => &[Tier::Ultrafast, Tier::Priority, Tier::Standard],
            WantedTier::Named(Tier::Batch) => &[Tier::Batch, Tier::Standard],
            WantedTier::Named(Tier::Balanced) => &[Tier::Balanced, Tier::Standard],
        }
    }
}

/// Everything about a request that the gateway uses.
#[derive(Debug, Clone)]
pub struct Request {
    /// The protocol.
    pub dialect: Dialect,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The model, as the client wrote it.
    pub model: String,
    /// The client wants a stream.
    pub stream: bool,
    /// The client itself asked for the usage chunk of an OpenAI stream.
    pub wants_usage: bool,
    /// Most output tokens of one choice, if the client said: the largest of all names for it.
    pub max_output: Option<u64>,
    /// By which of the names that servers are sure to read the client said it.
    pub stated: Stated,
    /// A field whose meaning is not known, and which only some servers of the dialect read.
    pub unknown_field: Option<String>,
    /// Output that may be billed beside `max_output` (rejected predictions, extra thinking).
    pub extra_output: u64,
    /// Thinking that is asked for, which only the provider itself is sure to keep within `max_output`.
    pub thoughts: Thoughts,
    /// Choices that are generated.
    pub choices: u64,
    /// Messages, or inputs of an embedding.
    pub messages: u64,
    /// Most units that a call is billed by which counts no tokens (Cohere's search units).
    pub queries: u64,
    /// Tools and schemas.
    pub tools: Tools,
    /// What stands inside.
    pub facts: Facts,
    /// The service tier asked for.
    pub tier: WantedTier,
    /// The price of inference kept in the United States may apply.
    pub geo_us: bool,
    /// The fast mode was asked for.
    pub fast: bool,
    /// The client asked for a longer context window than the model's usual one, in tokens.
    pub longer_context: Option<u64>,
    /// Length of the body in bytes.
    pub body_bytes: u64,
    /// The edit that makes the upstream report usage in the stream.
    pub(crate) usage_edit: Option<Edit>,
}

impl Request {
    /// Reads a request to an endpoint whose body says everything.
    ///
    /// `beta` is the request's `anthropic-beta` header, which can change the context window.
    ///
    /// # Errors
    /// [`RequestError`] when the body cannot be read safely, lacks a model, or has no bound.
    pub fn parse(
        dialect: Dialect,
        endpoint: Endpoint,
        body: &[u8],
        beta: &str,
    ) -> Result<Request, RequestError> {
        Request::read(&Asked { dialect, endpoint, suffix: "", query: None, beta }, body)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn read(asked: &Asked<'_>, body: &[u8]) -> Result<Request, RequestError> {
        wire(asked.dialect, asked.endpoint).request(asked, body)
    }

    /// A request of which nothing is known but what every endpoint's has.
    pub(super) fn of(asked: &Asked<'_>, model: String, body: &[u8]) -> Result<Request, BodyError> {
        let facts = super::facts::of(asked.dialect, body)
            .map_err(|error| BodyError::NotAnObject(error.to_string()))?;
        Ok(Request { facts, ..Request::bare(asked, model, body) })
    }

    /// The same of a request whose body may be anything.
    pub(super) fn bare(asked: &Asked<'_>, model: String, body: &[u8]) -> Request {
        Request {
            dialect: asked.dialect,
            endpoint: asked.endpoint,
            model,
            stream: false,
            wants_usage: true,
            max_output: None,
            stated: Stated::default(),
            unknown_field: None,
            extra_output: 0,
            thoughts: Thoughts::Unasked,
            choices: 1,
            messages: 0,
            queries: 0,
            tools: Tools::default(),
            facts: Facts::default(),
            tier: WantedTier::Any,
            geo_us: false,
            fast: false,
            longer_context: None,
            body_bytes: body.len() as u64,
            usage_edit: None,
        }
    }

    /// The body as it goes upstream: usage asked for, and the output's limit written in when given.
    ///
    /// # Errors
    /// [`BodyError`] when `body` is not the one this request was parsed from.
    pub fn outgoing(&self, body: &Bytes, limit: Option<(OutputLimit, u64)>) -> Result<Bytes, BodyError> {
        let mut edits: Vec<Edit> = self.usage_edit.iter().cloned().collect();
        if let Some((name, limit)) = limit {
            edits.push(wire(self.dialect, self.endpoint).end_at(body, name, limit)?);
        }
        Ok(super::json::splice(body, edits))
    }
}
