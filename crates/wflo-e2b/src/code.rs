//! Code that is run, and its contexts, as E2B's code interpreter has them: lines of JSON.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::answer::{self, Body, flow};
use crate::ask::{
    Ask, BEGUN, END_CONTEXT, EXECUTE, Execute, LIST_CONTEXTS, NEW_CONTEXT, NewContext, RESTART_CONTEXT,
};
use crate::audit::Audit;
use crate::body;
use crate::error::ApiError;
use crate::live::{ANSWER, Conversation, Live, Said};

/// What a line may be.
const LINES: [&str; 5] = ["stdout", "stderr", "result", "error", "number_of_executions"];

/// Answers what is asked about code.
pub(crate) async fn answer(
    live: &Arc<Live>,
    method: &Method,
    path: &[&str],
    body: &mut Incoming,
    audit: &Audit,
    streams: &TaskTracker,
) -> Result<Response<Body>, ApiError> {
    match (method, path) {
        (&Method::POST, ["execute"]) => {
            let asked: Execute = body::message(body).await?;
            let hash = blake3::hash(asked.code.as_bytes()).to_hex().to_string();
            let details = json!({ "bytes": asked.code.len(), "blake3": hash, "context": asked.context_id });
            audit.record("code.run", &live.id, &details);
            let mut agent = live.ask(&ask(EXECUTE, json!(asked))).await?;
            // What cannot begin has a status of its own; what can is answered before it says anything.
            let begun: Value = serde_json::from_slice(&agent.answer(ANSWER).await?).unwrap_or_default();
            if begun.get("type") != Some(&json!(BEGUN)) {
                return Err(ApiError::Broken(live.id.clone()));
            }
            let (fill, body) = flow();
            streams.spawn(pass(Arc::clone(live), agent, fill));
            let mut answer = Response::new(body);
            let kind = HeaderValue::from_static("application/x-ndjson");
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok(answer)
        }
        (&Method::GET, ["contexts"]) => told(live, LIST_CONTEXTS, json!({})).await,
        (&Method::POST, ["contexts"]) => {
            let asked: NewContext = body::message(body).await?;
            told(live, NEW_CONTEXT, json!(asked)).await
        }
        (&Method::DELETE, ["contexts", id]) => {
            live.ask(&ask(END_CONTEXT, json!({ "id": id }))).await?.answer(ANSWER).await?;
            Ok(answer::status(StatusCode::NO_CONTENT))
        }
        (&Method::POST, ["contexts", id, "restart"]) => {
            live.ask(&ask(RESTART_CONTEXT, json!({ "id": id }))).await?.answer(ANSWER).await?;
            Ok(answer::status(StatusCode::NO_CONTENT))
        }
        (method, path) => Err(ApiError::NotOffered(format!("{method} /{}", path.join("/")))),
    }
}

fn ask(method: &str, body: Value) -> Ask {
    Ask { method: method.to_owned(), body, timeout_ms: None }
}

async fn told(live: &Arc<Live>, method: &str, body: Value) -> Result<Response<Body>, ApiError> {
    let answer = live.ask(&ask(method, body)).await?.answer(ANSWER).await?;
    let told: Value = serde_json::from_slice(&answer).map_err(|_| ApiError::Broken(live.id.clone()))?;
    Ok(answer::message(StatusCode::OK, &told))
}

/// One line as it is passed on: an object of a kind that is known.
fn line(message: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        r#type: &'a str,
    }
    let Kind { r#type } = serde_json::from_slice(message).ok()?;
    if !LINES.contains(&r#type) {
        return None;
    }
    // A line has no other.
    let mut line: Vec<u8> = message.iter().copied().filter(|byte| *byte != b'\n').collect();
    line.push(b'\n');
    Some(line.into())
}

async fn pass(
    live: Arc<Live>,
    mut agent: Conversation,
    fill: tokio::sync::mpsc::Sender<std::io::Result<Bytes>>,
) {
    loop {
        let said = tokio::select! {
            said = agent.next() => said,
            // Whoever does not listen any more has the code stopped: the agent sees its socket's end.
            () = fill.closed() => return,
        };
        let (part, over) = match said {
            Ok(Said::End) => return,
            Ok(Said::Message(message)) => match line(&message) {
                Some(line) => (line, false),
                None => (failed(&ApiError::Broken(live.id.clone())), true),
            },
            Ok(Said::Bytes(_)) => (failed(&ApiError::Broken(live.id.clone())), true),
            Err(error) => (failed(&error), true),
        };
        if fill.send(Ok(part)).await.is_err() || over {
            return;
        }
    }
}

/// What went wrong beside the code, as an error of it: a stream has no other place for it.
fn failed(error: &ApiError) -> Bytes {
    let line = json!({ "type": "error", "name": "SandboxError", "value": error.told(), "traceback": "" });
    format!("{line}\n").into()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_line_is_one_line_of_a_known_kind() {
        assert_eq!(line(b"{\"type\":\n\"stdout\"}").unwrap(), "{\"type\":\"stdout\"}\n");
        for wrong in [&b"{}"[..], b"[]", b"{\"type\":\"other\"}", b"no", b"{\"type\":\"stdout\"} {}"] {
            assert!(line(wrong).is_none());
        }
    }
}
