//! Whether a request carries its caller's key, wherever a client of some dialect puts one.

use http::{HeaderMap, header};

use crate::dialect::query;

/// Headers that hold an API key and nothing else.
const PLAIN: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Whether one of the credentials is `key`.
pub(super) fn is_carried(headers: &HeaderMap, query: Option<&str>, key: &str) -> bool {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest)
    });
    let plain = PLAIN.iter().flat_map(|name| headers.get_all(*name)).map(http::HeaderValue::as_bytes);
    // Every one is looked at in full: how long it takes says nothing about the key.
    let found = bearer.chain(plain).fold(false, |found, given| found | equal(given, key.as_bytes()));
    // Some of Google's clients say it in the query.
    query::parts(query.unwrap_or_default())
        .filter(|(_, name, _)| name == "key")
        .fold(found, |found, (_, _, given)| found | equal(given.as_bytes(), key.as_bytes()))
}

fn equal(one: &[u8], other: &[u8]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_key_in_a_place_for_keys_is_the_callers() {
        let carried = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            is_carried(&headers, None, "k-123")
        };
        assert!(carried("authorization", "Bearer k-123"));
        assert!(carried("authorization", "bearer k-123"));
        assert!(carried("x-api-key", "k-123"));
        assert!(carried("x-goog-api-key", "k-123"));
        assert!(!carried("authorization", "Bearer k-12"));
        assert!(!carried("authorization", "Bearer k-1234"));
        assert!(!carried("authorization", "Bearer wflo-placeholder-key"));
        assert!(!carried("authorization", "k-123"), "no scheme");
        assert!(!carried("authorization", "Bearer "));
        assert!(!carried("cookie", "k-123"));
        assert!(!is_carried(&HeaderMap::new(), None, "k-123"));
        assert!(is_carried(&HeaderMap::new(), Some("alt=sse&key=k-123"), "k-123"));
        assert!(!is_carried(&HeaderMap::new(), Some("key=k-12&x=k-123"), "k-123"));
    }
}
