//! How each way to a model has been doing lately: how quick it was, and when it wants to be left alone.
//!
//! Owns what was learned from answers; what follows from it is `exchange`'s. It is of this process and is
//! forgotten with it.

mod breaker;

use self::breaker::Admission;
pub use self::breaker::{Breaker, Phase};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::retry::{Asked, chance};

/// What was not asked for this long is as good as unknown.
const STALE: Duration = Duration::from_secs(60);

/// The share of the newest answer in the latency, in eighths.
const NEWEST: u32 = 2;

/// More ways than anybody configures; a client cannot make this grow without end.
const WAYS: usize = 10_000;

/// Every way that was tried, by provider and model.
#[derive(Debug, Default)]
pub(crate) struct Health {
    ways: Mutex<HashMap<(String, String), Arc<Way>>>,
}

impl Health {
    /// The way to a model at a provider.
    pub(crate) fn way(&self, provider: &str, model: &str) -> Arc<Way> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (provider.to_owned(), model.to_owned());
        if ways.len() >= WAYS && !ways.contains_key(&key) {
            // Names that were asked for and never tried tell nothing.
            ways.retain(|_, way| Arc::strong_count(way) > 1 || !way.is_unknown());
            if ways.len() >= WAYS {
                return Arc::new(Way::of(provider, model));
            }
        }
        Arc::clone(ways.entry(key).or_insert_with(|| Arc::new(Way::of(provider, model))))
    }
}

/// What is known of one way.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// As messages have it: the model and its provider.
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// To the first byte, and when that was learned.
    latency: Option<(Duration, Instant)>,
    /// Until then its provider wants no requests.
    resting: Option<Instant>,
    breaker: breaker::State,
}

impl Way {
    fn of(provider: &str, model: &str) -> Self {
        Way { name: format!("{model} at `{provider}`"), ..Way::default() }
    }

    /// The model and its provider.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is known of it that still counts.
    fn is_unknown(&self) -> bool {
        let (now, state) = (Instant::now(), self.state());
        state.latency.is_none_or(|(_, at)| now - at >= STALE)
            && state.resting.is_none_or(|until| until <= now)
            && state.breaker.is_untouched()
    }

    /// An answer's head came after this time.
    pub(crate) fn learn(&self, status: StatusCode, took: Duration, headers: &HeaderMap) {
        if status.is_success() {
            self.took(took);
        }
        self.told(Asked::read(headers));
    }

    fn took(&self, took: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        let latency = match state.latency {
            Some((known, at)) if now - at < STALE => (known * (8 - NEWEST) + took * NEWEST) / 8,
            _ => took,
        };
        state.latency = Some((latency, now));
    }

    /// How quick it is, if that is known.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let (latency, at) = self.state().latency?;
        (at.elapsed() < STALE).then_some(latency)
    }

    /// Its provider has said how long to wait.
    fn told(&self, asked: Asked) {
        if let Some(wait) = asked.wait {
            let until = Instant::now() + wait;
            let mut state = self.state();
            state.resting = state.resting.max(Some(until));
        }
    }

    /// Whether it is better left alone while there is another.
    pub(crate) fn rests(&self) -> bool {
        let (now, state) = (Instant::now(), self.state());
        !state.breaker.admits(now) || state.resting.is_some_and(|until| until > now)
    }

    /// It answered, or failed to; whether its breaker opened by that.
    pub(crate) fn record(&self, settings: &Breaker, ok: bool) -> bool {
        self.state().breaker.record(settings, ok, Instant::now(), chance)
    }

    /// Lets a call pass, or says how long it would have to wait.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Option<Probe>, Duration> {
        match self.state().breaker.admit(Instant::now()) {
            Admission::Pass => Ok(None),
            Admission::Probe(id) => Ok(Some(Probe { way: Arc::clone(self), id })),
            Admission::Wait(wait) => Err(wait),
        }
    }
}

/// A call that finds out whether a way works again. Dropped without an answer, another may.
#[derive(Debug)]
pub(crate) struct Probe {
    way: Arc<Way>,
    id: u64,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.way.state().breaker.abandon(self.id);
    }
}

impl Health {
    /// What the breaker of each way is doing, by provider and model.
    pub(crate) fn phases(&self) -> Vec<(String, String, Phase)> {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let phases = ways.iter().map(|((provider, model), way)| {
            (provider.clone(), model.clone(), way.state().breaker.phase(now))
        });
        phases.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_latency_follows_what_was_seen_and_is_forgotten() {
        let way = Way::default();
        assert_eq!(way.latency(), None);
        way.took(Duration::from_millis(800));
        way.took(Duration::from_millis(400));
        assert_eq!(way.latency(), Some(Duration::from_millis(700)));
        tokio::time::advance(STALE).await;
        assert_eq!(way.latency(), None);
        way.took(Duration::from_millis(10));
        assert_eq!(way.latency(), Some(Duration::from_millis(10)));
    }

    #[test]
    fn names_that_nobody_tried_make_room_for_those_that_were() {
        let health = Health::default();
        let tried = health.way("p", "tried");
        for _ in 0..5 {
            tried.record(&Breaker::default(), false);
        }
        drop(tried);
        for nth in 0..WAYS + 10 {
            drop(health.way("p", &format!("never heard of {nth}")));
        }
        let late = health.way("p", "late");
        assert!(Arc::ptr_eq(&late, &health.way("p", "late")), "it is remembered");
        assert!(health.way("p", "tried").rests(), "what was learned is not forgotten");
        assert!(health.phases().len() <= WAYS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_rests_as_long_as_it_asked_for() {
        let way = Way::default();
        way.told(Asked { wait: Some(Duration::from_secs(5)), never: false });
        way.told(Asked { wait: Some(Duration::from_secs(1)), never: false });
        assert!(way.rests(), "the longer wish counts");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(!way.rests());
    }
}
