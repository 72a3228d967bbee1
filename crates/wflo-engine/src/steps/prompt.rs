//! A YAML prompt step: one model call made by the engine, journaled like any other.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wflo_core::definition::StepKind;
use wflo_core::effect::EffectKind;
use wflo_core::error::{Code, Failure};
use wflo_core::event::Wait;

use super::{Steps, failed, retry, template};
use crate::broker::{Broker, Unanswered};
use crate::error::EngineError;
use crate::executor::{Attempt, End};
use crate::outbox::Outbox;
use crate::protocol::{Answer, EffectCall, On};

/// A template that names nothing.
const BAD_TEMPLATE: Code = Code(3009);
/// The step took too long.
const STEP_TIMEOUT: Code = Code(3002);
/// Of a step without a limit of its own.
const NEVER: Duration = Duration::from_secs(366 * 86_400);

impl Steps {
    pub(super) async fn prompt(&self, attempt: &Attempt) -> Result<End, EngineError> {
        let Some(spec) = attempt.spec() else { return Ok(End::Stopped) };
        let StepKind::Agent {
            model: Some(model), prompt: Some(prompt), system, max_tokens, temperature, ..
        } = &spec.kind
        else {
            return Ok(End::Stopped);
        };
        let inputs = &attempt.context.record.inputs;
        let fill = |text: &str| template::fill(text, inputs, &attempt.outputs);
        let filled = fill(prompt).and_then(|p| Ok((p, system.as_deref().map(fill).transpose()?)));
        let (prompt, system) = match filled {
            Ok(filled) => filled,
            Err(detail) => {
                let at = spec.place.clone().unwrap_or_else(|| spec.name.clone());
                let message = format!("the prompt of step `{}`: {detail}", spec.name);
                return Ok(failed(Failure::new(BAD_TEMPLATE, message).at(at)));
            }
        };
        let mut messages = Vec::new();
        if let Some(system) = system {
            messages.push(json!({ "role": "system", "content": system }));
        }
        messages.push(json!({ "role": "user", "content": prompt }));
        let mut request = json!({ "model": model, "messages": messages });
        if let Some(most) = max_tokens {
            request["max_tokens"] = json!(most);
        }
        if let Some(temperature) = temperature {
            request["temperature"] = json!(temperature);
        }
        let journal = self.journal(attempt).await?;
        let broker = Broker::new(attempt.clone(), Arc::clone(&journal), Arc::clone(&self.services));
        let call = EffectCall {
            path: "0".to_owned(),
            seq: 0,
            kind: EffectKind::Llm,
            name: "chat".to_owned(),
            request,
            after: 0,
        };
        let (sink, mut unread) = Outbox::new();
        let limit = spec.timeout_seconds.map_or(NEVER, |limit| limit.duration());
        let answered = tokio::select! {
            answered = broker.perform(call, &sink) => answered,
            () = tokio::time::sleep(limit) => {
                broker.calls.hurry();
                broker.calls.close().await;
                let message =
                    format!("step `{}` was active for longer than {} s", spec.name, limit.as_secs_f64());
                let failure = Failure::new(STEP_TIMEOUT, message).with_hint("raise timeout_seconds of the step");
                let (keep, no_retry) = retry::verdict(spec, &journal.all(), &[], &failure, None);
                return Ok(End::Failed { error: failure, timed_out: true, no_retry, keep, left: None });
            }
            // Without a stream nothing is sent; reading keeps the channel open.
            Some(()) = async { while unread.next().await.is_some() {} Some(()) } => return Ok(End::Stopped),
            waits = waits_long(&broker) => {
                broker.calls.close().await;
                return Ok(End::Suspended { on: waits });
            }
            stop = attempt.stopped() => {
                if stop.is_urgent() {
                    broker.calls.hurry();
                }
                broker.calls.close().await;
                return Ok(End::Stopped);
            }
        };
        let outcome = match answered {
            Ok(answered) => match answered.answer {
                Some(answer) => answer,
                None => {
                    let recorded = broker.recorded(&On { path: "0".to_owned(), seq: 0 }).await?;
                    recorded
                        .ok_or_else(|| EngineError::Unreadable("the recorded reply is gone".to_owned()))?
                }
            },
            Err(Unanswered::Withdrawn) => return Ok(End::Stopped),
            Err(unanswered) => return self.unanswered(attempt, &broker, unanswered),
        };
        Ok(match outcome {
            // There is no code that could have stopped waiting.
            Answer::Cancelled(_) => End::Stopped,
            Answer::Ok(reply) => {
                let cost = self.cost(attempt).await?;
                let output = json!({
                    "text": reply["text"],
                    "model": reply["model"],
                    "usage": reply["usage"],
                    "cost_usd": cost,
                });
                End::Succeeded { output, state: None, cost, layer: None, ops: Vec::new() }
            }
            Answer::Error(error) => {
                let failure = Failure {
                    code: error.code,
                    message: error.message,
                    hint: error.hint,
                    place: spec.place.clone(),
                    traceback: None,
                };
                let left_by = On { path: "0".to_owned(), seq: 0 };
                let (keep, no_retry) = retry::verdict(spec, &journal.all(), &[], &failure, Some(&left_by));
                End::Failed { error: failure, timed_out: false, no_retry, keep, left: None }
            }
        })
    }
}

/// Resolves once the one call waits for people.
async fn waits_long(broker: &Broker) -> Vec<Wait> {
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let on = On { path: "0".to_owned(), seq: 0 };
        if let Some(waits) = broker.waits.of(&[on]) {
            return waits;
        }
    }
}
