//! Connections: accepted, spoken to in HTTP/1 or 2, ended.
//!
//! Owns how long a client may take for what, and how much memory a connection gets.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::admission;

/// The most connections at a time; more wait.
pub(super) const MOST: usize = 16_384;

/// A client that sends its head, or the first bytes of a connection, more slowly than this is cut off.
const HEAD: Duration = Duration::from_secs(30);

/// The most that a head may take, and what is read of a body at a time, in bytes.
const BUFFER: usize = 64 * 1024;

/// What a client of HTTP/2 says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams that one HTTP/2 connection may have at a time.
const STREAMS: u32 = 1_000;

pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut draining = shared.draining.subscribe();
    let slots = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = draining.wait_for(|draining| *draining) => break,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|draining| *draining) => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, or a connection that died in the queue: the next may do better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        connections.spawn(async move {
            shared.metrics.connections(1);
            // A connection that breaks is the client's affair; its calls are settled all the same.
            let _ = serve(&shared, stream, peer, tls).await;
            shared.metrics.connections(-1);
            drop(slot);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    let Some(tls) = tls else {
        return match within(speaks_http2(&stream)).await? {
            true => speak2(shared, stream, peer).await,
            false => speak1(shared, stream, peer).await,
        };
    };
    let stream = within(tls.accept(stream)).await?;
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => speak2(shared, stream, peer).await,
        _ => speak1(shared, stream, peer).await,
    }
}

async fn within<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(HEAD, what).await.map_err(io::Error::from)?
}

/// Whether the first bytes are those of HTTP/2. They are left where they are.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0_u8; PREFACE.len()];
    let mut before = 0;
    loop {
        let length = stream.peek(&mut seen).await?;
        let start = seen.get(..length).unwrap_or_default();
        if length == 0 || !PREFACE.starts_with(start) {
            return Ok(false);
        }
        if length == PREFACE.len() {
            return Ok(true);
        }
        // The bytes that are there make the socket readable at once, so that only time brings more.
        if length == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        before = length;
    }
}

async fn speak1<S>(shared: &Arc<Shared>, stream: S, peer: SocketAddr) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let shared = Arc::clone(shared);
        async move { Ok::<_, Infallible>(admission::answer(&shared, peer, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = drained(shared.draining.subscribe()) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(io::Error::other)
}

async fn speak2<S>(shared: &Arc<Shared>, stream: S, peer: SocketAddr) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let shared = Arc::clone(shared);
        async move { Ok::<_, Infallible>(admission::answer(&shared, peer, request).await) }
    });
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(BUFFER as u32)
        .keep_alive_interval(HEAD)
        .keep_alive_timeout(HEAD)
        .max_send_buf_size(BUFFER);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = drained(shared.draining.subscribe()) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(io::Error::other)
}

async fn drained(mut draining: watch::Receiver<bool>) {
    // A sender that is gone drains nobody.
    if draining.wait_for(|draining| *draining).await.is_err() {
        std::future::pending::<()>().await;
    }
}
