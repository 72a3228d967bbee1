//! The journal of one generation of one step, as one attempt sees it.
//!
//! Owns the rows and their commits. **Architecture Invariant:** every row is written under the
//! attempt's lease; an answer that was not committed was never given.
//! **Architecture Invariant:** no answer stays in memory: a row here says that there is one, and whoever
//! gives it out reads it from the store for that moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::error::Failure;
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, EffectEnd, Fence, Op, OpResult, Store, StoreError};

use crate::executor::Active;

mod lost;
mod meter;
mod places;
mod preview;
mod rows;
mod turns;

pub use meter::{Meter, Meters};
use meter::{asked, bytes_of};
pub use places::Marks;
pub(crate) use preview::{confirmations, finished};
use rows::{Rows, light, merge, stored};
pub use turns::Turn;

/// The generation's rows, in memory and in the store.
pub struct Journal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    fence: Fence,
    step: String,
    generation: u32,
    is_new: bool,
    rows: Mutex<Rows>,
    /// What the step stopped waiting for: the `order` of the last answer it had been given by then.
    cancelled: Mutex<HashMap<(String, u32), u32>>,
    turns: turns::Turns,
    active: Active,
    meter: Arc<Meter>,
}

/// An effect about to be journaled.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Its branch.
    pub path: String,
    /// Its position there.
    pub seq: u32,
    /// Its kind.
    pub kind: EffectKind,
    /// Its name.
    pub name: String,
    /// Guards its identity.
    pub fingerprint: Digest,
    /// What is asked.
    pub request: Value,
    /// The money reserved for it, taken in the same commit by an op of the caller's.
    pub hold: Option<HoldId>,
    /// What reports need.
    pub attributes: Value,
    /// The `order` of the last answer that the step had been given when it asked.
    pub after: u32,
}

impl Journal {
    /// Reads the generation's rows.
    ///
    /// # Errors
    /// Store errors.
    pub async fn load(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        fence: Fence,
        step: &str,
        generation: u32,
    ) -> Result<Self, StoreError> {
        let mut rows = Rows::default();
        for row in store.effects(fence.run, step.to_owned(), generation).await? {
            rows.put(row);
        }
        let cancelled = store.cancelled_waits(fence.run, step.to_owned(), generation).await?;
        let cancelled: HashMap<_, _> =
            cancelled.into_iter().map(|wait| ((wait.path, wait.seq), wait.after)).collect();
        let last = rows.by_place.values().filter_map(EffectRecord::order).max().unwrap_or(0);
        let (step, turns) = (step.to_owned(), turns::Turns::after(last));
        let is_new = rows.by_place.is_empty() && cancelled.is_empty();
        let (rows, cancelled) = (Mutex::new(rows), Mutex::new(cancelled));
        Ok(Journal {
            store,
            clock,
            fence,
            step,
            generation,
            is_new,
            rows,
            cancelled,
            turns,
            active: Active::default(),
            meter: Arc::default(),
        })
    }

    /// What is journaled from now on is counted by this meter, which knows what the run has journaled so
    /// far.
    #[must_use]
    pub fn metered(mut self, meter: Arc<Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// What the run's journal takes.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Each intent keeps how long the generation has been active by `active`, which is at least as long
    /// as the last one says.
    #[must_use]
    pub fn timed_by(mut self, active: Active) -> Self {
        active.reach(self.lock().by_place.values().map(|row| row.active_ms).max().unwrap_or(0));
        self.active = active;
        self
    }

    /// The run.
    pub const fn run(&self) -> RunId {
        self.fence.run
    }

    /// The time.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// The identity of an effect of this generation.
    pub fn key(&self, path: &str, seq: u32) -> EffectKey {
        EffectKey { step: self.step.clone(), generation: self.generation, path: path.to_owned(), seq }
    }

    /// An effect with its values, from the store.
    ///
    /// # Errors
    /// Store errors.
    pub async fn whole(&self, path: &str, seq: u32) -> Result<Option<EffectRecord>, StoreError> {
        self.store.effect(self.fence.run, self.key(path, seq)).await
    }

    /// A row, without large values.
    pub fn get(&self, path: &str, seq: u32) -> Option<EffectRecord> {
        self.lock().by_place.get(&(path.to_owned(), seq)).cloned()
    }

    /// All rows, in no order.
    pub fn all(&self) -> Vec<EffectRecord> {
        self.lock().by_place.values().cloned().collect()
    }

    /// Waits until every answer that was journaled before `order` has been given out, so that the live
    /// order is the one that a resume repeats. The turn ends when the guard is dropped.
    pub async fn turn(&self, order: u32) -> Turn<'_> {
        self.turns.wait(order).await
    }

    /// How many rows made through `context` have an answer: what will be delivered in replay.
    pub fn replay_length(&self) -> usize {
        self.lock().told.len()
    }

    /// Whether nothing of this generation was recorded before this attempt.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// What this generation's effects were billed.
    pub fn cost(&self) -> NanoUsd {
        self.lock().by_place.values().fold(NanoUsd::ZERO, |sum, row| sum.saturating_add(row.cost))
    }

    /// Makes an intent durable, with further ops in its commit that may refuse it.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub async fn intend(&self, intent: Intent, mut with: Vec<Op>) -> Result<EffectRecord, StoreError> {
        let row = self.row(intent);
        with.extend(self.intent_ops(&row));
        crate::failpoint::pass("effect.intent.before");
        self.commit(with).await?;
        crate::failpoint::pass("effect.intent.after");
        Ok(self.keep_new(row))
    }

    /// The ops that [`Journal::intend`] would commit, for a commit that somebody else makes;
    /// [`Journal::keep_new`] must follow it.
    pub fn intent_ops(&self, row: &EffectRecord) -> Vec<Op> {
        let body = EventBody::EffectStarted { key: row.key.clone(), kind: row.kind, name: row.name.clone() };
        vec![Op::PutEffect { run: self.fence.run, effect: Box::new(row.clone()) }, self.event(vec![body])]
    }

    /// An intent that was committed; what stays of it in memory.
    pub fn keep_new(&self, row: EffectRecord) -> EffectRecord {
        self.meter.add(0, asked(&row));
        let row = light(row);
        self.keep(row.clone());
        row
    }

    /// A row that was committed.
    pub(crate) fn keep(&self, row: EffectRecord) {
        self.lock().put(row);
    }

    /// The row of an intent.
    pub fn row(&self, intent: Intent) -> EffectRecord {
        EffectRecord {
            key: self.key(&intent.path, intent.seq),
            kind: intent.kind,
            name: intent.name,
            fingerprint: intent.fingerprint,
            request: intent.request.into(),
            state: EffectState::Intent,
            hold: intent.hold,
            cost: NanoUsd::ZERO,
            uncertain: NanoUsd::ZERO,
            attributes: intent.attributes,
            after: intent.after,
            active_ms: self.active.ms(),
            started_at: self.clock.now(),
            finished_at: None,
        }
    }

    /// Makes an answer durable, with further ops and events in its commit.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub async fn finish(
        &self,
        row: EffectRecord,
        end: EffectEnd,
        with: Vec<Op>,
        facts: Vec<EventBody>,
    ) -> Result<EffectRecord, StoreError> {
        self.answer(row, end, with, facts, false).await
    }

    /// An effect whose intent and answer are one commit: nothing left the system in between.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub async fn record(
        &self,
        intent: Intent,
        end: EffectEnd,
        facts: Vec<EventBody>,
    ) -> Result<EffectRecord, StoreError> {
        let row = self.row(intent);
        self.answer(row, end, Vec::new(), facts, true).await
    }

    /// The same, with further ops in its commit.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub async fn record_with(
        &self,
        intent: Intent,
        end: EffectEnd,
        with: Vec<Op>,
    ) -> Result<EffectRecord, StoreError> {
        let row = self.row(intent);
        self.answer(row, end, with, Vec::new(), true).await
    }

    async fn answer(
        &self,
        mut row: EffectRecord,
        end: EffectEnd,
        mut ops: Vec<Op>,
        facts: Vec<EventBody>,
        fresh: bool,
    ) -> Result<EffectRecord, StoreError> {
        let asked = asked(&row);
        if fresh {
            ops.push(Op::PutEffect { run: self.fence.run, effect: Box::new(row.clone()) });
            row = light(row);
        }
        let cost = row.cost.saturating_add(end.cost);
        let unknown = if end.uncertain { end.cost } else { NanoUsd::ZERO };
        let uncertain = row.uncertain.saturating_add(unknown);
        let (at, attributes) = (end.at, end.attributes.clone());
        let answered = stored(&end.outcome);
        let mut bodies = facts;
        bodies.push(EventBody::EffectFinished {
            key: row.key.clone(),
            kind: row.kind,
            name: row.name.clone(),
            cost_usd: cost,
            // A lost try that was charged in full is part of this effect's bill.
            uncertain: uncertain > NanoUsd::ZERO,
            error: end.outcome.as_ref().err().cloned(),
        });
        ops.push(Op::FinishEffect { run: self.fence.run, key: row.key.clone(), end });
        ops.push(self.event(bodies));
        crate::failpoint::pass("effect.finish.before");
        let results = self.commit(ops).await?;
        crate::failpoint::pass("effect.finish.after");
        let order = Self::order_of(&results)?;
        row.cost = cost;
        row.uncertain = uncertain;
        row.finished_at = Some(at);
        merge(&mut row.attributes, attributes);
        self.meter.add(if fresh { 0 } else { asked }, asked + bytes_of(&answered));
        row.state = match answered {
            Ok(result) => EffectState::Finished { order, result },
            Err(error) => EffectState::Failed { order, error },
        };
        self.keep(row.clone());
        if row.key.path.starts_with('@') {
            // Given out by the gateway, not by the runner's socket: it has no turn there.
            self.turns.skip(order);
        }
        Ok(row)
    }

    /// Appends facts that belong to no effect.
    ///
    /// # Errors
    /// Store errors.
    pub async fn note(&self, facts: Vec<EventBody>) -> Result<(), StoreError> {
        self.commit(vec![self.event(facts)]).await.map(|_| ())
    }

    /// Says what was left out of the files of `whose`.
    ///
    /// # Errors
    /// Store errors.
    pub async fn note_left_out(&self, whose: &str, left_out: Option<String>) -> Result<(), StoreError> {
        let Some(left_out) = left_out else { return Ok(()) };
        let message = format!("not kept of the files of {whose}: {left_out}");
        self.note(vec![EventBody::Notice { notice: "workspace.dropped".to_owned(), message }]).await
    }

    /// The end of an effect that went well.
    pub fn ok(&self, result: Value) -> EffectEnd {
        self.end(Ok(result))
    }

    /// The end of an effect, now.
    pub fn end(&self, outcome: Result<Value, Failure>) -> EffectEnd {
        let at = self.clock.now();
        EffectEnd { outcome, cost: NanoUsd::ZERO, uncertain: false, attributes: Value::Null, at }
    }

    /// Facts as an op of a commit.
    pub(crate) fn event(&self, bodies: Vec<EventBody>) -> Op {
        let at = self.clock.now();
        Op::AppendEvents {
            run: self.fence.run,
            events: bodies.into_iter().map(|body| Event { at, body }).collect(),
        }
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, StoreError> {
        let results = self.store.commit(Batch { fence: Some(self.fence), ops }).await?;
        // What was there already is counted already.
        let kept = |result: &OpResult| if let OpResult::Kept(bytes) = result { *bytes } else { 0 };
        self.meter.add_content(results.iter().map(kept).sum());
        Ok(results)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
