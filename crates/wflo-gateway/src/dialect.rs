//! The languages that model providers speak.
//!
//! Owns what the gateway must know of each: its endpoints, the facts of a request that bound its
//! cost, the usage of a response, error bodies in the provider's own shape. What differs by dialect and
//! endpoint stands behind one trait, [`wire`]. Bodies pass through as bytes: what is changed is spliced
//! in, never re-serialised.

pub mod anthropic;
pub mod errors;
pub mod facts;
mod foreign;
pub mod json;
pub mod limit;
pub mod openai;
pub mod request;
mod responses;
mod target;
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
    /// Google's Gemini API; refused by name until a later release.
    Google,
    /// Cohere's v2 API; refused by name until a later release.
    Cohere,
}

impl Dialect {
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
    /// OpenAI `chat/completions`.
    Chat,
    /// OpenAI `responses`.
    Responses,
    /// OpenAI `embeddings`.
    Embeddings,
    /// Anthropic `messages`.
    Messages,
    /// Anthropic `messages/count_tokens`: costs nothing.
    CountTokens,
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
            Endpoint::Models => "models",
        }
    }

    /// Whether a call can be billed at all.
    pub const fn is_billed(self) -> bool {
        !matches!(self, Endpoint::CountTokens | Endpoint::Models)
    }
}
