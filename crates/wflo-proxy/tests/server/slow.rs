//! Clients that are as slow as they can be, on connections that anybody may make: in a handshake, a head, a
//! body, or in taking an answer. Each loses its connection, holds no money, and keeps nobody else out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use wflo_gateway::Deadlines;
use wflo_testkit::model_server::Fault;

use crate::world::{BILL, CHAT, Setup, World, over1};

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// SETTINGS with nothing in it.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// HEADERS of stream 1 that do not end: one byte, `:method: POST`.
const HEADERS: [u8; 10] = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83];

/// A gateway with little patience, and with more than an honest client needs here, however busy the machine is.
fn impatient(tls: bool) -> Setup {
    let short = Duration::from_secs(2);
    let deadlines = Deadlines { head: short, request_idle: short, idle: short * 2, ..Deadlines::default() };
    Setup { tls, deadlines, ..Setup::default() }
}

/// Between two bytes of a client that dribbles: a request of these takes it longer than is waited for.
const TICK: Duration = Duration::from_millis(100);

/// What the server says until it ends the connection, to a client that sends this, and then a byte now and then.
async fn told<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, sent: &[u8], more: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    write.write_all(sent).await.unwrap();
    let more = more.to_vec();
    let dribble = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        for byte in more {
            ticks.tick().await;
            if write.write_all(&[byte]).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        // It never gives up by itself.
        std::future::pending::<()>().await;
    });
    let mut told = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(120), read.read_to_end(&mut told)).await;
    dribble.abort();
    // A reset is an end, too.
    let _ = ended.unwrap_or_else(|_| panic!("{:?} is waited for", String::from_utf8_lossy(sent)));
    told
}

/// What the server says to each of these, which wait at the same time, in no order.
async fn each_told<S>(clients: Vec<(S, &[u8], &[u8])>) -> Vec<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut told_all = tokio::task::JoinSet::new();
    for (stream, sent, more) in clients {
        let (sent, more) = (sent.to_vec(), more.to_vec());
        told_all.spawn(async move { told(stream, &sent, &more).await });
    }
    told_all.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_get_to_its_request_loses_its_connection() {
    let world = World::with(impatient(false)).await;
    let long = vec![b'a'; 100_000];
    let half_head = [PREFACE.as_bytes(), &SETTINGS, &HEADERS].concat();
    // CONTINUATION of a header that never ends, a byte of a literal name at a time.
    let continuation = [&[0, 0x40, 0, 9, 0, 0, 0, 0, 1, 0, 0x7f][..], &long].concat();
    let mut clients = Vec::new();
    for (sent, more) in [
        (&b""[..], &b""[..]),
        (b"G", b""),
        (b"", b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-long: ", &long),
        (&PREFACE.as_bytes()[..10], b""),
        (b"", PREFACE.as_bytes()),
        (PREFACE.as_bytes(), b""),
        (&half_head, b""),
        (&half_head, &continuation),
    ] {
        clients.push((world.connect().await, sent, more));
    }
    for told in each_told(clients).await {
        let text = String::from_utf8_lossy(&told);
        assert!(!text.starts_with("HTTP/1.1 200"), "{text}");
    }
    assert_eq!(over1(world.connect().await).await, StatusCode::OK, "others are served");
    assert_eq!(world.charged().await, BILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_get_through_its_handshake_loses_its_connection() {
    let world = World::with(impatient(true)).await;
    // Of a ClientHello: a record of 512 bytes that never comes.
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252];
    let mut clients = Vec::new();
    for (sent, more) in [(&b""[..], &b""[..]), (&hello, b""), (&hello, &[3; 400])] {
        clients.push((world.connect().await, sent, more));
    }
    assert!(each_told(clients).await.iter().all(|told| !told.starts_with(b"HTTP/")));
    // And one that is through, and then says nothing, or too little.
    let mut clients = Vec::new();
    for protocol in [&b"h2"[..], b"http/1.1"] {
        for sent in [&b""[..], b"P", PREFACE.as_bytes()] {
            clients.push((world.secured(protocol).await, sent, &b""[..]));
        }
    }
    each_told(clients).await;
    assert_eq!(over1(world.secured(b"http/1.1").await).await, StatusCode::OK, "others are served");
    assert_eq!(world.charged().await, BILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_dribbles_or_stops_is_refused_and_never_sent() {
    let world = World::with(impatient(false)).await;
    let length = CHAT.len();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n";
    for (sent, more) in [
        (format!("{head}content-length: {length}\r\n\r\n"), CHAT),
        (format!("{head}content-length: {length}\r\n\r\n{}", &CHAT[..length - 1]), ""),
        (format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n{{"), ""),
    ] {
        let told = told(world.connect().await, sent.as_bytes(), more.as_bytes()).await;
        let told = String::from_utf8_lossy(&told);
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("WFLO-4006"), "{told}");
    }
    // The same in HTTP/2, on a connection that goes on.
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(world.connect().await)).await.unwrap();
    tokio::spawn(connection);
    for pause in [TICK, Duration::from_secs(600)] {
        let (bytes, body) = mpsc::channel(1);
        let dribble = tokio::spawn(async move {
            for byte in CHAT.bytes() {
                if bytes.send(byte).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        });
        let request = Request::post("http://localhost/v1/chat/completions").body(Dribbled(body)).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let told = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&told).contains("WFLO-4006"), "{told:?}");
        dribble.abort();
    }
    assert_eq!(world.mock.counts().requests, 0);
    assert_eq!(world.charged().await, 0);
}

/// A body that comes byte by byte.
struct Dribbled(mpsc::Receiver<u8>);

impl Body for Dribbled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|byte| Some(Ok(Frame::data(vec![byte?].into()))))
    }
}

/// An answer of many megabytes, of which a client takes nothing: it is billed, and then given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_nobody_takes_is_billed_and_its_connection_ended() {
    for second in [false, true] {
        let world = World::with(impatient(false)).await;
        let mut pieces = vec![Bytes::from_static(b"{\"text\":\"")];
        pieces.extend(std::iter::repeat_n(Bytes::from(vec![b'a'; 1 << 20]), 40));
        pieces.push(Bytes::from_static(b"\",\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}"));
        world.mock.fault_next(Fault::Verbatim(vec![("content-type", "application/json")], pieces));
        if second {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(world.connect().await)).await.unwrap();
            let connection = tokio::spawn(connection);
            let request = Request::post("http://localhost/v1/chat/completions");
            let response =
                sender.send_request(request.body(Full::<Bytes>::from(CHAT)).unwrap()).await.unwrap();
            let ended = tokio::time::timeout(Duration::from_secs(120), connection).await;
            let _ = ended.expect("the connection is kept").unwrap();
            drop(response);
        } else {
            let mut stream = world.connect().await;
            let length = CHAT.len();
            let request = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{CHAT}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let alone = async {
                // The one that asks.
                while world.metric("wflo_gateway_connections").await != Some(1.0)
                    || world.mock.counts().billed == 0
                {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(120), alone).await.expect("the connection is kept");
            drop(stream);
        }
        assert_eq!(over1(world.connect().await).await, StatusCode::OK, "others are served");
        assert_eq!(world.charged().await, 2 * BILL);
    }
}

/// One that takes its time, and takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_its_provider_writes_slowly_is_no_slow_clients() {
    let setup = impatient(false);
    // All of it together takes longer than a client that takes nothing is waited for.
    let wait = setup.deadlines.idle / 4;
    let world = World::with(setup).await;
    world.mock.fault_next(Fault::Slow(wait));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(world.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let body = CHAT.replacen('{', r#"{"stream":true,"#, 1);
    let request =
        Request::post("http://localhost/v1/chat/completions").body(Full::<Bytes>::from(body)).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("[DONE]"), "{body:?}");
    assert_eq!(world.charged().await, BILL);
}

/// Nobody waits for them at the end either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_say_nothing_do_not_hold_up_a_drain() {
    for tls in [false, true] {
        let world = World::with(Setup { tls, ..Setup::default() }).await;
        let silent = world.connect().await;
        let mut preface = world.connect().await;
        if !tls {
            preface.write_all(PREFACE.as_bytes()).await.unwrap();
        }
        let secured = if tls { Some(world.secured(b"h2").await) } else { None };
        let drained = tokio::time::timeout(Duration::from_secs(20), world.charged());
        assert_eq!(drained.await.expect("the drain waits"), 0);
        drop((silent, preface, secured));
    }
}
