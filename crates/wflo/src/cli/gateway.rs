//! `wflo gateway`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::value::{address, span};

pub(super) const HELP: &str = "\
One address serves every client: point its base URL here and change nothing else. Providers, prices and
the budget of all calls together stand in wflo.toml, whose changes are taken over while it runs; without
one, the providers are those of the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY,
GEMINI_API_KEY or GOOGLE_API_KEY, CO_API_KEY or COHERE_API_KEY).
On 127.0.0.1 any key is accepted until `wflo keys create` makes one.

Examples:
  wflo gateway                                     Serve on 127.0.0.1:4000
  OPENAI_BASE_URL=http://127.0.0.1:4000/v1 python agent.py
  wflo keys create --name ci --budget 5 --period day
  wflo gateway --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem
  wflo gateway --log                               And a line for each call

SIGTERM drains: no new calls, those under way end, and what was spent is brought into the store.";

/// Where and how to serve.
#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// Listen at this address, at port 4000 if it names none; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4000", value_parser = listen)]
    pub(crate) listen: SocketAddr,
    /// Speak TLS with this certificate (PEM, with its chain)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Speak plain HTTP also beyond this machine: TLS ends before the gateway, in an ingress or a container's host
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) plain_http: bool,
    /// Use so many threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Write a line for each call: time, key, provider and model, status, tokens, cost, duration
    #[arg(long)]
    pub(crate) log: bool,
    /// Let calls wait so long for room that running calls may free
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = span)]
    pub(crate) room: u64,
    /// Let calls under way end for so long after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = span)]
    pub(crate) drain: u64,
}

/// Where it listens unless told otherwise.
const PORT: u16 = 4000;

fn listen(text: &str) -> Result<SocketAddr, String> {
    address(text, PORT)
}
