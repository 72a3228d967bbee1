//! A provider, a gateway before it, and clients of each protocol.

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use wflo_core::definition::{BudgetSpec, Per};
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::{Clock, Moment};
use wflo_core::ports::store::{SliceStore as _, Store as _};
use wflo_gateway::Deadlines;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::price::ModelSettings;
use wflo_gateway::route::{Passthrough, Provider, Routes};
use wflo_gateway::routing::Routing;
use wflo_proxy::{Config, Rules, Server, ServerOptions, TlsFiles, TreasuryOptions};
use wflo_store::{SqliteStore, StoreOptions};
use wflo_testkit::model_server::{Answer, ModelServer};

pub(crate) const CHAT: &str =
    r#"{"model":"smol","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#;

/// What one such call is billed: 10 tokens in, 5 out, at 1 and 2 USD per million.
pub(crate) const BILL: i64 = 20_000;

/// A clock that stands.
pub(crate) struct Still;

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

/// What differs from test to test.
pub(crate) struct Setup {
    pub(crate) tls: bool,
    pub(crate) limit: i64,
    pub(crate) min_output_tokens: Option<u64>,
    pub(crate) deadlines: Deadlines,
    pub(crate) routing: Routing,
    /// What the first provider lets through.
    pub(crate) passthrough: Vec<Passthrough>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            tls: false,
            limit: i64::MAX / 4,
            min_output_tokens: None,
            deadlines: Deadlines::default(),
            routing: Routing::default(),
            passthrough: Vec::new(),
        }
    }
}

/// A limit on all calls together.
pub(crate) fn rules(limit: i64, min_output_tokens: Option<u64>) -> Rules {
    let max_cost_usd = Some(NanoUsd::from_nanos(limit));
    let limit = BudgetSpec { max_cost_usd, per: Per::Gateway, min_output_tokens, ..BudgetSpec::default() };
    Rules { budgets: vec![limit], org: None }
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) mock: ModelServer,
    pub(crate) routes: Routes,
    pub(crate) server: Server,
}

impl World {
    pub(crate) async fn new(tls: bool, limit: i64, min_output_tokens: Option<u64>) -> World {
        World::with(Setup { tls, limit, min_output_tokens, ..Setup::default() }).await
    }

    pub(crate) async fn with(setup: Setup) -> World {
        let dir = tempfile::tempdir().unwrap();
        // Certificates are renewed where they stand.
        for name in ["cert.pem", "key.pem"] {
            std::fs::copy(file(name), dir.path().join(name)).unwrap();
        }
        let mock = ModelServer::start().unwrap();
        mock.answer_always(Answer { text: Some("fine".into()), ..Answer::billed(10, 5) });
        let model = |provider: &str| ModelSettings {
            provider: Some(provider.to_owned()),
            input: Some("1".into()),
            output: Some("2".into()),
            context_tokens: Some(1_000),
            max_output_tokens: Some(500),
            ..ModelSettings::default()
        };
        let provider = |name, dialect, url: &str| Provider::new(name, dialect, url, None).unwrap();
        let mut providers = vec![
            provider("local", Dialect::OpenAi, &mock.openai_url()),
            provider("other", Dialect::OpenAi, &mock.openai_url()),
            provider("anthropic", Dialect::Anthropic, &mock.anthropic_url()),
            provider("google", Dialect::Google, &mock.root_url()),
            provider("cohere", Dialect::Cohere, &mock.root_url()),
        ];
        providers[0].passthrough = setup.passthrough;
        let models =
            [("smol", "local"), ("claude-x", "anthropic"), ("gemini-x", "google"), ("command-x", "cohere")];
        let models = models.map(|(name, provider)| (name.to_owned(), model(provider)));
        let routes = Routes::new(providers, Vec::new(), BTreeMap::from(models)).unwrap();
        let routes = routes.with_routing(setup.routing).unwrap();
        let store = Arc::new(SqliteStore::open(dir.path().join("wflo.db"), StoreOptions::default()).unwrap());
        let known = routes.clone();
        let rules = rules(setup.limit, setup.min_output_tokens);
        let server = Server::start(ServerOptions {
            listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            tls: setup
                .tls
                .then(|| TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") }),
            plain: false,
            treasury: TreasuryOptions {
                store: Arc::clone(&store) as _,
                data_dir: dir.path().to_path_buf(),
                clock: Arc::new(Still),
                pid: std::process::id(),
                fold_every: Duration::from_millis(50),
            },
            config: Config { routes, rules, ..Config::default() },
            room: Duration::from_secs(30),
            deadlines: setup.deadlines,
            notice: Arc::new(|_| {}),
        });
        World { dir, store, mock, routes: known, server: server.await.unwrap() }
    }

    /// What `GET /metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::get("/metrics").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
        let body =
            sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    }

    /// The value of one series of `GET /metrics`.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics().await;
        let line =
            text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.map(|value| value.parse().unwrap())
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.unwrap()
    }

    pub(crate) async fn secured(&self, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in ["cert.pem", "renewed.pem"] {
            roots.add(CertificateDer::from_pem_file(file(certificate)).unwrap()).unwrap();
        }
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
    pub(crate) async fn charged(self) -> i64 {
        self.server.drain(Duration::from_secs(30)).await;
        let lines = self.store.calls_lines().await.unwrap();
        assert_eq!(self.store.overruns().await.unwrap(), 0);
        assert!(self.store.spenders().await.unwrap().is_empty());
        lines.iter().map(|line| line.sum.cost.nanos()).sum()
    }
}

pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

pub(crate) fn chat(uri: &str) -> Request<Full<Bytes>> {
    Request::post(uri).header("host", "localhost").body(Full::from(CHAT)).unwrap()
}

pub(crate) async fn over1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> StatusCode {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(chat("/v1/chat/completions")).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

/// Twenty calls on one connection.
pub(crate) async fn over2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) {
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
