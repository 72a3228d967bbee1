//! A write that cannot be previewed whole, and is asked about by itself.
//!
//! Owns the question and the statement's run after it. What is shown says that it is not previewed; what is
//! approved is the statement, and it is run then.

use std::sync::Arc;

use serde_json::{Value, json};
use wflo_core::approval::{Approval, ApprovalStatus, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::effect::EffectRecord;
use wflo_core::machine::CommandBody;
use wflo_data::{Preview, Requirements, Write};

use super::question::{self, still_good};
use super::{Broker, Outcome, Unanswered, effect_error};
use crate::chain;
use crate::error::EngineError;
use crate::protocol::EffectCall;

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
        let about = |a: &Approval| matches!(&a.request.purpose, Purpose::Write { effect } if *effect == key);
        let (mut row, mut seen) = (found, seen);
        loop {
            let asked = match &row {
                Some(_) => self.question(about).await?,
                None => None,
            };
            let question = match asked {
                Some(question) if still_good(&self.attempt, &question, &action) => question,
                stale => {
                    if let Some(stale) = stale.filter(|s| s.status != ApprovalStatus::Consumed) {
                        self.take_back(&stale, "the code that would run has changed").await?;
                    }
                    let preview = match seen.take() {
                        Some(preview) => preview,
                        None => match self.seen(call, &write).await {
                            Ok(preview) => preview,
                            Err(error) => return self.fail(call, print, row, error).await,
                        },
                    };
                    row = Some(self.ask_alone(call, &print, row, &preview, &action).await?);
                    continue;
                }
            };
            let status = match question.status {
                ApprovalStatus::Pending => self.decided(call, question.id).await?,
                status => status,
            };
            match (status, row) {
                (ApprovalStatus::Approved | ApprovalStatus::Consumed, Some(known)) => {
                    return self.apply(call, print, known, write, true, Some(&question)).await;
                }
                (ApprovalStatus::Rejected | ApprovalStatus::Expired, _) => {
                    return Ok(Err(question::rejected(&question)));
                }
                (_, known) => row = known,
            }
        }
    }

    async fn seen(
        &self,
        call: &EffectCall,
        write: &Arc<Write>,
    ) -> Result<Preview, crate::protocol::EffectError> {
        let undoable = self.attempt.spec().is_some_and(|s| s.rollback_enabled);
        let shown = Arc::clone(write);
        let preview =
            self.in_database(call, move |db| db.preview(&[], &shown, Requirements { undoable })).await;
        preview.map_err(|e| effect_error("database", &e))
    }

    async fn ask_alone(
        &self,
        call: &EffectCall,
        print: &Digest,
        row: Option<EffectRecord>,
        preview: &Preview,
        action: &Value,
    ) -> Result<EffectRecord, Unanswered> {
        let change =
            serde_json::to_value(&preview.evidence).map_err(|e| EngineError::Unreadable(e.to_string()))?;
        let database = self.database_name(call);
        let evidence = chain::evidence(&call.name, &call.request, &database, false, change);
        let mut attributes = self.write_attributes(call);
        attributes["alone"] = json!(true);
        let effect = self.journal.key(&call.path, call.seq);
        let what = chain::one_line(&call.request, &call.name);
        let title = format!("step `{}` changes database `{database}`: {what}", self.attempt.step);
        let (purpose, clock) = (Purpose::Write { effect }, &*self.services.clock);
        let request = question::request(&self.attempt, clock, purpose, title, action, evidence)?;
        let ask = CommandBody::Ask { request: Box::new(request) };
        match row {
            None => {
                let row = self.journal.row(self.intent(call, print.clone(), attributes));
                self.attempt.driver.tell(ask, self.journal.intent_ops(&row)).await?;
                Ok(self.journal.keep_new(row))
            }
            Some(row) => {
                let nothing = wflo_core::money::NanoUsd::ZERO;
                let row = self.journal.reopen(row, None, nothing, attributes, Vec::new()).await?;
                self.attempt.driver.tell(ask, Vec::new()).await?;
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
