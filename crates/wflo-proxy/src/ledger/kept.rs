//! Calls that are answered from the cache: recorded, and taking nothing of any budget.

use wflo_core::cost::PromptCache;
use wflo_core::money::NanoUsd;
use wflo_core::slice::CallRecord;
use wflo_gateway::cache::Hit;
use wflo_gateway::ledger::{CallIntent, Opened};

use super::{SliceLedger, micros};
use crate::keys::Client;

impl SliceLedger {
    /// The kept answer of a call, or why there is nothing else for it; `None` where it is to be made.
    pub(super) async fn kept(&self, intent: &CallIntent, client: Option<&Client>) -> Option<Opened> {
        match intent.cached.find().await {
            Ok(None) => None,
            Ok(Some(hit)) => {
                self.remember(intent, client, &hit);
                Some(Opened::Replay(hit.recorded))
            }
            Err(refusal) => {
                self.metrics.refused("cache");
                Some(Opened::Refused(refusal))
            }
        }
    }

    fn remember(&self, intent: &CallIntent, client: Option<&Client>, hit: &Hit) {
        self.metrics.saved(hit.saved, client);
        let took_us = micros(intent.since.elapsed());
        self.metrics.added(took_us);
        self.treasury.spending().answered(CallRecord {
            seq: 0,
            at_ms: self.clock.now().as_millisecond(),
            key: client.and_then(|client| client.key.as_ref()).map(|key| key.id),
            provider: hit.provider.clone(),
            model: hit.model.clone(),
            status: hit.recorded.status,
            input_tokens: 0,
            cached_tokens: 0,
            output_tokens: 0,
            cost: NanoUsd::ZERO,
            uncertain: false,
            took_us,
            saved: Some(hit.saved),
            prompt_cache: PromptCache::default(),
        });
    }
}
