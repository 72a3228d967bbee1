//! The egress proxy: the only way from a sandbox to other hosts, and only to those that are named.
//!
//! A hostile program talks to it. One parser reads what it asks ([`request`]), and what that parser
//! gives is what is judged ([`rules`]), resolved ([`resolve`]), dialled ([`dial`]) and recorded
//! ([`witness`]): there is no second reading that could disagree. Addresses are judged after names are
//! resolved ([`address`]), and dialled as they were judged. `docs/adr/0029` is the threat model and the
//! order of events.
//!
//! **Architecture Invariant:** nothing leaves this host for a connection, not even a question to a
//! name server, before a rule allows it and its witness holds it.

pub mod address;
pub mod ask;
mod body;
pub mod dial;
mod error;
mod forward;
pub mod hello;
pub mod host;
pub mod inspect;
mod limits;
mod refusal;
mod relay;
pub mod request;
pub mod resolve;
pub mod rules;
pub mod secrets;
mod serve;
mod tunnel;
pub mod witness;

pub use error::RuleError;
pub use limits::{Limit, Limits, Totals, Used};
pub use refusal::Refusal;
pub use rules::Rules;
pub use serve::{Egress, EgressHandle};

/// Hosts that clients ask directly: the sandbox's own loopback.
const DIRECT: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The variables that make stock clients use the proxy, which listens on `127.0.0.1:port`; what is on the
/// sandbox's own loopback, such as the model listener, is asked directly.
pub fn client_env(port: &str) -> Vec<(String, String)> {
    let proxy = format!("http://127.0.0.1:{port}");
    let direct = DIRECT.join(",").replace(['[', ']'], "");
    [
        ("HTTP_PROXY", &proxy),
        ("HTTPS_PROXY", &proxy),
        ("http_proxy", &proxy),
        ("https_proxy", &proxy),
        ("NO_PROXY", &direct),
        ("no_proxy", &direct),
        // Node reads the others only when it is told to.
        ("NODE_USE_ENV_PROXY", &"1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .to_vec()
}
