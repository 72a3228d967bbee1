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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use jiff::Timestamp;
use wflo_core::key::{KeyRefusal, VirtualKey};
use wflo_gateway::ledger::Caller;

use self::pace::Bucket;

/// Who calls: a key, or anybody as long as there are none.
#[derive(Debug)]
pub struct Client {
    /// The key.
    pub key: Option<VirtualKey>,
    /// Where its pace is limited.
    pace: Option<Mutex<Bucket>>,
    /// Its secret is good for nothing any more: shared by all that the key ever was under it.
    ended: Arc<AtomicBool>,
}

impl Client {
    fn new(key: Option<VirtualKey>, ended: Arc<AtomicBool>) -> Client {
        let permitted = key.as_ref().and_then(|key| key.requests_per_minute);
        Client { pace: permitted.map(|permitted| Mutex::new(Bucket::of(permitted))), key, ended }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.key.as_ref().map_or("", |key| &key.name)
    }

    /// Why its calls may not go on, if so.
    pub(crate) fn refused(&self, now: Timestamp) -> Option<KeyRefusal> {
        if self.ended.load(Ordering::Relaxed) {
            return Some(KeyRefusal::Revoked);
        }
        self.key.as_ref().and_then(|key| key.refused(now))
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
            let same = known.filter(|(client, _)| client.key.as_ref() == Some(&row));
            let entry = same.cloned().unwrap_or_else(|| {
                let ended = known.map(|(client, _)| Arc::clone(&client.ended)).unwrap_or_default();
                let client = Arc::new(Client::new(Some(row), ended));
                let caller = caller(&client);
                (client, caller)
            });
            Some((hash, entry))
        });
        let by_hash: HashMap<_, (Arc<Client>, Caller)> = by_hash.collect();
        for (hash, (client, _)) in &before.by_hash {
            let now = by_hash.get(hash).and_then(|(client, _)| client.key.as_ref());
            if now.is_none_or(|key| key.revoked_at.is_some()) {
                client.ended.store(true, Ordering::Relaxed);
            }
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
        Some(key) => caller.called(&key.name).among_others(),
        None => caller,
    };
    match client.key.as_ref().is_some_and(|key| !key.models.is_empty()) {
        true => caller.seeing(move |model| client.key.as_ref().is_none_or(|key| key.may_call(model))),
        false => caller,
    }
}

#[cfg(test)]
mod tests;
