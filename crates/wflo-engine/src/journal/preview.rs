//! Answers on top of changes that are not made yet: durable for a resume, and not finished.

use jiff::Timestamp;
use serde_json::Value;
use wflo_core::effect::{EffectRecord, EffectState, json_bytes};
use wflo_core::error::Failure;
use wflo_core::event::EventBody;
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Op, OpResult, StoreError};

use super::Journal;
use super::meter::{asked, bytes_of};
use super::rows::{merge, stored};

impl Journal {
    /// Makes an answer durable that rests on changes which are not made yet. `fresh` says that the row is
    /// not in the journal.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub(crate) async fn preview(
        &self,
        mut row: EffectRecord,
        fresh: bool,
        outcome: Result<Value, Failure>,
        attributes: Value,
    ) -> Result<EffectRecord, StoreError> {
        let (run, key) = (self.fence.run, row.key.clone());
        merge(&mut row.attributes, attributes.clone());
        let mut ops = Vec::new();
        let (asked, answered) = (asked(&row), stored(&outcome));
        let taken = asked + bytes_of(&answered) + json_bytes(&attributes);
        let over = if fresh {
            ops.push(Op::PutEffect { run, effect: Box::new(row.clone()) });
            Value::Null
        } else {
            attributes
        };
        ops.push(Op::PreviewEffect { run, key, outcome, attributes: over });
        let body = EventBody::EffectStarted { key: row.key.clone(), kind: row.kind, name: row.name.clone() };
        ops.push(self.event(vec![body]));
        crate::failpoint::pass("effect.preview.before");
        let results = self.commit(ops).await?;
        crate::failpoint::pass("effect.preview.after");
        let order = Self::order_of(&results)?;
        self.meter.add(if fresh { 0 } else { asked }, taken);
        row.state = EffectState::Previewed { order, outcome: answered };
        self.keep(row.clone());
        Ok(row)
    }

    /// The effects whose answers rest on changes that are not made yet, in the order of those answers.
    pub(crate) fn previewed(&self) -> Vec<EffectRecord> {
        let mut rows = self.all();
        rows.retain(EffectRecord::is_previewed);
        rows.sort_by_key(EffectRecord::order);
        rows
    }

    /// The changes are made: these answers stand. With an op before them, events, and ops after them in
    /// the commit.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub(crate) async fn confirm(
        &self,
        rows: Vec<EffectRecord>,
        first: Option<(Op, EventBody)>,
        then: Vec<Op>,
    ) -> Result<(), StoreError> {
        let (mut ops, mut facts): (Vec<Op>, Vec<EventBody>) = first.into_iter().unzip();
        let (confirm, finished, confirmed) = confirmations(self.fence.run, rows, self.clock.now());
        ops.extend(confirm);
        facts.extend(finished);
        ops.push(self.event(facts));
        ops.extend(then);
        self.commit(ops).await?;
        for row in confirmed {
            self.keep(row);
        }
        Ok(())
    }

    /// Commits ops under the attempt's lease; none of them say only that it still holds.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub(crate) async fn under_lease(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        self.commit(ops).await.map(|_| ())
    }

    pub(super) fn order_of(results: &[OpResult]) -> Result<u32, StoreError> {
        let order =
            results.iter().find_map(|r| if let OpResult::Order(order) = r { Some(*order) } else { None });
        order.ok_or_else(|| StoreError::Failed("an answer got no position".to_owned()))
    }
}

/// What is told of an effect that has its answer: the error, if it is one.
pub(crate) fn finished(row: &EffectRecord, error: Option<Failure>) -> EventBody {
    EventBody::EffectFinished {
        key: row.key.clone(),
        kind: row.kind,
        name: row.name.clone(),
        cost_usd: row.cost,
        uncertain: row.uncertain > NanoUsd::ZERO,
        error,
    }
}

/// The ops that make previewed answers stand, what they tell, and the rows as they are then.
pub(crate) fn confirmations(
    run: RunId,
    rows: Vec<EffectRecord>,
    at: Timestamp,
) -> (Vec<Op>, Vec<EventBody>, Vec<EffectRecord>) {
    let (mut ops, mut facts, mut confirmed) = (Vec::new(), Vec::new(), Vec::with_capacity(rows.len()));
    for mut row in rows {
        let EffectState::Previewed { order, outcome } = row.state.clone() else { continue };
        ops.push(Op::ConfirmEffect { run, key: row.key.clone(), at });
        facts.push(finished(&row, outcome.as_ref().err().cloned()));
        row.finished_at = Some(at);
        row.state = match outcome {
            Ok(result) => EffectState::Finished { order, result },
            Err(error) => EffectState::Failed { order, error },
        };
        confirmed.push(row);
    }
    (ops, facts, confirmed)
}
