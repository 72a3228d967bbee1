//! What is counted, and how Prometheus reads it. Every name of a metric stands in this file.
//!
//! **Architecture Invariant:** a label's values are names that the operator chose (of keys, providers, limits)
//! or words of this file: no client can make a series.

mod cache;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wflo_core::exposition::{Page, usd};
use wflo_gateway::Gateway;
use wflo_gateway::counts::{AtProvider, Ended, Histogram, WAITS};
use wflo_gateway::health::Phase;

use crate::keys::Client;
use crate::log::End;

const REQUESTS: &str = "wflo_gateway_requests_total";
const TOKENS: &str = "wflo_gateway_tokens_total";
const COST: &str = "wflo_gateway_cost_usd_total";
const UNCERTAIN: &str = "wflo_gateway_uncertain_calls_total";
const REFUSALS: &str = "wflo_gateway_refusals_total";
const UNSTORABLE: &str = "wflo_gateway_unstorable_folds_total";
const OVERSHOOTS: &str = "wflo_gateway_overshoots_total";
const SAVED: &str = "wflo_gateway_cache_saved_usd_total";
const LOOKUPS: &str = "wflo_gateway_cache_lookups_total";
const KEPT: &str = "wflo_gateway_cache_stored_total";
const CACHE_FAILURES: &str = "wflo_gateway_cache_failures_total";
const CACHED: &str = "wflo_gateway_cache_entries";
const CACHE_BYTES: &str = "wflo_gateway_cache_bytes";
const RUNNING: &str = "wflo_gateway_running_calls";
const CONNECTIONS: &str = "wflo_gateway_connections";
const ADDED: &str = "wflo_gateway_added_latency_seconds";
const ATTEMPTS: &str = "wflo_gateway_attempts_total";
const RETRIES: &str = "wflo_gateway_retries_total";
const FALLBACKS: &str = "wflo_gateway_fallbacks_total";
const DOWNGRADES: &str = "wflo_gateway_downgrades_total";
const BREAKERS: &str = "wflo_gateway_breakers";
const OPENED: &str = "wflo_gateway_breaker_openings_total";
const LIMIT_WAITING: &str = "wflo_gateway_limit_waiting_calls";
const LIMIT_WAIT: &str = "wflo_gateway_limit_wait_seconds";
const LIMIT_DENIED: &str = "wflo_gateway_limit_denials_total";
const ROOM_WAITING: &str = "wflo_gateway_budget_waiting_calls";
const ROOM_WAIT: &str = "wflo_gateway_budget_wait_seconds";

/// Upper bounds of the added latency's buckets, in microseconds.
const BUCKETS: [u64; 13] = [25, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_500, 10_000, 100_000, 1_000_000];

/// What one key came to.
#[derive(Debug, Default, Clone, Copy)]
struct OfKey {
    input_tokens: u64,
    output_tokens: u64,
    cost_nanos: i128,
    saved_nanos: i128,
}

/// The counters of one gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By the first digit of the status.
    statuses: [AtomicU64; 6],
    keys: Mutex<BTreeMap<String, OfKey>>,
    uncertain: AtomicU64,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    connections: AtomicI64,
    added: Histogram,
    /// Of calls that waited for room in a budget.
    room: Histogram,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            statuses: Default::default(),
            keys: Mutex::default(),
            uncertain: AtomicU64::new(0),
            refusals: Mutex::default(),
            connections: AtomicI64::new(0),
            added: Histogram::new(&BUCKETS),
            room: Histogram::new(&WAITS),
        }
    }
}

/// What is not counted but as it is now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Now {
    /// Calls under way.
    pub(crate) running: usize,
    /// Calls that wait for room in a budget.
    pub(crate) waiting: usize,
    /// Folds stored only as a sum.
    pub(crate) unstorable: u64,
}

impl Metrics {
    /// A request was answered with this status.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(counter) = self.statuses.get(usize::from(status / 100)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call was settled.
    pub(crate) fn settled(&self, end: &End, client: Option<&Client>) {
        self.uncertain.fetch_add(u64::from(end.uncertain), Ordering::Relaxed);
        self.of_key(client, |of| {
            of.input_tokens = of.input_tokens.saturating_add(end.input_tokens);
            of.output_tokens = of.output_tokens.saturating_add(end.output_tokens);
            of.cost_nanos += i128::from(end.cost.nanos());
        });
    }

    fn of_key(&self, client: Option<&Client>, change: impl FnOnce(&mut OfKey)) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let name = client.map_or("", Client::name);
        if !keys.contains_key(name) {
            keys.insert(name.to_owned(), OfKey::default());
        }
        if let Some(of) = keys.get_mut(name) {
            change(of);
        }
    }

    /// A call was refused.
    pub(crate) fn refused(&self, why: &'static str) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }

    /// A connection came (1) or went (-1).
    pub(crate) fn connections(&self, change: i64) {
        self.connections.fetch_add(change, Ordering::Relaxed);
    }

    /// So long the gateway itself took for a call.
    pub(crate) fn added(&self, micros: u64) {
        self.added.observe(Duration::from_micros(micros));
    }

    /// So long a call waited for room in a budget, in vain or not.
    pub(crate) fn waited(&self, time: Duration) {
        self.room.observe(time);
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self, now: Now, gateway: &Gateway) -> String {
        let mut page = Page::default();
        self.calls(&mut page, now, gateway.overshoots());
        ways(&mut page, gateway);
        queues(&mut page, gateway);
        self.cache(&mut page, gateway.cache());
        page.metric(ROOM_WAITING, "gauge", "Calls that wait for room in a budget.").is(now.waiting);
        page.metric(ROOM_WAIT, "histogram", "How long calls waited for room in a budget, in vain or not.")
            .histogram(&[], self.room.below(), self.room.micros());
        page.text()
    }

    /// What one key came to, as Prometheus reads it.
    pub(crate) fn of(&self, client: &Client, gateway: &Gateway) -> String {
        let name = client.name();
        let own = BTreeMap::from([(name.to_owned(), self.keys().remove(name).unwrap_or_default())]);
        let mut page = Page::default();
        spent(&mut page, &own);
        if gateway.cache().is_some() {
            cache::saved(&mut page, &own);
        }
        page.text()
    }

    fn keys(&self) -> BTreeMap<String, OfKey> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn calls(&self, page: &mut Page, now: Now, overshoots: u64) {
        let mut requests =
            page.metric(REQUESTS, "counter", "Requests answered, by the class of their status.");
        for (class, counter) in self.statuses.iter().enumerate().skip(1) {
            requests.of(&[("status", &format!("{class}xx"))], counter.load(Ordering::Relaxed));
        }
        spent(page, &self.keys());
        page.metric(UNCERTAIN, "counter", "Calls whose bill is not known and whose hold was charged.")
            .is(self.uncertain.load(Ordering::Relaxed));
        let mut refusals = page.metric(REFUSALS, "counter", "Calls that were refused, by what refused them.");
        for (why, count) in self.refusals.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refusals.of(&[("by", why)], count);
        }
        page.metric(OVERSHOOTS, "counter", "Calls billed above their upper bound. An alarm: it stays 0.")
            .is(overshoots);
        page.metric(UNSTORABLE, "counter", "Folds stored only as a sum. An alarm: it stays 0.")
            .is(now.unstorable);
        page.metric(RUNNING, "gauge", "Calls under way.").is(now.running);
        page.metric(CONNECTIONS, "gauge", "Connections that clients hold open.")
            .is(self.connections.load(Ordering::Relaxed));
        page.metric(
            ADDED,
            "histogram",
            "What the gateway itself took: to the dispatch, and for the settlement.",
        )
        .histogram(&[], self.added.below(), self.added.micros());
    }
}

/// What keys came to.
fn spent(page: &mut Page, keys: &BTreeMap<String, OfKey>) {
    let mut tokens = page.metric(TOKENS, "counter", "Tokens of settled calls, by key and direction.");
    for (key, of) in keys {
        tokens.of(&[("key", key), ("direction", "input")], of.input_tokens);
        tokens.of(&[("key", key), ("direction", "output")], of.output_tokens);
    }
    let mut cost = page.metric(COST, "counter", "What settled calls were charged, in USD, by key.");
    for (key, of) in keys {
        cost.of(&[("key", key)], usd(of.cost_nanos));
    }
}

/// How calls found their way.
fn ways(page: &mut Page, gateway: &Gateway) {
    let providers = gateway.counts().providers();
    let mut attempts = page.metric(ATTEMPTS, "counter", "Attempts at a provider, by how they ended.");
    for (name, at) in &providers {
        for ended in Ended::ALL {
            attempts.of(&[("provider", name), ("outcome", ended.name())], at.attempts(ended));
        }
    }
    let mut each = |name, help, count: fn(&AtProvider) -> u64| {
        let mut counter = page.metric(name, "counter", help);
        for (provider, at) in &providers {
            counter.of(&[("provider", provider)], count(at));
        }
    };
    each(RETRIES, "Attempts made again at the provider that had failed.", AtProvider::retries);
    each(FALLBACKS, "Attempts made at a provider because another way had failed.", AtProvider::fallbacks);
    each(DOWNGRADES, "Calls made at a provider because a budget wanted it cheaper.", AtProvider::downgrades);
    each(OPENED, "How often the breaker of a model of the provider opened.", AtProvider::opened);
    let breakers = gateway.breakers();
    let mut states = page.metric(BREAKERS, "gauge", "Breakers of a provider's models, by their state.");
    for name in providers.keys() {
        for (state, phase) in
            [("closed", Phase::Closed), ("open", Phase::Open), ("half_open", Phase::HalfOpen)]
        {
            let of = breakers.iter().filter(|(provider, _, is)| provider == name && *is == phase);
            states.of(&[("provider", name), ("state", state)], of.count());
        }
    }
}

/// Who waited for the operator's limits.
fn queues(page: &mut Page, gateway: &Gateway) {
    let mut waiting = page.metric(LIMIT_WAITING, "gauge", "Calls that wait for a limit.");
    for queue in gateway.queues() {
        waiting.of(&[("limit", &queue.limit)], queue.waiting);
    }
    let limits = gateway.counts().limits();
    let mut waited = page.metric(LIMIT_WAIT, "histogram", "How long the calls waited that passed a limit.");
    for (name, at) in &limits {
        waited.histogram(&[("limit", name)], at.waited().below(), at.waited().micros());
    }
    let mut denied = page.metric(LIMIT_DENIED, "counter", "Calls whose turn at a limit did not come.");
    for (name, at) in &limits {
        denied.of(&[("limit", name)], at.denied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wflo_core::money::NanoUsd;

    #[test]
    fn what_was_counted_is_what_is_read() {
        let metrics = Metrics::default();
        metrics.answered(200);
        metrics.answered(402);
        metrics.refused("budget");
        metrics.added(80);
        metrics.added(2_000_000);
        let end = End {
            at_ms: 0,
            cost: NanoUsd::from_nanos(1_500_000_001),
            uncertain: true,
            uncounted: true,
            status: 200,
            input_tokens: 7,
            cached_tokens: 0,
            output_tokens: 3,
            took_us: 1,
            prompt_cache: wflo_core::cost::PromptCache::default(),
        };
        metrics.settled(&end, None);
        let mut page = Page::default();
        metrics.calls(&mut page, Now { running: 2, ..Now::default() }, 0);
        let text = page.text();
        for wanted in [
            "wflo_gateway_requests_total{status=\"2xx\"} 1\n",
            "wflo_gateway_requests_total{status=\"4xx\"} 1\n",
            "wflo_gateway_tokens_total{key=\"\",direction=\"input\"} 7\n",
            "wflo_gateway_cost_usd_total{key=\"\"} 1.500000001\n",
            "wflo_gateway_refusals_total{by=\"budget\"} 1\n",
            "wflo_gateway_overshoots_total 0\n",
            "wflo_gateway_running_calls 2\n",
            "wflo_gateway_added_latency_seconds_bucket{le=\"0.000075\"} 0\n",
            "wflo_gateway_added_latency_seconds_bucket{le=\"0.000100\"} 1\n",
            "wflo_gateway_added_latency_seconds_bucket{le=\"+Inf\"} 2\n",
            "wflo_gateway_added_latency_seconds_sum 2.000080\n",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
    }
}
