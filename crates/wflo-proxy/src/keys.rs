//! Virtual keys in memory: who a request comes from.
//!
//! Owns the look-up, by the hash of what a client shows: how long it takes says nothing about any
//! key. Whether a key is good is asked at each request; what the store has of keys is read anew whenever it
//! changes.

mod made;
mod pace;
mod shown;

pub use self::made::{KeyWish, MadeKey, rotated};
pub(crate) use self::pace::Pace;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use jiff::Timestamp;
use wflo_core::key::{KeyRefusal, VirtualKey};
use wflo_gateway::ledger::{Caller, Share};

use self::pace::Bucket;

/// Who calls: a key, or anybody as long as there are none.
#[derive(Debug)]
pub struct Client {
    /// The key.
    pub key: Option<VirtualKey>,
    /// Where its pace is limited.
    pace: Option<Mutex<Bucket>>,
    /// When its secret ends: shared by all that the key ever was under it.
    end: Arc<End>,
}

/// When a secret is good for nothing any more. It may be moved while calls are under way.
#[derive(Debug)]
struct End {
    /// In microseconds since 1970.
    at: AtomicI64,
}

impl Default for End {
    fn default() -> End {
        End { at: AtomicI64::new(End::NEVER) }
    }
}

impl End {
    const NEVER: i64 = i64::MAX;
    const REVOKED: i64 = i64::MIN;

    fn move_to(&self, key: Option<&VirtualKey>) {
        let at = match key {
            Some(key) if key.revoked_at.is_none() => {
                key.expires_at.map_or(End::NEVER, |at| at.as_microsecond())
            }
            _ => End::REVOKED,
        };
        self.at.store(at, Ordering::Relaxed);
    }

    fn refused(&self, now: Timestamp) -> Option<KeyRefusal> {
        match self.at.load(Ordering::Relaxed) {
            End::REVOKED => Some(KeyRefusal::Revoked),
            at => (at <= now.as_microsecond()).then_some(KeyRefusal::Expired),
        }
    }
}

impl Client {
    fn new(key: Option<VirtualKey>, end: Arc<End>) -> Client {
        let permitted = key.as_ref().and_then(|key| key.requests_per_minute);
        Client { pace: permitted.map(|permitted| Mutex::new(Bucket::of(permitted))), key, end }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.key.as_ref().map_or("", |key| &key.name)
    }

    /// Whether it is told all metrics, and not its own alone.
    pub(crate) fn reads_metrics(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.metrics)
    }

    /// Why its calls may not go on, if so.
    pub(crate) fn refused(&self, now: Timestamp) -> Option<KeyRefusal> {
        self.end.refused(now)
    }

    /// Counts one request.
    pub(crate) fn pace(&self, now: Timestamp) -> Pace {
        let bucket = self.pace.as_ref().map(|pace| pace.lock().unwrap_or_else(PoisonError::into_inner));
        bucket.map_or(Pace::Good, |mut bucket| bucket.take(now))
    }
}

/// Why a request has no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoCaller {
    /// It shows no key, and keys are wanted.
    Missing,
    /// It shows a key that nobody has made.
    Unknown,
    /// It shows a key that is good no longer.
    Refused(KeyRefusal),
}

/// All keys.
#[derive(Default)]
pub(crate) struct Keys {
    by_hash: HashMap<[u8; 32], (Arc<Client>, Caller)>,
    /// Whoever comes; only where no key was ever made.
    anybody: Option<Caller>,
}

impl Keys {
    /// The keys of the store. Those that `before` knows keep their pace. `open`: anybody may call as long
    /// as there is none.
    pub(crate) fn new(rows: Vec<VirtualKey>, open: bool, before: &Keys) -> Keys {
        let anybody = (open && rows.is_empty()).then(|| caller(&Arc::new(Client::new(None, Arc::default()))));
        let by_hash = rows.into_iter().filter_map(|row| {
            let hash: [u8; 32] = *blake3::Hash::from_hex(&row.hash).ok()?.as_bytes();
            let known = before.by_hash.get(&hash);
            let end = known.map(|(client, _)| Arc::clone(&client.end)).unwrap_or_default();
            end.move_to(Some(&row));
            let same = known.filter(|(client, _)| client.key.as_ref() == Some(&row));
            let entry = same.cloned().unwrap_or_else(|| {
                let client = Arc::new(Client::new(Some(row), end));
                let caller = caller(&client);
                (client, caller)
            });
            Some((hash, entry))
        });
        let by_hash: HashMap<_, (Arc<Client>, Caller)> = by_hash.collect();
        for (_, (client, _)) in before.by_hash.iter().filter(|(hash, _)| !by_hash.contains_key(*hash)) {
            client.end.move_to(None);
        }
        Keys { by_hash, anybody }
    }

    /// Whether some key can be used.
    pub(crate) fn has_a_good_one(&self, now: Timestamp) -> bool {
        let mut keys = self.by_hash.values().filter_map(|(client, _)| client.key.as_ref());
        keys.any(|key| key.refused(now).is_none())
    }

    /// Whether anybody may call.
    pub(crate) fn is_open(&self) -> bool {
        self.anybody.is_some()
    }

    /// Who sends a request with these headers and this query.
    pub(crate) fn caller(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        now: Timestamp,
    ) -> Result<Caller, NoCaller> {
        if let Some(anybody) = &self.anybody {
            return Ok(anybody.clone());
        }
        let mut why = NoCaller::Missing;
        for shown in shown::shown(headers, query) {
            let hash = *blake3::hash(shown).as_bytes();
            match self.by_hash.get(&hash) {
                None => why = NoCaller::Unknown,
                Some((client, caller)) => {
                    match client.refused(now) {
                        None => return Ok(caller.clone()),
                        Some(refusal) => why = NoCaller::Refused(refusal),
                    };
                }
            }
        }
        Err(why)
    }

    /// Cuts the keys that a request shows from wherever they would go on to the provider.
    pub(crate) fn cut<B>(&self, request: &mut http::Request<B>) {
        shown::cut(request, |shown| self.by_hash.contains_key(blake3::hash(shown).as_bytes()));
    }
}

fn caller(client: &Arc<Client>) -> Caller {
    let label = client.key.as_ref().map_or_else(|| "gateway".to_owned(), |key| key.id.to_string());
    let (caller, client) = (Caller::new(&label, Arc::clone(client)), Arc::clone(client));
    let caller = match &client.key {
        Some(key) => caller.called(&key.name).among_others(&Share::default()),
        None => caller,
    };
    match client.key.as_ref().is_some_and(|key| key.metrics || !key.models.is_empty()) {
        true => caller.seeing(move |model| client.key.as_ref().is_none_or(|key| key.may_call(model))),
        false => caller,
    }
}

#[cfg(test)]
mod tests;
