//! Who may ask for what: the server's keys, a sandbox's tokens, and addresses that are signed with one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::HeaderMap;

use crate::secret::same;

/// The keys that open the server. Only their hashes are kept.
#[derive(Clone)]
pub struct Keys(Vec<blake3::Hash>);

impl Keys {
    /// These keys.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Keys {
        Keys(keys.into_iter().map(|key| blake3::hash(key.as_bytes())).collect())
    }

    /// Whether a request shows one of them, as E2B's clients do or as a bearer's token.
    pub(crate) fn open(&self, headers: &HeaderMap) -> bool {
        let bearer = text(headers, "authorization").and_then(|value| value.strip_prefix("Bearer "));
        let Some(given) = text(headers, "x-api-key").or(bearer) else { return false };
        let given = blake3::hash(given.as_bytes());
        // All are looked at, whichever it is.
        self.0.iter().fold(false, |found, key| found | (*key == given))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// The two tokens of a sandbox.
#[derive(Clone)]
pub(crate) struct Tokens {
    /// For everything inside.
    pub(crate) access: String,
    /// For running code: some of what clients send for that has no other.
    pub(crate) traffic: String,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens")
    }
}

impl Tokens {
    pub(crate) fn open_files_and_programs(&self, headers: &HeaderMap) -> bool {
        text(headers, "x-access-token").is_some_and(|given| same(given, &self.access))
    }

    pub(crate) fn open_code(&self, headers: &HeaderMap) -> bool {
        let traffic =
            text(headers, "e2b-traffic-access-token").is_some_and(|given| same(given, &self.traffic));
        traffic | self.open_files_and_programs(headers)
    }
}

/// What an address was signed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
}

/// A signature of an address, as it stands in its query.
#[derive(Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) path: &'a str,
    pub(crate) user: &'a str,
    pub(crate) signature: &'a str,
    /// In seconds since 1970.
    pub(crate) until: Option<i64>,
}

impl Signed<'_> {
    /// Whether the owner of this sandbox has signed it for `operation`, and its time is not up.
    ///
    /// The formula is that of E2B's clients (`get_signature`, version 1).
    pub(crate) fn is_of(&self, tokens: &Tokens, operation: Operation, now: i64) -> bool {
        if self.until.is_some_and(|until| until <= now) {
            return false;
        }
        let operation = match operation {
            Operation::Read => "read",
            Operation::Write => "write",
        };
        let mut signed = format!("{}:{operation}:{}:{}", self.path, self.user, tokens.access);
        if let Some(until) = self.until {
            signed.push_str(&format!(":{until}"));
        }
        let hash = ring::digest::digest(&ring::digest::SHA256, signed.as_bytes());
        same(self.signature, &format!("v1_{}", STANDARD_NO_PAD.encode(hash)))
    }
}

/// The one user that programs and files of a sandbox have.
pub(crate) const USER: &str = "user";

/// The user that a request names, if it names one: the name before the colon of its basic authorization.
pub(crate) fn user(headers: &HeaderMap) -> Option<String> {
    let encoded = text(headers, "authorization")?.strip_prefix("Basic ")?;
    let given = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let given = String::from_utf8(given).ok()?;
    Some(given.split(':').next().unwrap_or_default().to_owned())
}

/// A header's text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    fn tokens() -> Tokens {
        Tokens { access: "secret".to_owned(), traffic: "other".to_owned() }
    }

    #[test]
    fn a_key_opens_and_no_other() {
        let keys = Keys::new(["e2b_1", "e2b_2"]);
        assert!(keys.open(&headers("x-api-key", "e2b_2")));
        assert!(keys.open(&headers("authorization", "Bearer e2b_1")));
        for refused in [headers("x-api-key", "e2b_"), headers("x-api-key", ""), HeaderMap::new()] {
            assert!(!keys.open(&refused));
        }
        assert!(!Keys::new([]).open(&headers("x-api-key", "")));
        assert!(!format!("{keys:?}").contains("e2b_"));
    }

    #[test]
    fn a_tokens_reach_is_its_own() {
        assert!(tokens().open_files_and_programs(&headers("x-access-token", "secret")));
        assert!(!tokens().open_files_and_programs(&headers("e2b-traffic-access-token", "other")));
        assert!(tokens().open_code(&headers("e2b-traffic-access-token", "other")));
        assert!(!tokens().open_code(&headers("e2b-traffic-access-token", "secret")));
        assert!(!format!("{:?}", tokens()).contains("secret"));
    }

    #[test]
    fn a_signature_holds_for_one_path_operation_user_and_time() {
        let hash = ring::digest::digest(&ring::digest::SHA256, b"/a:read::secret:100");
        let right = format!("v1_{}", STANDARD_NO_PAD.encode(hash));
        let signed = |path, until| Signed { path, user: "", signature: &right, until };
        assert!(signed("/a", Some(100)).is_of(&tokens(), Operation::Read, 99));
        assert!(!signed("/a", Some(100)).is_of(&tokens(), Operation::Read, 100), "its time is up");
        assert!(!signed("/a", Some(101)).is_of(&tokens(), Operation::Read, 99), "another time");
        assert!(!signed("/a", None).is_of(&tokens(), Operation::Read, 99), "no time");
        assert!(!signed("/b", Some(100)).is_of(&tokens(), Operation::Read, 99), "another path");
        assert!(!signed("/a", Some(100)).is_of(&tokens(), Operation::Write, 99), "another operation");
        let other = Tokens { access: "another".to_owned(), ..tokens() };
        assert!(!signed("/a", Some(100)).is_of(&other, Operation::Read, 99), "another sandbox");
    }
}
