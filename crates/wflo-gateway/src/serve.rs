//! The listener: HTTP/1 from clients that were never changed.
//!
//! Owns connections and the translation between HTTP and a call's parts. Every connection of a
//! listener belongs to one caller: the listener itself is the identity, or, where others can reach
//! it, the key that the caller alone was given.

mod body;
mod connection;
mod head;
mod key;
mod pace;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use self::body::Link;
pub use self::body::{Body, Broken};
use self::connection::Served;
pub use self::connection::{Connection, Connections, UnderWay};
use self::pace::Pace;
use crate::dialect::{Dialect, Endpoint, Target, query, target};
use crate::error::GatewayError;
use crate::exchange::{self, Ask, Part, Whole};
use crate::gateway::{Buffered, Gateway};
use crate::ledger::Caller;
use crate::telemetry;

/// The most of an unwanted body that is read, in bytes.
const UNWANTED: usize = 1 << 20;

/// A listener that is being served. Dropping it ends it at once.
#[derive(Debug)]
pub struct ServeHandle {
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    connections: Connections,
}

impl ServeHandle {
    /// The connections that clients hold open.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Takes no new connection, lets running answers finish for at most `patience`, then cuts them.
    /// The calls behind them are settled all the same.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(patience, &mut task).await.is_err()
        {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for ServeHandle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Gateway {
    /// Serves every connection of `listener` as `caller`, until the handle stops or is dropped.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot be made non-blocking or registered.
    pub fn serve(&self, listener: std::net::TcpListener, caller: Caller) -> io::Result<ServeHandle> {
        listener.set_nonblocking(true)?;
        let listener = Arc::new(tokio::net::TcpListener::from_std(listener)?);
        let (stop, stopped) = watch::channel(false);
        let connections = Connections::of(&listener);
        let task = tokio::spawn(accept(self.clone(), listener, caller, stopped, connections.clone()));
        Ok(ServeHandle { stop, task: Some(task), connections })
    }
}

impl Gateway {
    /// Answers one request of `caller`, on a connection that somebody else serves and has judged. It
    /// never fails: an error is a response in the dialect's own shape.
    pub async fn answer(&self, caller: Caller, request: Request<Incoming>) -> Response<Body> {
        let link = Link::new(Arc::clone(&self.shared.ledger));
        respond(self, caller, &link, request).await
    }

    /// Refuses one request with an error, in the shape of the dialect that its path is of.
    pub async fn refuse(&self, request: Request<Incoming>, error: &GatewayError) -> Response<Body> {
        let (head, body) = request.into_parts();
        discard(self, body).await;
        telemetry::turned_away(None, error);
        refused(target(&head.method, head.uri.path(), &head.headers).dialect(), error)
    }
}

async fn accept(
    gateway: Gateway,
    listener: Arc<tokio::net::TcpListener>,
    caller: Caller,
    mut stopped: watch::Receiver<bool>,
    known: Connections,
) {
    let slots = Arc::new(Semaphore::new(gateway.shared.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or a connection that died in the queue: the next may do better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let served = known.watch(stream);
        let (gateway, caller, stopped) = (gateway.clone(), caller.clone(), stopped.clone());
        connections.spawn(async move {
            serve(gateway, served, caller, stopped).await;
            drop(slot);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(gateway: Gateway, served: Served, caller: Caller, mut stopped: watch::Receiver<bool>) {
    let link = Link::new(Arc::clone(&gateway.shared.ledger));
    let own = Arc::clone(&served.connection);
    let caller = caller.on(&own);
    let service = service_fn(|request| {
        let (gateway, caller, link, own) = (gateway.clone(), caller.clone(), link.clone(), Arc::clone(&own));
        async move {
            // A further request on the connection proves that the last answer arrived.
            link.arrived();
            own.asks();
            let response = respond(&gateway, caller, &link, request).await;
            own.begins();
            Ok::<_, Infallible>(response.map(|body| body.on(own)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(gateway.shared.deadlines.head)
        .preserve_header_case(false);
    let connection = http.serve_connection(TokioIo::new(served), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Ok(()) => link.arrived(),
        // The bytes may have got no further than this host's buffers.
        Err(_) => link.broke(),
    }
}

/// Whether the connection is to become a WebSocket.
fn is_websocket(headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("websocket"))
}

async fn respond(
    gateway: &Gateway,
    caller: Caller,
    link: &Link,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let asked = target(&head.method, path, &head.headers);
    let name = caller.name().map(str::to_owned);
    let turned_away = |dialect, error: &GatewayError| {
        telemetry::turned_away(name.as_deref(), error);
        refused(dialect, error)
    };
    if let Some(what) = head::is_ambiguous(&head) {
        discard(gateway, body).await;
        let mut response = turned_away(asked.dialect(), &GatewayError::Ambiguous { what });
        // Where the next request begins, the two might not agree on either.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return response;
    }
    if caller.key().is_some_and(|key| !key::is_carried(&head.headers, head.uri.query(), key)) {
        discard(gateway, body).await;
        return turned_away(asked.dialect(), &GatewayError::NotTheCaller);
    }
    if is_websocket(&head.headers) {
        let error = GatewayError::WebSocket { path: path.to_owned() };
        let mut response = turned_away(asked.dialect(), &error);
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        return response;
    }
    let (dialect, endpoint, suffix) = match asked {
        Target::Served { dialect, endpoint, suffix } => (dialect, endpoint, suffix),
        Target::Refused { dialect, suffix } if gateway.routes().passthrough(dialect, suffix).is_some() => {
            (dialect, Endpoint::Passthrough, suffix)
        }
        _ => {
            let error =
                GatewayError::UnknownEndpoint { method: head.method.to_string(), path: path.to_owned() };
            return turned_away(asked.dialect(), &error);
        }
    };
    let (body, buffered) = match read_body(gateway, &caller, body).await {
        Ok(read) => read,
        Err(error) => return turned_away(dialect, &error),
    };
    let ask = Ask {
        caller,
        dialect,
        endpoint,
        suffix: suffix.to_owned(),
        query: head.uri.query().and_then(|query| query::without(query, &["key"])),
        method: head.method,
        headers: head.headers,
        body,
        positional: None,
        since: Instant::now(),
        buffered: Some(buffered),
    };
    // What a run is told must be the same when it is told again.
    let says_cost = !gateway.shared.ledger.keeps_answers();
    let mut call = exchange::start(&gateway.shared, ask);
    match call.recv().await {
        Some(Part::Whole(whole)) => {
            let Whole { head, body, .. } = *whole;
            let mut response = Response::new(Body::whole(body, link.clone(), head.delivery, head.held));
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            if says_cost {
                head.charge.say(response.headers_mut());
            }
            response
        }
        Some(Part::Stream(head)) => {
            let mut response = Response::new(Body::stream(call, link.clone(), head.delivery));
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            if says_cost {
                head.charge.say(response.headers_mut());
            }
            response
        }
        Some(Part::Failed(error)) => refused(dialect, &error),
        // The task ended without a word: only at shutdown.
        _ => refused(dialect, &GatewayError::ShuttingDown),
    }
}

/// Reads a body that nobody wants and keeps nothing of it, so that its client, which may still be
/// sending, gets the answer instead of a broken connection.
async fn discard(gateway: &Gateway, mut body: Incoming) {
    let mut pace = Pace::new(gateway.shared.deadlines.request_idle);
    while let Ok(Some(Ok(frame))) = pace.within(body.frame()).await {
        if let Some(data) = frame.data_ref()
            && pace.came(data.len()) >= UNWANTED
        {
            return;
        }
    }
}

async fn read_body(
    gateway: &Gateway,
    caller: &Caller,
    mut body: Incoming,
) -> Result<(Bytes, Buffered), GatewayError> {
    let limit = gateway.shared.limits.request_bytes;
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(GatewayError::TooLarge { limit });
    }
    let mut buffered = Buffered::request(&gateway.shared, caller);
    let mut whole = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0).min(1 << 20));
    let mut pace = Pace::new(gateway.shared.deadlines.request_idle);
    loop {
        match pace.within(body.frame()).await {
            Err(why) => return Err(GatewayError::BodyBroke { reason: why.to_string() }),
            Ok(None) => return Ok((whole.freeze(), buffered)),
            Ok(Some(Err(error))) => {
                return Err(GatewayError::BodyBroke { reason: crate::upstream::reason(&error) });
            }
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    if whole.len() + data.len() > limit {
                        return Err(GatewayError::TooLarge { limit });
                    }
                    if !buffered.grow(data.len()) {
                        return Err(GatewayError::TooMuch);
                    }
                    pace.came(data.len());
                    whole.extend_from_slice(data);
                }
            }
        }
    }
}

/// An error of the gateway's own as a response in the dialect's shape.
fn refused(dialect: Dialect, error: &GatewayError) -> Response<Body> {
    let mut response = Response::new(Body::text(error.body(dialect)));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if !error.may_be_retried() {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
    if let Some(wait) = error.wait() {
        // Whole seconds, rounded up: a client that comes back too early waits twice.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let millis = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        headers.insert("retry-after-ms", HeaderValue::from(millis.max(1)));
        headers.insert("x-should-retry", HeaderValue::from_static("true"));
    }
    response
}
