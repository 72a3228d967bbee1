//! The languages that model providers speak.
//!
//! Owns what the gateway must know of each: its endpoints, the facts of a request that bound its
//! cost, the usage of a response, error bodies in the provider's own shape. What differs by dialect and
//! endpoint stands behind one trait, [`wire`]. Bodies pass through as bytes: what is changed is spliced
//! in, never re-serialised.

pub mod anthropic;
mod cohere;
pub mod errors;
pub mod facts;
mod foreign;
pub(crate) mod google;
pub mod json;
pub mod limit;
mod opaque;
pub mod openai;
mod pictures;
pub(crate) mod query;
pub mod request;
mod responses;
pub(crate) mod target;
pub mod thoughts;
pub(crate) mod walk;
pub mod wire;

pub use target::{Target, target};

/// A provider's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenAI's, and everything compatible with it.
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// Google's Gemini API.
    Google,
    /// Cohere's API v2.
    Cohere,
}

impl Dialect {
    /// Every one, in the order in which they are tried.
    pub const ALL: [Dialect; 4] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Google, Dialect::Cohere];

    /// The name in settings, events and journals.
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Anthropic => "anthropic",
            Dialect::Google => "google",
            Dialect::Cohere => "cohere",
        }
    }
}

impl std::str::FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Dialect, UnknownDialect> {
        match text {
            "openai" => Ok(Dialect::OpenAi),
            "anthropic" => Ok(Dialect::Anthropic),
            "google" => Ok(Dialect::Google),
            "cohere" => Ok(Dialect::Cohere),
            other => Err(UnknownDialect(other.to_owned())),
        }
    }
}

/// A text that names no dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a dialect: write openai, anthropic, google or cohere")]
pub struct UnknownDialect(pub String);

/// What is asked of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// OpenAI `chat/completions`, Cohere `chat`.
    Chat,
    /// OpenAI `responses`.
    Responses,
    /// OpenAI `embeddings`, Google `embedContent` and `batchEmbedContents`, Cohere `embed`.
    Embeddings,
    /// Anthropic `messages`.
    Messages,
    /// Anthropic `messages/count_tokens`, Google `countTokens`, OpenAI `responses/input_tokens`: costs nothing.
    CountTokens,
    /// Google `generateContent`.
    Generate,
    /// Google `streamGenerateContent`.
    StreamGenerate,
    /// Cohere `rerank`.
    Rerank,
    /// Any other, which the operator lets through at a price of its own.
    Passthrough,
    /// The list of models, or one of them: costs nothing and is not journaled.
    Models,
}

impl Endpoint {
    /// The name in events and journals.
    pub const fn name(self) -> &'static str {
        match self {
            Endpoint::Chat => "chat",
            Endpoint::Responses => "responses",
            Endpoint::Embeddings => "embeddings",
            Endpoint::Messages => "messages",
            Endpoint::CountTokens => "count_tokens",
            Endpoint::Generate => "generate",
            Endpoint::StreamGenerate => "stream_generate",
            Endpoint::Rerank => "rerank",
            Endpoint::Passthrough => "passthrough",
            Endpoint::Models => "models",
        }
    }

    /// Whether a call can be billed at all.
    pub const fn is_billed(self) -> bool {
        !matches!(self, Endpoint::CountTokens | Endpoint::Models)
    }
}
