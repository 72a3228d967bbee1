//! What the cache did: nothing is said of one that is not there.

use std::collections::BTreeMap;

use wflo_core::exposition::{Page, usd};
use wflo_core::money::NanoUsd;
use wflo_gateway::cache::Cache;

use super::{CACHE_BYTES, CACHE_FAILURES, CACHED, KEPT, LOOKUPS, Metrics, OfKey, SAVED};
use crate::keys::Client;

impl Metrics {
    /// A call was answered from the cache.
    pub(crate) fn saved(&self, saved: NanoUsd, client: Option<&Client>) {
        self.of_key(client, |of| of.saved_nanos += i128::from(saved.nanos()));
    }

    /// What a cache has done since it was made by its settings.
    pub(super) fn cache(&self, page: &mut Page, cache: Option<&Cache>) {
        let Some(stats) = cache.map(Cache::stats) else { return };
        let mut lookups = page.metric(LOOKUPS, "counter", "Calls, by what the cache had for them.");
        for (result, count) in [("hit", stats.hits), ("miss", stats.misses), ("bypass", stats.bypassed)] {
            lookups.of(&[("result", result)], count);
        }
        page.metric(KEPT, "counter", "Answers that were kept.").is(stats.stored);
        page.metric(CACHE_FAILURES, "counter", "Times that the cache's store did not do what it was asked.")
            .is(stats.failures);
        page.metric(CACHED, "gauge", "Answers that are kept in memory.").is(stats.entries);
        page.metric(CACHE_BYTES, "gauge", "Bytes of them.").is(stats.bytes);
        saved(page, &self.keys());
    }
}

/// What kept answers have saved keys.
pub(super) fn saved(page: &mut Page, keys: &BTreeMap<String, OfKey>) {
    let mut saved = page.metric(SAVED, "counter", "What kept answers would have cost, in USD, by key.");
    for (key, of) in keys {
        saved.of(&[("key", key)], usd(of.saved_nanos));
    }
}
