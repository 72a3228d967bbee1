//! The languages that model providers speak.
//!
//! Owns what the gateway must know of each: its endpoints, the facts of a request that bound its
//! cost, the usage of a response, error bodies in the provider's own shape. Bodies pass through as
//! bytes: what is changed is spliced in, never re-serialised.

pub mod anthropic;
pub mod errors;
pub mod facts;
mod foreign;
pub mod json;
pub mod limit;
pub mod openai;
pub mod request;

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
            Endpoint::Embeddings => "embeddings",
            Endpoint::Messages => "messages",
            Endpoint::CountTokens => "count_tokens",
            Endpoint::Models => "models",
        }
    }

    /// Whether a call can be billed at all.
    pub const fn is_billed(self) -> bool {
        matches!(self, Endpoint::Chat | Endpoint::Embeddings | Endpoint::Messages)
    }
}

/// Where a request of a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// An endpoint that is served; `suffix` is appended to the upstream's base URL.
    Served {
        /// The protocol.
        dialect: Dialect,
        /// The endpoint.
        endpoint: Endpoint,
        /// The path under the base URL, such as `/chat/completions`.
        suffix: &'a str,
    },
    /// An endpoint of a known provider that is not served.
    Refused(Dialect),
    /// A path of no provider.
    Unknown,
}

/// Finds the endpoint of a method and a path (without its query).
///
/// Both `/anthropic/v1/messages` and `/anthropic/messages` are served: clients disagree on whether
/// the address variable holds the `/v1`. The same holds for the other OpenAI-style paths.
pub fn target<'a>(method: &http::Method, path: &'a str) -> Target<'a> {
    let (dialect, rest) = match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some(("openai", _)) => (Dialect::OpenAi, &path["/openai".len()..]),
        Some(("anthropic", _)) => (Dialect::Anthropic, &path["/anthropic".len()..]),
        Some(("google", _)) => return Target::Refused(Dialect::Google),
        Some(("cohere", _)) => return Target::Refused(Dialect::Cohere),
        _ => return Target::Unknown,
    };
    // Anthropic's base URL has no `/v1`, OpenAI's has one: normalise to the path after it.
    let suffix = rest.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(rest);
    let is_models = suffix == "/models"
        || suffix.strip_prefix("/models/").is_some_and(|id| {
            // Nothing that a server could resolve to another endpoint.
            !id.is_empty() && !id.contains("..") && !id.contains('%') && !id.contains("//")
        });
    let endpoint = match (dialect, suffix) {
        (Dialect::OpenAi, "/chat/completions") => Endpoint::Chat,
        (Dialect::OpenAi, "/embeddings") => Endpoint::Embeddings,
        (Dialect::Anthropic, "/messages") => Endpoint::Messages,
        (Dialect::Anthropic, "/messages/count_tokens") => Endpoint::CountTokens,
        _ if is_models => Endpoint::Models,
        _ => return Target::Refused(dialect),
    };
    let wanted = if endpoint == Endpoint::Models { http::Method::GET } else { http::Method::POST };
    if *method == wanted { Target::Served { dialect, endpoint, suffix } } else { Target::Refused(dialect) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_path_are_served() {
        for path in ["/anthropic/v1/messages", "/anthropic/messages"] {
            let found = target(&http::Method::POST, path);
            assert!(matches!(
                found,
                Target::Served { endpoint: Endpoint::Messages, suffix: "/messages", .. }
            ));
        }
        assert!(matches!(
            target(&http::Method::GET, "/openai/v1/models/org/name"),
            Target::Served { endpoint: Endpoint::Models, suffix: "/models/org/name", .. }
        ));
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for path in
            ["/openai/v1/files", "/openai/v1/models/../files", "/openai/v1/models/%2e%2e/files", "/openai/"]
        {
            assert_eq!(target(&http::Method::GET, path), Target::Refused(Dialect::OpenAi), "{path}");
        }
        assert_eq!(target(&http::Method::DELETE, "/openai/v1/models/m"), Target::Refused(Dialect::OpenAi));
        assert_eq!(
            target(&http::Method::POST, "/google/v1beta/models/g:x"),
            Target::Refused(Dialect::Google)
        );
        assert_eq!(target(&http::Method::GET, "/"), Target::Unknown);
    }
}
