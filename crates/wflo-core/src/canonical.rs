//! Canonical JSON (RFC 8785) and digests of it.
//!
//! Everything that is compared or approved by hash is hashed in this form, so that the order of keys
//! and the spelling of numbers never matter.

use serde::Serialize;

/// A BLAKE3 digest in lower-case hexadecimal, 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Digest(blake3::hash(bytes).to_hex().to_string())
    }

    /// The digest of a value's canonical JSON.
    ///
    /// # Errors
    /// When the value is not JSON (a map with keys that are not texts, NaN).
    pub fn of_json<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::of_bytes(&to_canonical_bytes(value)?))
    }

    /// A digest that was computed elsewhere, as its hexadecimal text.
    pub fn from_hex(hex: impl Into<String>) -> Self {
        Digest(hex.into())
    }

    /// The hexadecimal text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve characters, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The RFC 8785 form of a value.
///
/// # Errors
/// When the value is not JSON.
pub fn to_canonical_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json_canonicalizer::to_vec(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_order_and_number_spelling_do_not_matter() {
        let a: serde_json::Value = serde_json::from_str(r#"{"b":1.0,"a":[1e2,"é"]}"#).unwrap();
        let b = json!({"a": [100, "\u{e9}"], "b": 1});
        assert_eq!(Digest::of_json(&a).unwrap(), Digest::of_json(&b).unwrap());
        assert_eq!(to_canonical_bytes(&a).unwrap(), r#"{"a":[100,"é"],"b":1}"#.as_bytes());
    }
}
