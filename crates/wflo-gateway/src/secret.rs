//! A provider's key: held, sent, never shown.
//!
//! **Architecture Invariant:** nothing here prints or serialises the value; the one way to it is
//! [`Secret::expose`], and its callers are the upstream's request headers.

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
