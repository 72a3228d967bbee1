//! Answers that are given again: the same request of the same callers is not paid for twice.
//!
//! Owns which requests are the same (`canonical`, `key`), which may be kept (`kept`), what is kept of an answer
//! (`entry`), and where (`memory`, `redis`). Nothing here holds money or journals: a ledger asks
//! [`Lookup::find`] where its own order of things has come to it, and records what it is given.
//!
//! **Architecture Invariant:** two requests share an answer only if they are equal in everything but what
//! `canonical` and `key` list as ignored, go to the same address under the same credentials, and come from
//! callers of one space. An answer that is kept is whole, was successful, and has a bill that is known. A
//! store that is slow, down, or written to by others is a miss and never an error.

mod canonical;
mod control;
mod entry;
mod kept;
mod key;
mod lookup;
mod memory;
mod redis;

pub use self::canonical::{IGNORED_FIELDS, NEVER_KEPT};
pub(crate) use self::control::Control;
pub(crate) use self::entry::Entry;
pub(crate) use self::kept::{Asked, is_kept, may_keep};
pub use self::key::{IGNORED_HEADERS, IGNORED_PREFIXES, TRANSMISSION};
pub(crate) use self::key::{Key, Print, Towards};
pub use self::lookup::{Hit, Lookup};
pub(crate) use self::lookup::{Kept, not_kept};
pub use self::redis::{Address, BadAddress, Unanswering};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;

use self::memory::Memory;
use self::redis::Redis;

/// The header that says whether an answer came from here.
pub(crate) const HEADER: &str = "wflo-cache";

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Where answers are kept.
    pub place: CachePlace,
    /// Who shares them.
    pub scope: Scope,
    /// How long one is given again after it was paid for.
    pub ttl: Duration,
    /// The most bytes of one answer.
    pub max_entry_bytes: usize,
    /// Answers in which there was chance are kept, too: those of requests without `temperature: 0`.
    pub sampled: bool,
    /// Whose answers these are among those of others in one store.
    pub namespace: String,
}

impl Default for CacheSettings {
    fn default() -> Self {
        CacheSettings {
            place: CachePlace::Memory { max_bytes: 256 << 20 },
            scope: Scope::Caller,
            ttl: Duration::from_secs(3_600),
            max_entry_bytes: 1 << 20,
            sampled: true,
            namespace: String::new(),
        }
    }
}

/// Where answers are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CachePlace {
    /// In this process.
    Memory {
        /// The most bytes of all answers.
        max_bytes: usize,
    },
    /// In a Redis that processes share.
    Redis {
        /// Where it is.
        address: Address,
        /// How long a call waits for it.
        patience: Duration,
    },
}

/// Who shares answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Nobody: a run, with the runs that continue it, has its own, and so has a key of the standalone gateway.
    #[default]
    Caller,
    /// The runs of one workflow.
    Workflow,
    /// Every run, and every key of the standalone gateway.
    Everyone,
}

/// What a cache has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Calls that were answered from it.
    pub hits: u64,
    /// Calls that were not, and whose answers may be kept.
    pub misses: u64,
    /// Calls that it had no part in.
    pub bypassed: u64,
    /// Answers that were kept.
    pub stored: u64,
    /// Times that its store did not do what it was asked.
    pub failures: u64,
    /// Answers in memory.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What the hits would have cost.
    pub saved: NanoUsd,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    bypassed: AtomicU64,
    stored: AtomicU64,
    saved: AtomicU64,
}

/// Answers that may be given again. Cheap to clone; all clones are one cache.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    settings: CacheSettings,
    store: Place,
    clock: Arc<dyn Clock>,
    counts: Counts,
}

enum Place {
    Memory(Memory),
    Redis(Box<Redis>),
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cache").field(&self.0.settings).finish()
    }
}

impl Cache {
    /// An empty cache, or what others keep at its address. Connects to nothing yet.
    pub fn new(settings: CacheSettings, clock: Arc<dyn Clock>) -> Cache {
        let store = match &settings.place {
            CachePlace::Memory { max_bytes } => Place::Memory(Memory::new(*max_bytes)),
            CachePlace::Redis { address, patience } => {
                Place::Redis(Box::new(Redis::new(address.clone(), *patience)))
            }
        };
        Cache(Arc::new(Inner { settings, store, clock, counts: Counts::default() }))
    }

    /// Its settings.
    pub fn settings(&self) -> &CacheSettings {
        &self.0.settings
    }

    /// What it has done so far.
    pub fn stats(&self) -> CacheStats {
        let counts = &self.0.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (entries, bytes, failures) = match &self.0.store {
            Place::Memory(memory) => (memory.entries(), memory.bytes(), 0),
            Place::Redis(redis) => (0, 0, redis.failures()),
        };
        CacheStats {
            hits: read(&counts.hits),
            misses: read(&counts.misses),
            bypassed: read(&counts.bypassed),
            stored: read(&counts.stored),
            failures,
            entries,
            bytes,
            saved: NanoUsd::from_nanos(i64::try_from(read(&counts.saved)).unwrap_or(i64::MAX)),
        }
    }

    /// A call that it has no part in.
    pub(crate) fn bypassed(&self) {
        self.0.counts.bypassed.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer of this key, if there is one that is not too old, and its age.
    pub(crate) async fn get(&self, key: &Key, at_most: Option<Duration>) -> Option<(Entry, Duration)> {
        let entry = match &self.0.store {
            Place::Memory(memory) => memory.get(key),
            Place::Redis(redis) => {
                let name = key.name(&self.0.settings.namespace);
                let value = redis.get(&name, self.largest_value()).await?;
                Entry::decode(key, &value)
            }
        }?;
        // Of one that was kept in the future nobody knows how old it is.
        let age = Duration::try_from(self.0.clock.now().duration_since(entry.stored_at)).ok()?;
        let limit = at_most.map_or(self.0.settings.ttl, |most| most.min(self.0.settings.ttl));
        (age < limit).then_some((entry, age))
    }

    /// Keeps an answer under this key, if it is not too large. What it returns is to be waited for by nobody:
    /// `None` where it is done already.
    pub(crate) fn put(&self, key: &Key, mut entry: Entry) -> Option<impl Future<Output = ()> + Send + use<>> {
        if entry.body.len() > self.0.settings.max_entry_bytes {
            return None;
        }
        entry.stored_at = self.0.clock.now();
        let inner = Arc::clone(&self.0);
        match &self.0.store {
            Place::Memory(memory) => {
                if memory.put(key, entry) {
                    inner.counts.stored.fetch_add(1, Ordering::Relaxed);
                }
                None
            }
            Place::Redis(_) => {
                let (name, value) = (key.name(&inner.settings.namespace), entry.encode(key));
                Some(async move {
                    let Place::Redis(redis) = &inner.store else { return };
                    if redis.put(&name, value, inner.settings.ttl).await {
                        inner.counts.stored.fetch_add(1, Ordering::Relaxed);
                    }
                })
            }
        }
    }

    /// Most bytes of a value with its head.
    fn largest_value(&self) -> usize {
        self.0.settings.max_entry_bytes + entry::LARGEST_HEAD
    }
}
