//! Intents that are written again: their results were lost, or they say more now.

use serde_json::Value;
use wflo_core::effect::EffectRecord;
use wflo_core::event::EventBody;
use wflo_core::id::HoldId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Op, StoreError};

use super::{Journal, merge};

impl Journal {
    /// What the lost try of an intent may have cost is charged by `settle` and carried as uncertain; it is
    /// tried again, or given up, without a hold.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub(crate) async fn charge(
        &self,
        mut row: EffectRecord,
        carried: NanoUsd,
        settle: Op,
    ) -> Result<EffectRecord, StoreError> {
        let (run, key) = (self.fence.run, row.key.clone());
        let attributes = Value::Object(serde_json::Map::new());
        let reopen = Op::ReopenEffect { run, key, hold: None, carried, attributes };
        self.commit(vec![settle, reopen]).await?;
        row.hold = None;
        row.cost = row.cost.saturating_add(carried);
        row.uncertain = row.uncertain.saturating_add(carried);
        self.keep(row.clone());
        Ok(row)
    }

    /// An intent whose result was lost is tried again under a new hold; what the lost try may have cost
    /// is settled in full by an op of the caller's and carried as uncertain.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub async fn reopen(
        &self,
        mut row: EffectRecord,
        hold: Option<HoldId>,
        carried: NanoUsd,
        attributes: Value,
        mut with: Vec<Op>,
    ) -> Result<EffectRecord, StoreError> {
        let (run, key) = (self.fence.run, row.key.clone());
        with.push(Op::ReopenEffect { run, key, hold, carried, attributes: attributes.clone() });
        let body = EventBody::EffectStarted { key: row.key.clone(), kind: row.kind, name: row.name.clone() };
        with.push(self.event(vec![body]));
        self.commit(with).await?;
        row.hold = hold;
        row.cost = row.cost.saturating_add(carried);
        row.uncertain = row.uncertain.saturating_add(carried);
        merge(&mut row.attributes, attributes);
        self.keep(row.clone());
        Ok(row)
    }

    /// An intent with these attributes laid over its own, and the ops for a commit that somebody else makes;
    /// [`Journal::keep`] must follow it.
    pub(crate) fn noted(&self, mut row: EffectRecord, attributes: Value) -> (EffectRecord, Vec<Op>) {
        let op = Op::ReopenEffect {
            run: self.fence.run,
            key: row.key.clone(),
            hold: None,
            carried: NanoUsd::ZERO,
            attributes: attributes.clone(),
        };
        merge(&mut row.attributes, attributes);
        (row, vec![op])
    }
}
