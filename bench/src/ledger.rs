//! Ledgers that calls are measured with: one that keeps nothing, one that keeps what the engine's keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Zone};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::error::Coded as _;
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{BudgetId, HoldId};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Batch, EffectEnd, Fence, Op, Store as _, StoreError};
use wflo_gateway::ledger::{BoxFuture, CallIntent, Ledger, LedgerError, Opened, Outcome, Ticket};

use crate::workload::{Bench, line, record};

/// Keeps nothing: what is left is the gateway alone.
pub(crate) struct Nothing;

impl Ledger for Nothing {
    fn open(&self, _: CallIntent) -> BoxFuture<'_, Result<Opened, LedgerError>> {
        Box::pin(async { Ok(Opened::Dispatch { ticket: Ticket::new(()), output_limit: None }) })
    }

    fn close(&self, _: Ticket, _: Outcome) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async { Ok(()) })
    }

    fn release(&self, _: Ticket) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async { Ok(()) })
    }

    fn connection_closed_early(&self, _: &Ticket) {}
}

/// The two commits that the engine's ledger makes for a call: intent with hold, answer with bill.
pub(crate) struct Journaled {
    bench: Arc<Bench>,
    fence: Fence,
    budget: Budget,
    next: AtomicU32,
}

/// A dispatched call.
struct Dispatched {
    key: EffectKey,
    name: String,
    hold: HoldId,
}

impl Journaled {
    /// Makes the run that the calls belong to.
    pub(crate) async fn new(bench: &Arc<Bench>) -> crate::Outcome<Journaled> {
        let definition = line("call", 1)?;
        let run = record(&definition, bench.clock.as_ref());
        let fence = Fence { run: run.id, epoch: run.lease_epoch };
        let digest = definition.digest()?.to_string();
        let budget = Budget {
            id: BudgetId::from_uuid(bench.clock.uuid()),
            scope: Scope::Run,
            key: run.budget_key.clone(),
            period: Period::Total,
            period_start: String::new(),
            time_zone: Zone::utc(),
            standing: false,
            measure: Measure::Cost,
            limit: NanoUsd::MAX.into(),
            settled: Amount::ZERO,
            held: Amount::ZERO,
            action_on_exceeded: OnExceeded::Halt,
            alert_thresholds: vec![500, 750, 900, 1000],
        };
        let ops = vec![
            Op::PutDefinition { digest: digest.clone(), definition: serde_json::to_value(&definition)? },
            Op::CreateRun { run: Box::new(run), definition: digest },
        ];
        bench.store.commit(Batch { fence: None, ops }).await?;
        Ok(Journaled { bench: Arc::clone(bench), fence, budget, next: AtomicU32::new(0) })
    }

    /// What a call is before it is sent, as ops.
    pub(crate) fn intent(&self, name: &str, request: Value, amount: NanoUsd) -> (Vec<Op>, EffectKey, HoldId) {
        let (run, at) = (self.fence.run, self.bench.clock.now());
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let key = EffectKey { step: "call_0".to_owned(), generation: 1, path: "0".to_owned(), seq };
        let hold = HoldId::from_uuid(self.bench.clock.uuid());
        let effect = EffectRecord {
            key: key.clone(),
            kind: EffectKind::Llm,
            name: name.to_owned(),
            fingerprint: Digest::of_bytes(name.as_bytes()),
            request: request.into(),
            state: EffectState::Intent,
            hold: Some(hold),
            cost: NanoUsd::ZERO,
            uncertain: NanoUsd::ZERO,
            attributes: json!({ "model": "gpt-5-mini", "provider": "openai" }),
            after: 0,
            active_ms: 0,
            started_at: at,
            finished_at: None,
        };
        let body =
            EventBody::EffectStarted { key: key.clone(), kind: EffectKind::Llm, name: name.to_owned() };
        let ops = vec![
            Op::OpenBudget(Box::new(self.budget.clone())),
            Op::Hold { id: hold, run, budgets: vec![self.budget.id], amounts: amount.into() },
            Op::PutEffect { run, effect: Box::new(effect) },
            Op::AppendEvents { run, events: vec![Event { at, body }] },
        ];
        (ops, key, hold)
    }

    /// What a call is once it was answered, as ops.
    pub(crate) fn answer(&self, key: &EffectKey, name: &str, hold: HoldId, result: Value) -> Vec<Op> {
        let (run, at) = (self.fence.run, self.bench.clock.now());
        let cost_usd = NanoUsd::from_nanos(1_000);
        let body = EventBody::EffectFinished {
            key: key.clone(),
            kind: EffectKind::Llm,
            name: name.to_owned(),
            cost_usd,
            uncertain: false,
            error: None,
        };
        let end = EffectEnd {
            outcome: Ok(result),
            cost: cost_usd,
            uncertain: false,
            attributes: json!({ "status": 200 }),
            at,
        };
        vec![
            Op::Settle { id: hold, actual: cost_usd.into(), at },
            Op::FinishEffect { run, key: key.clone(), end },
            Op::AppendEvents { run, events: vec![Event { at, body }] },
        ]
    }

    /// Commits ops of the run; returns once they are durable.
    pub(crate) async fn commit(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        self.bench.store.commit(Batch { fence: Some(self.fence), ops }).await.map(|_| ())
    }
}

impl Ledger for Journaled {
    fn open(&self, intent: CallIntent) -> BoxFuture<'_, Result<Opened, LedgerError>> {
        Box::pin(async move {
            let name = intent.path.endpoint.name();
            let request = json!({ "fingerprint": intent.fingerprint, "bytes": intent.request_bytes });
            let (ops, key, hold) = self.intent(name, request, intent.hold);
            self.commit(ops).await.map_err(failed)?;
            Ok(Opened::Dispatch {
                ticket: Ticket::new(Dispatched { key, name: name.to_owned(), hold }),
                output_limit: None,
            })
        })
    }

    fn close(&self, ticket: Ticket, outcome: Outcome) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let Some(call) = ticket.get::<Dispatched>() else { return Ok(()) };
            let result = serde_json::to_value(&outcome.recorded).unwrap_or_default();
            self.commit(self.answer(&call.key, &call.name, call.hold, result)).await.map_err(failed)
        })
    }

    fn release(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let Some(call) = ticket.get::<Dispatched>() else { return Ok(()) };
            self.commit(vec![Op::ReleaseHold { id: call.hold }]).await.map_err(failed)
        })
    }

    fn connection_closed_early(&self, _: &Ticket) {}
}

fn failed(error: StoreError) -> LedgerError {
    LedgerError { code: error.code(), message: error.to_string() }
}
