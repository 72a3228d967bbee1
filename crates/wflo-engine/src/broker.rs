//! The effect broker: carries out what a step asks of the world, at most once.
//!
//! Owns the path of one effect: found in the journal, it is answered from there; else it is journaled,
//! carried out and answered. Each kind has its own file.
//!
//! **Architecture Invariant:** credentials and databases stay on this side; the runner sees requests
//! and answers only.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wflo_core::approval::{Approval, ApprovalStatus, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectKind, EffectRecord, fingerprint};
use wflo_core::error::Code;
use wflo_core::event::EventBody;
use wflo_core::id::ApprovalId;
use wflo_core::ports::store::EffectEnd;

use crate::calls::Calls;
use crate::chain::{Chain, Open};
use crate::executor::Attempt;
use crate::journal::{Intent, Journal};
use crate::outbox::Outbox;
use crate::protocol::{Answer, EffectCall, EffectError, On, ToRunner};
use crate::services::Services;
use crate::waits::Waits;

mod alone;
mod answer;
mod ask;
mod cancelled;
mod db;
mod done;
mod full;
mod held;
mod llm;
mod named;
pub(crate) mod question;
mod recorded;
mod release;
mod restore;
mod tool;
mod tool_budget;
mod tool_files;
mod work;
mod world;

/// A kind of effect that a later release brings.
const LATER: Code = Code(3021);
/// A guarded effect whose result was lost.
pub(crate) const AMBIGUOUS: Code = Code(3023);

pub(crate) use answer::{Answered, Unanswered, effect_error, failure_of};
use answer::{Outcome, answer_of, bad_request, mismatch, replayed_error};
use tool_files::ToolFiles;
pub(crate) use tool_files::{Opened, bad_layer};
use work::Work;

pub(crate) use db::{effect_id, in_database, not_known, own_writes, settled_in_database};
pub(crate) use full::full;
pub(crate) use held::Start;
pub(crate) use question::asks_at_writes;
pub(crate) use tool::{not_known as command_not_known, skipped};

/// A running tool hands its result over here.
pub(crate) type ToolDone = tokio::sync::oneshot::Sender<Value>;

/// The broker of one attempt.
pub(crate) struct Broker {
    pub(crate) attempt: Attempt,
    pub(crate) journal: Arc<Journal>,
    pub(crate) services: Arc<Services>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) files: ToolFiles,
    pub(crate) chain: Arc<Chain>,
    tools: Mutex<HashMap<On, ToolDone>>,
    work: Work,
    /// Codes of errors that the runner was told.
    told: Mutex<BTreeSet<String>>,
}

impl Broker {
    pub(crate) fn new(attempt: Attempt, journal: Arc<Journal>, services: Arc<Services>) -> Self {
        let waits = Arc::new(Waits::default());
        let (sharing, rows) = (Arc::clone(&waits), Arc::clone(&journal));
        let chain = Arc::new(Chain::new(attempt.clone(), rows, Arc::clone(&services), sharing));
        let (sharing, rows) = (Arc::clone(&waits), Arc::clone(&journal));
        let before = Arc::clone(&chain);
        let calls = Arc::new(Calls::new(attempt.clone(), rows, Arc::clone(&services), sharing, before));
        let broker = Broker {
            attempt,
            journal,
            services,
            waits,
            calls,
            files: ToolFiles::default(),
            chain,
            tools: Mutex::default(),
            work: Work::default(),
            told: Mutex::default(),
        };
        // What it did before its resume comes again, and is no circle.
        if let Some(gateway) = broker.services.gateway() {
            gateway.begins(&broker.calls.label());
        }
        broker
    }

    /// The answer to one effect.
    #[tracing::instrument(level = "info", name = "effect", skip_all, fields(kind = call.kind.as_str(), path = call.path, seq = call.seq))]
    pub(crate) async fn perform(&self, mut call: EffectCall, sink: &Outbox) -> Result<Answered, Unanswered> {
        let print = match fingerprint(call.kind, &call.name, &call.request) {
            Ok(print) => print,
            Err(e) => return Ok(Answered::new(None, Err(bad_request(&e.to_string())))),
        };
        let found = self.journal.get(&call.path, call.seq);
        let order =
            found.as_ref().and_then(EffectRecord::order).map(|order| self.journal.replay_place(order));
        if let Some(row) = found.as_ref().filter(|row| row.fingerprint != print) {
            let whole = self.journal.whole(&call.path, call.seq).await?;
            return Ok(Answered::new(None, Err(mismatch(whole.as_ref().unwrap_or(row), &call))));
        }
        if self.journal.is_cancelled(&call.path, call.seq) {
            self.take_back_question(&call).await?;
            return Ok(Answered { order, answer: Some(Answer::Cancelled(true)) });
        }
        // The parts of a stream are given out again, which the gateway does: it knows their shape.
        let is_stream = call.kind == EffectKind::Llm && call.name == "stream";
        if let Some(row) = found.as_ref().filter(|row| row.order().is_some() && !is_stream) {
            if row.attributes["files"].is_object()
                && let Err(error) = self.with_files(&call, row, order, sink).await?
            {
                return Ok(Answered::new(order, Err(error)));
            }
            return Ok(Answered { order, answer: None });
        }
        if order.is_none() && !self.journal.is_new() {
            // Not in the journal: the runner need not wait for it before it delivers what is.
            sink.small(ToRunner::EffectPending { path: call.path.clone(), seq: call.seq });
        }
        if found.is_none()
            && let Some(refused) = self.no_room(&call, &print).await?
        {
            return Ok(Answered::new(None, Err(refused)));
        }
        let done = self.carry_out(&mut call, print, found, sink).await;
        if matches!(done, Err(Unanswered::Withdrawn)) {
            self.take_back_question(&call).await?;
        }
        Ok(Answered::new(order, done?))
    }

    async fn carry_out(
        &self,
        call: &mut EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
        sink: &Outbox,
    ) -> Outcome {
        // What was begun before is not held up; model calls come to the chain on their way through the
        // ledger.
        let leaves = matches!(
            call.kind,
            EffectKind::Sleep | EffectKind::Approval | EffectKind::Tool | EffectKind::Emit
        );
        if leaves
            && found.is_none()
            && let Err(refused) = self.chain.settle(&on(call)).await?
        {
            return Ok(Err(refused));
        }
        match call.kind {
            EffectKind::Db => self.db(call, print, found).await,
            EffectKind::Llm => {
                let request = std::mem::take(&mut call.request);
                self.llm(call, request, print, sink).await
            }
            EffectKind::Now | EffectKind::Random => self.drawn(call, print).await,
            EffectKind::Emit => self.emit(call, print).await,
            EffectKind::Sleep => self.sleep(call, print, found).await,
            EffectKind::Approval => self.approval(call, print, found).await,
            EffectKind::Tool => self.tool(call, print, found, sink).await,
            EffectKind::Http => Ok(Err(EffectError {
                code: LATER.to_string(),
                kind: "not_available".to_owned(),
                message: "context.http is not in this release".to_owned(),
                hint: Some(
                    "call the service outside of the workflow and pass what it says as an input".to_owned(),
                ),
            })),
        }
    }

    /// The runner is told an error, which may be what its step ends with.
    pub(crate) fn heard(&self, error: &EffectError) {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(error.code.clone());
    }

    /// Codes of errors that the runner was told.
    pub(crate) fn codes(&self) -> BTreeSet<String> {
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Ends what only waits: for people, for a time, or for a tool in the sandbox, which is dead.
    pub(crate) fn end_waits(&self) {
        self.waits.close();
        self.tools.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    /// What the effect waits for next may need the runner, or take as long as it likes; its request is in
    /// the journal and is let go.
    fn let_go(&self, call: &mut EffectCall) {
        call.request = Value::Null;
        self.waits.at_hand.forget(&on(call));
    }

    fn intent(&self, call: &EffectCall, print: Digest, attributes: Value) -> Intent {
        Intent {
            path: call.path.clone(),
            seq: call.seq,
            kind: call.kind,
            name: call.name.clone(),
            fingerprint: print,
            request: call.request.clone(),
            hold: None,
            attributes,
            after: call.after,
        }
    }

    /// Journals an error as the answer, so that a resume hears it again.
    async fn fail(
        &self,
        call: &EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
        error: EffectError,
    ) -> Outcome {
        let end = self.journal.end(Err(failure_of(&error)));
        let end = EffectEnd { attributes: json!({ "error_kind": error.kind }), ..end };
        match found {
            Some(row) => self.journal.finish(row, end, Vec::new(), Vec::new()).await?,
            None => self.journal.record(self.intent(call, print, Value::Null), end, Vec::new()).await?,
        };
        Ok(Err(error))
    }

    /// Journals an answer for which nothing left: for good, or on top of the writes that are open.
    async fn told(
        &self,
        open: &Open,
        call: &EffectCall,
        print: Digest,
        outcome: Result<Value, EffectError>,
        attributes: Value,
    ) -> Outcome {
        let found = self.journal.get(&call.path, call.seq);
        let attributes = match (&outcome, attributes) {
            (Err(error), Value::Null) => json!({ "error_kind": error.kind }),
            (Err(error), mut attributes) => {
                attributes["error_kind"] = json!(error.kind);
                attributes
            }
            (Ok(_), attributes) => attributes,
        };
        let kept = outcome.clone().map_err(|error| failure_of(&error));
        if !open.is_empty() {
            let fresh = found.is_none();
            let row = found.unwrap_or_else(|| self.journal.row(self.intent(call, print, Value::Null)));
            self.journal.preview(row, fresh, kept, attributes).await?;
            return Ok(outcome);
        }
        match found {
            Some(row) => {
                let end = EffectEnd { attributes, ..self.journal.end(kept) };
                self.journal.finish(row, end, Vec::new(), Vec::new()).await?;
            }
            None => {
                let intent = self.intent(call, print, attributes);
                self.journal.record(intent, self.journal.end(kept), Vec::new()).await?;
            }
        }
        Ok(outcome)
    }

    /// Waits for the answer to a question; `None` when it was taken back.
    async fn decided(&self, call: &EffectCall, approval: ApprovalId) -> Result<ApprovalStatus, Unanswered> {
        let on = On { path: call.path.clone(), seq: call.seq };
        Ok(self.waits.decided(&self.attempt, on, approval).await?)
    }

    /// The newest question of this purpose that stands.
    async fn question(&self, about: Purpose) -> Result<Option<Approval>, Unanswered> {
        let all = self.services.store.approvals_about(self.attempt.run, about).await?;
        Ok(all.into_iter().find(|a| a.status != ApprovalStatus::Superseded))
    }
}

/// The place of an effect.
fn on(call: &EffectCall) -> On {
    On { path: call.path.clone(), seq: call.seq }
}

/// A fact about a used approval.
pub(crate) fn consumed(approval: ApprovalId, released: String) -> EventBody {
    EventBody::ApprovalConsumed { approval_id: approval, released }
}
