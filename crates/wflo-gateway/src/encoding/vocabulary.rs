//! The tokens of an encoding.
//!
//! Owns finding a token by its bytes. What a piece that is none is put together from is `merge`'s.

use std::sync::LazyLock;

use super::{Work, merge};

pub(super) static O200K: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_bytes!("../../encodings/o200k_base.bin")));
pub(super) static CL100K: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_bytes!("../../encodings/cl100k_base.bin")));

/// No token is longer, in bytes.
const LONGEST: usize = 128;

/// Every token of an encoding, by its bytes.
pub(super) struct Vocabulary {
    /// The bytes of all tokens, in the order of their ranks.
    bytes: &'static [u8],
    /// Where each begins, and the last one ends.
    starts: Vec<u32>,
    /// A table with open addresses: a rank and one, or zero.
    slots: Vec<u32>,
}

impl Vocabulary {
    /// Reads how many tokens there are, the length of each, and their bytes.
    fn read(file: &'static [u8]) -> Vocabulary {
        let (count, rest) =
            file.split_first_chunk().map_or((0, file), |(count, rest)| (u32::from_le_bytes(*count), rest));
        let (lengths, bytes) = rest.split_at_checked(count as usize).unwrap_or_default();
        let mut starts = Vec::with_capacity(lengths.len() + 1);
        let mut end = 0;
        starts.push(end);
        for length in lengths {
            end += u32::from(*length);
            starts.push(end);
        }
        let mut vocabulary =
            Vocabulary { bytes, starts, slots: vec![0; (lengths.len() * 2).next_power_of_two()] };
        for rank in 0..count {
            let slot = vocabulary.slot(vocabulary.token(rank));
            vocabulary.slots[slot] = rank + 1;
        }
        vocabulary
    }

    fn token(&self, rank: u32) -> &[u8] {
        let rank = rank as usize;
        &self.bytes[self.starts[rank] as usize..self.starts[rank + 1] as usize]
    }

    /// Where a token is, or could be. No more than half of the slots are taken, and a text takes none.
    fn slot(&self, token: &[u8]) -> usize {
        let last = self.slots.len() - 1;
        let mut slot = hash(token) & last;
        while let Some(rank) = self.slots[slot].checked_sub(1)
            && self.token(rank) != token
        {
            slot = (slot + 1) & last;
        }
        slot
    }

    /// The rank of the token of these bytes.
    pub(super) fn rank(&self, bytes: &[u8]) -> Option<u32> {
        match bytes.len() <= LONGEST {
            true => self.slots[self.slot(bytes)].checked_sub(1),
            false => None,
        }
    }

    /// The tokens of a piece; its bytes where there is no more work to be done.
    pub(super) fn tokens(&self, piece: &[u8], work: &mut Work) -> u64 {
        if self.rank(piece).is_some() {
            return 1;
        }
        if piece.len() > merge::LONGEST || !work.merges(piece.len()) {
            return piece.len() as u64;
        }
        merge::tokens(piece, |bytes| self.rank(bytes))
    }
}

fn hash(bytes: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = bytes.len() as u64;
    for part in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..part.len()].copy_from_slice(part);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
        hash ^= hash >> 29;
    }
    usize::try_from(hash >> 20).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_found_and_every_byte_is_one() {
        for (vocabulary, count) in [(&*O200K, 199_998), (&*CL100K, 100_256)] {
            assert_eq!(vocabulary.starts.len(), count + 1);
            assert_eq!(vocabulary.starts[count] as usize, vocabulary.bytes.len());
            for rank in 0..u32::try_from(count).unwrap() {
                let token = vocabulary.token(rank);
                assert!(token.len() <= LONGEST);
                assert_eq!(vocabulary.rank(token), Some(rank));
            }
            assert!((0..=255).all(|byte| vocabulary.rank(&[byte]).is_some()));
            assert_eq!(vocabulary.rank(b"no such token, surely"), None);
            assert_eq!(vocabulary.rank(&[b'a'; 129]), None);
        }
    }

    #[test]
    fn what_is_compiled_in_is_what_was_published() {
        let hashes = [
            include_bytes!("../../encodings/o200k_base.bin").as_slice(),
            include_bytes!("../../encodings/cl100k_base.bin"),
            include_bytes!("../../encodings/classes.bin"),
        ]
        .map(|file| blake3::hash(file).to_hex().to_string());
        let stated = include_str!("../../encodings/README.md");
        for hash in hashes {
            assert!(stated.contains(&hash), "{hash}");
        }
    }
}
