//! Releasing a step's output: a step that wants to be approved, and was asked about no write of its own,
//! is asked about what it returns before that is committed. The question names what else it has done.

use serde_json::{Value, json};
use wflo_core::approval::{ApprovalStatus, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::effect::EffectRecord;
use wflo_core::event::{Event, Wait};
use wflo_core::machine::CommandBody;
use wflo_core::ports::store::Op;

use super::question::{self, own_policy, still_good};
use super::{Broker, Unanswered, consumed};
use crate::error::EngineError;
use crate::ledger::ask_once;

/// The most of an output that is shown, in characters.
const SHOWN: usize = 20_000;

impl Broker {
    /// Ops that use the approval of an output in the commit of the step's success, or what the step must
    /// wait for first: the question about its writes, or about the output. `command` is what the step is, where
    /// it is one.
    pub(crate) async fn release_output(
        &self,
        output: &Value,
        command: Option<&[String]>,
    ) -> Result<Result<Vec<Op>, Wait>, Unanswered> {
        if let Some(wait) = self.chain.at_end().await? {
            return Ok(Err(wait));
        }
        if own_policy(&self.attempt).is_none() {
            return Ok(Ok(Vec::new()));
        }
        if self.step_was_let_start().await? || self.asked_at_a_write().await? {
            return Ok(Ok(Vec::new()));
        }
        let (run, step) = (self.attempt.run, &self.attempt.step);
        let done = self.done(command).await?;
        let action = match done.action() {
            None => json!(["output", step, output]),
            Some(did) => json!(["output", step, output, did]),
        };
        let mut mine = self.services.store.approvals_about(run, Purpose::Output).await?;
        mine.retain(|a| {
            a.request.step.as_deref() == Some(step) && a.request.generation == self.attempt.generation
        });
        for known in &mine {
            let good = still_good(&self.attempt, known, &action);
            match known.status {
                ApprovalStatus::Pending if good => return Ok(Err(Wait::Approval { approval_id: known.id })),
                ApprovalStatus::Approved if good => {
                    let at = self.services.clock.now();
                    let body = consumed(known.id, format!("the output of step `{step}`"));
                    return Ok(Ok(vec![
                        Op::ConsumeApproval { id: known.id, at },
                        Op::AppendEvents { run, events: vec![Event { at, body }] },
                    ]));
                }
                ApprovalStatus::Pending | ApprovalStatus::Approved => {
                    let reason = "the step returned or did something else".to_owned();
                    let body = CommandBody::Supersede { approval: known.id, reason };
                    self.attempt.driver.tell(body, Vec::new()).await?;
                }
                _ => {}
            }
        }
        let whole = output.to_string();
        let shown: String = whole.chars().take(SHOWN).collect();
        let what = if done.is_empty() { "wrote nothing".to_owned() } else { done.title() };
        let title = format!("commit the output of step `{step}`, which {what}");
        let mut evidence = json!({ "output": &shown, "writes": 0 });
        if shown.len() < whole.len() {
            let digest = Digest::of_bytes(whole.as_bytes());
            evidence["output_whole"] = json!({ "bytes": whole.len(), "blake3": digest });
        }
        done.show(&mut evidence);
        let clock = &*self.services.clock;
        let request = question::request(&self.attempt, clock, Purpose::Output, title, &action, evidence)?;
        let approval_id = ask_once(&self.attempt, request).await?;
        Ok(Err(Wait::Approval { approval_id }))
    }

    /// Whether people have approved a write of this generation. A question is known by the first write that
    /// it is about, so the oldest writes are looked at first.
    async fn asked_at_a_write(&self) -> Result<bool, EngineError> {
        let mut writes = self.journal.all();
        writes.retain(|row| row.attributes["write"] == true && row.order().is_some());
        writes.sort_by_key(EffectRecord::order);
        for row in writes {
            let about = Purpose::Write { effect: row.key };
            let asked = self.services.store.approvals_about(self.attempt.run, about).await?;
            if asked.iter().any(|question| question.status == ApprovalStatus::Consumed) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
