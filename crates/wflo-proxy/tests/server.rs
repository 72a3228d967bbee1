//! The server as clients of each protocol meet it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows tests, not what they call"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wflo_core::budget::Period;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::{Clock, Moment};
use wflo_core::ports::store::{SliceStore as _, Store as _};
use wflo_gateway::dialect::Dialect;
use wflo_gateway::price::ModelSettings;
use wflo_gateway::route::{Provider, Routes};
use wflo_proxy::{Config, Limit, Server, ServerOptions, TlsFiles, TreasuryOptions};
use wflo_store::{SqliteStore, StoreOptions};
use wflo_testkit::model_server::{Answer, ModelServer};

const CHAT: &str = r#"{"model":"smol","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#;

/// What one such call is billed: 10 tokens in, 5 out, at 1 and 2 USD per million.
const BILL: i64 = 20_000;

/// A clock that stands.
struct Still;

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_795_000_000).unwrap()
    }
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), boot_ms: 0, boot_id: "boot".into() }
    }
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
    }
    fn draw(&self) -> f64 {
        0.0
    }
}

struct World {
    _dir: tempfile::TempDir,
    store: Arc<SqliteStore>,
    mock: ModelServer,
    routes: Routes,
    server: Server,
}

impl World {
    async fn new(tls: bool, limit: i64, min_output_tokens: Option<u64>) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mock = ModelServer::start().unwrap();
        mock.answer_always(Answer { text: Some("fine".into()), ..Answer::billed(10, 5) });
        let smol = ModelSettings {
            provider: Some("local".into()),
            input: Some("1".into()),
            output: Some("2".into()),
            context_tokens: Some(1_000),
            max_output_tokens: Some(500),
            ..ModelSettings::default()
        };
        let local = Provider::new("local", Dialect::OpenAi, &mock.openai_url(), None).unwrap();
        let routes =
            Routes::new(vec![local], Vec::new(), BTreeMap::from([("smol".to_owned(), smol)])).unwrap();
        let store = Arc::new(SqliteStore::open(dir.path().join("wflo.db"), StoreOptions::default()).unwrap());
        let known = routes.clone();
        let limit = Limit {
            limit: NanoUsd::from_nanos(limit),
            period: Period::Total,
            alert_thresholds: None,
            min_output_tokens,
        };
        let server = Server::start(ServerOptions {
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            tls: tls.then(|| TlsFiles { cert: file("cert.pem"), key: file("key.pem") }),
            treasury: TreasuryOptions {
                store: Arc::clone(&store) as _,
                data_dir: dir.path().to_path_buf(),
                clock: Arc::new(Still),
                pid: std::process::id(),
                fold_every: Duration::from_millis(50),
            },
            config: Config { routes, limits: vec![limit], ..Config::default() },
            room: Duration::from_secs(30),
            notice: Arc::new(|_| {}),
        });
        World { _dir: dir, store, mock, routes: known, server: server.await.unwrap() }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.unwrap()
    }

    async fn secured(&self, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("cert.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector
            .connect(ServerName::try_from("localhost").unwrap(), self.connect().await)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        stream
    }

    /// What was charged after the end.
    async fn charged(self) -> i64 {
        self.server.drain(Duration::from_secs(30)).await;
        let lines = self.store.calls_lines().await.unwrap();
        assert_eq!(self.store.overruns().await.unwrap(), 0);
        assert!(self.store.spenders().await.unwrap().is_empty());
        lines.iter().map(|line| line.sum.cost.nanos()).sum()
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn chat(uri: &str) -> Request<Full<Bytes>> {
    Request::post(uri).header("host", "localhost").body(Full::from(CHAT)).unwrap()
}

async fn over1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> StatusCode {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(chat("/v1/chat/completions")).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

/// Twenty calls on one connection.
async fn over2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let calls = (0..20).map(|_| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            sender.ready().await.unwrap();
            let response = sender.send_request(chat("http://localhost/v1/chat/completions")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains("fine"));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_are_spoken_in_clear_and_under_tls() {
    let world = World::new(false, i64::MAX / 4, None).await;
    assert_eq!(over1(world.connect().await).await, StatusCode::OK);
    over2(world.connect().await).await;
    assert_eq!(world.charged().await, 21 * BILL);

    let world = World::new(true, i64::MAX / 4, None).await;
    assert_eq!(over1(world.secured(b"http/1.1").await).await, StatusCode::OK);
    over2(world.secured(b"h2").await).await;
    // In clear there is nothing to be had.
    let mut clear = world.connect().await;
    clear.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert_eq!(world.charged().await, 21 * BILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_spends_a_budget_to_its_end_and_no_further() {
    // A call is held at the whole window and 108 tokens of output, and billed a sixtieth of that.
    let (bound, fitting) = (1_000_000 + 2 * 108_000, 25);
    let world = World::new(false, fitting * BILL + bound, None).await;
    let address = world.server.address();
    let clients = (0..200).map(|_| {
        tokio::spawn(async move {
            let mut answered = 0;
            while over1(TcpStream::connect(address).await.unwrap()).await == StatusCode::OK {
                answered += 1;
            }
            answered
        })
    });
    let mut answered = 0;
    for client in clients.collect::<Vec<_>>() {
        answered += client.await.unwrap();
    }
    assert_eq!(answered, fitting + 1, "the last one leaves less than the next could cost");
    assert_eq!(world.mock.counts().billed as i64, answered);
    assert_eq!(world.charged().await, answered * BILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_not_fit_is_cut_where_its_budget_permits() {
    // Room for the input and half of the output that is asked for.
    let world = World::new(false, 1_000_000 + 2 * 60_000, Some(16)).await;
    assert_eq!(over1(world.connect().await).await, StatusCode::OK);
    let seen = world.mock.seen();
    let sent: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    let limit = sent["max_tokens"].as_u64().unwrap();
    assert!((16..100).contains(&limit), "{limit}");
    assert_eq!(world.charged().await, BILL);

    let world = World::new(false, 1_000_000 + 2 * 60_000, Some(99)).await;
    assert_eq!(over1(world.connect().await).await, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(world.charged().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_lowered_binds_from_then_on_and_one_that_is_raised_gives_room() {
    let world = World::new(false, 100_000_000, None).await;
    for _ in 0..20 {
        assert_eq!(over1(world.connect().await).await, StatusCode::OK);
    }
    let limit = |limit: i64| Config {
        routes: world.routes.clone(),
        limits: vec![Limit {
            limit: NanoUsd::from_nanos(limit),
            period: Period::Total,
            alert_thresholds: None,
            min_output_tokens: None,
        }],
        ..Config::default()
    };
    // Less than is spent: slices that were taken before are worth nothing.
    world.server.reload(limit(10 * BILL)).await.unwrap();
    for _ in 0..5 {
        assert_eq!(over1(world.connect().await).await, StatusCode::PAYMENT_REQUIRED);
    }
    world.server.reload(limit(100_000_000)).await.unwrap();
    assert_eq!(over1(world.connect().await).await, StatusCode::OK);
    assert_eq!(world.charged().await, 21 * BILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_spends_nothing_and_reads_nothing() {
    let world = World::new(false, i64::MAX / 4, None).await;
    let ask = |head: String| {
        let stream = world.connect();
        async move {
            let mut stream = stream.await;
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer[9..]).into_owned()
        }
    };
    let length = CHAT.len();
    let pages = [
        "host: 127.0.0.1\r\norigin: https://evil.example",
        "host: 127.0.0.1\r\nsec-fetch-site: cross-site",
        "host: evil.example:4000",
    ];
    for page in pages {
        let call = format!(
            "POST /v1/chat/completions HTTP/1.1\r\n{page}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{CHAT}"
        );
        assert_eq!(ask(call).await, "403", "{page}");
        assert_eq!(ask(format!("GET /metrics HTTP/1.1\r\n{page}\r\n\r\n")).await, "403", "{page}");
    }
    assert_eq!(ask("GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".to_owned()).await, "200");
    assert_eq!(world.mock.counts().requests, 0);
    assert_eq!(world.charged().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let world = World::new(false, i64::MAX / 4, None).await;
    let mut stream = world.connect().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 67108865\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(stream);
    assert_eq!(world.charged().await, 0);
}
