//! Where a request of a client goes.
//!
//! Owns the paths: those under a dialect's name (`/openai/…`), which is what the variables of a step hold,
//! and those without one, for clients that are given one address for all dialects. A path belongs to one
//! dialect by its own words; where two dialects have the same (`GET /v1/models`), the client's headers tell.

use http::{HeaderMap, Method};

use super::{Dialect, Endpoint};

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
    Refused {
        /// The protocol.
        dialect: Dialect,
        /// The path under the base URL.
        suffix: &'a str,
    },
    /// A path of no provider.
    Unknown,
}

impl Target<'_> {
    /// The dialect in which the client is to be answered.
    pub const fn dialect(&self) -> Dialect {
        match self {
            Target::Served { dialect, .. } | Target::Refused { dialect, .. } => *dialect,
            Target::Unknown => Dialect::OpenAi,
        }
    }
}

/// The names that a path may begin with.
const PREFIXES: [(&str, Dialect); 4] = [
    ("/openai", Dialect::OpenAi),
    ("/anthropic", Dialect::Anthropic),
    ("/google", Dialect::Google),
    ("/cohere", Dialect::Cohere),
];

/// Finds the endpoint of a method, a path (without its query) and, where it takes them, the headers.
///
/// Both `/anthropic/v1/messages` and `/anthropic/messages` are served: clients disagree on whether
/// the address variable holds the `/v1`. The same holds for the paths of the other dialects.
pub fn target<'a>(method: &Method, path: &'a str, headers: &HeaderMap) -> Target<'a> {
    let named = PREFIXES.iter().find_map(|(prefix, dialect)| {
        path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')).map(|rest| (*dialect, rest))
    });
    let Some((dialect, rest)) = named.or_else(|| by_its_words(path, headers)) else {
        return Target::Unknown;
    };
    let suffix = suffix(dialect, rest);
    let wanted =
        |endpoint: Endpoint| *method == if endpoint == Endpoint::Models { Method::GET } else { Method::POST };
    match endpoint(dialect, suffix).filter(|endpoint| wanted(*endpoint)) {
        Some(endpoint) => Target::Served { dialect, endpoint, suffix },
        None => Target::Refused { dialect, suffix },
    }
}

/// The dialect of a path that names none.
fn by_its_words<'a>(path: &'a str, headers: &HeaderMap) -> Option<(Dialect, &'a str)> {
    let (version, rest) = version(path);
    let is =
        |word: &str| rest.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let dialect = if version == "/v1beta" || is_verb_of_a_model(rest) {
        Dialect::Google
    } else if version == "/v2" {
        Dialect::Cohere
    } else if is("/messages") {
        Dialect::Anthropic
    } else if is("/chat/completions") || is("/responses") || is("/embeddings") {
        Dialect::OpenAi
    } else if version == "/v1" || is("/models") {
        by_headers(headers)
    } else {
        return None;
    };
    Some((dialect, path))
}

/// The dialect of a client, by what only its clients send.
fn by_headers(headers: &HeaderMap) -> Dialect {
    if headers.contains_key("anthropic-version") {
        Dialect::Anthropic
    } else if headers.contains_key("x-goog-api-key") {
        Dialect::Google
    } else if headers.get("x-fern-sdk-name").is_some_and(|name| name.as_bytes().starts_with(b"cohere")) {
        Dialect::Cohere
    } else {
        Dialect::OpenAi
    }
}

/// `/models/M:verb`.
fn is_verb_of_a_model(rest: &str) -> bool {
    rest.strip_prefix("/models/").is_some_and(|model| model.contains(':') && !model.contains('/'))
}

/// A path's leading version (`/v1`, `/v1beta`, `/v2` …; empty if it has none), and the rest.
pub(crate) fn version(path: &str) -> (&str, &str) {
    let end = path.strip_prefix('/').and_then(|path| path.find('/')).map_or(path.len(), |at| at + 1);
    let (first, rest) = path.split_at(end);
    if is_version(first.strip_prefix('/').unwrap_or_default()) { (first, rest) } else { ("", path) }
}

/// Whether a path's segment is a version.
pub(crate) fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The path that is appended to the provider's address. OpenAI's address ends in `/v1`, and Anthropic has
/// one version: theirs begins after it. The others' versions differ in what they serve, and stay.
fn suffix(dialect: Dialect, rest: &str) -> &str {
    match dialect {
        Dialect::OpenAi | Dialect::Anthropic => {
            rest.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(rest)
        }
        Dialect::Google | Dialect::Cohere => rest,
    }
}

fn endpoint(dialect: Dialect, suffix: &str) -> Option<Endpoint> {
    match (dialect, suffix) {
        (Dialect::OpenAi, "/chat/completions") => Some(Endpoint::Chat),
        (Dialect::OpenAi, "/responses") => Some(Endpoint::Responses),
        (Dialect::OpenAi, "/responses/input_tokens") => Some(Endpoint::CountTokens),
        (Dialect::OpenAi, "/embeddings") => Some(Endpoint::Embeddings),
        (Dialect::Anthropic, "/messages") => Some(Endpoint::Messages),
        (Dialect::Anthropic, "/messages/count_tokens") => Some(Endpoint::CountTokens),
        (Dialect::OpenAi | Dialect::Anthropic, _) if is_models(suffix) => Some(Endpoint::Models),
        (Dialect::Google, _) => match version(suffix) {
            // Others have fields of their own.
            ("" | "/v1" | "/v1beta", rest) => of_google(rest),
            _ => None,
        },
        (Dialect::Cohere, _) => match version(suffix) {
            ("/v2" | "", "/chat") => Some(Endpoint::Chat),
            ("/v2" | "", "/embed") => Some(Endpoint::Embeddings),
            ("/v2" | "", "/rerank") => Some(Endpoint::Rerank),
            (_, rest) if is_models(rest) => Some(Endpoint::Models),
            _ => None,
        },
        _ => None,
    }
}

/// `/models/M:verb`, `/models/M` and `/models`.
fn of_google(rest: &str) -> Option<Endpoint> {
    if !is_models(rest) {
        return None;
    }
    if !is_verb_of_a_model(rest) {
        return Some(Endpoint::Models);
    }
    match rest.rsplit_once(':')?.1 {
        "generateContent" => Some(Endpoint::Generate),
        "streamGenerateContent" => Some(Endpoint::StreamGenerate),
        "countTokens" => Some(Endpoint::CountTokens),
        "embedContent" | "batchEmbedContents" => Some(Endpoint::Embeddings),
        _ => None,
    }
}

fn is_models(suffix: &str) -> bool {
    suffix == "/models"
        || suffix.strip_prefix("/models/").is_some_and(|id| {
            // Nothing that a server could resolve to another endpoint.
            !id.is_empty() && !id.contains("..") && !id.contains('%') && !id.contains("//")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(path: &str) -> Target<'_> {
        target(&Method::POST, path, &HeaderMap::new())
    }

    fn get<'a>(path: &'a str, header: &'static str) -> Target<'a> {
        let mut headers = HeaderMap::new();
        if !header.is_empty() {
            headers.insert(header, http::HeaderValue::from_static("x"));
        }
        target(&Method::GET, path, &headers)
    }

    fn served(found: Target<'_>) -> (Dialect, Endpoint, &str) {
        match found {
            Target::Served { dialect, endpoint, suffix } => (dialect, endpoint, suffix),
            other => panic!("not served: {other:?}"),
        }
    }

    #[test]
    fn both_spellings_of_a_path_are_served_with_the_dialects_name_and_without() {
        for path in ["/anthropic/v1/messages", "/anthropic/messages", "/v1/messages", "/messages"] {
            assert_eq!(served(post(path)), (Dialect::Anthropic, Endpoint::Messages, "/messages"), "{path}");
        }
        for path in ["/openai/v1/chat/completions", "/openai/chat/completions", "/v1/chat/completions"] {
            let chat = (Dialect::OpenAi, Endpoint::Chat, "/chat/completions");
            assert_eq!(served(post(path)), chat, "{path}");
        }
        for path in ["/openai/v1/responses/input_tokens", "/v1/responses/input_tokens"] {
            let count = (Dialect::OpenAi, Endpoint::CountTokens, "/responses/input_tokens");
            assert_eq!(served(post(path)), count, "{path}");
        }
        let named = get("/openai/v1/models/org/name", "");
        assert_eq!(served(named), (Dialect::OpenAi, Endpoint::Models, "/models/org/name"));
    }

    #[test]
    fn a_list_of_models_is_the_clients_own() {
        assert_eq!(served(get("/v1/models", "")).0, Dialect::OpenAi);
        assert_eq!(served(get("/v1/models", "anthropic-version")).0, Dialect::Anthropic);
        assert_eq!(served(get("/v1/models", "x-goog-api-key")).0, Dialect::Google);
        assert_eq!(served(get("/v1beta/models/gemini-2.5-flash", "")).0, Dialect::Google);
        assert_eq!(served(get("/cohere/v1/models", "")).0, Dialect::Cohere);
        for (sdk, dialect) in
            [("cohere", Dialect::Cohere), ("cohere-ai", Dialect::Cohere), ("elevenlabs", Dialect::OpenAi)]
        {
            let mut headers = HeaderMap::new();
            headers.insert("x-fern-sdk-name", http::HeaderValue::from_static(sdk));
            assert_eq!(served(target(&Method::GET, "/v1/models", &headers)).0, dialect);
        }
    }

    #[test]
    fn google_and_cohere_keep_the_version_that_the_client_chose() {
        for (path, endpoint) in [
            ("/v1beta/models/gemini-2.5-flash:generateContent", Endpoint::Generate),
            ("/v1/models/gemini-2.5-flash:streamGenerateContent", Endpoint::StreamGenerate),
            ("/v1beta/models/gemini-2.5-flash:countTokens", Endpoint::CountTokens),
            ("/v1beta/models/gemini-embedding-001:batchEmbedContents", Endpoint::Embeddings),
        ] {
            assert_eq!(served(post(path)), (Dialect::Google, endpoint, path));
            let named = format!("/google{path}");
            assert_eq!(served(post(&named)), (Dialect::Google, endpoint, path));
        }
        assert_eq!(served(post("/google/models/g:generateContent")).2, "/models/g:generateContent");
        for (path, endpoint) in [
            ("/v2/chat", Endpoint::Chat),
            ("/v2/embed", Endpoint::Embeddings),
            ("/v2/rerank", Endpoint::Rerank),
        ] {
            assert_eq!(served(post(path)), (Dialect::Cohere, endpoint, path));
        }
        for path in [
            "/v1beta/models/g:predict",
            "/v1beta/models/a/b:generateContent",
            "/v1beta/models/g%3AgenerateContent",
            "/v1beta/tunedModels/g:generateContent",
            "/v1beta/cachedContents",
            "/cohere/v1/chat",
            "/v2/parse",
        ] {
            assert!(matches!(post(path), Target::Refused { .. }), "{path}: {:?}", post(path));
        }
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for path in
            ["/openai/v1/files", "/openai/v1/models/../files", "/openai/v1/models/%2e%2e/files", "/openai/"]
        {
            let found = get(path, "");
            assert!(matches!(found, Target::Refused { dialect: Dialect::OpenAi, .. }), "{path}: {found:?}");
        }
        let deleted = target(&Method::DELETE, "/openai/v1/models/m", &HeaderMap::new());
        assert!(matches!(deleted, Target::Refused { dialect: Dialect::OpenAi, .. }));
        assert_eq!(get("/", ""), Target::Unknown);
        assert_eq!(get("/metrics", ""), Target::Unknown);
    }
}
