//! Requests that a web page makes a browser send.
//!
//! A page of any site can make the browser of whoever is on this machine call a gateway on loopback; where no
//! key is wanted it would spend the budget, and by a name that was made to lead here (DNS rebinding) read
//! the answers. Browsers say where a request comes from, in headers that a page cannot set. Where a key is
//! shown nothing is asked: a page knows none.

use http::{HeaderMap, Uri, header};

/// What browsers may ask of a gateway that wants no key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Browsers {
    /// Origins whose pages may call, such as `http://localhost:3000`.
    pub origins: Vec<String>,
    /// Names by which the gateway is reached, beside addresses and `localhost`.
    pub hosts: Vec<String>,
}

impl Browsers {
    /// Why a request is refused, if it is one that a page of another site made.
    pub(crate) fn refuse(&self, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
        let host = uri.authority().map(|authority| authority.as_str());
        if !host.into_iter().chain(text(header::HOST)).all(|host| self.knows(host)) {
            return Some("it was sent to a name that is not this gateway's");
        }
        let mut origins = text(header::ORIGIN).peekable();
        if origins.peek().is_some() {
            let allowed = origins.all(|origin| self.origins.iter().any(|known| known == origin));
            return (!allowed).then_some("a page of another site made a browser send it");
        }
        let mut sites = text(header::HeaderName::from_static("sec-fetch-site"));
        let foreign = sites.any(|site| !matches!(site, "none" | "same-origin"));
        foreign.then_some("a page of another site made a browser send it")
    }

    /// An address cannot be made to lead elsewhere, and neither can `localhost`.
    fn knows(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        address.parse::<std::net::IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(&host))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn refused(browsers: &Browsers, uri: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        browsers.refuse(&uri.parse().unwrap(), &headers.collect()).is_some()
    }

    #[test]
    fn pages_of_other_sites_and_names_of_others_are_refused_and_clients_are_not() {
        let usual = Browsers::default();
        for host in ["127.0.0.1:4000", "localhost:4000", "[::1]:4000", "[::1]", "LOCALHOST.", "a.localhost"] {
            assert!(usual.knows(host), "{host}");
        }
        assert!(!refused(&usual, "/v1/models", &[]));
        assert!(!refused(&usual, "/", &[("host", "127.0.0.1"), ("sec-fetch-site", "none")]));
        for (uri, headers) in [
            ("/", vec![("host", "evil.example:4000")]),
            ("http://evil.example/v1/models", vec![]),
            ("http://localhost/", vec![("host", "evil.example")]),
            ("/", vec![("host", "localhost"), ("origin", "https://evil.example")]),
            ("/", vec![("origin", "null")]),
            ("/", vec![("sec-fetch-site", "cross-site")]),
            ("/", vec![("sec-fetch-site", "same-site")]),
        ] {
            assert!(refused(&usual, uri, &headers), "{uri} {headers:?}");
        }
        let told = Browsers {
            origins: vec!["http://localhost:3000".into()],
            hosts: vec!["gateway.internal".into()],
        };
        let page = [("host", "Gateway.internal:80"), ("origin", "http://localhost:3000")];
        assert!(!refused(&told, "/", &page));
        assert!(!refused(&told, "/", &[page[1], ("sec-fetch-site", "cross-site")]));
        assert!(refused(&told, "/", &[("origin", "http://localhost:3001")]));
    }
}
