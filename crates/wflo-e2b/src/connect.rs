//! The Connect protocol: calls of envd, JSON alone (connectrpc.com/docs/protocol).
//!
//! Owns which methods there are, how their messages are wrapped and how long they may take. What a message
//! says is the agent's affair: here it is checked to be JSON of a bounded size.

mod record;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::access::{self, USER};
use crate::answer::{self, Body, flow};
use crate::ask::Ask;
use crate::audit::Audit;
use crate::body;
use crate::conversation::{ANSWER, Conversation, Said};
use crate::error::ApiError;
use crate::fault::{Fault, Kind};
use crate::frame;
use crate::live::Live;
use crate::room::SMALL;

/// How a method's messages come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One each.
    Unary,
    /// One, and many back; the last part of a message that only keeps the connection.
    Server(&'static str),
    /// Many, and one back.
    Client,
}

const METHODS: [(&str, Shape); 17] = [
    ("process.Process/List", Shape::Unary),
    ("process.Process/Start", Shape::Server(r#"{"event":{"keepalive":{}}}"#)),
    ("process.Process/Connect", Shape::Server(r#"{"event":{"keepalive":{}}}"#)),
    ("process.Process/Update", Shape::Unary),
    ("process.Process/StreamInput", Shape::Client),
    ("process.Process/SendInput", Shape::Unary),
    ("process.Process/SendSignal", Shape::Unary),
    ("process.Process/CloseStdin", Shape::Unary),
    ("filesystem.Filesystem/Stat", Shape::Unary),
    ("filesystem.Filesystem/MakeDir", Shape::Unary),
    ("filesystem.Filesystem/Move", Shape::Unary),
    ("filesystem.Filesystem/ListDir", Shape::Unary),
    ("filesystem.Filesystem/Remove", Shape::Unary),
    ("filesystem.Filesystem/WatchDir", Shape::Server(r#"{"keepalive":{}}"#)),
    ("filesystem.Filesystem/CreateWatcher", Shape::Unary),
    ("filesystem.Filesystem/GetWatcherEvents", Shape::Unary),
    ("filesystem.Filesystem/RemoveWatcher", Shape::Unary),
];

/// Ends a stream of messages.
const LAST: u8 = 2;
const ENVELOPE: usize = 5;

/// A call, with what it is made on.
pub(crate) struct Call<'a> {
    pub(crate) live: &'a Arc<Live>,
    pub(crate) method: String,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) audit: &'a Arc<Audit>,
    pub(crate) streams: &'a TaskTracker,
}

/// Whether a path is that of a method.
pub(crate) fn is_method(path: &str) -> bool {
    METHODS.iter().any(|(name, _)| *name == path)
}

/// Answers a call.
pub(crate) async fn answer(call: Call<'_>, body: &mut Incoming) -> Response<Body> {
    let shape =
        METHODS.iter().find(|(name, _)| *name == call.method).map_or(Shape::Unary, |(_, shape)| *shape);
    let kind = access::text(call.headers, "content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let wanted = if shape == Shape::Unary { "application/json" } else { "application/connect+json" };
    if kind != wanted {
        let said = format!("`{kind}` is not understood: messages are {wanted}");
        let mut refused =
            answer::message(StatusCode::UNSUPPORTED_MEDIA_TYPE, &Fault::new(Kind::Unimplemented, said));
        refused.headers_mut().insert("accept-post", HeaderValue::from_static(wanted));
        return refused;
    }
    match shape {
        Shape::Unary => match unary(&call, body).await {
            Ok(answer) => answer,
            Err(error) => fault(error),
        },
        Shape::Server(keepalive) => match server_stream(&call, body, keepalive).await {
            Ok(body) => streamed(body),
            Err(error) => ended(&error.into_fault()),
        },
        Shape::Client => match client_stream(&call, body).await {
            Ok(message) => streamed(answer::whole([envelope(0, &message), envelope(LAST, b"{}")].concat())),
            Err(error) => ended(&error.into_fault()),
        },
    }
}

/// An error instead of a message.
pub(crate) fn fault(error: ApiError) -> Response<Body> {
    let fault = error.into_fault();
    let status = StatusCode::from_u16(fault.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer::message(status, &fault)
}

fn streamed(body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/connect+json"));
    answer
}

/// A stream that ends at once.
fn ended(fault: &Fault) -> Response<Body> {
    streamed(answer::whole(last(Some(fault))))
}

fn envelope(flags: u8, message: &[u8]) -> Bytes {
    [&head(flags, message.len())[..], message].concat().into()
}

/// What stands before a message.
fn head(flags: u8, length: usize) -> [u8; ENVELOPE] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [flags, a, b, c, d]
}

fn last(fault: Option<&Fault>) -> Bytes {
    let end = fault.map_or_else(|| json!({}), |fault| json!({ "error": fault }));
    envelope(LAST, end.to_string().as_bytes())
}

/// The first message of what has arrived, if all of it has.
fn one(buffer: &[u8]) -> Result<Option<&[u8]>, ApiError> {
    let Some(([flags, length @ ..], rest)) = buffer.split_first_chunk::<ENVELOPE>() else { return Ok(None) };
    let (flags, length) = (*flags, u32::from_be_bytes(*length) as usize);
    if flags != 0 {
        return Err(ApiError::Unclear("messages that are compressed are not understood".to_owned()));
    }
    if length > body::MESSAGE {
        return Err(ApiError::TooLarge(wflo_core::size::Bytes(body::MESSAGE as u64)));
    }
    Ok(rest.get(..length))
}

/// Takes one message off what has arrived.
fn taken(buffer: &mut BytesMut) -> Result<Option<Bytes>, ApiError> {
    let Some(length) = one(buffer)?.map(<[u8]>::len) else { return Ok(None) };
    buffer.advance(ENVELOPE);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// What an agent says is JSON before it is passed on.
fn checked(live: &Live, message: Bytes) -> Result<Bytes, ApiError> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(&message) {
        Ok(_) => Ok(message),
        Err(_) => Err(ApiError::Broken(live.id.clone())),
    }
}

impl Call<'_> {
    /// What the agent is asked for.
    fn ask<'m>(&'m self, message: &'m [u8], timeout: Option<Duration>) -> Result<Ask<'m>, ApiError> {
        if let Some(user) = access::user(self.headers).filter(|user| !user.is_empty() && user != USER) {
            return Err(ApiError::NoUser(user));
        }
        let body = body::raw(message)?;
        if let Some((event, details)) = record::of(&self.method, body.get(), &self.live.env)? {
            self.audit.record(event, &self.live.id, &details);
        }
        let timeout_ms = timeout.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        Ok(Ask { method: &self.method, body, timeout_ms })
    }

    /// How long the client waits, if it says so.
    fn timeout(&self) -> Option<Duration> {
        let given = access::text(self.headers, "connect-timeout-ms")?;
        // At most ten digits, by the protocol.
        Some(Duration::from_millis(given.parse::<u64>().ok().filter(|_| given.len() <= 10)?))
    }

    /// How often something is to be said when there is nothing to say.
    fn keepalive(&self) -> Option<Duration> {
        let given = access::text(self.headers, "keepalive-ping-interval")?;
        given.parse::<u64>().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
    }
}

async fn unary(call: &Call<'_>, body: &mut Incoming) -> Result<Response<Body>, ApiError> {
    let message = body::gathered(body, body::MESSAGE, &call.live.inward).await?;
    let timeout = call.timeout();
    let mut agent = call.live.ask(&call.ask(&message, timeout)?).await?;
    // Nobody needs it any more.
    drop(message);
    let answer = agent.answer(timeout.unwrap_or(ANSWER).min(ANSWER)).await?;
    answer::json(answer).ok_or_else(|| ApiError::Broken(call.live.id.clone()))
}

/// The stream goes on after this has returned, until its client or the agent ends it.
async fn server_stream(
    call: &Call<'_>,
    body: &mut Incoming,
    keepalive: &'static str,
) -> Result<Body, ApiError> {
    let timeout = call.timeout();
    let agent = {
        let whole = body::gathered(body, body::MESSAGE + ENVELOPE, &call.live.inward).await?;
        let message = one(&whole)?.ok_or_else(|| ApiError::Unclear("the message is missing".to_owned()))?;
        call.live.ask(&call.ask(message, timeout)?).await?
    };
    let (fill, body) = flow();
    let stream = Stream {
        live: Arc::clone(call.live),
        deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        keepalive: call.keepalive().map(|every| (every, keepalive)),
    };
    call.streams.spawn(stream.pass(agent, fill));
    Ok(body)
}

/// Messages on their way from an agent to a client.
struct Stream {
    live: Arc<Live>,
    deadline: Option<Instant>,
    keepalive: Option<(Duration, &'static str)>,
}

impl Stream {
    async fn pass(self, mut agent: Conversation, fill: mpsc::Sender<io::Result<Bytes>>) {
        let mut quiet_since = Instant::now();
        let end = loop {
            let deadline = sleep_until(self.deadline);
            let due = self.keepalive.and_then(|(every, _)| quiet_since.checked_add(every));
            let said = tokio::select! {
                said = agent.next() => said,
                () = fill.closed() => return,
                () = deadline => {
                    break Some(Fault::new(Kind::DeadlineExceeded, "the request's time was up"));
                }
                () = sleep_until(due) => Ok(Said::Message(self.keepalive.map_or_else(Bytes::new, |(_, text)| text.into()))),
            };
            let message = match said {
                Ok(Said::Message(message)) => checked(&self.live, message),
                Ok(Said::End) => break None,
                Ok(Said::Bytes(_)) => Err(ApiError::Broken(self.live.id.clone())),
                Err(error) => Err(error),
            };
            let message = match message {
                Ok(message) => message,
                Err(error) => break Some(error.into_fault()),
            };
            quiet_since = Instant::now();
            // What is long is not copied: it keeps its room until the client has it.
            let parts = match message.len() > SMALL {
                true => [Bytes::copy_from_slice(&head(0, message.len())), message],
                false => [envelope(0, &message), Bytes::new()],
            };
            for part in parts.into_iter().filter(|part| !part.is_empty()) {
                // A client that takes nothing makes the program wait, until the call's time is up.
                let sent = tokio::select! {
                    sent = fill.send(Ok(part)) => sent,
                    () = sleep_until(self.deadline) => return,
                };
                if sent.is_err() {
                    return;
                }
            }
        };
        let _ = fill.send(Ok(last(end.as_ref()))).await;
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

async fn client_stream(call: &Call<'_>, body: &mut Incoming) -> Result<Bytes, ApiError> {
    let timeout = call.timeout();
    let mut agent = call.live.ask(&call.ask(b"{}", timeout)?).await?;
    let mut buffer = BytesMut::new();
    let mut room = None;
    while let Some(part) = body::next(body).await? {
        buffer.extend_from_slice(&part);
        while let Some(message) = taken(&mut buffer)? {
            body::raw(&message)?;
            agent.send(frame::Kind::Message, &message).await?;
        }
        if buffer.len() <= SMALL {
            room = None;
        } else if room.is_none() {
            room = Some(call.live.inward.take_in_time(body::MESSAGE).await.ok_or_else(body::crowded)?);
        }
        if buffer.len() > body::MESSAGE + ENVELOPE {
            return Err(ApiError::TooLarge(wflo_core::size::Bytes(body::MESSAGE as u64)));
        }
    }
    agent.send(frame::Kind::End, b"").await?;
    let answer = agent.answer(ANSWER).await?;
    checked(call.live, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_off_as_they_arrive() {
        let whole = [envelope(0, b"{\"a\":1}"), envelope(0, b"{}")].concat();
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        for byte in &whole {
            buffer.extend_from_slice(&[*byte]);
            found.extend(taken(&mut buffer).unwrap());
        }
        assert_eq!(found, [Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"{}")]);
        assert!(taken(&mut BytesMut::from(&[1, 0, 0, 0, 0][..])).is_err(), "compressed");
        assert!(taken(&mut BytesMut::from(&[0, 255, 0, 0, 0][..])).is_err(), "too long");
    }
}
