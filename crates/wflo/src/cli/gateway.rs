//! `wflo gateway`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::value::span;

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
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4000", value_parser = address)]
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

/// `IP:PORT`, an IP alone, a port alone, or `localhost` with or without a port. Other names are not looked up:
/// which address one leads to may change.
fn address(text: &str) -> Result<SocketAddr, String> {
    let ip = |text: &str| match text {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        text => {
            let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            plain.unwrap_or(text).parse().ok()
        }
    };
    let with_port = || {
        let (host, port) = text.rsplit_once(':')?;
        let ip = if host.is_empty() { Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) } else { ip(host) };
        Some(SocketAddr::new(ip?, port.parse().ok()?))
    };
    let alone = || Some(SocketAddr::new(ip(text)?, PORT));
    text.parse().ok().or_else(alone).or_else(with_port).ok_or_else(|| {
        format!("write an IP address and a port, such as 127.0.0.1:{PORT}, 0.0.0.0:443 or [::1]:{PORT}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_its_port_and_is_no_name() {
        for (text, meant) in [
            ("127.0.0.1:4000", "127.0.0.1:4000"),
            ("127.0.0.1", "127.0.0.1:4000"),
            ("0.0.0.0", "0.0.0.0:4000"),
            ("::1", "[::1]:4000"),
            ("[::1]", "[::1]:4000"),
            ("[::]:443", "[::]:443"),
            ("localhost", "127.0.0.1:4000"),
            ("localhost:0", "127.0.0.1:0"),
            (":8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(address(text).unwrap(), meant.parse().unwrap(), "{text}");
        }
        for text in [
            "",
            "gateway.internal",
            "gateway.internal:80",
            "127.0.0.1:",
            "127.0.0.1:99999",
            "1.2.3:80",
            "[::1",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
