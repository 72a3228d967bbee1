//! Whether an answer came to a good end, by the shape that its endpoint's answers have.
//!
//! What a server ends an answer with that is not known here is no good end.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Asked;
use crate::dialect::{Dialect, Endpoint};

/// Whether what an answer says is all of one that came to a good end. `events` is what it says, in its order:
/// a single value where it did not come in pieces.
pub(super) fn is_finished(asked: Asked, events: &[Value], streamed: bool) -> bool {
    let whole = events.first().filter(|_| !streamed && events.len() == 1);
    match (asked.dialect, asked.endpoint) {
        (_, Endpoint::Embeddings) => whole.is_some_and(|answer| {
            ["data", "embeddings", "embedding"].iter().any(|name| is_something(&answer[*name]))
        }),
        (_, Endpoint::Rerank) => {
            whole.is_some_and(|answer| ["results", "data"].iter().any(|name| is_something(&answer[*name])))
        }
        (Dialect::OpenAi, Endpoint::Chat) => {
            let reasons = ["stop", "length", "tool_calls", "function_call"];
            let said = |choice: &Value| choice[if streamed { "delta" } else { "message" }].is_object();
            (streamed || whole.is_some_and(|answer| items(&answer["choices"]).all(said)))
                && all_ended(asked, events, ("choices", "finish_reason"), &reasons)
        }
        (Dialect::Cohere, Endpoint::Chat) => {
            let good =
                |reason: &Value| one_of(reason, &["COMPLETE", "MAX_TOKENS", "TOOL_CALL", "STOP_SEQUENCE"]);
            match whole {
                Some(answer) => answer["message"].is_object() && good(&answer["finish_reason"]),
                None => {
                    let mut ends = events.iter().filter(|event| event["type"] == "message-end").peekable();
                    ends.peek().is_some() && ends.all(|end| good(&end["delta"]["finish_reason"]))
                }
            }
        }
        (_, Endpoint::Responses) => {
            let good = |answer: &Value| answer["status"] == "completed" && is_something(&answer["output"]);
            match whole {
                Some(answer) => good(answer),
                None => {
                    let ended = |event: &&Value| {
                        one_of(
                            &event["type"],
                            &["response.completed", "response.incomplete", "response.failed"],
                        )
                    };
                    let mut ends = events.iter().filter(ended).peekable();
                    ends.peek().is_some()
                        && ends.all(|end| end["type"] == "response.completed" && good(&end["response"]))
                }
            }
        }
        (_, Endpoint::Messages) => {
            let good =
                |reason: &Value| one_of(reason, &["end_turn", "max_tokens", "stop_sequence", "tool_use"]);
            match whole {
                Some(answer) => is_something(&answer["content"]) && good(&answer["stop_reason"]),
                None => {
                    let has = |kind: &str| events.iter().any(|event| event["type"] == kind);
                    let mut told = events.iter().filter(|event| event["type"] == "message_delta");
                    let reason = told.rfind(|event| !event["delta"]["stop_reason"].is_null());
                    has("content_block_start")
                        && has("message_stop")
                        && reason.is_some_and(|event| good(&event["delta"]["stop_reason"]))
                }
            }
        }
        (_, Endpoint::Generate | Endpoint::StreamGenerate) => {
            events.iter().all(|event| event["promptFeedback"]["blockReason"].is_null())
                && all_ended(asked, events, ("candidates", "finishReason"), &["STOP", "MAX_TOKENS"])
        }
        _ => false,
    }
}

/// Whether all answers in one came, and each ended for one of these reasons.
fn all_ended(asked: Asked, events: &[Value], (list, reason): (&str, &str), reasons: &[&str]) -> bool {
    let mut ended: BTreeMap<u64, bool> = BTreeMap::new();
    for event in events {
        for (at, item) in items(&event[list]).enumerate() {
            let at = item["index"].as_u64().unwrap_or(at as u64);
            let reason = &item[reason];
            if !reason.is_null() && !one_of(reason, reasons) {
                return false;
            }
            *ended.entry(at).or_default() |= !reason.is_null();
        }
    }
    ended.len() as u64 >= asked.choices.max(1) && ended.values().all(|ended| *ended)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn one_of(value: &Value, texts: &[&str]) -> bool {
    value.as_str().is_some_and(|value| texts.contains(&value))
}

/// A list with anything in it, whatever names it stands under.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => fields.values().any(is_something),
        _ => false,
    }
}
