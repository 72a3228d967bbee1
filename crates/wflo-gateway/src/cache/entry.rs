//! What is kept of an answer, and how it is written where others can write too.
//!
//! A value is `magic (4 bytes) | seal (32) | length of the head (4) | head, JSON | body`. The seal is the BLAKE3
//! of the key and of all behind it, keyed by the provider's credentials: a value that was cut, changed, or
//! written under another key by somebody without them is no answer.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wflo_core::money::NanoUsd;

use super::Key;
use crate::usage::Usage;

const MAGIC: &[u8; 4] = b"wfc1";

/// Magic, seal, length.
const BEFORE: usize = 4 + 32 + 4;

/// Most bytes of a value beside its body.
pub(super) const LARGEST_HEAD: usize = 16 * 1024;

/// The headers of an answer that are kept: what it is, whose it is, who gave it.
pub(super) const HEADERS: [&str; 5] =
    ["content-type", "x-request-id", "request-id", "wflo-provider", "wflo-model"];

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    /// Of [`HEADERS`], those that it had.
    pub(crate) headers: Vec<(String, String)>,
    /// As its client got it.
    pub(crate) body: Bytes,
    /// What it used.
    pub(crate) usage: Usage,
    /// What it cost.
    pub(crate) cost: NanoUsd,
    /// When it was kept.
    pub(crate) stored_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Head {
    headers: Vec<(String, String)>,
    usage: Usage,
    cost_usd: NanoUsd,
    stored_at: Timestamp,
}

impl Entry {
    /// Keeps of these headers those that are kept.
    pub(crate) fn headers(all: &[(String, String)]) -> Vec<(String, String)> {
        all.iter().filter(|(name, _)| HEADERS.contains(&name.as_str())).cloned().collect()
    }

    /// The same in memory of its own size: a body may be a part of a larger buffer.
    pub(super) fn compact(self) -> Entry {
        Entry { body: Bytes::copy_from_slice(&self.body), ..self }
    }

    pub(super) fn encode(&self, key: &Key) -> Vec<u8> {
        let head = Head {
            headers: self.headers.clone(),
            usage: self.usage.clone(),
            cost_usd: self.cost,
            stored_at: self.stored_at,
        };
        // Texts and numbers alone: it can be written.
        let head = serde_json::to_vec(&head).unwrap_or_default();
        let mut out = Vec::with_capacity(BEFORE + head.len() + self.body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 32]);
        out.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.body);
        let seal = key.seal(&out[36..]);
        out[4..36].copy_from_slice(seal.as_bytes());
        out
    }

    /// The answer; `None` of anything that [`Entry::encode`] has not written under this key.
    pub(super) fn decode(key: &Key, value: &[u8]) -> Option<Entry> {
        let (magic, rest) = value.split_first_chunk::<4>()?;
        let (seal, sealed) = rest.split_first_chunk::<32>()?;
        // Two hashes are compared in a time that does not tell where they differ.
        if magic != MAGIC || key.seal(sealed) != blake3::Hash::from_bytes(*seal) {
            return None;
        }
        let (length, rest) = sealed.split_first_chunk::<4>()?;
        let (head, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if head.len() > LARGEST_HEAD - BEFORE {
            return None;
        }
        let head: Head = serde_json::from_slice(head).ok()?;
        Some(Entry {
            headers: Entry::headers(&head.headers),
            body: Bytes::copy_from_slice(body),
            usage: head.usage,
            cost: head.cost_usd.max(NanoUsd::ZERO),
            stored_at: head.stored_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Dimension;
    use proptest::prelude::*;

    fn entry(body: Vec<u8>) -> Entry {
        Entry {
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.into(),
            usage: Usage::of(&[(Dimension::Input, 7), (Dimension::Output, 3)]),
            cost: NanoUsd::from_nanos(1_234),
            stored_at: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_under_its_own_key_and_credentials_alone(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            at in any::<proptest::sample::Index>(),
            cut in any::<proptest::sample::Index>(),
        ) {
            let (key, entry) = (Key::numbered(1), entry(body));
            let value = entry.encode(&key);
            prop_assert_eq!(Entry::decode(&key, &value), Some(entry));
            prop_assert_eq!(Entry::decode(&Key::numbered(2), &value), None);
            prop_assert_eq!(Entry::decode(&key.under("another key"), &value), None);
            prop_assert_eq!(Entry::decode(&key, &value[..cut.index(value.len())]), None);
            let mut changed = value.clone();
            changed[at.index(value.len())] ^= 1;
            prop_assert_eq!(Entry::decode(&key, &changed), None);
        }

        #[test]
        fn bytes_of_others_never_panic(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Entry::decode(&Key::numbered(1), &value), None);
            let magic = [&MAGIC[..], &value].concat();
            prop_assert_eq!(Entry::decode(&Key::numbered(1), &magic), None);
        }
    }
}
