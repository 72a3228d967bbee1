//! `context.llm`: a model call by way of the gateway, known by its place in the step.

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use wflo_core::canonical::Digest;
use wflo_gateway::call::{CallError, ChatCall, ChatReply, Delta};
use wflo_gateway::error::GatewayError;

use super::{Broker, Outcome, bad_request, effect_error};
use crate::error::EngineError;
use crate::outbox::Outbox;
use crate::protocol::{EffectCall, EffectError, ToRunner};

impl Broker {
    pub(super) async fn llm(
        &self,
        call: &EffectCall,
        request: Value,
        print: Digest,
        sink: &Outbox,
    ) -> Outcome {
        let Some((model, request)) = chat_of(request) else {
            return self.fail(call, print, None, bad_request("`model` must be text")).await;
        };
        let Some(gateway) = self.services.gateway() else {
            return Err(EngineError::ShuttingDown.into());
        };
        self.calls.expect(&call.path, call.seq, print, call.after);
        let chat = ChatCall {
            model,
            request,
            stream: call.name == "stream",
            positional: Some((call.path.clone(), call.seq)),
        };
        let caller = self.calls.caller();
        let (deltas, received) = mpsc::channel(64);
        let forward = forward(call, received, sink.clone());
        let (answer, ()) = tokio::join!(gateway.call(caller, chat, Some(deltas)), forward);
        match answer {
            Ok(reply) => Ok(Ok(reply_json(&reply))),
            Err(error) if self.calls.is_closed() || self.calls.broke().is_some() => {
                if let Some(broke) = self.calls.broke() {
                    return Err(broke.into());
                }
                tracing::debug!(%error, "a call ended with its attempt");
                Err(EngineError::ShuttingDown.into())
            }
            Err(error) => Ok(Err(call_error(&error))),
        }
    }
}

fn chat_of(request: Value) -> Option<(String, Map<String, Value>)> {
    let Value::Object(request) = request else { return None };
    Some((request.get("model")?.as_str()?.to_owned(), request))
}

async fn forward(call: &EffectCall, mut received: mpsc::Receiver<Delta>, sink: Outbox) {
    let mut index = 0;
    while let Some(delta) = received.recv().await {
        let delta = match delta {
            Delta::Text(text) => json!({ "text": text }),
            Delta::ToolCall { index, id, name, arguments } => {
                json!({ "tool_call": { "index": index, "id": id, "name": name, "arguments": arguments } })
            }
        };
        let chunk = ToRunner::EffectChunk { path: call.path.clone(), seq: call.seq, index, delta };
        if sink.part(chunk).await.is_err() {
            return;
        }
        index += 1;
    }
}

pub(super) fn reply_json(reply: &ChatReply) -> Value {
    json!({
        "text": reply.text,
        "tool_calls": reply.tool_calls,
        "finish_reason": reply.finish_reason,
        "usage": {
            "input_tokens": reply.usage.total_input(),
            "output_tokens": reply.usage.total_output(),
            "cached_input_tokens": reply.usage.cached_input(),
            "reasoning_tokens": reply.usage.get(wflo_gateway::usage::Dimension::Reasoning),
        },
        "cost_usd": reply.cost,
        "model": reply.model,
        "raw": reply.raw,
    })
}

pub(super) fn call_error(error: &CallError) -> EffectError {
    let kind = match error {
        CallError::Gateway(GatewayError::BudgetExceeded { .. }) => "budget_exceeded",
        CallError::Gateway(GatewayError::Refused { kind, .. }) if kind == "policy_denied" => "policy_denied",
        CallError::Gateway(GatewayError::Refused { kind, .. }) if kind == "approval_rejected" => {
            "approval_rejected"
        }
        other if other.kind() == "interrupted" => "interrupted",
        _ => "model",
    };
    effect_error(kind, error)
}
