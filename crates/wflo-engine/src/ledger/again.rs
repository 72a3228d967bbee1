//! A further attempt of a call that is under way.
//!
//! The sequence, with what a crash after each line leaves behind:
//! 1. an attempt has failed; its hold is open: charged in full as uncertain, though it may be free;
//! 2. its charge and the next hold are one commit: the charge stays with the effect, the next hold is
//!    charged in full as uncertain;
//! 3. the next attempt is sent: as above.
//!
//! Whatever keeps a call from being made keeps its further attempts from being made: a policy, the
//! addresses that the run was sealed with, the end of the step, a budget without room.

use std::sync::PoisonError;

use serde_json::json;
use wflo_core::budget::Amounts;
use wflo_core::id::HoldId;
use wflo_core::ports::store::{Op, StoreError};
use wflo_gateway::ledger::{CallIntent, Further, Next, Refusal};

use super::reserve::{accounts_of, amounts, hold_ops};
use super::{Dispatched, Held, ending, operator};
use crate::error::EngineError;
use crate::policy;

pub(super) async fn again(call: &Dispatched, next: Next) -> Result<Further, EngineError> {
    let calls = &call.calls;
    if calls.is_closed() {
        return Ok(Further::Refused(ending()));
    }
    let intent = CallIntent {
        provider: next.provider.clone(),
        address: next.address.clone(),
        model: next.model.clone(),
        hold: next.hold,
        ..call.intent.clone()
    };
    if let Some(failure) = operator::not_ready(calls, &intent) {
        let kind = "provider_moved".to_owned();
        return Ok(Further::Refused(Refusal::Other { status: 503, kind, failure }));
    }
    if let Some(refusal) = policy::before_call(calls, &intent, &call.key.path, call.key.seq).await? {
        return Ok(Further::Refused(refusal));
    }
    let held = call.held();
    let hold = HoldId::from_uuid(calls.services.clock.uuid());
    let at = calls.services.clock.now();
    let mut ops = vec![if next.charged.nanos() == 0 {
        Op::ReleaseHold { id: held.hold }
    } else {
        Op::Settle { id: held.hold, actual: Amounts { cost: next.charged, ..held.amounts }, at }
    }];
    let tokens = next.max_input_tokens.saturating_add(next.max_output_tokens);
    let amounts = amounts(&intent, next.hold, tokens);
    ops.extend(hold_ops(calls.attempt.run, &accounts_of(calls).await?, hold, amounts));
    let attributes = json!({
        "model": next.model,
        "provider": next.provider,
        "hold_usd": next.hold,
        "tried": next.tried,
    });
    let row = match calls.journal.reopen(held.row, Some(hold), next.charged, attributes, ops).await {
        Ok(row) => row,
        Err(StoreError::Short(shortfall)) => return Ok(Further::Refused(Refusal::Budget(shortfall))),
        Err(error) => return Err(error.into()),
    };
    *call.held.lock().unwrap_or_else(PoisonError::into_inner) = Held { row, hold, amounts };
    calls.services.settled.notify_waiters();
    Ok(Further::Dispatch)
}
