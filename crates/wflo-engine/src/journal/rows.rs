//! What a journal keeps in memory: its rows without their large values.

use std::collections::HashMap;

use serde_json::Value;
use wflo_core::effect::{EffectRecord, EffectState, Kept, json_bytes};
use wflo_core::error::Failure;

/// The most memory of a request that stays with its row, in bytes: people are told what it was.
const REQUEST: usize = 1 << 10;

#[derive(Default)]
pub(super) struct Rows {
    pub(super) by_place: HashMap<(String, u32), EffectRecord>,
    /// The `order` of every answer that reaches the step through its runner, ascending. Calls of stock
    /// clients have an order of their own in the journal and are not among them.
    pub(super) told: Vec<u32>,
}

impl Rows {
    pub(super) fn put(&mut self, row: EffectRecord) {
        let row = light(row);
        if let Some(order) = row.order().filter(|_| !row.key.path.starts_with('@'))
            && let Err(at) = self.told.binary_search(&order)
        {
            self.told.insert(at, order);
        }
        self.by_place.insert((row.key.path.clone(), row.key.seq), row);
    }
}

/// What stays of a row in memory.
pub(super) fn light(mut row: EffectRecord) -> EffectRecord {
    if let Value::Object(attributes) = &mut row.attributes {
        // All changes of a write.
        attributes.remove("preview");
    }
    let state = match row.state {
        EffectState::Finished { order, result } => EffectState::Finished { order, result: result.within(0) },
        EffectState::Previewed { order, outcome } => {
            EffectState::Previewed { order, outcome: outcome.map(|told| told.within(0)) }
        }
        state => state,
    };
    EffectRecord { request: row.request.within(REQUEST), state, ..row }
}

/// What stays of an answer.
pub(super) fn stored(outcome: &Result<Value, Failure>) -> Result<Kept, Failure> {
    match outcome {
        Ok(value) => Ok(Kept::Stored { bytes: json_bytes(value) }),
        Err(error) => Err(error.clone()),
    }
}

/// Lays attributes over others, by key.
pub(super) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => into.extend(from),
        (into, from @ Value::Object(_)) => *into = from,
        _ => {}
    }
}
