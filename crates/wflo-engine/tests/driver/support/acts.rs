//! What steps of these tests do: ask people, and pay.

use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Binding, OnTimeout, Purpose};
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Zone};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKind, EffectRecord, EffectState};
use wflo_core::event::{EventBody, Wait};
use wflo_core::id::{BudgetId, HoldId, RunId};
use wflo_core::machine::CommandBody;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{ApprovalFilter, Op, Store, StoreError};
use wflo_engine::clock::SystemClock;
use wflo_engine::executor::{Attempt, End};
use wflo_engine::journal::{Intent, Journal};

use super::succeeded;

/// Suspends for people; once they have said yes, succeeds.
pub(crate) async fn asks(attempt: Attempt, store: Arc<dyn Store>) -> End {
    let filter = ApprovalFilter { run: Some(attempt.run), ..ApprovalFilter::default() };
    let known = match store.approvals(filter).await {
        Ok(known) => known,
        Err(e) => return End::Lost { reason: e.to_string() },
    };
    let mine = known.into_iter().find(|a| {
        a.request.step.as_deref() == Some(&attempt.step)
            && a.request.generation == attempt.generation
            && a.status != ApprovalStatus::Superseded
    });
    let id = match mine {
        Some(a) if a.status != ApprovalStatus::Pending => return succeeded(&attempt.step),
        Some(a) => a.id,
        None => {
            let digest = Digest::of_bytes(b"x");
            let request = ApprovalRequest {
                purpose: Purpose::Output,
                step: Some(attempt.step.clone()),
                generation: attempt.generation,
                title: "go on".into(),
                evidence: json!({}),
                binding: Binding { action: digest.clone(), code: digest.clone(), evidence: digest },
                approvers: vec![],
                quorum: 1,
                expires_at: None,
                on_timeout: OnTimeout::Hold,
                notify: vec![],
            };
            let ask = CommandBody::Ask { request: Box::new(request) };
            let events = match attempt.driver.tell(ask, Vec::new()).await {
                Ok(events) => events,
                Err(_) => return End::Stopped,
            };
            events
                .iter()
                .find_map(|e| match e.body {
                    EventBody::ApprovalRequested { approval_id, .. } => Some(approval_id),
                    _ => None,
                })
                .unwrap()
        }
    };
    End::Suspended { on: vec![Wait::Approval { approval_id: id }] }
}

pub(crate) const PRICE: i64 = 10;

/// A call that is paid for: journaled and held before, settled after; one whose answer was lost is
/// charged and made again.
pub(crate) async fn pays(attempt: &Attempt, store: &Arc<dyn Store>) -> Result<(), StoreError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (step, generation) = (&attempt.step, attempt.generation);
    let journal =
        Journal::load(Arc::clone(store), Arc::clone(&clock), attempt.fence(), step, generation).await?;
    let budget = budget_of(attempt.run);
    let hold = HoldId::from_uuid(clock.uuid());
    let amount = NanoUsd::from_nanos(PRICE);
    let mut ops = vec![Op::OpenBudget(Box::new(budget.clone()))];
    let take = Op::Hold { id: hold, run: attempt.run, budgets: vec![budget.id], amounts: amount.into() };
    let row: EffectRecord = match journal.get("0", 0) {
        Some(row) if row.state != EffectState::Intent => return Ok(()),
        Some(row) => {
            let mut carried = NanoUsd::ZERO;
            if let Some(lost) = store.hold(row.hold.unwrap()).await? {
                ops.push(Op::Settle { id: lost.id, actual: lost.amounts, at: clock.now() });
                carried = lost.amounts.cost;
            }
            ops.push(take);
            journal.reopen(row, Some(hold), carried, Value::Null, ops).await?
        }
        None => {
            ops.push(take);
            let intent = Intent {
                path: "0".into(),
                seq: 0,
                kind: EffectKind::Llm,
                name: "chat".into(),
                fingerprint: Digest::of_bytes(b"call"),
                request: json!({}),
                hold: Some(hold),
                attributes: json!({}),
                after: 0,
            };
            journal.intend(intent, ops).await?
        }
    };
    let mut end = journal.ok(json!("answer"));
    end.cost = NanoUsd::from_nanos(PRICE / 2);
    let settle = Op::Settle { id: hold, actual: end.cost.into(), at: clock.now() };
    journal.finish(row, end, vec![settle], Vec::new()).await?;
    Ok(())
}

pub(crate) fn budget_of(run: RunId) -> Budget {
    Budget {
        id: BudgetId::from_uuid(run.uuid()),
        scope: Scope::Run,
        key: run.to_string(),
        period: Period::Total,
        period_start: String::new(),
        time_zone: Zone::utc(),
        standing: false,
        measure: Measure::Cost,
        limit: Amount::from_units(1_000_000),
        settled: Amount::ZERO,
        held: Amount::ZERO,
        action_on_exceeded: OnExceeded::Halt,
        alert_thresholds: vec![],
    }
}
