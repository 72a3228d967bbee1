//! `context.llm`: one shape for every provider, the same money, the same journal.

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use wflo_core::error::Coded as _;
use wflo_core::money::NanoUsd;
use wflo_gateway::call::{CallError, ChatCall, ChatReply, Delta};
use wflo_gateway::ledger::Caller;
use wflo_testkit::model_server::{Answer, Fault};

use crate::ledger::MemoryLedger;
use crate::world::World;

fn call(model: &str, extra: Value, stream: bool) -> ChatCall {
    let mut request = Map::new();
    request.insert(
        "messages".into(),
        json!([{"role": "system", "content": "Short."}, {"role": "user", "content": "weather?"}]),
    );
    request.insert("max_tokens".into(), 50.into());
    request.extend(extra.as_object().unwrap().clone());
    ChatCall { model: model.into(), request, stream, positional: Some(("0".into(), 3)) }
}

async fn ask(world: &World, call: ChatCall) -> (Result<ChatReply, CallError>, Vec<Delta>) {
    let (sink, mut deltas) = mpsc::channel(4);
    let gathering = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(delta) = deltas.recv().await {
            all.push(delta);
        }
        all
    });
    let reply = world.gateway.call(Caller::new("step", ()), call, Some(sink)).await;
    (reply, gathering.await.unwrap())
}

#[tokio::test]
async fn all_dialects_answer_alike_streamed_or_not() {
    let world = World::new(MemoryLedger::unlimited());
    for model in ["gpt-5-mini", "claude-sonnet-4-5", "gemini-x", "command-x"] {
        for stream in [false, true] {
            world.mock.answer_next(Answer {
                input_tokens: Some(12),
                output_tokens: Some(5),
                ..Answer::text("It is sunny.")
            });
            let before = world.ledger.settled();
            let (reply, deltas) = ask(&world, call(model, json!({}), stream)).await;
            let reply = reply.unwrap();
            assert_eq!((reply.text.as_str(), reply.model.as_str()), ("It is sunny.", model));
            assert_eq!((reply.usage.total_input(), reply.usage.total_output()), (12, 5));
            assert_eq!(reply.finish_reason.as_deref(), Some("stop"));
            assert_eq!(reply.cost.nanos(), world.ledger.settled() - before);
            let told: String =
                deltas.iter().map(|delta| if let Delta::Text(text) = delta { text } else { "" }).collect();
            assert_eq!(told, if stream { "It is sunny." } else { "" });
        }
    }
    assert!(world.ledger.calls().iter().all(|call| call.intent.positional == Some(("0".into(), 3))));
}

#[tokio::test]
async fn tools_are_called_alike() {
    let world = World::new(MemoryLedger::unlimited());
    let tools = json!({"tools": [{"type": "function", "function": {"name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]});
    for model in ["gpt-5-mini", "claude-sonnet-4-5", "gemini-x", "command-x"] {
        for stream in [false, true] {
            let (reply, deltas) = ask(&world, call(model, tools.clone(), stream)).await;
            let reply = reply.unwrap();
            assert_eq!(reply.tool_calls.len(), 1);
            assert_eq!(reply.tool_calls[0].name, "weather");
            assert_eq!(
                serde_json::from_str::<Value>(&reply.tool_calls[0].arguments).unwrap(),
                json!({"city": "Paris"})
            );
            assert!(!reply.tool_calls[0].id.is_empty());
            assert_eq!(reply.finish_reason.as_deref(), Some("tool_calls"));
            assert_eq!(deltas.iter().any(|delta| matches!(delta, Delta::ToolCall { .. })), stream);
        }
    }
}

#[tokio::test]
async fn a_replayed_call_gives_the_same_reply() {
    let world = World::new(MemoryLedger::unlimited());
    let mut earlier = Vec::new();
    for model in ["gpt-5-mini", "claude-sonnet-4-5", "smol", "gemini-x", "command-x"] {
        for stream in [false, true] {
            earlier.push((call(model, json!({}), stream), ask(&world, call(model, json!({}), stream)).await));
        }
    }
    let resumed = World::new(MemoryLedger::resuming(&world.ledger));
    for (call, (reply, deltas)) in earlier {
        let (again, deltas_again) = ask(&resumed, call).await;
        assert_eq!(again.unwrap(), reply.unwrap());
        assert_eq!(deltas_again, deltas);
    }
    assert_eq!(resumed.mock.counts().requests, 0);
}

#[tokio::test]
async fn failures_are_named() {
    let world = World::new(MemoryLedger::with_limit(NanoUsd::from_nanos(150_000)));
    let (refused, _) = ask(&world, call("claude-sonnet-4-5", json!({}), false)).await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.code().to_string(), refused.kind()), ("WFLO-4001".to_owned(), "budget_exceeded"));
    world.mock.fault_next(Fault::Status(
        401,
        r#"{"error":{"message":"Incorrect API key provided"}}"#.into(),
        None,
    ));
    let (unauthorised, _) = ask(&world, call("smol", json!({"max_tokens": 1}), false)).await;
    assert!(unauthorised.is_err());
    let (unpriced, _) = ask(&world, call("unheard-of", json!({}), false)).await;
    assert_eq!(unpriced.unwrap_err().code().to_string(), "WFLO-4002");
    let world = World::new(MemoryLedger::unlimited());
    world.mock.fault_next(Fault::Garbage);
    let (garbage, _) = ask(&world, call("gpt-5-mini", json!({}), false)).await;
    assert_eq!(garbage.unwrap_err().code().to_string(), "WFLO-4020");
    world.mock.fault_next(Fault::Status(
        401,
        r#"{"error":{"message":"Incorrect API key provided"}}"#.into(),
        None,
    ));
    let (unauthorised, _) = ask(&world, call("gpt-5-mini", json!({}), true)).await;
    let unauthorised = unauthorised.unwrap_err();
    assert!(unauthorised.to_string().contains("401: Incorrect API key"), "{unauthorised}");
    world.mock.fault_next(Fault::ResetAfter(2));
    let (cut, _) = ask(&world, call("claude-sonnet-4-5", json!({}), true)).await;
    assert_eq!(cut.unwrap_err().code().to_string(), "WFLO-4010");
    let (untranslatable, _) = ask(&world, call("claude-sonnet-4-5", json!({"logprobs": true}), false)).await;
    assert_eq!(untranslatable.unwrap_err().code().to_string(), "WFLO-4018");
}
