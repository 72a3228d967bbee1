//! One page for scrapers: `/metrics` of a process that is no gateway.
//!
//! Owns the connections: there are few, each has one request, and none lives longer than [`LIFE`], so a
//! scraper that hangs is in the way of nobody. What the page says is its maker's.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wflo_core::exposition::MEDIA_TYPE;

use crate::server::Browsers;

/// The most connections at a time; more wait.
const MOST: usize = 8;

/// How long a connection may take, from its beginning to its end.
const LIFE: Duration = Duration::from_secs(10);

/// The most that a head may take, in bytes.
const BUFFER: usize = 16 * 1024;

/// Makes the page anew for each request.
pub type Maker = dyn Fn() -> Pin<Box<dyn Future<Output = String> + Send>> + Send + Sync;

/// Serves the page for as long as this lives.
#[derive(Debug)]
pub struct Scrape {
    address: SocketAddr,
    // Dropping it ends the task, and with that every connection.
    _serving: JoinSet<()>,
}

impl Scrape {
    /// Serves on `listener` what `page` makes. Must be called on a runtime.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn serve(listener: std::net::TcpListener, page: Arc<Maker>) -> io::Result<Scrape> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let mut serving = JoinSet::new();
        let what = What { page, guarded: address.ip().is_loopback() };
        serving.spawn(accept(listener, what));
        Ok(Scrape { address, _serving: serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What is served, and to whom.
#[derive(Clone)]
struct What {
    page: Arc<Maker>,
    /// For this machine alone: then a page of another site that a browser shows is none of its readers. Where
    /// everybody may read, under any name, there is nothing to keep from anybody.
    guarded: bool,
}

async fn accept(listener: TcpListener, what: What) {
    let slots = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a connection that died in the queue: the next may do better.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let what = what.clone();
        connections.spawn(async move {
            // One that breaks, or takes too long, is the scraper's affair.
            drop(tokio::time::timeout(LIFE, serve(stream, &what)).await);
            drop(slot);
        });
    }
}

async fn serve(stream: TcpStream, what: &What) -> hyper::Result<()> {
    let answer = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, what).await) });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LIFE)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

async fn answer(request: &Request<Incoming>, what: &What) -> Response<Full<Bytes>> {
    let refused = Browsers::default().refuse(request.uri(), request.headers());
    if let Some(why) = refused.filter(|_| what.guarded) {
        return plain(StatusCode::FORBIDDEN, &format!("{why} (WFLO-4074)\n"));
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let mut response = Response::new(Full::from((what.page)().await));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            response
        }
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET is what it takes\n"),
        _ => plain(StatusCode::NOT_FOUND, "there is /metrics here and nothing else\n"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn serving() -> Scrape {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Scrape::serve(listener, Arc::new(|| Box::pin(async { "m 1\n".to_owned() }))).unwrap()
    }

    async fn ask(at: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn the_page_is_for_scrapers_and_not_for_pages_of_other_sites() {
        let scrape = serving();
        let at = scrape.address();
        let page = ask(at, "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\nm 1\n"), "{page}");
        assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
        for (head, status) in [
            ("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", 404),
            ("POST /metrics HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n", 405),
            ("GET /metrics HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\n\r\n", 403),
            ("GET /metrics HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\n\r\n", 403),
            ("nonsense\r\n\r\n", 400),
        ] {
            let answer = ask(at, head).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head} {answer}");
        }
        let rebound =
            ask(at, "GET /metrics HTTP/1.1\r\nhost: evil.example\r\nsec-fetch-site: same-origin\r\n\r\n");
        assert!(rebound.await.starts_with("HTTP/1.1 403 "), "a name that was made to lead here");
    }

    #[tokio::test]
    async fn who_says_nothing_keeps_nobody_out_for_ever_and_ends_with_it() {
        let mut reached = 0;
        for _ in 0..3 {
            let scrape = serving();
            let at = scrape.address();
            let mut silent = Vec::new();
            for _ in 0..MOST - 1 {
                silent.push(TcpStream::connect(at).await.unwrap());
            }
            let page = ask(at, "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
            assert!(page.ends_with("m 1\n"), "{page}");
            drop(scrape);
            for mut stream in silent {
                // Ended with the server, by a close or by a reset.
                assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
            }
            reached += usize::from(TcpStream::connect(at).await.is_ok());
        }
        // Another test may listen there by now: once, and not each time.
        assert!(reached < 3);
    }
}
