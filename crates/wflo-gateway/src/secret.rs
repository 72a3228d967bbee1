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

    /// `text` with the value replaced, wherever it stands: for what is kept or shown of others' output.
    /// A value of fewer than eight characters is left: it would hit ordinary words.
    #[must_use]
    pub fn redact(&self, text: String) -> String {
        if self.0.len() >= 8 && text.contains(&self.0) { text.replace(&self.0, "[redacted]") } else { text }
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
