//! What the promises stand on: a fixture, and samples of each noun.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::{Value, json};
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Zone};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{ApprovalId, BudgetId, EngineId, HoldId, RunId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Batch, EffectEnd, Op, OpResult, SliceStore, Store, StoreError};
use wflo_core::run::{RunOptions, RunRecord, RunStatus};

/// A database of its own, and how to open it, several times if need be.
pub struct Fixture {
    open: Box<dyn Fn() -> Arc<dyn SliceStore> + Send + Sync>,
    _kept: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    /// `kept` lives as long as the fixture: a temporary folder, a database to drop.
    pub fn new(
        open: impl Fn() -> Arc<dyn SliceStore> + Send + Sync + 'static,
        kept: impl Any + Send + Sync,
    ) -> Fixture {
        Fixture { open: Box::new(open), _kept: Box::new(kept) }
    }

    /// Opens the database.
    pub fn open(&self) -> Arc<dyn Store> {
        (self.open)()
    }

    /// Opens it for slices, too.
    pub fn open_slices(&self) -> Arc<dyn SliceStore> {
        (self.open)()
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

fn uuid() -> uuid::Uuid {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    uuid::Uuid::from_u128(
        0x0190_f2e4_0000_7000_8000_0000_0000_0000 + (u128::from(std::process::id()) << 64) + u128::from(n),
    )
}

pub fn run_id() -> RunId {
    RunId::from_uuid(uuid())
}

pub fn engine_id() -> EngineId {
    EngineId::from_uuid(uuid())
}

pub fn budget_id() -> BudgetId {
    BudgetId::from_uuid(uuid())
}

pub fn hold_id() -> HoldId {
    HoldId::from_uuid(uuid())
}

pub fn approval_id() -> ApprovalId {
    ApprovalId::from_uuid(uuid())
}

pub fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

/// An amount of an account of money.
pub fn amount(text: &str) -> Amount {
    usd(text).into()
}

/// A time with nanoseconds, `n` seconds after another.
pub fn at(n: i64) -> Timestamp {
    Timestamp::new(1_795_000_000 + n, 123_456_789).unwrap()
}

pub fn run_record() -> RunRecord {
    let id = run_id();
    RunRecord {
        id,
        workflow: "nightly".to_owned(),
        version: Digest::of_bytes(b"version"),
        label: Some("v1".to_owned()),
        code: Digest::of_bytes(b"code"),
        inputs: json!({"age": 365, "names": ["a", "é"]}),
        options: RunOptions { apply: true, launch: json!({"project": "/p"}), ..RunOptions::default() },
        status: RunStatus::Pending,
        outputs: None,
        error: None,
        retried_from: None,
        budget_key: id.to_string(),
        trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
        lease_epoch: 1,
        engine: Some(engine_id()),
        created_at: at(0),
        updated_at: at(0),
        finished_at: None,
    }
}

pub const DEFINITION: &str = "d1";

/// The operations that accept a run.
pub fn acceptance(run: &RunRecord) -> Vec<Op> {
    vec![
        Op::PutDefinition {
            digest: DEFINITION.to_owned(),
            definition: json!({"name": "nightly", "steps": []}),
        },
        Op::CreateRun { run: Box::new(run.clone()), definition: DEFINITION.to_owned() },
    ]
}

pub async fn commit(store: &dyn Store, ops: Vec<Op>) -> Result<Vec<OpResult>, StoreError> {
    store.commit(Batch { fence: None, ops }).await
}

/// A store with one accepted run.
pub async fn accepted(fixture: &Fixture) -> (Arc<dyn Store>, RunRecord) {
    let (store, run) = (fixture.open(), run_record());
    commit(&*store, acceptance(&run)).await.unwrap();
    (store, run)
}

pub fn machine_event(n: i64) -> Event {
    Event { at: at(n), body: EventBody::RunPaused { by: format!("local:{n}"), error: None } }
}

pub fn journal_event(n: i64) -> Event {
    Event { at: at(n), body: EventBody::Notice { notice: "n".to_owned(), message: n.to_string() } }
}

pub fn key(path: &str, seq: u32) -> EffectKey {
    EffectKey { step: "triage".to_owned(), generation: 1, path: path.to_owned(), seq }
}

pub fn intent(key: EffectKey) -> EffectRecord {
    EffectRecord {
        key,
        kind: EffectKind::Llm,
        name: "chat".to_owned(),
        fingerprint: Digest::of_bytes(b"request"),
        request: json!({"model": "m", "messages": []}).into(),
        state: EffectState::Intent,
        hold: None,
        cost: NanoUsd::ZERO,
        uncertain: NanoUsd::ZERO,
        attributes: json!({"model": "m"}),
        after: 0,
        active_ms: 70,
        started_at: at(1),
        finished_at: None,
    }
}

pub fn put(run: RunId, key: EffectKey) -> Op {
    Op::PutEffect { run, effect: Box::new(intent(key)) }
}

pub fn end(value: Value, cost: NanoUsd) -> EffectEnd {
    EffectEnd { outcome: Ok(value), cost, uncertain: false, attributes: Value::Null, at: at(2) }
}

pub fn finish(run: RunId, key: EffectKey, value: Value) -> Op {
    Op::FinishEffect { run, key, end: end(value, usd("0.01")) }
}

pub fn budget(key: &str, scope: Scope, limit: &str) -> Budget {
    Budget {
        id: budget_id(),
        scope,
        key: key.to_owned(),
        period: Period::Total,
        period_start: String::new(),
        time_zone: Zone::utc(),
        standing: false,
        measure: Measure::Cost,
        limit: usd(limit).into(),
        settled: Amount::ZERO,
        held: Amount::ZERO,
        action_on_exceeded: OnExceeded::Halt,
        alert_thresholds: vec![500, 750, 900, 1000],
    }
}
