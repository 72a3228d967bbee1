//! Connections: accepted, spoken to in HTTP/1 or 2, ended.
//!
//! Owns how long a client may take for what, and how much memory a connection gets. **Architecture
//! Invariant:** a client that sends nothing, or takes nothing of what it asked for, loses its connection
//! after a stated time, whatever it has begun: a handshake, a head, a body, an answer.

mod watch;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use wflo_gateway::together::Together;

use self::watch::Watch;
use super::Shared;
use super::admission;
use super::tls::Current;

/// The most connections at a time; more wait.
pub(super) const MOST: usize = 16_384;

/// The most that a head may take, and what is read of a body at a time, in bytes.
const BUFFER: usize = 64 * 1024;

/// How long a connection without a call may take to end once it is told to.
const GOODBYE: Duration = Duration::from_secs(2);

/// Streams that one HTTP/2 connection may have at a time.
const STREAMS: u32 = 1_000;

pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: Option<Current>) {
    let mut draining = shared.draining.subscribe();
    let slots = Arc::new(Semaphore::new(MOST));
    let http = Arc::new(http(shared.deadlines.head));
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
        let (shared, http) = (Arc::clone(&shared), Arc::clone(&http));
        let tls = tls.as_ref().map(|tls| tls.borrow().clone());
        connections.spawn(async move {
            shared.metrics.connections(1);
            // A connection that breaks is the client's affair; its calls are settled all the same.
            let _ = serve(&shared, &http, stream, peer, tls, When::Serving).await;
            shared.metrics.connections(-1);
            drop(slot);
        });
    }
    // Whoever looks whether this gateway can be called is told that it is ending, until it has.
    let mut late = JoinSet::new();
    loop {
        while late.try_join_next().is_some() {}
        tokio::select! {
            ended = connections.join_next() => if ended.is_none() { break },
            accepted = listener.accept() => match (accepted, Arc::clone(&slots).try_acquire_owned()) {
                (Ok((stream, peer)), Ok(slot)) => {
                    let (shared, http) = (Arc::clone(&shared), Arc::clone(&http));
                    let tls = tls.as_ref().map(|tls| tls.borrow().clone());
                    late.spawn(async move {
                        let _ = serve(&shared, &http, stream, peer, tls, When::Draining).await;
                        drop(slot);
                    });
                }
                (Err(_), _) => tokio::time::sleep(Duration::from_millis(10)).await,
                (Ok(_), Err(_)) => {}
            }
        }
    }
    drop(listener);
    late.shutdown().await;
}

/// When a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// While calls are taken: it ends when they are no longer.
    Serving,
    /// Afterwards: it is told so, and ends with the gateway.
    Draining,
}

/// Resolves when a connection of that time is to end.
async fn ends(shared: &Shared, when: When) {
    match when {
        When::Serving => drop(shared.draining.subscribe().wait_for(|draining| *draining).await),
        When::Draining => std::future::pending().await,
    }
}

/// Both versions: a client of HTTP/2 says so first, in clear and under TLS.
fn http(head: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(BUFFER);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(BUFFER as u32)
        .keep_alive_interval(head)
        .keep_alive_timeout(head)
        .max_send_buf_size(BUFFER);
    http
}

async fn serve(
    shared: &Arc<Shared>,
    http: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    when: When,
) -> io::Result<()> {
    let stream = Together::new(stream);
    let Some(tls) = tls else { return speak(shared, http, stream, peer, when).await };
    let stream = tokio::select! {
        stream = tokio::time::timeout(shared.deadlines.head, tls.accept(stream)) => stream??,
        () = ends(shared, when) => return Ok(()),
    };
    speak(shared, http, stream, peer, when).await
}

async fn speak<S>(
    shared: &Arc<Shared>,
    http: &auto::Builder<TokioExecutor>,
    stream: S,
    peer: SocketAddr,
    when: When,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Watch::default();
    let service = service_fn(|request| {
        let (shared, call) = (Arc::clone(shared), watch.call());
        async move {
            let answer = admission::answer(&shared, peer, request).await;
            Ok::<_, Infallible>(answer.map(|body| call.answered(body)))
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = ends(shared, when) => None,
        () = watch.quiet(shared.deadlines.head, shared.deadlines.idle) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                // One of HTTP/2 ends by an answer of its client's.
                () = watch.quiet(GOODBYE.min(shared.deadlines.head), shared.deadlines.idle) => return Ok(()),
            }
        }
    };
    ended.map_err(io::Error::other)
}
