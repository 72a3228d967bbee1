//! Which model a new project uses: the environment's, else one that answers on this machine.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::probe::{self, Answer};
use crate::settings::Environment;

/// Where model servers usually listen: llama.cpp, Ollama, LM Studio.
const USUAL_PORTS: [u16; 3] = [8080, 11434, 1234];
/// Overrides [`USUAL_PORTS`]: port numbers separated by commas.
const PORTS_VARIABLE: &str = "WFLO_MODEL_PORTS";
/// How long a server on this machine may take to list its models.
const LIMIT: Duration = Duration::from_millis(800);
/// What a local model is assumed to hold when it does not say.
const CONTEXT_TOKENS: u64 = 4096;

/// A model that a new project can call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Model {
    /// The model's name at its provider.
    pub(super) name: String,
    /// How it was found, for people: "from OPENAI_API_KEY".
    pub(super) found: String,
    #[serde(flatten)]
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
enum Source {
    /// A provider that is paid, by a key in the environment. Its prices are known.
    Environment { dialect: &'static str, key_variable: &'static str, base_url: Option<String> },
    /// A server on this machine.
    Local { base_url: String, context_tokens: u64 },
}

/// Looks for a model.
pub(super) fn pick(environment: &Environment) -> Option<Model> {
    if let Some(base_url) = environment.get("OPENAI_BASE_URL").filter(|url| url.starts_with("http://")) {
        // A plain address is a server of one's own; its models are the ones it lists.
        if let Some(model) = local(base_url.trim_end_matches('/'), environment.get("OPENAI_API_KEY")) {
            return Some(model);
        }
    }
    let keys = [
        ("openai", "OPENAI_API_KEY", "OPENAI_BASE_URL", "gpt-5-mini"),
        ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "claude-haiku-4-5"),
    ];
    for (dialect, key_variable, address_variable, name) in keys {
        if environment.get(key_variable).is_some() {
            let base_url = environment.get(address_variable).map(|url| url.trim_end_matches('/').to_owned());
            return Some(Model {
                name: name.to_owned(),
                found: format!("by {key_variable} of your environment"),
                source: Source::Environment { dialect, key_variable, base_url },
            });
        }
    }
    let ports = ports(environment);
    std::thread::scope(|scope| {
        let asked: Vec<_> = ports
            .iter()
            .map(|port| scope.spawn(move || local(&format!("http://127.0.0.1:{port}/v1"), None)))
            .collect();
        asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).next()
    })
}

fn ports(environment: &Environment) -> Vec<u16> {
    match environment.get(PORTS_VARIABLE) {
        Some(list) => list.split(',').filter_map(|port| port.trim().parse().ok()).collect(),
        None => USUAL_PORTS.to_vec(),
    }
}

/// The first model that a server lists and that is no embedding model.
fn local(base_url: &str, key: Option<&str>) -> Option<Model> {
    let Ok(Answer::Http { status: 200, body }) = probe::ask(base_url, "/models", key, LIMIT) else {
        return None;
    };
    let listing: serde_json::Value = serde_json::from_str(&body).ok()?;
    let usable = |entry: &&serde_json::Value| {
        entry["id"].as_str().is_some_and(|id| {
            let plain = !id.is_empty() && id.len() <= 200 && !id.contains(char::is_control);
            plain && !id.to_ascii_lowercase().contains("embed")
        })
    };
    let entry = listing["data"].as_array()?.iter().find(usable)?;
    let context_tokens =
        entry["meta"]["n_ctx"].as_u64().filter(|tokens| *tokens > 0).unwrap_or(CONTEXT_TOKENS);
    Some(Model {
        name: entry["id"].as_str()?.to_owned(),
        found: format!("at {base_url}"),
        source: Source::Local { base_url: base_url.to_owned(), context_tokens },
    })
}

impl Model {
    /// Its tables in `wflo.toml`.
    pub(super) fn settings(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = match &self.source {
            Source::Environment { dialect, key_variable, base_url } => {
                let address =
                    base_url.as_ref().map_or(String::new(), |url| format!("base_url = {}\n", quoted(url)));
                writeln!(
                    text,
                    "[providers.{dialect}]\ndialect = \"{dialect}\"\n{address}api_key_env = \"{key_variable}\"\n"
                )
            }
            Source::Local { base_url, context_tokens } => {
                let name = quoted(&self.name);
                let output = context_tokens.div_euclid(4).max(1);
                writeln!(
                    text,
                    "[providers.local]\ndialect = \"openai\"\nbase_url = {}\n\n\
                     # A model on this machine costs nothing. To try budgets, set a price in USD per million tokens.\n\
                     [models.{name}]\nprovider = \"local\"\ninput = \"0\"\noutput = \"0\"\n\
                     context_tokens = {context_tokens}\nmax_output_tokens = {output}\n",
                    quoted(base_url)
                )
            }
        };
        text
    }
}

/// A TOML basic string: what JSON escapes, TOML reads.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
