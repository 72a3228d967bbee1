//! The server: connections are accepted, spoken to in HTTP/1 or 2, and ended.
//!
//! **Architecture Invariant:** a client that sends nothing, or nothing of what it has begun, loses its connection
//! after a stated time; what it has asked for is never held in memory beyond a few parts; the end of the server is
//! the end of every sandbox.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use wflo_core::ports::clock::Clock;
use wflo_core::size::Bytes;
use wflo_sandbox::Launcher;

use crate::access::Keys;
use crate::answer::Body;
use crate::audit::Audit;
use crate::error::ServeError;
use crate::guests::Guests;
use crate::quiet::Requests;
use crate::route::{self, Shared};
use crate::sandboxes::{Each, Ground, Sandboxes};

/// The most connections at a time. More wait, unless one is there of which nothing is known.
const MOST: usize = 1_024;
/// Streams that one HTTP/2 connection may have at a time.
const STREAMS: u32 = 256;
/// The most that a head may take, and what is held of a body at a time, in bytes.
const BUFFER: usize = 64 * 1024;
/// How long a client has for a handshake, or a head, or the answer to a ping; and about how long a connection
/// stays that nothing is asked on.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection without a request may take to end once it is told to.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long a client may take nothing of the end of an answer that the server holds for it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Threads for what blocks for a moment: sandboxes that are made, looked at, stopped and ended.
const SPARE: usize = 64;

/// How sandboxes are served.
pub struct ServerOptions {
    /// Where.
    pub listen: SocketAddr,
    /// Certificate and key; without, it is plain HTTP, which is for this machine alone.
    pub tls: Option<TlsAcceptor>,
    /// Who may make sandboxes.
    pub keys: Keys,
    /// What each gets.
    pub each: Each,
    /// How many there may be.
    pub most: usize,
    /// How much memory all of them may have together.
    pub memory: Option<Bytes>,
    /// This program, which is also the agent inside.
    pub program: PathBuf,
    /// Where the audit log is.
    pub state: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// How many threads for what blocks a server of so many sandboxes is to have: names that are asked about take some
/// for as long as name servers like, and are no reason that nothing is made or ended any more.
#[must_use]
pub fn threads(most: usize) -> usize {
    most.saturating_mul(wflo_egress::resolve::AT_ONCE).saturating_add(SPARE)
}

/// A server that runs. It must be ended.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts it. What a server before this one could not clean up is cleaned up first.
    ///
    /// # Errors
    /// When it cannot listen, or could not be trusted, or can make no sandbox.
    pub async fn start(options: ServerOptions) -> Result<Server, ServeError> {
        let listen = |source| ServeError::Listen { address: options.listen, source };
        if options.tls.is_none() && !options.listen.ip().is_loopback() {
            return Err(ServeError::InClear { address: options.listen });
        }
        wflo_egress::Rules::parse(&options.each.hosts, &[])?;
        let audit = Arc::new(Audit::open(&options.state, Arc::clone(&options.clock))?);
        let swept = wflo_sandbox::sweep();
        if swept.groups > 0 {
            tracing::info!(
                groups = swept.groups,
                processes = swept.processes,
                "cleaned up after a server that died"
            );
        }
        let launcher = Launcher::start(&options.program)?;
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let sandboxes = Arc::new(Sandboxes::new(Ground {
            launcher,
            program: options.program,
            each: options.each,
            most: options.most,
            memory: options.memory,
            clock: options.clock,
            audit,
        }));
        let shared = Arc::new(Shared { sandboxes, keys: options.keys, streams: TaskTracker::new() });
        let (stop, stopped) = watch::channel(false);
        let answering = Arc::clone(&shared);
        let answer = move |request: Request<Incoming>| {
            let shared = Arc::clone(&answering);
            async move { route::answer(&shared, request).await }
        };
        let accepting = tokio::spawn(accept(answer, listener, options.tls, MOST, stopped));
        Ok(Server { address, shared, stop, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every sandbox, then every connection.
    pub async fn end(self) {
        self.stop.send_replace(true);
        self.shared.sandboxes.end().await;
        self.shared.streams.close();
        self.accepting.abort();
        let _ = self.accepting.await;
        self.shared.streams.wait().await;
    }
}

/// Takes connections, so many at a time, until it is told to stop. Where there is no room for another, one makes
/// room of which nothing is known.
async fn accept<A, F>(
    answer: A,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    most: usize,
    mut stopped: watch::Receiver<bool>,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(most));
    let guests = Arc::new(Guests::default());
    let http = Arc::new(http());
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or a connection that died in the queue: the next may do better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if slots.available_permits() == 0 {
            guests.make_room();
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
        let _ = stream.set_nodelay(true);
        let (answer, http, tls) = (answer.clone(), Arc::clone(&http), tls.clone());
        let guest = Arc::new(guests.arrive());
        connections.spawn(async move {
            let answer = |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Arc::clone(&guest));
                answer(request)
            };
            let spoken = async {
                match tls {
                    None => speak(&http, stream, answer).await,
                    Some(tls) => match tokio::time::timeout(HEAD, tls.accept(stream)).await {
                        Ok(Ok(stream)) => speak(&http, stream, answer).await,
                        Ok(Err(error)) => Err(error),
                        Err(_) => Ok(()),
                    },
                }
            };
            tokio::select! {
                // A connection that breaks is its client's affair.
                _ = spoken => {}
                () = guest.sent_away() => {}
            }
            drop(slot);
        });
    }
    // Those that are answered get their answers; the server waits for them no longer than it must.
    while connections.join_next().await.is_some() {}
}

/// Both versions: a client of HTTP/2 says so first, in clear and under TLS.
fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(BUFFER as u32)
        .keep_alive_interval(HEAD)
        .keep_alive_timeout(HEAD)
        .max_send_buf_size(BUFFER);
    http
}

/// Serves the requests of a connection, for as long as its client has some.
async fn speak<S, A, F>(http: &auto::Builder<TokioExecutor>, stream: S, answer: A) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let requests = Requests::default();
    let service = service_fn(|request| {
        let (begun, answered) = (requests.begin(), answer(request));
        async move { Ok::<_, Infallible>(answered.await.map(|body| begun.answered(body))) }
    });
    let connection = http.serve_connection(TokioIo::new(requests.on(stream)), service);
    tokio::pin!(connection);
    // What tells the versions apart waits for the first bytes without an end, and pings are answered by a
    // client that wants nothing.
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = requests.quiet(HEAD, PATIENCE) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                // One of HTTP/2 ends by an answer of its client's.
                () = requests.quiet(GOODBYE, PATIENCE) => return Ok(()),
            }
        }
    };
    ended.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;
    use crate::guests::Guest;

    /// How long the connection of a client stays that sends so much and then nothing.
    async fn stays(sent: &[u8]) -> Duration {
        let (mut client, server) = tokio::io::duplex(BUFFER);
        client.write_all(sent).await.unwrap();
        let (since, http) = (Instant::now(), http());
        let spoken = speak(&http, server, |_| async { crate::answer::status(http::StatusCode::OK) });
        let _ended = tokio::time::timeout(Duration::from_secs(3_600), spoken).await.expect("it ends");
        since.elapsed()
    }

    /// Whether a request on this connection is answered.
    async fn is_answered(stream: &mut TcpStream, headers: &str) -> bool {
        let answered = async {
            stream.write_all(format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            io::Result::Ok(())
        };
        tokio::time::timeout(HEAD * 6, answered).await.expect("an answer, or its end").is_ok()
    }

    #[tokio::test]
    async fn who_has_no_key_keeps_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let answer = |request: Request<Incoming>| {
            if request.headers().contains_key("x-api-key") {
                request.extensions().get::<Arc<Guest>>().unwrap().stays();
            }
            std::future::ready(crate::answer::status(http::StatusCode::OK))
        };
        let accepting = tokio::spawn(accept(answer, listener, None, 4, stopped));
        let mut known = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut known, "x-api-key: k\r\n").await);
        let mut strangers = Vec::new();
        for _ in 0..8 {
            let mut stranger = TcpStream::connect(address).await.unwrap();
            assert!(is_answered(&mut stranger, "").await, "there is room for whoever comes");
            strangers.push(stranger);
        }
        for (number, stranger) in strangers.iter_mut().enumerate() {
            assert_eq!(is_answered(stranger, "").await, number > 4, "{number}");
        }
        assert!(is_answered(&mut known, "").await, "it stays");
        accepting.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_for_nothing_loses_its_connection() {
        let nothing_asked = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let begun = &nothing_asked[..14];
        for sent in [&b""[..], b"P", begun, nothing_asked, b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"]
        {
            let stayed = stays(sent).await;
            assert!(stayed <= HEAD * 3, "{:?} stayed for {stayed:?}", String::from_utf8_lossy(sent));
        }
    }

    /// What a client of HTTP/1 gets that takes nothing of its answer for so long; and when its connection was over.
    async fn taken_after(pause: Duration) -> (usize, Duration) {
        let (mut client, server) = tokio::io::duplex(1_024);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let (since, http) = (Instant::now(), http());
        let answer = |_| async { Response::new(crate::answer::whole(vec![b'x'; BUFFER / 2])) };
        let serve = async {
            let _ended = speak(&http, server, answer).await;
            since.elapsed()
        };
        let take = async {
            tokio::time::sleep(pause).await;
            let mut all = Vec::new();
            let _end = client.read_to_end(&mut all).await;
            all.iter().filter(|byte| **byte == b'x').count()
        };
        let (over, taken) = tokio::join!(serve, take);
        (taken, over)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_for_a_while_gets_the_end_of_its_answer() {
        for seconds in [0, 12, 22, 60, 200] {
            let (taken, _) = taken_after(Duration::from_secs(seconds)).await;
            assert!(taken >= BUFFER / 2, "{taken} bytes after {seconds} s");
        }
        let (taken, over) = taken_after(PATIENCE * 10).await;
        assert!(taken < BUFFER / 2 && over < PATIENCE * 3, "{taken} bytes, over after {over:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_its_time_keeps_its_connection() {
        let (mut client, server) = tokio::io::duplex(BUFFER);
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let http = http();
        let answer = |_| async {
            tokio::time::sleep(HEAD * 60).await;
            let (fill, body) = crate::answer::flow();
            tokio::spawn(async move {
                tokio::time::sleep(HEAD * 60).await;
                fill.send(Ok("late".into())).await
            });
            Response::new(body)
        };
        let mut said = String::new();
        let (spoken, read) = tokio::join!(speak(&http, server, answer), client.read_to_string(&mut said));
        assert!(spoken.is_ok() && read.is_ok());
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("late"), "{said}");
    }
}
