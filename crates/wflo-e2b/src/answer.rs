//! Answers: messages of JSON, errors, and what is sent as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as HttpBody, Frame};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::error::ApiError;

/// What is sent.
pub(crate) type Body = http_body_util::combinators::BoxBody<Bytes, io::Error>;

/// Parts of a body that are made while it is sent; an error cuts the answer off.
pub(crate) struct Flow(mpsc::Receiver<io::Result<Bytes>>);

/// How many parts wait for a client that takes none.
const WAITING: usize = 4;

/// A body, and who fills it: it waits for the client, and ends with it.
pub(crate) fn flow() -> (mpsc::Sender<io::Result<Bytes>>, Body) {
    let (fill, flow) = mpsc::channel(WAITING);
    (fill, Flow(flow).boxed())
}

impl HttpBody for Flow {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| part.map(Frame::data)))
    }
}

/// Bytes that are there already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// Nothing but a status.
pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// A message.
pub(crate) fn message(status: StatusCode, message: &impl Serialize) -> Response<Body> {
    let mut answer = Response::new(whole(serde_json::to_vec(message).unwrap_or_default()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A message that somebody else has made, if it is one.
pub(crate) fn json(message: Bytes) -> Option<Response<Body>> {
    let _: serde::de::IgnoredAny = serde_json::from_slice(&message).ok()?;
    let mut answer = Response::new(whole(message));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(answer)
}

/// What a client is told of an error: the status again, what it is, and its code and hint in the text.
pub(crate) fn error(error: &ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = message(status, &json!({ "code": error.status(), "message": error.told() }));
    // Clients try again by themselves where nothing is said; what is refused now is refused then.
    answer.headers_mut().insert("should-retry", HeaderValue::from_static("false"));
    answer
}
