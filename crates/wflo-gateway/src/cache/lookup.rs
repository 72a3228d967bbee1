//! One call's question to the cache, to be asked where its ledger has come to it.
//!
//! A ledger asks after it has looked for an answer of its own record, which wins, and after it has asked
//! policies, and before it takes a turn, holds money, or writes an intent: a hit needs none of these.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use wflo_core::error::{Code, Failure};
use wflo_core::money::NanoUsd;

use super::{Cache, Control, Entry, HEADER, Key};
use crate::ledger::{Recorded, Refusal};
use crate::telemetry;

/// There is no kept answer, and nothing else is wanted.
const NOT_KEPT: Code = Code(4100);

/// The question of one call. Cheap to clone.
#[derive(Clone, Default)]
pub struct Lookup(Option<Arc<Question>>);

struct Question {
    cache: Cache,
    control: Control,
    /// In this order.
    places: Vec<Kept>,
}

/// Where an answer may be kept: under one way in which the call may be made.
pub(crate) struct Kept {
    pub(crate) key: Key,
    pub(crate) provider: String,
    pub(crate) model: String,
    /// The most that the call could cost there.
    pub(crate) hold: NanoUsd,
}

/// A kept answer.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The answer, which costs nothing.
    pub recorded: Recorded,
    /// Who gave it: a route may be drawn that is another.
    pub provider: String,
    /// The model, as it is called there.
    pub model: String,
    /// What it cost when it was paid for, and at most what this call could have cost.
    pub saved: NanoUsd,
    /// How long ago that was.
    pub age: Duration,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Lookup" } else { "Lookup(none)" })
    }
}

impl Lookup {
    /// Of a call that is not answered from a cache.
    pub fn none() -> Lookup {
        Lookup(None)
    }

    /// Of a call whose answer may be kept at any of these places, of which the first is preferred.
    pub(crate) fn new(cache: &Cache, control: Control, places: Vec<Kept>) -> Lookup {
        match places.is_empty() {
            true => Lookup::none(),
            false => Lookup(Some(Arc::new(Question { cache: cache.clone(), control, places }))),
        }
    }

    /// The kept answer, if there is one that may be given.
    ///
    /// # Errors
    /// [`Refusal::Other`] when there is none and the client wants nothing else.
    pub async fn find(&self) -> Result<Option<Hit>, Refusal> {
        let Some(question) = &self.0 else { return Ok(None) };
        let counts = &question.cache.0.counts;
        let Some((at, entry, age)) = question.found().await else {
            counts.misses.fetch_add(1, Ordering::Relaxed);
            return match question.control.only_if_cached {
                true => Err(not_kept()),
                false => Ok(None),
            };
        };
        let saved = entry.cost.min(at.hold);
        counts.hits.fetch_add(1, Ordering::Relaxed);
        counts.saved.fetch_add(u64::try_from(saved.nanos()).unwrap_or(0), Ordering::Relaxed);
        telemetry::cached(age, saved);
        let (provider, model) = (at.provider.clone(), at.model.clone());
        Ok(Some(Hit { recorded: given(entry, age), provider, model, saved, age }))
    }
}

impl Question {
    /// What is kept at the first place that has something.
    async fn found(&self) -> Option<(&Kept, Entry, Duration)> {
        for at in self.places.iter().filter(|_| self.control.reads()) {
            if let Some((entry, age)) = self.cache.get(&at.key, self.control.max_age).await {
                return Some((at, entry, age));
            }
        }
        None
    }
}

/// The answer as it is given again.
fn given(entry: Entry, age: Duration) -> Recorded {
    let mut headers = entry.headers;
    headers.push((HEADER.to_owned(), "hit".to_owned()));
    headers.push(("age".to_owned(), age.as_secs().to_string()));
    let body: Bytes = entry.body;
    Recorded {
        status: 200,
        headers,
        body,
        interrupted: false,
        broke: None,
        usage: Some(entry.usage),
        cost: NanoUsd::ZERO,
    }
}

/// The refusal of a call that wants nothing but a kept answer.
pub(crate) fn not_kept() -> Refusal {
    let failure = Failure::new(NOT_KEPT, "there is no kept answer to this request")
        .with_hint("The request says `Cache-Control: only-if-cached`; without it the provider is asked.");
    Refusal::Other { status: 504, kind: "not_cached".to_owned(), failure }
}
