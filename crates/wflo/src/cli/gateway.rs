//! `wflo gateway`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

pub(super) const HELP: &str = "\
One address serves every client: point its base URL here and change nothing else. Providers, prices and
the budget of all calls together stand in wflo.toml, whose changes are taken over while it runs; without
one, the providers are those of the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, CO_API_KEY).
On 127.0.0.1 any key is accepted until `wflo keys create` makes one.

Examples:
  wflo gateway                                     Serve on 127.0.0.1:4000
  OPENAI_BASE_URL=http://127.0.0.1:4000/v1 python agent.py
  wflo keys create --name ci --budget 5 --period day
  wflo gateway --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem

SIGTERM drains: no new calls, those under way end, and what was spent is brought into the store.";

/// Where and how to serve.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// Listen at this address; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4000")]
    pub(crate) listen: SocketAddr,
    /// Speak TLS with this certificate (PEM, with its chain)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Use so many threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Let calls wait so long for room that running calls may free
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub(crate) room: u64,
    /// Let calls under way end for so long after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    pub(crate) drain: u64,
}
