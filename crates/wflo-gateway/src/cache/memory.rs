//! Answers in this process: those that were asked for last, within a number of bytes.
//!
//! **Architecture Invariant:** what is kept, with what keeping it takes, is never more than the limit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::{Entry, Key};

/// What an answer takes beside its own bytes: key, links, the table's slot.
const BESIDE: usize = 256;

pub(super) struct Memory {
    limit: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    answers: LruCache<[u8; 32], Entry>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Memory {
        Memory { limit, kept: Mutex::new(Kept { answers: LruCache::unbounded(), bytes: 0 }) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        self.kept().answers.get(key.bytes()).cloned()
    }

    /// Whether it fits.
    pub(super) fn put(&self, key: &Key, entry: Entry) -> bool {
        let size = size(&entry);
        if size > self.limit {
            return false;
        }
        let entry = entry.compact();
        let mut kept = self.kept();
        kept.bytes += size;
        if let Some(before) = kept.answers.put(*key.bytes(), entry) {
            kept.bytes -= self::size(&before);
        }
        while kept.bytes > self.limit
            && let Some((_, oldest)) = kept.answers.pop_lru()
        {
            kept.bytes -= self::size(&oldest);
        }
        true
    }

    pub(super) fn entries(&self) -> u64 {
        self.kept().answers.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.kept().bytes as u64
    }
}

fn size(entry: &Entry) -> usize {
    let headers = entry.headers.iter().map(|(name, value)| name.len() + value.len() + 64);
    BESIDE + entry.body.len() + headers.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn entry(length: usize) -> Entry {
        Entry { body: Bytes::from(vec![b'x'; length]), ..Entry::default() }
    }

    #[test]
    fn who_was_asked_for_last_stays() {
        let memory = Memory::new(3 * (BESIDE + 100));
        let keys: Vec<Key> = (0..4).map(Key::numbered).collect();
        for key in &keys[..3] {
            assert!(memory.put(key, entry(100)));
        }
        assert!(memory.get(&keys[0]).is_some());
        assert!(memory.put(&keys[3], entry(100)));
        assert!(memory.get(&keys[1]).is_none(), "nobody asked for it");
        assert!([0, 2, 3].iter().all(|at| memory.get(&keys[*at]).is_some()));
        assert!(!memory.put(&keys[1], entry(4 * (BESIDE + 100))), "it alone is too large");
        assert_eq!(memory.entries(), 3);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_never_more_than_the_limit(puts in proptest::collection::vec((0_u8..20, 0_usize..5_000), 0..200)) {
            let memory = Memory::new(20_000);
            for (key, length) in puts {
                memory.put(&Key::numbered(key), entry(length));
                let kept = memory.kept();
                let sum: usize = kept.answers.iter().map(|(_, entry)| size(entry)).sum();
                prop_assert!(kept.bytes == sum && sum <= 20_000, "{} {sum}", kept.bytes);
            }
        }
    }
}
