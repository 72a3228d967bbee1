//! Code that is run, and its contexts, as E2B's code interpreter has them: lines of JSON.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio_util::task::TaskTracker;

use crate::answer::{self, Body, flow};
use crate::ask::{
    self, Ask, BEGUN, END_CONTEXT, EXECUTE, LIST_CONTEXTS, NEW_CONTEXT, NewContext, RESTART_CONTEXT,
    WhichContext,
};
use crate::audit::Audit;
use crate::body;
use crate::conversation::{ANSWER, Conversation, Said};
use crate::error::ApiError;
use crate::live::Live;

/// What a line may be.
const LINES: [&str; 5] = ["stdout", "stderr", "result", "error", "number_of_executions"];

/// What is on record of code that is run; its message has more, which is the agent's affair.
#[derive(Deserialize)]
struct Code<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(default)]
    context_id: Option<String>,
}

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
            let mut agent = {
                let message = body::gathered(body, body::MESSAGE, &live.inward).await?;
                let asked: Code<'_> = body::parsed(&message)?;
                let hash = blake3::hash(asked.code.as_bytes()).to_hex().to_string();
                let details =
                    json!({ "bytes": asked.code.len(), "blake3": hash, "context": asked.context_id });
                audit.record("code.run", &live.id, &details);
                live.ask(&Ask::new(EXECUTE, body::raw(&message)?)).await?
            };
            // What cannot begin has a status of its own; what can is answered before it says anything.
            if kind(&agent.answer(ANSWER).await?) != Some(BEGUN) {
                return Err(ApiError::Broken(live.id.clone()));
            }
            let (fill, body) = flow();
            streams.spawn(pass(Arc::clone(live), agent, fill));
            let mut answer = Response::new(body);
            let kind = HeaderValue::from_static("application/x-ndjson");
            answer.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok(answer)
        }
        (&Method::GET, ["contexts"]) => told(live, LIST_CONTEXTS, &ask::own(&json!({}))).await,
        (&Method::POST, ["contexts"]) => {
            let asked: NewContext = body::parsed(&body::gathered(body, body::MESSAGE, &live.inward).await?)?;
            told(live, NEW_CONTEXT, &ask::own(&asked)).await
        }
        (&Method::DELETE, ["contexts", id]) => of_context(live, END_CONTEXT, id).await,
        (&Method::POST, ["contexts", id, "restart"]) => of_context(live, RESTART_CONTEXT, id).await,
        (method, path) => Err(ApiError::NotOffered(format!("{method} /{}", path.join("/")))),
    }
}

async fn told(live: &Arc<Live>, method: &str, body: &RawValue) -> Result<Response<Body>, ApiError> {
    let answer = live.ask(&Ask::new(method, body)).await?.answer(ANSWER).await?;
    answer::json(answer).ok_or_else(|| ApiError::Broken(live.id.clone()))
}

async fn of_context(live: &Arc<Live>, method: &str, id: &str) -> Result<Response<Body>, ApiError> {
    let which = ask::own(&WhichContext { id: id.to_owned() });
    live.ask(&Ask::new(method, &which)).await?.answer(ANSWER).await?;
    Ok(answer::status(StatusCode::NO_CONTENT))
}

/// What kind of a message an agent's is, if it is one.
fn kind(message: &[u8]) -> Option<&str> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        r#type: &'a str,
    }
    serde_json::from_slice(message).ok().map(|Kind { r#type }| r#type)
}

/// Whether it can be passed on as a line: an object of a kind that is known, without a line in it.
fn is_line(message: &[u8]) -> bool {
    kind(message).is_some_and(|kind| LINES.contains(&kind)) && !message.contains(&b'\n')
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
            Ok(Said::Message(message)) if is_line(&message) => {
                if fill.send(Ok(message)).await.is_err() {
                    return;
                }
                (Bytes::from_static(b"\n"), false)
            }
            Ok(Said::Message(_) | Said::Bytes(_)) => (failed(&ApiError::Broken(live.id.clone())), true),
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
    use super::is_line;

    #[test]
    fn a_line_is_one_line_of_a_known_kind() {
        assert!(is_line(b"{\"type\":\"stdout\"}"));
        let lines = b"{\"type\":\n\"stdout\"}";
        for wrong in [&b"{}"[..], b"[]", b"{\"type\":\"other\"}", b"no", b"{\"type\":\"stdout\"} {}", lines] {
            assert!(!is_line(wrong));
        }
    }
}
