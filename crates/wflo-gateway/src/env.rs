//! What makes unchanged clients call the gateway: variables, and files of those that read no variable.
//!
//! Owns their names and what they say. Keys are placeholders: clients refuse to start without one, and the
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

/// The variables for a process whose gateway listens on `127.0.0.1:port`; `key` is what it sends. The port is
/// a text, so that who knows it may be whoever starts the process.
///
/// Which client reads which was observed: LlamaIndex reads only `OPENAI_API_BASE`; litellm wants
/// `GEMINI_API_BASE` with the version and `COHERE_API_BASE` with the path.
pub fn client_env(port: &str, key: &str) -> Vec<(String, String)> {
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

/// The files in a home folder, by their path in it, of programs that take no address from a variable, or ask a
/// person before they take a key from one. In a sandbox (`isolated`) they make none of their own.
///
/// Which program reads which was observed: Codex wants a provider of its own, for the built-in one opens
/// WebSockets and searches at the provider, which reaches hosts that no rule of the sandbox was asked about;
/// Claude Code on a terminal otherwise calls its maker before anything else, and takes no key unasked.
pub fn client_files(port: &str, key: &str, isolated: bool) -> Vec<(&'static str, String)> {
    let sandbox = if isolated { "sandbox_mode = \"danger-full-access\"\n" } else { "" };
    let codex = format!(
        "model_provider = \"wflo\"\nweb_search = \"disabled\"\n{sandbox}\n[model_providers.wflo]\nname = \"wflo\"\n\
         base_url = \"http://127.0.0.1:{port}/openai/v1\"\nenv_key = \"OPENAI_API_KEY\"\nwire_api = \"responses\"\n"
    );
    // It knows a key by its end.
    let known = key.get(key.len().saturating_sub(20)..).unwrap_or(key);
    let answers = serde_json::json!({ "approved": [known], "rejected": [] });
    let claude = serde_json::json!({ "hasCompletedOnboarding": true, "customApiKeyResponses": answers });
    vec![(".codex/config.toml", codex), (".claude.json", format!("{claude}\n"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_their_programs_read() {
        let files = client_files("4242", "wflo-0123456789abcdef0123", true);
        let of = |name: &str| files.iter().find(|(path, _)| *path == name).unwrap().1.as_str();
        let codex: toml::Table = of(".codex/config.toml").parse().unwrap();
        let provider = &codex["model_providers"][codex["model_provider"].as_str().unwrap()];
        assert_eq!(provider["base_url"].as_str(), Some("http://127.0.0.1:4242/openai/v1"));
        assert!(KEY_VARIABLES.contains(&provider["env_key"].as_str().unwrap()));
        let claude: serde_json::Value = serde_json::from_str(of(".claude.json")).unwrap();
        assert_eq!(claude["customApiKeyResponses"]["approved"][0], "0123456789abcdef0123");
    }

    #[test]
    fn a_program_that_is_not_isolated_keeps_its_own_sandbox() {
        let said = |isolated| client_files("1", PLACEHOLDER_KEY, isolated)[0].1.contains("sandbox_mode");
        assert_eq!((said(true), said(false)), (true, false));
    }
}
