//! A provider's key: held, sent, never shown.
//!
//! **Architecture Invariant:** nothing here prints or serialises the value; the one way to it is
//! [`Secret::expose`], and its callers are the upstream's request headers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

/// What stands where a secret stood.
pub(crate) const REDACTED: &str = "[redacted]";
/// A shorter value would hit ordinary words.
const SHORT: usize = 8;

/// A secret text. `Debug` shows nothing of it; there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the value as read from the environment, a file or a command; surrounding white space
    /// (a file's final newline) is no part of a key. An empty value is no secret.
    pub fn new(value: &str) -> Option<Secret> {
        let value = value.trim();
        (!value.is_empty()).then(|| Secret(value.to_owned()))
    }

    /// `text` with the value replaced, wherever it stands: for what is kept or shown of others' output.
    /// A value of fewer than eight characters is left.
    #[must_use]
    pub fn redact(&self, text: String) -> String {
        if self.0.len() >= SHORT && text.contains(&self.0) { text.replace(&self.0, REDACTED) } else { text }
    }

    /// The same for the bytes of an answer: a server that repeats what it was sent must not tell its clients
    /// the key. Nothing is copied where the value does not stand.
    #[must_use]
    pub fn conceal(&self, bytes: Bytes) -> Bytes {
        let value = self.0.as_bytes();
        if value.len() < SHORT || memmem::find(&bytes, value).is_none() {
            return bytes;
        }
        let (mut out, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for at in memmem::find_iter(&bytes, value) {
            out.extend_from_slice(&bytes[from..at]);
            out.extend_from_slice(REDACTED.as_bytes());
            from = at + value.len();
        }
        out.extend_from_slice(&bytes[from..]);
        out.into()
    }

    /// The same for headers: a value that holds the secret is replaced whole.
    pub fn conceal_in(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            if self.0.len() >= SHORT && memmem::find(value.as_bytes(), self.0.as_bytes()).is_some() {
                *value = HeaderValue::from_static(REDACTED);
            }
        }
    }

    /// The value, for the header that carries it and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_headers_do_not_show_it() {
        let key = Secret::new("sk-real-key").unwrap();
        let shown = key.conceal(Bytes::from_static(b"sk-real-key \xff sk-real-key! sk-real-ke"));
        assert_eq!(&shown[..], b"[redacted] \xff [redacted]! sk-real-ke");
        let untouched = Bytes::from_static(b"nothing");
        assert_eq!(key.conceal(untouched.clone()).as_ptr(), untouched.as_ptr());
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", HeaderValue::from_static("Bearer sk-real-key"));
        headers.append("x-echo", HeaderValue::from_static("other"));
        key.conceal_in(&mut headers);
        let values: Vec<_> = headers.get_all("x-echo").iter().collect();
        assert_eq!(values, ["[redacted]", "other"]);
        assert_eq!(&Secret::new("short").unwrap().conceal(Bytes::from_static(b"short"))[..], b"short");
    }
}
