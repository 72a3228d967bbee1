//! Asking before a run's files are written to the project, and the record of the answer.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use wflo_core::approval::{Approval, ApprovalRequest, ApprovalStatus, Binding, Decision, OnTimeout, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::error::{Code, Failure};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{ApprovalId, EngineId};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Batch, Fence, Op, Store};
use wflo_core::run::RunRecord;
use wflo_sandbox::workspace::TextLimits;

use super::{Files, count_of};
use crate::failure::CommandError;
use crate::session::Session;

/// The contents of so many files are shown in a question; all of them are named.
const SHOWN: usize = 200;

impl Files {
    /// What people are asked before the files are written to the project.
    ///
    /// # Errors
    /// When a content cannot be read.
    pub(crate) fn question(&self, record: &RunRecord) -> Result<ApprovalRequest, CommandError> {
        let limits = TextLimits { patience: Duration::from_millis(100), ..TextLimits::above_a_question() };
        let changes = self.changes()?;
        let named = |change: &wflo_sandbox::workspace::Change| json!({ "path": change.path.to_string(), "kind": change.kind, "after": change.after });
        let files: Vec<Value> = changes.iter().map(named).collect();
        let mut diff = String::new();
        for change in changes.iter().take(SHOWN) {
            diff.push_str(&change.text(&self.store, &limits)?.body);
        }
        let digest = |value: &Value| {
            let broken = |e: serde_json::Error| Failure::new(Code(9007), e.to_string());
            Digest::of_json(value).map_err(|e| CommandError::from_failure(broken(e)))
        };
        let action = digest(&json!(["apply", record.id, files]))?;
        let evidence = json!({ "run": record.id, "files": files, "diff": diff });
        Ok(ApprovalRequest {
            purpose: Purpose::Apply,
            step: None,
            generation: 0,
            title: format!("write the run's changes to the project: {}", count_of(&changes)),
            binding: Binding { action, code: record.code.clone(), evidence: digest(&evidence)? },
            evidence,
            approvers: Vec::new(),
            quorum: 1,
            expires_at: None,
            on_timeout: OnTimeout::Hold,
            notify: Vec::new(),
        })
    }
}

/// Records a question about a run that has ended, with its answer, in one commit.
///
/// # Errors
/// Store errors.
pub(crate) async fn record_answer(
    session: &Session<'_>,
    record: &RunRecord,
    (id, request): (ApprovalId, ApprovalRequest),
    decision: Decision,
    asked_at: Timestamp,
) -> Result<(), CommandError> {
    let run = record.id;
    let at = decision.at;
    let expected = session.store.run(run).await?.map_or(record.lease_epoch, |record| record.lease_epoch);
    let status = if decision.approved { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
    let approval = Approval {
        id,
        run,
        request: request.clone(),
        status: ApprovalStatus::Pending,
        decision: None,
        requested_at: asked_at,
        consumed_at: None,
    };
    let approved = decision.approved;
    let mut ops = vec![
        Op::Claim { run, expected, engine: EngineId::from_uuid(session.clock.uuid()) },
        Op::PutApproval(Box::new(approval)),
        Op::DecideApproval { id, status, decision: decision.clone() },
    ];
    let mut events = vec![
        Event {
            at: asked_at,
            body: EventBody::ApprovalRequested { approval_id: id, request: Box::new(request) },
        },
        Event { at, body: EventBody::ApprovalDecided { approval_id: id, decision } },
    ];
    if approved {
        ops.push(Op::ConsumeApproval { id, at });
        let released = "the run's files".to_owned();
        events.push(Event { at, body: EventBody::ApprovalConsumed { approval_id: id, released } });
    }
    ops.extend([Op::AppendEvents { run, events }, Op::Release { run }]);
    session.store.commit(Batch { fence: Some(Fence { run, epoch: expected }), ops }).await?;
    Ok(())
}
