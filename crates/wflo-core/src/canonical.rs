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
    let mut value = serde_json::to_value(value)?;
    keep_large_integers(&mut value);
    serde_json_canonicalizer::to_vec(&value)
}

/// RFC 8785 writes numbers as IEEE doubles, in which integers beyond 2^53 collapse: two statements about
/// different rows would get one digest. Such integers become `{"$int": "…"}` first.
fn keep_large_integers(value: &mut serde_json::Value) {
    const EXACT: u64 = 1 << 53;
    match value {
        serde_json::Value::Number(number) => {
            let large =
                number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64()).is_some_and(|n| n > EXACT);
            if large {
                *value = serde_json::json!({ "$int": number.to_string() });
            }
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(keep_large_integers),
        serde_json::Value::Object(map) => map.values_mut().for_each(keep_large_integers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn integers_that_doubles_cannot_tell_apart_have_different_digests() {
        let digest = |n: u64| Digest::of_json(&json!({ "id": n })).unwrap();
        assert_ne!(digest(9_007_199_254_740_993), digest(9_007_199_254_740_992));
        assert_eq!(to_canonical_bytes(&json!(1_u64 << 53)).unwrap(), b"9007199254740992");
    }

    #[test]
    fn key_order_and_number_spelling_do_not_matter() {
        let a: serde_json::Value = serde_json::from_str(r#"{"b":1.0,"a":[1e2,"é"]}"#).unwrap();
        let b = json!({"a": [100, "\u{e9}"], "b": 1});
        assert_eq!(Digest::of_json(&a).unwrap(), Digest::of_json(&b).unwrap());
        assert_eq!(to_canonical_bytes(&a).unwrap(), r#"{"a":[100,"é"],"b":1}"#.as_bytes());
    }
}
