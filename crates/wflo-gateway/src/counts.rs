//! What is counted of attempts and limits, for whoever watches.
//!
//! Owns the counters; how they are shown is the server's. They outlive the gateway that counts: one of newer
//! settings goes on with them. **Architecture Invariant:** a counter is named after what the operator has
//! named, a provider or a limit, and after nothing that a client writes: no client can make them more.

mod histogram;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;

pub use self::histogram::Histogram;

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Answered,
    /// With a refusal that stands: the request is wrong, or the key.
    Refused,
    /// Too many requests for the provider.
    Limited,
    /// The provider failed.
    Failed,
    /// It was sent and got no answer.
    Unanswered,
    /// Not a byte of it was sent.
    Unsent,
}

impl Ended {
    /// Every one, in the order of their counters.
    pub const ALL: [Ended; 6] =
        [Ended::Answered, Ended::Refused, Ended::Limited, Ended::Failed, Ended::Unanswered, Ended::Unsent];

    /// Its label.
    pub const fn name(self) -> &'static str {
        match self {
            Ended::Answered => "answered",
            Ended::Refused => "refused",
            Ended::Limited => "limited",
            Ended::Failed => "failed",
            Ended::Unanswered => "unanswered",
            Ended::Unsent => "unsent",
        }
    }

    pub(crate) fn with(status: StatusCode) -> Ended {
        match status.as_u16() {
            200..=299 => Ended::Answered,
            429 => Ended::Limited,
            408 | 500.. => Ended::Failed,
            _ => Ended::Refused,
        }
    }
}

/// What came of the attempts at one provider.
#[derive(Debug, Default)]
pub struct AtProvider {
    attempts: [AtomicU64; Ended::ALL.len()],
    retries: AtomicU64,
    fallbacks: AtomicU64,
    downgrades: AtomicU64,
    opened: AtomicU64,
}

impl AtProvider {
    /// Attempts that ended so.
    pub fn attempts(&self, ended: Ended) -> u64 {
        self.attempts[ended as usize].load(Ordering::Relaxed)
    }

    /// Attempts made again after one at this provider failed.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Attempts made here because another way failed.
    pub fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    /// Calls made here because a budget wanted a cheaper model.
    pub fn downgrades(&self) -> u64 {
        self.downgrades.load(Ordering::Relaxed)
    }

    /// How often a breaker of one of its models opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self, ended: Ended) {
        self.attempts[ended as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn downgraded(&self) {
        self.downgrades.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn breaker_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }
}

/// Upper bounds of the time that calls wait for a limit, in microseconds.
pub const WAITS: [u64; 7] = [1_000, 10_000, 100_000, 1_000_000, 5_000_000, 20_000_000, 60_000_000];

/// What came of those that wanted to pass one limit.
#[derive(Debug)]
pub struct AtLimit {
    waited: Histogram,
    denied: AtomicU64,
}

impl Default for AtLimit {
    fn default() -> AtLimit {
        AtLimit { waited: Histogram::new(&WAITS), denied: AtomicU64::new(0) }
    }
}

impl AtLimit {
    /// How long those waited that passed.
    pub fn waited(&self) -> &Histogram {
        &self.waited
    }

    /// Those whose turn did not come.
    pub fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    pub(crate) fn deny(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }
}

/// All counters.
#[derive(Debug, Default)]
pub struct Counts {
    providers: Mutex<BTreeMap<String, Arc<AtProvider>>>,
    limits: Mutex<BTreeMap<String, Arc<AtLimit>>>,
    pub(crate) overshoots: AtomicU64,
}

fn of<T: Default>(all: &Mutex<BTreeMap<String, Arc<T>>>, name: &str) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(name.to_owned()).or_default())
}

fn each<T>(all: &Mutex<BTreeMap<String, Arc<T>>>) -> BTreeMap<String, Arc<T>> {
    all.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Counts {
    /// Those of a provider of the settings.
    pub(crate) fn provider(&self, name: &str) -> Arc<AtProvider> {
        of(&self.providers, name)
    }

    /// Those of a limit of the settings.
    pub(crate) fn limit(&self, name: &str) -> Arc<AtLimit> {
        of(&self.limits, name)
    }

    /// Every provider's.
    pub fn providers(&self) -> BTreeMap<String, Arc<AtProvider>> {
        each(&self.providers)
    }

    /// Every limit's.
    pub fn limits(&self) -> BTreeMap<String, Arc<AtLimit>> {
        each(&self.limits)
    }
}
