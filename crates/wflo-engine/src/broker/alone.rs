//! A write that no changeset holds, and that is asked about by itself.
//!
//! Owns the question and the statement's run after it. What is shown is all that the write does, computed by
//! running it and rolling it back; what binds the answer to it is the seal of that, which stands in the
//! question. Once approved the write is run again in one transaction of the database, and is committed only
//! if it comes to the same seal. Else nothing is written, and people are asked anew and told what differs.
//!
//! The sequence, with what a crash between two lines leaves behind:
//! 1. the intent and the question with its seal are one commit; crash: the resume waits for the question;
//! 2. people decide; crash: the decision is durable, and the resume goes on here;
//! 3. the write, in the same transaction its record, is committed in the user's database; crash: the resume
//!    finds the record and writes nothing;
//! 4. the answer is committed in the journal, and the approval is used up in the same commit.
//!
//! When the write would do something else at 3:
//! 3a. the question is superseded, and how often and why is kept with the intent, in one commit; crash: the
//!     resume finds an intent without a question, and previews and asks anew;
//! 3b. the next question is put; as 1.
//!
//! A write that changes nothing (CREATE TABLE IF NOT EXISTS) is run under its seal at once: there is nothing
//! to approve. Its intent is committed first; crash: the resume looks for its record, and previews it anew if
//! there is none. If it does change something by then, it is asked about like any other.
//!
//! What is in no seal is refused, unless the operator allows it for this database: then the question says
//! that it is unseen, and the statement is run as it is.

use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::approval::{Approval, ApprovalStatus, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::effect::EffectRecord;
use wflo_core::machine::CommandBody;
use wflo_data::{Preview, Requirements, Resealed, Seal, Write};

use super::question::{self, still_good};
use super::{Broker, Outcome, Unanswered, db, effect_error};
use crate::chain::{self, Changed};
use crate::error::EngineError;
use crate::protocol::{EffectCall, EffectError};

/// What became of a write under its seal.
enum Released {
    Told(Result<Value, EffectError>),
    /// It would do something else now.
    Differs(Changed),
}

impl Broker {
    /// Asks, waits and runs the statement; `seen` is its preview, where one was made just now.
    pub(super) async fn alone(
        &self,
        call: &EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
        write: Arc<Write>,
        seen: Option<Preview>,
    ) -> Outcome {
        let action = json!(["db", call.name, call.request]);
        let key = self.journal.key(&call.path, call.seq);
        let about = Purpose::Write { effect: key };
        let (mut row, mut seen) = (found, seen);
        loop {
            let asked = match &row {
                Some(_) => self.question(about.clone()).await?,
                None => None,
            };
            let good = |question: &Approval| binds(question) && still_good(&self.attempt, question, &action);
            let Some(question) = asked.clone().filter(good) else {
                if let Some(stale) = asked.filter(|s| s.status != ApprovalStatus::Consumed) {
                    self.take_back(&stale, "the code that would run has changed").await?;
                }
                // One that was made without a question may be on record.
                if let Some(known) = &row
                    && let Some(told) = self.on_record(call, &print, known).await?
                {
                    return Ok(told);
                }
                let preview = match seen.take() {
                    Some(preview) => preview,
                    None => match self.seen(call, &write).await {
                        Ok(preview) => preview,
                        Err(error) => return self.fail(call, print, row, error).await,
                    },
                };
                match preview.seal.as_ref().filter(|_| preview.changes_nothing()) {
                    Some(seal) => {
                        let known = match row {
                            Some(known) => known,
                            None => {
                                let intent = self.intent(call, print.clone(), self.alone_attributes(call));
                                self.journal.intend(intent, Vec::new()).await?
                            }
                        };
                        match self.sealed(call, &print, &known, &write, seal.clone(), None).await? {
                            Released::Told(told) => return Ok(told),
                            // It is not nothing any more: the next round asks.
                            Released::Differs(_) => row = Some(known),
                        }
                    }
                    None => row = Some(self.ask_alone(call, &print, row, &preview, &action).await?),
                }
                continue;
            };
            let status = match question.status {
                ApprovalStatus::Pending => self.decided(call, question.id).await?,
                status => status,
            };
            match (status, row) {
                (ApprovalStatus::Approved | ApprovalStatus::Consumed, Some(known)) => {
                    let Some(seal) = seal_of(&question)? else {
                        return self.apply(call, print, known, write, true, Some(&question)).await;
                    };
                    match self.sealed(call, &print, &known, &write, seal, Some(&question)).await? {
                        Released::Told(told) => return Ok(told),
                        Released::Differs(changed) => {
                            row = Some(self.ask_anew(&question, known, &changed).await?);
                        }
                    }
                }
                (ApprovalStatus::Rejected | ApprovalStatus::Expired, _) => {
                    return Ok(Err(question::rejected(&question)));
                }
                (_, known) => row = known,
            }
        }
    }

    async fn seen(&self, call: &EffectCall, write: &Arc<Write>) -> Result<Preview, EffectError> {
        let undoable = self.attempt.spec().is_some_and(|s| s.rollback_enabled);
        let shown = Arc::clone(write);
        let preview =
            self.in_database(call, move |db| db.preview(&[], &shown, Requirements { undoable })).await;
        preview.map_err(|e| effect_error("database", &e))
    }

    /// The answer of a write that an earlier attempt has made.
    async fn on_record(
        &self,
        call: &EffectCall,
        print: &Digest,
        row: &EffectRecord,
    ) -> Result<Option<Result<Value, EffectError>>, Unanswered> {
        let (id, guard) = (db::effect_id(self.attempt.run, &row.key), print.to_string());
        let making = self.work.begin().await;
        let recorded = self
            .in_database(call, move |db| db.recorded(wflo_data::Effect { id: &id, fingerprint: &guard }))
            .await;
        match recorded {
            Ok(Some(applied)) => self.written(row.clone(), &applied.result, None, making).await.map(Some),
            Ok(None) => Ok(None),
            Err(e) => {
                let error = effect_error("database", &e);
                self.fail(call, print.clone(), Some(row.clone()), error).await.map(Some)
            }
        }
    }

    /// Runs the write under its seal.
    async fn sealed(
        &self,
        call: &EffectCall,
        print: &Digest,
        row: &EffectRecord,
        write: &Arc<Write>,
        seal: Seal,
        approval: Option<&Approval>,
    ) -> Result<Released, Unanswered> {
        // Nothing is dispatched under a lost lease.
        self.journal.under_lease(Vec::new()).await?;
        let making = self.work.begin().await;
        crate::failpoint::pass("sealed.commit.before");
        let (id, guard) = (db::effect_id(self.attempt.run, &row.key), print.to_string());
        let effect = Arc::new((id, guard, Arc::clone(write), seal));
        let resealed = self
            .settled_in_database(call, move |db| {
                let (id, fingerprint, write, seal) = &*effect;
                db.apply_sealed(wflo_data::Effect { id, fingerprint }, write, seal)
            })
            .await?;
        match resealed {
            Ok(Resealed::Applied(applied)) => {
                crate::failpoint::pass("sealed.commit.after");
                let told = self.written(row.clone(), &applied.result, approval, making).await?;
                Ok(Released::Told(told))
            }
            Ok(Resealed::Differs { parts }) => {
                let detail = format!("it would do something else now: {}", parts.join(", "));
                Ok(Released::Differs(Changed::detail(self.database_name(call), detail)))
            }
            Err(e) => {
                let error = effect_error("database", &e);
                Ok(Released::Told(self.fail(call, print.clone(), Some(row.clone()), error).await?))
            }
        }
    }

    /// Takes an approved question back because the write is not the one that was shown any more.
    async fn ask_anew(
        &self,
        question: &Approval,
        row: EffectRecord,
        changed: &Changed,
    ) -> Result<EffectRecord, Unanswered> {
        let body = CommandBody::Supersede { approval: question.id, reason: changed.to_string() };
        let Some(attributes) = chain::shown_again(&row, changed) else {
            self.attempt.driver.tell(body, Vec::new()).await?;
            return Err(self.chain.keeps_changing(changed));
        };
        let (row, ops) = self.journal.noted(row, attributes);
        self.attempt.driver.tell(body, ops).await?;
        self.journal.keep(row.clone());
        crate::failpoint::pass("sealed.superseded");
        Ok(row)
    }

    fn alone_attributes(&self, call: &EffectCall) -> Value {
        let mut attributes = self.write_attributes(call);
        attributes["alone"] = json!(true);
        attributes
    }

    async fn ask_alone(
        &self,
        call: &EffectCall,
        print: &Digest,
        row: Option<EffectRecord>,
        preview: &Preview,
        action: &Value,
    ) -> Result<EffectRecord, Unanswered> {
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        let database = self.database_name(call);
        let mut evidence = chain::evidence(&call.name, &call.request, &database, preview)?;
        if let Some(seal) = &preview.seal {
            evidence["seal"] = serde_json::to_value(seal).map_err(unreadable)?;
        }
        if let Some(row) = row.as_ref().filter(|row| row.attributes["conflicts"].is_array()) {
            evidence["changed_since"] = row.attributes["conflicts"].clone();
        }
        let effect = self.journal.key(&call.path, call.seq);
        let what = chain::one_line(&call.request, &call.name);
        let title = format!("step `{}` changes database `{database}`: {what}", self.attempt.step);
        let (purpose, clock) = (Purpose::Write { effect }, &*self.services.clock);
        let request = question::request(&self.attempt, clock, purpose, title, action, evidence)?;
        let ask = CommandBody::Ask { request: Box::new(request) };
        let attributes = self.alone_attributes(call);
        match row {
            None => {
                let row = self.journal.row(self.intent(call, print.clone(), attributes));
                self.attempt.driver.tell(ask, self.journal.intent_ops(&row)).await?;
                Ok(self.journal.keep_new(row))
            }
            Some(row) => {
                let (row, ops) = self.journal.noted(row, attributes);
                self.attempt.driver.tell(ask, ops).await?;
                self.journal.keep(row.clone());
                Ok(row)
            }
        }
    }

    async fn take_back(&self, question: &Approval, reason: &str) -> Result<(), Unanswered> {
        let body = CommandBody::Supersede { approval: question.id, reason: reason.to_owned() };
        self.attempt.driver.tell(body, Vec::new()).await?;
        Ok(())
    }
}

/// Whether a question holds what binds its answer, or says that nothing does.
fn binds(question: &Approval) -> bool {
    let evidence = &question.request.evidence;
    evidence["seal"].is_object() || evidence["change"]["unseen"].is_object()
}

/// What an approved question binds its write to; none when a part of it is unseen.
fn seal_of(question: &Approval) -> Result<Option<Seal>, EngineError> {
    match &question.request.evidence["seal"] {
        Value::Null => Ok(None),
        seal => serde_json::from_value(seal.clone())
            .map(Some)
            .map_err(|e| EngineError::Unreadable(format!("the seal of {}: {e}", question.id))),
    }
}
