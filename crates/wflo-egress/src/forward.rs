//! Requests that can be seen: each judged, each on a connection of its own, written anew.
//!
//! The request is read by `request`, its body by `body`; hyper writes both to the host and reads the
//! answer, which is written to the client from what hyper read (`answer`). Nothing that a client wrote is
//! copied, so that nothing can hide in it, and a host's connection never sees a second request. Plain HTTP comes
//! here, and so does what is seen because TLS is ended by the proxy.

mod answer;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::answer::{Asked, pass_on};
use crate::body::{self, BodyError, Sending};
use crate::host::Target;
use crate::inspect::Inspection;
use crate::limits::Flow;
use crate::refusal::Refusal;
use crate::relay::Counted;
use crate::request::{Forward, Framing, RequestError};
use crate::rules::{CallError, Permit, Rule, WEBSOCKET, WebSocketError};
use crate::secrets::{Misplaced, Place, Redactor, Scanner, Secrets, Swapped, unescaped};
use crate::serve::Shared;
use crate::witness::{End, Open, Opening, Way, shown};

/// Headers by which some servers take another method or path than the request's own.
const OVERRIDES: &[&str] = &[
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
];

/// Parameters of a query by which some frameworks take another method.
const PARAMETERS: &[&str] = &["_method", "$httpmethod", "x-http-method", "x-http-method-override"];

/// Whether some server may take a header for one of those. For CGI a name is letters, digits and `_`, and some put that in
/// the place of every other byte.
fn may_override(name: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') || OVERRIDES.contains(&name)
}

/// Whether some framework may take another method from a query.
fn asks_for_another_method(query: &str) -> bool {
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        let name = unescaped(name.as_bytes()).to_ascii_lowercase();
        PARAMETERS.iter().any(|known| known.as_bytes() == name.trim_ascii())
    })
}

/// The way that a request has come, and goes.
#[derive(Clone, Copy)]
pub(crate) enum Along<'a> {
    /// Plain HTTP.
    Plain,
    /// TLS, which this proxy ends and begins anew.
    Inspected {
        /// With what.
        inspection: &'a Inspection,
        /// The questions to which people have said yes for this very connection.
        answered: &'a [Rule],
    },
}

impl Along<'_> {
    const fn is_secure(self) -> bool {
        matches!(self, Along::Inspected { .. })
    }

    const fn answered(&self) -> &[Rule] {
        match self {
            Along::Plain => &[],
            Along::Inspected { answered, .. } => answered,
        }
    }

    const fn way(self) -> Way {
        if self.is_secure() { Way::Https } else { Way::Http }
    }
}

/// What became of a request.
pub(crate) enum Served {
    /// It was answered, and the client may ask again.
    Kept,
    /// It was answered as far as it could be, and the connection ends.
    Closed,
    /// Nothing has been answered yet but this.
    Refused(Refusal),
}

/// Where a body comes from.
enum Source {
    /// From the client, while it is sent.
    Client,
    /// It has been read, and was judged.
    Whole(Bytes),
}

/// A request that may be sent, once it is on record.
struct Ready {
    asked: Forward,
    source: Source,
    swapped: Swapped,
}

/// Serves one request; `buffer` is what the client has sent after its head.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    client: &mut S,
    buffer: &mut BytesMut,
    asked: Forward,
    along: Along<'_>,
) -> Served {
    let target = asked.target.clone();
    let began = shared.about(&target);
    let opened = async {
        let ready = judge(shared, client, buffer, asked, along).await?;
        let (flow, open, slot) = record(shared, &ready, along).await?;
        Ok::<_, Refusal>((ready, flow, open, slot))
    };
    let (ready, flow, mut open, _slot) = match opened.await {
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
    let host = Counted::new(stream, Arc::clone(&flow));
    let scanner = shared.secrets().map_or_else(|| Scanner::new(Vec::new()), Secrets::scanner);
    let exchange = async {
        match along {
            Along::Plain => exchange(client, buffer, ready, scanner, host).await,
            Along::Inspected { inspection, .. } => {
                let greeting = timeout(shared.limits.dial, inspection.connect(host, &target)).await;
                let late = || Refusal::Unreachable {
                    target: target.clone(),
                    why: "it did not answer in time".to_owned(),
                };
                match greeting.unwrap_or_else(|_| Err(late())) {
                    Ok(host) => exchange(client, buffer, ready, scanner, host).await,
                    Err(refusal) => Err(Failed { begun: false, end: End::Refused(refusal) }),
                }
            }
        }
    };
    let done = tokio::select! {
        done = exchange => done,
        () = flow.timed_out(&shared.limits) => Err(Failed { begun: true, end: End::TimedOut }),
        refusal = shared.kept_out(&target, &began) => Err(Failed { begun: true, end: End::Refused(refusal) }),
    };
    match done {
        Ok(kept) => {
            open.end = End::Done;
            if kept { Served::Kept } else { Served::Closed }
        }
        Err(Failed { begun, end }) => {
            open.end = flow.over().map_or(end, |limit| End::Refused(limit.into()));
            match &open.end {
                End::Refused(refusal) if !begun => Served::Refused(refusal.clone()),
                _ => Served::Closed,
            }
        }
    }
}

/// Whether it may be sent, with the values of its secrets where they belong.
async fn judge<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    client: &mut S,
    buffer: &mut BytesMut,
    mut asked: Forward,
    along: Along<'_>,
) -> Result<Ready, Refusal> {
    let target = asked.target.clone();
    let denied = |why| Refusal::Denied { target: target.clone(), why };
    let permit = shared.let_request(&asked, along.way(), along.answered()).await.map_err(denied)?;
    let overrides = asked.headers.iter().any(|(name, _)| may_override(name))
        || asked.query.as_deref().is_some_and(asks_for_another_method);
    if overrides && shared.rules().answered(along.answered()).is_by_request(&target, along.is_secure()) {
        return Err(RequestError::Override.into());
    }
    if asked.websocket.is_some() {
        let rules = shared.rules().answered(along.answered());
        let judged = match shared.secrets().is_some_and(Secrets::is_used) {
            true => Err(WebSocketError::Secrets),
            false => rules.websocket((&target, along.is_secure()), &asked.path),
        };
        judged.map_err(|why| Refusal::WebSocket { target: target.clone(), why })?;
    }
    let source = match permit {
        Permit::Whole => Source::Client,
        Permit::Calls(_) if asked.query.is_some() => {
            return Err(Refusal::Calls { target, why: CallError::Query });
        }
        Permit::Calls(calls) => {
            let body = whole_body(client, buffer, &mut asked, shared.limits.idle).await;
            let judged = body.and_then(|body| {
                let mut last = CallError::Unreadable("nothing is named");
                let fits = calls.iter().any(|calls| {
                    calls.judge(&asked.method, &asked.headers, &body).map_err(|why| last = why).is_ok()
                });
                if fits { Ok(body) } else { Err(last) }
            });
            Source::Whole(judged.map_err(|why| Refusal::Calls { target: target.clone(), why })?)
        }
    };
    let misplaced = |what| Refusal::Misplaced { target: target.clone(), what };
    let swapped = match shared.secrets() {
        Some(secrets) => {
            if let Source::Whole(body) = &source
                && let Some(name) = secrets.found_in(body)
            {
                return Err(misplaced(Misplaced { name: name.to_owned(), place: Place::Body }));
            }
            secrets.swap(&mut asked, along.is_secure()).map_err(misplaced)?
        }
        None => Swapped::default(),
    };
    Ok(Ready { asked, source, swapped })
}

/// A body that is read before anything of its request is sent.
async fn whole_body<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut S,
    buffer: &mut BytesMut,
    asked: &mut Forward,
    patience: Duration,
) -> Result<Bytes, CallError> {
    let unreadable = CallError::Unreadable;
    if std::mem::take(&mut asked.expects_continue)
        && client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err()
    {
        return Err(unreadable("the client has gone"));
    }
    let body = timeout(patience, body::whole(client, buffer, asked.body)).await;
    let body = body.map_err(|_| unreadable("it did not arrive in time"))?;
    let body = body.map_err(|error| match error {
        BodyError::Long => unreadable("it is longer than 1 MiB"),
        BodyError::Chunk => unreadable("its chunks are not written as RFC 9112 has them"),
        _ => unreadable("it did not arrive whole"),
    })?;
    asked.body = if body.is_empty() { Framing::Empty } else { Framing::Length(body.len() as u64) };
    Ok(body)
}

type Opened = (Arc<Flow>, Open, OwnedSemaphorePermit);

async fn record(shared: &Shared, ready: &Ready, along: Along<'_>) -> Result<Opened, Refusal> {
    let slot = shared.allowance.admit()?;
    let method = if ready.asked.websocket.is_some() { WEBSOCKET } else { ready.asked.method.as_str() };
    let opening = Opening {
        id: shared.next_id(),
        target: ready.asked.target.clone(),
        way: along.way(),
        request: Some(shown(method, &ready.asked.path)),
        secrets: ready.swapped.names.clone(),
    };
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
    fn answerless(asked: &Target, why: &str) -> Failed {
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

async fn exchange<S, H>(
    client: &mut S,
    buffer: &mut BytesMut,
    Ready { asked, source, swapped }: Ready,
    mut scanner: Scanner,
    host: H,
) -> Result<bool, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let target = asked.target.clone();
    let no_answer = |why: &str| Failed::answerless(&target, why);
    let (parts, body) = body::sending(asked.body);
    let (framing, waits) = (asked.body, asked.expects_continue);
    let about = Asked { is_1_1: asked.is_http_1_1, close: asked.close, is_head: asked.method == "HEAD" };
    let (usual, key) = (asked.usual_port, asked.websocket.clone());
    let request = written(asked, usual, body).ok_or_else(|| no_answer("the request cannot be written"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Sending>(TokioIo::new(host))
        .await
        .map_err(|_| no_answer("the connection broke"))?;
    let _driver = Driver(tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    }));
    if let Some(key) = key {
        return websocket::exchange(client, buffer, (&mut sender, request), (&target, about), &key).await;
    }
    if waits && client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
        return Err(Failed::BROKEN);
    }
    let (mut read, mut write) = tokio::io::split(client);
    let pump = async {
        match source {
            Source::Client => body::pump(&mut read, buffer, framing, parts, &mut scanner).await,
            Source::Whole(whole) => body::put(whole, parts).await,
        }
    };
    let redactor = Redactor::new(swapped.values);
    let answer = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|_| no_answer("what it sent is no answer in HTTP/1.1"))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(no_answer("it changed the protocol"));
        }
        if !is_plainly_framed(response.headers()) {
            return Err(no_answer("its answer has a transfer coding other than `chunked`"));
        }
        let is_hidden = !redactor.is_idle() && response.headers().contains_key(header::CONTENT_ENCODING);
        if is_hidden {
            return Err(no_answer("its answer is encoded, so that a secret could be hidden in it"));
        }
        pass_on(&mut write, response, about, redactor).await.map_err(|_| Failed::BROKEN)
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
                Err(BodyError::Gone | BodyError::Long) => return Err(Failed::BROKEN),
                Err(BodyError::Chunk) => {
                    let refusal = Refusal::Request(RequestError::Framing);
                    return Err(Failed { begun: false, end: End::Refused(refusal) });
                }
                Err(BodyError::Misplaced(name)) => {
                    let what = Misplaced { name, place: Place::Body };
                    let refusal = Refusal::Misplaced { target: target.clone(), what };
                    return Err(Failed { begun: false, end: End::Refused(refusal) });
                }
            },
        }
    }
}

/// Whether nothing but its own bytes, in chunks or not, is what a body has. hyper takes off chunks alone, so that a
/// compressed body would look like a plain one to whoever looks for secrets, and to the client.
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    first && codings.next().is_none()
}

/// The request as it is sent, from what was read of the client's.
fn written(asked: Forward, usual: u16, body: Sending) -> Option<http::Request<Sending>> {
    let Forward { target, method, path, query, headers, websocket, .. } = asked;
    let uri = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let host = if target.port == usual { target.host.to_string() } else { target.to_string() };
    let mut request = http::Request::builder()
        .method(Method::from_bytes(method.as_bytes()).ok()?)
        .uri(uri)
        .header(header::HOST, host);
    request = match websocket {
        Some(_) => request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "websocket"),
        None => request.header(header::CONNECTION, "close"),
    };
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_bytes(&value).ok()?);
    }
    request.body(body).ok()
}
