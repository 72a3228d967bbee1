//! Requests of plain HTTP: each judged, each on a connection of its own, written anew.
//!
//! The request is read by `request`, its body by `body`; hyper writes both to the host and reads the
//! answer, which is written to the client from what hyper read. Nothing that a client wrote is copied, so
//! that nothing can hide in it, and a host's connection never sees a second request.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::body::{self, BodyError, Sending};
use crate::limits::{Flow, Limit};
use crate::refusal::Refusal;
use crate::relay::Counted;
use crate::request::{Forward, RequestError};
use crate::serve::Shared;
use crate::witness::{End, Open, Opening, Way};

/// The most of a path that is recorded.
const RECORDED: usize = 200;
/// Headers by which some servers take another method or path than the request's own.
const OVERRIDES: &[&str] = &[
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-url",
    "x-rewrite-url",
];

/// What became of a request.
pub(crate) enum Served {
    /// It was answered, and the client may ask again.
    Kept,
    /// It was answered as far as it could be, and the connection ends.
    Closed,
    /// Nothing has been answered yet but this.
    Refused(Refusal),
}

/// Serves one request; `buffer` is what the client has sent after its head.
pub(crate) async fn serve(
    shared: &Shared,
    client: &mut TcpStream,
    buffer: &mut BytesMut,
    asked: Forward,
) -> Served {
    let target = asked.target.clone();
    let (flow, mut open, _slot) = match admit(shared, &asked).await {
        Ok(opened) => opened,
        Err(refusal) => {
            shared.witness.refused(Some(&target), &refusal);
            return Served::Refused(refusal);
        }
    };
    let stream = match shared.dial(&target).await {
        Ok(stream) => stream,
        Err(refusal) => {
            open.end = End::Refused(refusal.clone());
            return Served::Refused(refusal);
        }
    };
    open.address = stream.peer_addr().ok().map(|peer| peer.ip());
    let exchange = exchange(client, buffer, asked, Counted::new(stream, Arc::clone(&flow)));
    let done = tokio::select! {
        done = exchange => done,
        () = flow.timed_out(&shared.limits) => Err(Failed { begun: true, end: End::TimedOut }),
    };
    match done {
        Ok(kept) => {
            open.end = End::Done;
            if kept { Served::Kept } else { Served::Closed }
        }
        Err(Failed { begun, end }) => {
            open.end = if flow.is_over() { End::Refused(Limit::Bytes.into()) } else { end };
            match &open.end {
                End::Refused(refusal) if !begun => Served::Refused(refusal.clone()),
                _ => Served::Closed,
            }
        }
    }
}

type Opened = (Arc<Flow>, Open, tokio::sync::OwnedSemaphorePermit);

async fn admit(shared: &Shared, asked: &Forward) -> Result<Opened, Refusal> {
    let target = &asked.target;
    let denied = |why| Refusal::Denied { target: target.clone(), why };
    shared.rules.request(target, &asked.method, &asked.path).map_err(denied)?;
    let overrides = asked.headers.iter().any(|(name, _)| OVERRIDES.contains(&name.as_str()));
    if overrides && shared.rules.is_by_request(target) {
        return Err(RequestError::Override.into());
    }
    let slot = shared.allowance.admit()?;
    let path: String = asked.path.chars().take(RECORDED).collect();
    let request = Some(format!("{} {path}", asked.method));
    let opening = Opening { id: shared.next_id(), target: target.clone(), way: Way::Http, request };
    let flow = Arc::new(Flow::new(Arc::clone(&shared.allowance)));
    let open = Open::record(&shared.witness, opening, Arc::clone(&flow)).await?;
    Ok((flow, open, slot))
}

/// An exchange that did not come to its end.
struct Failed {
    /// Whether the client has been answered in part.
    begun: bool,
    end: End,
}

impl Failed {
    fn answerless(asked: &crate::host::Target, why: &str) -> Failed {
        let refusal = Refusal::NoAnswer { target: asked.clone(), why: why.to_owned() };
        Failed { begun: false, end: End::Refused(refusal) }
    }

    const BROKEN: Failed = Failed { begun: true, end: End::Broken };
}

/// The task that drives hyper's side of a connection, ended with it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange(
    client: &mut TcpStream,
    buffer: &mut BytesMut,
    asked: Forward,
    host: Counted,
) -> Result<bool, Failed> {
    let target = asked.target.clone();
    let no_answer = |why: &str| Failed::answerless(&target, why);
    let (parts, body) = body::sending(asked.body);
    let (framing, is_1_1, close) = (asked.body, asked.is_http_1_1, asked.close);
    let (waits, is_head) = (asked.expects_continue, asked.method == "HEAD");
    let request = written(asked, body).ok_or_else(|| no_answer("the request cannot be written"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Sending>(TokioIo::new(host))
        .await
        .map_err(|_| no_answer("the connection broke"))?;
    let _driver = Driver(tokio::spawn(async move {
        let _ = connection.await;
    }));
    if waits && client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
        return Err(Failed::BROKEN);
    }
    let (mut read, mut write) = client.split();
    let pump = body::pump(&mut read, buffer, framing, parts);
    let answer = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|_| no_answer("what it sent is no answer in HTTP/1.1"))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(no_answer("it changed the protocol"));
        }
        pass_on(&mut write, response, is_1_1, close, is_head).await
    };
    tokio::pin!(pump, answer);
    let mut pumped = false;
    loop {
        tokio::select! {
            // What was answered is passed on even when the body can no longer be sent.
            biased;
            kept = &mut answer => return kept.map(|kept| kept && pumped),
            sent = &mut pump, if !pumped => match sent {
                Ok(()) => pumped = true,
                // The host has heard enough; its answer says why.
                Err(BodyError::Unwanted) => return (&mut answer).await.map(|_| false),
                Err(BodyError::Gone) => return Err(Failed::BROKEN),
                Err(BodyError::Chunk) => {
                    let refusal = Refusal::Request(RequestError::Framing);
                    return Err(Failed { begun: false, end: End::Refused(refusal) });
                }
            },
        }
    }
}

/// The request as it is sent, from what was read of the client's.
fn written(asked: Forward, body: Sending) -> Option<http::Request<Sending>> {
    let Forward { target, method, path, query, headers, .. } = asked;
    let uri = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let host = if target.port == 80 { target.host.to_string() } else { target.to_string() };
    let mut request = http::Request::builder()
        .method(Method::from_bytes(method.as_bytes()).ok()?)
        .uri(uri)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close");
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_bytes(&value).ok()?);
    }
    request.body(body).ok()
}

/// Writes a host's answer to the client. Whether the client may ask again.
async fn pass_on(
    client: &mut (impl AsyncWrite + Unpin),
    response: Response<Incoming>,
    is_1_1: bool,
    close: bool,
    is_head: bool,
) -> Result<bool, Failed> {
    let (mut head, mut body) = response.into_parts();
    let length = head.headers.get(header::CONTENT_LENGTH).cloned();
    strip(&mut head.headers);
    let is_empty = is_head || matches!(head.status.as_u16(), 204 | 304);
    let exact = body.size_hint().exact();
    let chunked = !is_empty && exact.is_none() && is_1_1;
    // To a client of HTTP/1.0 the end of the connection is the end of the body.
    let kept = !close && is_1_1;
    let mut text = format!(
        "HTTP/1.1 {} {}\r\n",
        head.status.as_str(),
        head.status.canonical_reason().unwrap_or_default()
    )
    .into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    match (is_empty, exact) {
        // What a body would have had.
        (true, _) => {
            if let Some(length) = length {
                text.extend_from_slice(b"content-length: ");
                text.extend_from_slice(length.as_bytes());
                text.extend_from_slice(b"\r\n");
            }
        }
        (false, Some(exact)) => text.extend_from_slice(format!("content-length: {exact}\r\n").as_bytes()),
        (false, None) if chunked => text.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (false, None) => {}
    }
    text.extend_from_slice(if kept { b"\r\n" } else { b"connection: close\r\n\r\n" });
    let broken = |_| Failed::BROKEN;
    client.write_all(&text).await.map_err(broken)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failed::BROKEN)?;
        let Some(data) = frame.data_ref().filter(|data| !data.is_empty() && !is_empty) else { continue };
        write_part(client, data, chunked).await.map_err(broken)?;
    }
    if chunked {
        client.write_all(b"0\r\n\r\n").await.map_err(broken)?;
    }
    client.flush().await.map_err(broken)?;
    Ok(kept)
}

async fn write_part(
    client: &mut (impl AsyncWrite + Unpin),
    data: &Bytes,
    chunked: bool,
) -> std::io::Result<()> {
    if chunked {
        client.write_all(format!("{:x}\r\n", data.len()).as_bytes()).await?;
    }
    client.write_all(data).await?;
    if chunked { client.write_all(b"\r\n").await } else { Ok(()) }
}

/// Takes off what is about the host's connection, or about proxies.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in
        ["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
    {
        headers.remove(name);
    }
    let of_proxies: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned().collect();
    for name in of_proxies {
        headers.remove(name);
    }
}
