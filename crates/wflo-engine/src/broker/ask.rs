//! `context.approve` and `context.sleep`: durable waits that code asks for.

use jiff::SignedDuration;
use serde_json::{Value, json};
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Binding, OnTimeout, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectRecord, json_bytes};
use wflo_core::event::Wait;
use wflo_core::machine::CommandBody;
use wflo_core::ports::store::Op;
use wflo_core::size::Millis;

use super::{Broker, Outcome, Unanswered, bad_request, consumed};
use crate::error::EngineError;
use crate::protocol::{EffectCall, On};

/// The largest question of a step, as JSON in bytes: it is shown to people.
const MOST_ASKED: u64 = 256 << 10;

impl Broker {
    pub(super) async fn sleep(
        &self,
        call: &mut EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
    ) -> Outcome {
        let row = match found {
            Some(row) => row,
            None => {
                let asked = match &call.request["seconds"] {
                    Value::String(text) => text.parse::<Millis>().ok(),
                    Value::Number(number) => number.to_string().parse::<Millis>().ok(),
                    _ => None,
                };
                let Some(millis) = asked.and_then(|m| i64::try_from(m.0).ok()) else {
                    return self.fail(call, print, None, bad_request("`seconds` must be 0 or more")).await;
                };
                let now = self.services.clock.moment();
                let due = now.wall.checked_add(SignedDuration::from_millis(millis)).unwrap_or(now.wall);
                let attributes = json!({ "due": due, "set": now });
                self.journal.intend(self.intent(call, print, attributes), Vec::new()).await?
            }
        };
        self.let_go(call);
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        let due: jiff::Timestamp =
            serde_json::from_value(row.attributes["due"].clone()).map_err(unreadable)?;
        let set: wflo_core::ports::clock::Moment =
            serde_json::from_value(row.attributes["set"].clone()).map_err(unreadable)?;
        let now = self.services.clock.moment();
        // In the same boot a changed wall clock does not move the end of a sleep.
        let left = if now.boot_id == set.boot_id {
            due.duration_since(set.wall).as_millis() - (i128::from(now.boot_ms) - i128::from(set.boot_ms))
        } else {
            due.duration_since(now.wall).as_millis()
        };
        if let Ok(left) = u64::try_from(left) {
            let wait = Wait::Timer { path: call.path.clone(), seq: call.seq, due };
            let on = On { path: call.path.clone(), seq: call.seq };
            let _waiting = self.waits.begin(on.clone(), wait);
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_millis(left)) => {}
                () = self.waits.withdrawn(&on) => return Err(Unanswered::Withdrawn),
                () = self.waits.closed() => return Err(EngineError::ShuttingDown.into()),
            }
        }
        self.journal.finish(row, self.journal.ok(Value::Null), Vec::new(), Vec::new()).await?;
        Ok(Ok(Value::Null))
    }

    pub(super) async fn approval(
        &self,
        call: &mut EffectCall,
        print: Digest,
        found: Option<EffectRecord>,
    ) -> Outcome {
        let key = self.journal.key(&call.path, call.seq);
        let row = match found {
            Some(row) => row,
            None => {
                let row = self.journal.row(self.intent(call, print.clone(), Value::Null));
                let request = match self.asked(call, &row, &print) {
                    Ok(request) => request,
                    Err(detail) => {
                        return self.fail(&call.without_request(), print, None, bad_request(&detail)).await;
                    }
                };
                let ops = self.journal.intent_ops(&row);
                self.attempt.driver.tell(CommandBody::Ask { request: Box::new(request) }, ops).await?;
                self.journal.keep_new(row)
            }
        };
        self.let_go(call);
        let about = Purpose::Asked { effect: key.clone() };
        let lost = || Unanswered::Broken(EngineError::Unreadable(format!("the question of {key} is gone")));
        let question = self.question(about).await?.ok_or_else(lost)?;
        let status = match question.status {
            ApprovalStatus::Pending => self.decided(call, question.id).await?,
            status => status,
        };
        let decided = self.services.store.approval(question.id).await?.ok_or_else(lost)?;
        let approved = matches!(status, ApprovalStatus::Approved | ApprovalStatus::Consumed);
        let decision = decided.decision;
        let answer = json!({
            "approved": approved,
            "comment": decision.as_ref().and_then(|d| d.comment.clone()),
            "by": decision.as_ref().map(|d| d.by.clone()),
        });
        let (ops, facts) = if decided.status == ApprovalStatus::Approved {
            let used = Op::ConsumeApproval { id: question.id, at: self.services.clock.now() };
            (vec![used], vec![consumed(question.id, "the step's own question".to_owned())])
        } else {
            (Vec::new(), Vec::new())
        };
        self.journal.finish(row, self.journal.ok(answer.clone()), ops, facts).await?;
        Ok(Ok(answer))
    }

    fn asked(
        &self,
        call: &EffectCall,
        row: &EffectRecord,
        print: &Digest,
    ) -> Result<ApprovalRequest, String> {
        let request = &call.request;
        let bytes = json_bytes(request);
        if bytes > MOST_ASKED {
            return Err(format!(
                "a question of {bytes} bytes is more than people can read; the limit is {MOST_ASKED}"
            ));
        }
        let texts = |name: &str| -> Vec<String> {
            let list = request[name].as_array().into_iter().flatten();
            list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let timeout = match &request["timeout_seconds"] {
            Value::Null => None,
            given => Some(given.to_string().trim_matches('"').parse::<Millis>().map_err(|e| e.to_string())?),
        };
        let expires_at = timeout.and_then(|t| {
            let span = SignedDuration::from_millis(i64::try_from(t.0).ok()?);
            self.services.clock.now().checked_add(span).ok()
        });
        let on_timeout = match request["on_timeout"].as_str() {
            None | Some("reject") => OnTimeout::Reject,
            Some("escalate") => OnTimeout::Escalate,
            Some("hold") => OnTimeout::Hold,
            Some(other) => return Err(format!("`on_timeout` is reject, escalate or hold, not `{other}`")),
        };
        let evidence = json!({ "message": request["message"], "details": request["details"] });
        Ok(ApprovalRequest {
            purpose: Purpose::Asked { effect: row.key.clone() },
            step: Some(self.attempt.step.clone()),
            generation: self.attempt.generation,
            title: request["message"].as_str().unwrap_or("approve").chars().take(500).collect(),
            binding: Binding {
                action: print.clone(),
                code: self.attempt.context.record.code.clone(),
                evidence: Digest::of_json(&evidence).map_err(|e| e.to_string())?,
            },
            evidence,
            approvers: texts("approvers"),
            quorum: 1,
            expires_at,
            on_timeout,
            notify: texts("notify"),
        })
    }
}
