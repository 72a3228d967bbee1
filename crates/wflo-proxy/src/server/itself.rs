//! A gateway that would be its own provider.
//!
//! What a gateway prints for its clients (`OPENAI_BASE_URL=…`) is what it reads itself when it starts in
//! the same shell. Owns that check; a loop by way of a name or of another gateway is met at its first call
//! ([`wflo_gateway::error::GatewayError::Loop`]).

use std::net::{IpAddr, SocketAddr, TcpListener};

use http::Uri;
use wflo_gateway::route::Routes;

use super::ProxyError;

/// Refuses providers that are at the address that is listened on.
///
/// # Errors
/// [`ProxyError::Itself`].
pub(super) fn check(routes: &Routes, address: SocketAddr) -> Result<(), ProxyError> {
    match routes.providers().iter().find(|provider| leads_to(&provider.base_url, address)) {
        Some(provider) => Err(ProxyError::Itself {
            provider: provider.name.clone(),
            variable: wflo_gateway::route::Standard::of(provider.dialect).address,
            address,
        }),
        None => Ok(()),
    }
}

/// Whether what is sent to `url` arrives at a listener on `address`. Names are not asked for, but for the one
/// that every machine has.
fn leads_to(url: &Uri, address: SocketAddr) -> bool {
    let usual = if url.scheme_str() == Some("https") { 443 } else { 80 };
    let host = url.host().unwrap_or_default();
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let listens = address.ip().to_canonical();
    if url.port_u16().unwrap_or(usual) != address.port() {
        return false;
    }
    match plain.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) if listens.is_unspecified() => {
            ip.is_unspecified() || ip.is_loopback() || TcpListener::bind((ip, 0)).is_ok()
        }
        // The address of nobody leads to this machine.
        Ok(ip) => ip == listens || ip.is_unspecified() && listens.is_loopback(),
        Err(_) => {
            let name = plain.trim_end_matches('.').to_ascii_lowercase();
            let own = name == "localhost" || name.ends_with(".localhost");
            own && (listens.is_loopback() || listens.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_in_every_spelling_and_no_other_is_taken_for_it() {
        let leads = |url: &str, address: &str| leads_to(&url.parse().unwrap(), address.parse().unwrap());
        for (url, address) in [
            ("http://127.0.0.1:4000/v1", "127.0.0.1:4000"),
            ("https://127.0.0.1:4000", "127.0.0.1:4000"),
            ("http://localhost:4000", "127.0.0.1:4000"),
            ("http://LOCALHOST.:4000", "[::1]:4000"),
            ("http://0.0.0.0:4000", "127.0.0.1:4000"),
            ("http://[::1]:4000", "[::1]:4000"),
            ("http://[::ffff:127.0.0.1]:4000", "127.0.0.1:4000"),
            ("http://127.0.0.1:4000", "0.0.0.0:4000"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://127.0.0.1", "0.0.0.0:443"),
        ] {
            assert!(leads(url, address), "{url} {address}");
        }
        for (url, address) in [
            ("http://127.0.0.1:4001/v1", "127.0.0.1:4000"),
            ("http://127.0.0.2:4000/v1", "127.0.0.1:4000"),
            ("http://api.example:4000/v1", "127.0.0.1:4000"),
            ("http://192.0.2.1:4000/v1", "0.0.0.0:4000"),
            ("http://127.0.0.1", "127.0.0.1:443"),
        ] {
            assert!(!leads(url, address), "{url} {address}");
        }
    }
}
