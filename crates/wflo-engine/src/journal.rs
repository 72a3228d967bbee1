//! The journal of one generation of one step, as one attempt sees it.
//!
//! Owns the rows and their commits. **Architecture Invariant:** every row is written under the
//! attempt's lease; an answer that was not committed was never given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, EffectEnd, Fence, Op, OpResult, Store, StoreError};

/// The generation's rows, in memory and in the store.
pub struct Journal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    fence: Fence,
    step: String,
    generation: u32,
    rows: Mutex<HashMap<(String, u32), EffectRecord>>,
    turns: Turns,
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
        let rows = store.effects(fence.run, step.to_owned(), generation).await?;
        let rows: HashMap<_, _> =
            rows.into_iter().map(|row| ((row.key.path.clone(), row.key.seq), row)).collect();
        let last = rows.values().filter_map(EffectRecord::order).max().unwrap_or(0);
        let turns = Turns::after(last);
        Ok(Journal { store, clock, fence, step: step.to_owned(), generation, rows: Mutex::new(rows), turns })
    }

    /// The run.
    pub const fn run(&self) -> RunId {
        self.fence.run
    }

    /// The identity of an effect of this generation.
    pub fn key(&self, path: &str, seq: u32) -> EffectKey {
        EffectKey { step: self.step.clone(), generation: self.generation, path: path.to_owned(), seq }
    }

    /// A row.
    pub fn get(&self, path: &str, seq: u32) -> Option<EffectRecord> {
        self.lock().get(&(path.to_owned(), seq)).cloned()
    }

    /// All rows, in no order.
    pub fn all(&self) -> Vec<EffectRecord> {
        self.lock().values().cloned().collect()
    }

    /// The place of a row in what a resume delivers, from 1 without gaps: calls of stock clients have an
    /// order of their own in the journal and are not delivered through the runner.
    pub fn replay_place(&self, order: u32) -> u32 {
        let rows = self.lock();
        let before = rows.values().filter(|row| !row.key.path.starts_with('@'));
        let before = before.filter_map(EffectRecord::order).filter(|o| *o <= order).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// Waits until every answer that was journaled before `order` has been given out, so that the live
    /// order is the one that a resume repeats. The turn ends when the guard is dropped.
    pub async fn turn(&self, order: u32) -> Turn<'_> {
        self.turns.wait(order).await
    }

    /// How many rows made through `context` have an answer: what will be delivered in replay.
    pub fn replay_length(&self) -> usize {
        self.lock().values().filter(|row| row.order().is_some() && !row.key.path.starts_with('@')).count()
    }

    /// What this generation's effects were billed.
    pub fn cost(&self) -> NanoUsd {
        self.lock().values().fold(NanoUsd::ZERO, |sum, row| sum.saturating_add(row.cost))
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
        self.keep(row.clone());
        Ok(row)
    }

    /// The ops that [`Journal::intend`] would commit, for a commit that somebody else makes;
    /// [`Journal::keep`] must follow it.
    pub fn intent_ops(&self, row: &EffectRecord) -> Vec<Op> {
        let body = EventBody::EffectStarted { key: row.key.clone(), kind: row.kind, name: row.name.clone() };
        vec![Op::PutEffect { run: self.fence.run, effect: Box::new(row.clone()) }, self.event(vec![body])]
    }

    /// A row that was committed.
    pub fn keep(&self, row: EffectRecord) {
        self.lock().insert((row.key.path.clone(), row.key.seq), row);
    }

    /// The row of an intent.
    pub fn row(&self, intent: Intent) -> EffectRecord {
        EffectRecord {
            key: self.key(&intent.path, intent.seq),
            kind: intent.kind,
            name: intent.name,
            fingerprint: intent.fingerprint,
            request: intent.request,
            state: EffectState::Intent,
            hold: intent.hold,
            cost: NanoUsd::ZERO,
            uncertain: false,
            attributes: intent.attributes,
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

    async fn answer(
        &self,
        mut row: EffectRecord,
        end: EffectEnd,
        mut ops: Vec<Op>,
        facts: Vec<EventBody>,
        fresh: bool,
    ) -> Result<EffectRecord, StoreError> {
        if fresh {
            ops.push(Op::PutEffect { run: self.fence.run, effect: Box::new(row.clone()) });
        }
        ops.push(Op::FinishEffect { run: self.fence.run, key: row.key.clone(), end: end.clone() });
        let cost = row.cost.saturating_add(end.cost);
        let mut bodies = facts;
        bodies.push(EventBody::EffectFinished {
            key: row.key.clone(),
            kind: row.kind,
            name: row.name.clone(),
            cost_usd: cost,
            // A lost try that was charged in full is part of this effect's bill.
            uncertain: row.uncertain || end.uncertain,
            error: end.outcome.as_ref().err().cloned(),
        });
        ops.push(self.event(bodies));
        crate::failpoint::pass("effect.finish.before");
        let results = self.commit(ops).await?;
        crate::failpoint::pass("effect.finish.after");
        let order =
            results.iter().find_map(|r| if let OpResult::Order(order) = r { Some(*order) } else { None });
        let order = order.ok_or_else(|| StoreError::Failed("an answer got no position".to_owned()))?;
        row.cost = cost;
        row.uncertain |= end.uncertain;
        row.finished_at = Some(end.at);
        merge(&mut row.attributes, end.attributes);
        row.state = match end.outcome {
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
        row.uncertain |= carried > NanoUsd::ZERO;
        merge(&mut row.attributes, attributes);
        self.keep(row.clone());
        Ok(row)
    }

    /// Appends facts that belong to no effect.
    ///
    /// # Errors
    /// Store errors.
    pub async fn note(&self, facts: Vec<EventBody>) -> Result<(), StoreError> {
        self.commit(vec![self.event(facts)]).await.map(|_| ())
    }

    /// The end of an effect that went well.
    pub fn ok(&self, result: Value) -> EffectEnd {
        self.end(Ok(result))
    }

    /// The end of an effect, now.
    pub fn end(&self, outcome: Result<Value, wflo_core::error::Failure>) -> EffectEnd {
        let at = self.clock.now();
        EffectEnd { outcome, cost: NanoUsd::ZERO, uncertain: false, attributes: Value::Null, at }
    }

    fn event(&self, bodies: Vec<EventBody>) -> Op {
        let at = self.clock.now();
        Op::AppendEvents {
            run: self.fence.run,
            events: bodies.into_iter().map(|body| Event { at, body }).collect(),
        }
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Vec<OpResult>, StoreError> {
        self.store.commit(Batch { fence: Some(self.fence), ops }).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u32), EffectRecord>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => into.extend(from),
        (into, from @ Value::Object(_)) => *into = from,
        _ => {}
    }
}

/// Answers are given out in the order in which they were journaled.
struct Turns {
    next: tokio::sync::watch::Sender<u32>,
    skipped: Mutex<std::collections::BTreeSet<u32>>,
}

impl Turns {
    fn after(last: u32) -> Self {
        Turns { next: tokio::sync::watch::channel(last + 1).0, skipped: Mutex::default() }
    }

    async fn wait(&self, order: u32) -> Turn<'_> {
        let mut next = self.next.subscribe();
        // The sender lives as long as this, so the wait ends only with the turn.
        let _ = next.wait_for(|next| *next >= order).await;
        Turn { turns: self, order }
    }

    fn skip(&self, order: u32) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.insert(order);
        self.next.send_if_modified(|next| {
            let before = *next;
            while skipped.remove(next) {
                *next += 1;
            }
            *next != before
        });
    }
}

/// One answer's turn.
pub struct Turn<'a> {
    turns: &'a Turns,
    order: u32,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // One that comes late (an answer read back) has no place to give up.
        if *self.turns.next.borrow() <= self.order {
            self.turns.skip(self.order);
        }
    }
}
