//! A run's changed files at its end: what they are, and `--apply`.

use std::sync::Arc;
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
use wflo_engine::{Runtime, changes};
use wflo_sandbox::workspace::{self, ApplyOptions, Change, Report, TextLimits, View};

use crate::failure::CommandError;
use crate::session::Session;

/// So many files are shown in a question.
const SHOWN: usize = 200;

/// The changes of a run that has ended.
pub(super) struct Files {
    pub(super) changes: Vec<Change>,
    view: View,
}

fn broken(text: impl Into<String>) -> CommandError {
    CommandError::from_failure(Failure::new(Code(9007), text))
}

impl Files {
    /// Reads them.
    ///
    /// # Errors
    /// When a tree is missing or damaged.
    pub(super) async fn open(
        session: &Session<'_>,
        runtime: &Runtime,
        record: &RunRecord,
    ) -> Result<Files, CommandError> {
        let workspaces = Arc::clone(&runtime.sandboxes.store);
        let view = changes::workspace_view(session.store.as_ref(), &workspaces, record)
            .await
            .map_err(CommandError::engine)?;
        let work = move || workspace::diff(&view, &workspaces).map(|changes| Files { changes, view });
        let files = tokio::task::spawn_blocking(work).await.map_err(|e| broken(e.to_string()))?;
        Ok(files?)
    }

    /// What people are asked before the files are written to the project.
    ///
    /// # Errors
    /// When a content cannot be read.
    pub(super) fn question(
        &self,
        runtime: &Runtime,
        record: &RunRecord,
    ) -> Result<ApprovalRequest, CommandError> {
        let limits = TextLimits { lines: 60, patience: Duration::from_millis(100), ..TextLimits::default() };
        let files: Vec<Value> = self
            .changes
            .iter()
            .map(|change| json!({ "path": change.path.to_string(), "kind": change.kind, "after": change.after }))
            .collect();
        let mut diff = String::new();
        for change in self.changes.iter().take(SHOWN) {
            diff.push_str(&change.text(&runtime.sandboxes.store, &limits)?.body);
        }
        let digest = |value: &Value| Digest::of_json(value).map_err(|e| broken(e.to_string()));
        let action = digest(&json!(["apply", record.id, files]))?;
        let evidence = json!({ "files": files, "diff": diff });
        Ok(ApprovalRequest {
            purpose: Purpose::Apply,
            step: None,
            generation: 0,
            title: format!("write the run's changes to the project: {}", count(self.changes.len())),
            binding: Binding { action, code: record.code.clone(), evidence: digest(&evidence)? },
            evidence,
            approvers: Vec::new(),
            quorum: 1,
            expires_at: None,
            on_timeout: OnTimeout::Hold,
            notify: Vec::new(),
        })
    }

    /// Writes them to the project, all or none; what needs a person's word is left and reported, the
    /// file of the definition among it.
    ///
    /// # Errors
    /// A conflict with what changed in the project meanwhile: nothing was written.
    pub(super) async fn apply(
        self,
        session: &Session<'_>,
        runtime: &Runtime,
        record: &RunRecord,
        definition: Option<&str>,
    ) -> Result<Report, CommandError> {
        let launch = changes::launch_of(record).map_err(CommandError::engine)?;
        let sandboxes = Arc::clone(&runtime.sandboxes);
        let written = definition.map(str::to_owned);
        let work = move || {
            let hidden = sandboxes.hidden(&launch.project, &launch.hide).map_err(CommandError::engine)?;
            let entry = launch.workflow.as_deref().map(super::workflow::file_of);
            let definitions = entry.into_iter().chain(written.as_deref());
            let definitions = definitions.filter_map(|file| file.parse().ok()).collect();
            let options = ApplyOptions { definitions, ..ApplyOptions::default() };
            let report = workspace::apply(&self.view, &sandboxes.store, &launch.project, &hidden, &options)?;
            Ok::<_, CommandError>(report.or_conflict()?)
        };
        let report = tokio::task::spawn_blocking(work).await.map_err(|e| broken(e.to_string()))??;
        let files = u64::try_from(report.applied.len()).unwrap_or(u64::MAX);
        let (store, clock) = (session.store.as_ref(), session.clock.as_ref());
        changes::record_fate(store, clock, record, files, false).await.map_err(CommandError::engine)?;
        Ok(report)
    }
}

/// `1 file`, `2 files`.
pub(super) fn count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// Records a question about a run that has ended, with its answer, in one commit.
///
/// # Errors
/// Store errors.
pub(super) async fn record_answer(
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
