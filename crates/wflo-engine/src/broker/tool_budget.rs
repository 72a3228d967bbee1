//! Budgets on calls of tools.
//!
//! Owns the order: the intent and what it counts are one commit. A call counts once it has begun, whatever
//! comes of it; a resume finds the intent, and counts nothing again.

use wflo_core::approval::Approval;
use wflo_core::budget::{Amounts, Measure};
use wflo_core::canonical::Digest;
use wflo_core::effect::EffectRecord;
use wflo_core::error::Coded as _;
use wflo_core::id::HoldId;
use wflo_core::ports::store::{Op, StoreError};

use super::{Broker, Unanswered, on};
use crate::error::EngineError;
use crate::ledger::{Short, Then, accounts_that, exceeded, hold_ops, queue};
use crate::protocol::{EffectCall, EffectError};

impl Broker {
    /// The intent of a tool's call, counted on every budget that counts calls of tools; else why not. An
    /// approval that it needed is used up in the same commit.
    pub(super) async fn counted(
        &self,
        call: &EffectCall,
        print: &Digest,
        approval: Option<&Approval>,
    ) -> Result<Result<EffectRecord, EffectError>, Unanswered> {
        let amounts = Amounts { tool_calls: 1, ..Amounts::default() };
        let (on, mut queued) = (on(call), None);
        loop {
            if self.waits.is_withdrawn(&on) {
                return Err(Unanswered::Withdrawn);
            }
            if self.calls.is_closed() {
                return Err(EngineError::ShuttingDown.into());
            }
            let counts = |measure| measure == Measure::ToolCalls;
            let applied = accounts_that(&self.services, &self.attempt, counts).await?;
            let mut ops = Vec::new();
            if !applied.is_empty() {
                let id = HoldId::from_uuid(self.services.clock.uuid());
                ops = hold_ops(self.attempt.run, &applied, id, amounts);
                ops.push(Op::Settle { id, actual: amounts, at: self.services.clock.now() });
            }
            let mut attributes = serde_json::Value::Null;
            if let Some(approval) = approval {
                let key = self.journal.key(&call.path, call.seq);
                ops.extend(self.use_up(approval, &key.to_string()));
                if approval.request.evidence["rule"].is_null() {
                    attributes = serde_json::json!({ "write": true });
                }
            }
            let intent = self.intent(call, print.clone(), attributes);
            let shortfall = match self.journal.intend(intent, ops).await {
                Ok(row) => return Ok(Ok(row)),
                Err(StoreError::Short(shortfall)) => shortfall,
                Err(e) => return Err(e.into()),
            };
            if queue(&self.calls, &on, &shortfall, &applied, &mut queued).await? {
                continue;
            }
            let what = &call.name;
            let short = Short { what, cheaper: false, on: &on, shortfall: &shortfall, patience: None };
            match exceeded(&self.calls, short).await? {
                Then::Again => {}
                Then::Ended => return Err(EngineError::ShuttingDown.into()),
                Then::Refused | Then::Unanswered(_) | Then::Cheaper => {
                    let short = StoreError::Short(shortfall);
                    return Ok(Err(EffectError {
                        code: short.code().to_string(),
                        kind: "budget_exceeded".to_owned(),
                        message: short.to_string(),
                        hint: short.hint(),
                    }));
                }
            }
        }
    }
}
