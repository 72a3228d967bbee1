//! JSON values in columns: themselves when small, a pointer to a blob when large.
//!
//! Owns the 32 KiB line and the pointer's form, `{"$blob": digest, "bytes": n}`.
//!
//! **Architecture Invariant:** a text in a column that begins as a pointer does is a pointer. A user's
//! value that looks like one is put into a blob whatever its size, so nobody can forge a pointer to
//! another run's content.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wflo_core::canonical::Digest;
use wflo_core::ports::store::StoreError;

use crate::blob::{Adding, BlobStore};

/// The largest JSON text, in bytes, that stands in a column itself.
pub(crate) const INLINE_LIMIT: usize = 32 * 1024;

const MARK: &str = "{\"$blob\"";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    #[serde(rename = "$blob")]
    digest: Digest,
    bytes: u64,
}

/// Turns values into column texts, and gathers the blobs that must be durable before they are used.
#[derive(Default)]
pub(crate) struct CellWriter {
    /// Blobs to keep before the texts are committed.
    pub(crate) pending: Vec<(Digest, Vec<u8>)>,
    /// How many bytes of text were made.
    pub(crate) bytes: usize,
}

impl CellWriter {
    /// The text for a column.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the value is not JSON.
    pub(crate) fn text<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<String, StoreError> {
        let text = plain(value)?;
        if text.len() <= INLINE_LIMIT && !text.starts_with(MARK) {
            self.bytes += text.len();
            return Ok(text);
        }
        let digest = Digest::of_bytes(text.as_bytes());
        let pointer = plain(&Pointer { digest: digest.clone(), bytes: text.len() as u64 })?;
        self.bytes += pointer.len();
        self.pending.push((digest, text.into_bytes()));
        Ok(pointer)
    }

    /// The text for a column that may be null.
    ///
    /// # Errors
    /// As [`CellWriter::text`].
    pub(crate) fn optional<T: Serialize>(&mut self, value: Option<&T>) -> Result<Option<String>, StoreError> {
        value.map(|value| self.text(value)).transpose()
    }

    /// Makes the gathered blobs durable; what is given is held until they are referred to.
    ///
    /// # Errors
    /// As [`BlobStore::put`].
    pub(crate) fn flush(pending: &[(Digest, Vec<u8>)], blobs: &BlobStore) -> Result<Adding, StoreError> {
        let adding = blobs.adding()?;
        pending.iter().try_for_each(|(digest, bytes)| blobs.put(&adding, digest, bytes))?;
        Ok(adding)
    }
}

/// The digest that a pointer's text names; `None` for the text of a value.
///
/// # Errors
/// [`StoreError::Corrupt`] when it begins as a pointer does and is none.
pub(crate) fn pointer(text: &str) -> Result<Option<Digest>, StoreError> {
    if !text.starts_with(MARK) {
        return Ok(None);
    }
    parse::<Pointer>(text.as_bytes()).map(|pointer| Some(pointer.digest))
}

/// How long the JSON of a column's value is.
///
/// # Errors
/// As [`pointer`].
pub(crate) fn bytes(text: &str) -> Result<u64, StoreError> {
    if !text.starts_with(MARK) {
        return Ok(text.len() as u64);
    }
    parse::<Pointer>(text.as_bytes()).map(|pointer| pointer.bytes)
}

/// JSON text that is never a pointer and never large: small records of our own.
///
/// # Errors
/// [`StoreError::Failed`] when the value is not JSON.
pub(crate) fn plain<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(format!("a value is not JSON: {error}")))
}

/// The value of a column.
///
/// # Errors
/// [`StoreError::Corrupt`] when the text or the blob is damaged.
pub(crate) fn read<T: DeserializeOwned>(blobs: &BlobStore, text: &str) -> Result<T, StoreError> {
    if !text.starts_with(MARK) {
        return parse(text.as_bytes());
    }
    let pointer: Pointer = parse(text.as_bytes())?;
    parse(&blobs.get(&pointer.digest)?)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt {
        path: "the store".to_owned(),
        detail: format!("a record cannot be read: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn round(value: &Value) -> (String, usize, Value) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::new(dir.path());
        let mut cells = CellWriter::default();
        let text = cells.text(value).unwrap();
        CellWriter::flush(&cells.pending, &blobs).unwrap();
        let back = read(&blobs, &text).unwrap();
        (text, cells.pending.len(), back)
    }

    #[test]
    fn small_values_stand_themselves_and_large_ones_in_a_blob() {
        let small = json!({"a": [1, "x"]});
        assert_eq!(round(&small), (small.to_string(), 0, small));
        let large = json!("y".repeat(INLINE_LIMIT));
        let (text, blobs, back) = round(&large);
        assert!(text.starts_with(MARK) && text.len() < 200 && blobs == 1);
        assert_eq!(back, large);
    }

    #[test]
    fn a_forged_pointer_is_only_a_value() {
        let forged = json!({"$blob": "00".repeat(32), "bytes": 5});
        let (text, blobs, back) = round(&forged);
        assert_eq!((blobs, back), (1, forged.clone()));
        assert_ne!(text, forged.to_string());
    }
}
