//! The variables that make unchanged clients call the gateway.
//!
//! Owns their names and values. Keys are placeholders: clients refuse to start without one, and the
//! real ones never enter a sandbox.

/// What clients send as their key where nobody else can reach the gateway; it opens nothing.
pub const PLACEHOLDER_KEY: &str = "wflo-placeholder-key";

/// Variables that hold a provider's key wherever they are read.
pub const KEY_VARIABLES: [&str; 6] = [
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "CO_API_KEY",
    "COHERE_API_KEY",
];

/// The variables for a process whose gateway listens on `127.0.0.1:port`; `key` is what it sends.
///
/// Which client reads which was observed: LlamaIndex reads only `OPENAI_API_BASE`; litellm wants
/// `GEMINI_API_BASE` with the version and `COHERE_API_BASE` with the path.
pub fn client_env(port: u16, key: &str) -> Vec<(String, String)> {
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let addresses = [
        ("OPENAI_BASE_URL", at("/openai/v1")),
        ("OPENAI_API_BASE", at("/openai/v1")),
        ("ANTHROPIC_BASE_URL", at("/anthropic")),
        ("ANTHROPIC_API_BASE", at("/anthropic")),
        ("GOOGLE_GEMINI_BASE_URL", at("/google")),
        ("GEMINI_API_BASE", at("/google/v1beta")),
        ("CO_API_URL", at("/cohere")),
        ("COHERE_API_BASE", at("/cohere/v2/chat")),
    ];
    let addresses = addresses.into_iter().map(|(name, value)| (name.to_owned(), value));
    addresses.chain(KEY_VARIABLES.into_iter().map(|name| (name.to_owned(), key.to_owned()))).collect()
}
