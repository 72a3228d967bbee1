//! `[providers.NAME]`: an upstream that answers model calls.

use std::path::Path;

pub(crate) use wflo_gateway::dialect::Dialect;
use wflo_gateway::dialect::limit::OutputLimit;
use wflo_gateway::route::Passthrough;
use wflo_gateway::routing::Waits;

use crate::document::{Field, Problem};

use super::KeySource;
use super::budget::read_money;

/// One upstream.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) dialect: Dialect,
    /// The provider of the price map whose prices count; none means the one of its own name.
    pub(crate) prices: Option<String>,
    /// The upstream's address without a trailing slash; none means the provider's public one.
    pub(crate) base_url: Option<String>,
    pub(crate) key: Option<KeySource>,
    /// The name by which the upstream is told where an answer ends; none means that its address says it.
    pub(crate) output_limit: Option<OutputLimit>,
    /// How long its answers are waited for.
    pub(crate) waits: Waits,
    /// Paths that are let through although the gateway does not know them.
    pub(crate) passthrough: Vec<Passthrough>,
}

impl Provider {
    pub(super) fn read(field: &Field<'_>, root: &Path) -> Result<Self, Problem> {
        let mut reader = field.table()?;
        let dialect = read_dialect(&reader.required("dialect")?)?;
        let prices = reader.optional("prices").map(|name| name.name().map(str::to_owned)).transpose()?;
        let base_url = reader.optional("base_url").map(|url| read_url(&url)).transpose()?;
        let key = KeySource::read(&mut reader, root)?;
        let limits =
            [OutputLimit::MaxTokens, OutputLimit::MaxCompletionTokens].map(|limit| (limit.name(), limit));
        let output_limit = reader.optional("output_limit").map(|field| field.choice(&limits)).transpose()?;
        let waits = super::routing::read_waits(&mut reader)?;
        let passthrough = match reader.optional("passthrough") {
            Some(field) => field.named()?.iter().map(read_passthrough).collect::<Result<_, Problem>>()?,
            None => Vec::new(),
        };
        reader.finish()?;
        Ok(Provider { dialect, prices, base_url, key, output_limit, waits, passthrough })
    }
}

/// `[providers.NAME.passthrough."/path"]`: what a call of that path costs at most.
fn read_passthrough((path, field): &(&str, Field<'_>)) -> Result<Passthrough, Problem> {
    let mut reader = field.table()?;
    let most = read_money(&reader.required("max_cost_usd")?)?;
    reader.finish()?;
    Passthrough::new(path, most).map_err(|must| field.wrong(must))
}

fn read_dialect(field: &Field<'_>) -> Result<Dialect, Problem> {
    field.choice(&Dialect::ALL.map(|dialect| (dialect.name(), dialect)))
}

/// `http://` or `https://`, a host, no credentials, no query.
fn read_url(field: &Field<'_>) -> Result<String, Problem> {
    let text = field.name()?.trim_end_matches('/');
    let wrong = || field.wrong("an address such as http://127.0.0.1:8080/v1");
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or_else(wrong)?;
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err(field
            .wrong("an address without a user or password")
            .hint("name the key by api_key_env, api_key_file or api_key_command"));
    }
    if host.is_empty() || rest.contains(['?', '#', ' ']) || rest.contains(char::is_control) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}
