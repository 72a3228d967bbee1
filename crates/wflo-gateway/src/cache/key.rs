//! What an answer is kept under.
//!
//! **Architecture Invariant:** of a provider's credentials there is nothing in a key but a digest that goes
//! into another: a key tells nobody what they are.

use http::HeaderMap;

use super::canonical::{self, Why};
use crate::dialect::request::Request;
use crate::secret::Secret;

/// Headers of a request that do not change its answer. Every other that goes to the provider does, as far as
/// anybody here knows, and is a part of the key. Where callers share answers, only [`TRANSMISSION`] is ignored.
pub const IGNORED_HEADERS: [&str; 23] = [
    "accept",
    "accept-language",
    "baggage",
    "cache-control",
    "connection",
    "content-type",
    "forwarded",
    "http-referer",
    "idempotency-key",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "referer",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "user-agent",
    "via",
    "wflo-hop",
    "x-client-request-id",
    "x-request-id",
    "x-title",
];

/// What is ignored of all callers' headers: what this cache itself obeys, what the gateway writes, and numbers of
/// one transmission. With any other a caller might have the provider, or a gateway there, answer otherwise, and
/// leave that answer for the rest.
pub const TRANSMISSION: [&str; 7] = [
    "cache-control",
    "content-type",
    "traceparent",
    "tracestate",
    "x-client-request-id",
    "x-request-id",
    "x-stainless-retry-count",
];

/// Beginnings of names that are ignored.
pub const IGNORED_PREFIXES: [&str; 4] = ["x-stainless-", "sec-", "x-forwarded-", "x-goog-api-client"];

/// What a call asks, wherever it is asked.
#[derive(Clone)]
pub(crate) struct Print(blake3::Hash);

/// What an answer is kept under, and what its values are sealed with.
#[derive(Clone)]
pub(crate) struct Key {
    hash: blake3::Hash,
    seal: [u8; 32],
}

/// Where a call goes.
pub(crate) struct Towards<'a> {
    pub(crate) provider: &'a str,
    /// Address, path and query.
    pub(crate) uri: &'a str,
    pub(crate) model: &'a str,
    pub(crate) credentials: Option<&'a Secret>,
    /// The limit of the output that is written into the request.
    pub(crate) limit: Option<u64>,
}

impl Print {
    /// What a request asks, of the headers that go to the provider and the body. `shared`: its answer may be given
    /// to another caller.
    ///
    /// # Errors
    /// Why no answer of it is kept.
    pub(crate) fn of(
        request: &Request,
        headers: &HeaderMap,
        body: &[u8],
        sampled: bool,
        shared: bool,
    ) -> Result<Print, Why> {
        if !sampled && !canonical::is_certain(request, body) {
            return Err("its answer is left to chance");
        }
        let body = canonical::canonical(request, body, shared)?;
        let mut hasher = blake3::Hasher::new_derive_key("wflo 2026 cache request");
        part(&mut hasher, request.dialect.name().as_bytes());
        part(&mut hasher, request.endpoint.name().as_bytes());
        part(&mut hasher, &[u8::from(request.stream)]);
        let counts = |name: &str| match shared {
            true => !TRANSMISSION.contains(&name),
            false => {
                !IGNORED_HEADERS.contains(&name)
                    && !IGNORED_PREFIXES.iter().any(|beginning| name.starts_with(beginning))
            }
        };
        let mut told: Vec<(&str, &[u8])> = headers
            .iter()
            .filter(|(name, _)| counts(name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        // Stable: the values of one name keep their order.
        told.sort_by_key(|(name, _)| *name);
        part(&mut hasher, &(told.len() as u64).to_le_bytes());
        for (name, value) in told {
            part(&mut hasher, name.as_bytes());
            part(&mut hasher, value);
        }
        part(&mut hasher, &body);
        Ok(Print(hasher.finalize()))
    }

    /// The key of this call at a place, for the callers of a space.
    pub(crate) fn at(&self, namespace: &str, space: &str, towards: &Towards<'_>) -> Key {
        let credentials = towards.credentials.map_or("", |secret| secret.expose()).as_bytes();
        let mut hasher = blake3::Hasher::new_derive_key("wflo 2026 cache key");
        part(&mut hasher, self.0.as_bytes());
        for text in [namespace, space, towards.provider, towards.uri, towards.model] {
            part(&mut hasher, text.as_bytes());
        }
        part(&mut hasher, format!("{:?}", towards.limit).as_bytes());
        part(&mut hasher, &blake3::derive_key("wflo 2026 cache credentials", credentials));
        Key { hash: hasher.finalize(), seal: blake3::derive_key("wflo 2026 cache seal", credentials) }
    }
}

impl Key {
    pub(super) fn bytes(&self) -> &[u8; 32] {
        self.hash.as_bytes()
    }

    /// Its name in a store that others use too.
    pub(super) fn name(&self, namespace: &str) -> String {
        format!("wflo:cache:2:{namespace}:{}", self.hash.to_hex())
    }

    /// The seal of what is written under it.
    pub(super) fn seal(&self, written: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.seal);
        hasher.update(self.hash.as_bytes()).update(written);
        hasher.finalize()
    }

    #[cfg(test)]
    pub(super) fn numbered(number: u8) -> Key {
        Key { hash: blake3::hash(&[number]), seal: [7; 32] }
    }

    #[cfg(test)]
    pub(super) fn under(&self, credentials: &str) -> Key {
        Key { hash: self.hash, seal: blake3::derive_key("wflo 2026 cache seal", credentials.as_bytes()) }
    }
}

fn part(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, Endpoint};
    use http::{HeaderName, HeaderValue};

    const BODY: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;

    fn print(headers: &[(&'static str, &'static str)]) -> blake3::Hash {
        print_of(headers, false)
    }

    fn print_of(headers: &[(&'static str, &'static str)], shared: bool) -> blake3::Hash {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, BODY, "").unwrap();
        Print::of(&request, &map, BODY, true, shared).unwrap().0
    }

    #[test]
    fn headers_count_unless_they_are_listed() {
        let none = print(&[]);
        for name in IGNORED_HEADERS {
            assert_eq!(print(&[(name, "x")]), none, "{name}");
        }
        assert_eq!(print(&[("x-stainless-retry-count", "1"), ("sec-fetch-mode", "cors")]), none);
        let told =
            ["anthropic-version", "anthropic-beta", "openai-beta", "openai-organization", "x-unheard-of"];
        for name in told {
            assert_ne!(print(&[(name, "x")]), none, "{name}");
            assert_ne!(print(&[(name, "x")]), print(&[(name, "y")]), "{name}");
        }
        assert_eq!(print(&[("a", "1"), ("b", "2")]), print(&[("b", "2"), ("a", "1")]));
        assert_ne!(print(&[("a", "1"), ("a", "2")]), print(&[("a", "2"), ("a", "1")]));
    }

    #[test]
    fn where_callers_share_every_header_counts_but_those_of_one_transmission() {
        let none = print_of(&[], true);
        for name in IGNORED_HEADERS {
            let counts = print_of(&[(name, "x")], true) != none;
            assert_eq!(counts, !TRANSMISSION.contains(&name), "{name}");
        }
        for name in ["x-forwarded-host", "sec-gpc", "x-stainless-lang"] {
            assert_ne!(print_of(&[(name, "x")], true), none, "{name}");
        }
        assert_eq!(print_of(&[("x-stainless-retry-count", "1")], true), none);
    }

    #[test]
    fn whoever_asks_and_whom_they_ask_are_parts_of_the_key() {
        let request = Request::parse(Dialect::OpenAi, Endpoint::Chat, BODY, "").unwrap();
        let print = Print::of(&request, &HeaderMap::new(), BODY, true, false).unwrap();
        let (one, other) = (Secret::new("sk-one-secret").unwrap(), Secret::new("sk-other-secret").unwrap());
        let usual = || Towards {
            provider: "p",
            uri: "http://h/v1/c",
            model: "m",
            credentials: Some(&one),
            limit: None,
        };
        let keys = [
            print.at("n", "s", &usual()),
            print.at("o", "s", &usual()),
            print.at("n", "t", &usual()),
            print.at("ns", "", &usual()),
            print.at("n", "s", &Towards { provider: "q", ..usual() }),
            print.at("n", "s", &Towards { uri: "http://i/v1/c", ..usual() }),
            print.at("n", "s", &Towards { model: "l", ..usual() }),
            print.at("n", "s", &Towards { credentials: Some(&other), ..usual() }),
            print.at("n", "s", &Towards { credentials: None, ..usual() }),
            print.at("n", "s", &Towards { limit: Some(100), ..usual() }),
        ];
        for (nth, key) in keys.iter().enumerate() {
            assert!(keys[..nth].iter().all(|before| before.hash != key.hash), "{nth}");
            assert!(!key.name("n").contains("sk-one"));
        }
        assert_eq!(keys[0].hash, print.at("n", "s", &usual()).hash);
    }
}
