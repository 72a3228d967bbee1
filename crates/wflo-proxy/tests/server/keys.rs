//! Virtual keys: what they open, and that nothing shows them. Other gateways told a key in the refusal of it,
//! held it to its models only where a header said JSON, or to its budget only at some paths.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use wflo_core::budget::{Period, Zone};
use wflo_core::key::KeyBudget;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{Batch, Op, Store as _};
use wflo_gateway::route::Passthrough;
use wflo_proxy::{KeyWish, MadeKey};
use wflo_testkit::log::Log;
use wflo_testkit::model_server::Fault;

use crate::world::{BILL, CHAT, Setup, Still, World};

/// Makes a key and waits until the server knows it.
async fn made(world: &World, wish: KeyWish) -> MadeKey {
    let made = wish.make(&Still).unwrap();
    put(world, Op::PutKey(Box::new(made.key.clone()))).await;
    // Until it knows of any, whoever comes may call.
    let wanted = |text: (StatusCode, String)| text.1.contains("WFLO-4065");
    let known = async {
        while !wanted(ask(world, None, "{}", "/v1/models").await)
            || wanted(ask(world, Some(&made.secret), "{}", "/v1/models").await)
        {}
    };
    tokio::time::timeout(Duration::from_secs(120), known).await.expect("the key is not known");
    made
}

async fn put(world: &World, op: Op) {
    world.store.commit(Batch { fence: None, ops: vec![op] }).await.unwrap();
}

async fn ask(world: &World, key: Option<&str>, body: &str, path: &str) -> (StatusCode, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(world.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(path).header("host", "localhost");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(Full::<Bytes>::from(body.to_owned())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let headers = format!("{:?}", response.headers());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, format!("{headers} {}", String::from_utf8_lossy(&body)))
}

/// Neither in what a client is told, nor in a log of everything, over either protocol.
#[tokio::test]
async fn nothing_shows_a_key_whether_it_is_good_or_not() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::with(Setup::default()).await;
    let good = made(&world, KeyWish { name: "good".into(), ..KeyWish::default() }).await;
    let past = Still.now().checked_sub(jiff::SignedDuration::from_secs(1)).unwrap();
    let expired = KeyWish { name: "old".into(), expires_at: Some(past), ..KeyWish::default() };
    let expired = made(&world, expired).await;
    let narrow = KeyWish { name: "narrow".into(), models: vec!["other".into()], ..KeyWish::default() };
    let narrow = made(&world, narrow).await;
    let unknown = "sk-wflo-0123456789abcdef' OR 1=1 --";
    let mut told = String::new();
    for (key, status) in
        [(good.secret.as_str(), 200), (&expired.secret, 401), (&narrow.secret, 403), (unknown, 401)]
    {
        let (got, text) = ask(&world, Some(key), CHAT, "/v1/chat/completions").await;
        assert_eq!(got.as_u16(), status, "{text}");
        told.push_str(&text);
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(world.connect().await)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("http://localhost/v1/messages?key=nothing").header("x-api-key", key);
        let response = sender.send_request(request.body(Full::<Bytes>::from(CHAT)).unwrap()).await.unwrap();
        told.push_str(&format!("{:?}", response.headers()));
        told.push_str(&String::from_utf8_lossy(&response.into_body().collect().await.unwrap().to_bytes()));
    }
    let logged = log.text();
    assert!(logged.contains("wflo_gateway"), "nothing was logged");
    for key in [good.secret.as_str(), &expired.secret, &narrow.secret, unknown] {
        let hash = blake3::hash(key.as_bytes()).to_hex().to_string();
        for (what, text) in [("an answer", &told), ("a log", &logged)] {
            // The client's own half of a connection is in this log, too, and says what it sends.
            let lines: Vec<&str> =
                text.lines().filter(|line| line.contains(key) || line.contains(&hash)).collect();
            assert!(lines.is_empty(), "{what}: {lines:?}");
        }
    }
    assert!(!told.to_lowercase().contains("sql"), "{told}");
    drop(world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_held_to_its_models_and_its_budget_at_every_path_whatever_the_request_says_it_is() {
    let through = [("/images/generations", 400_000), ("/files/*", 400_000)]
        .map(|(path, most)| Passthrough::new(path, NanoUsd::from_nanos(most)).unwrap());
    let world = World::with(Setup { passthrough: through.to_vec(), ..Setup::default() }).await;
    let wish = KeyWish { name: "narrow".into(), models: vec!["other".into()], ..KeyWish::default() };
    let narrow = made(&world, wish).await;
    let image = r#"{"model":"dall-e","prompt":"x"}"#;
    for (path, body) in [
        ("/v1/chat/completions", CHAT),
        ("/openai/v1/chat/completions", CHAT),
        ("/chat/completions", CHAT),
        ("/v1/images/generations", image),
        ("/v1/files/x", "no JSON at all"),
    ] {
        let (status, text) = ask(&world, Some(&narrow.secret), body, path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {text}");
        assert!(text.contains("WFLO-4067"), "{path}: {text}");
    }
    assert_eq!(world.mock.seen().len(), 0);
    let budget =
        KeyBudget { limit: NanoUsd::from_nanos(1_000_000), period: Period::Total, time_zone: Zone::utc() };
    let poor =
        made(&world, KeyWish { name: "poor".into(), budget: Some(budget), ..KeyWish::default() }).await;
    world
        .mock
        .fault_always(Some(Fault::Verbatim(vec![("content-type", "application/json")], vec!["{}".into()])));
    for allowed in [true, true, false, false] {
        let (status, text) = ask(&world, Some(&poor.secret), image, "/v1/images/generations").await;
        assert_eq!(status == StatusCode::OK, allowed, "{text}");
    }
    assert_eq!(
        ask(&world, Some(&poor.secret), CHAT, "/v1/chat/completions").await.0,
        StatusCode::PAYMENT_REQUIRED
    );
    assert_eq!(world.charged().await, 800_000);
}

/// A call that is under way when its key ends makes no further attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_revoked_makes_no_further_attempt() {
    let retry = wflo_gateway::retry::Retry {
        attempts: 3,
        base: Duration::from_millis(1),
        ..wflo_gateway::retry::Retry::default()
    };
    let routing = wflo_gateway::routing::Routing { retry, ..Default::default() };
    let world = Arc::new(World::with(Setup { routing, ..Setup::default() }).await);
    let key = made(&world, KeyWish { name: "soon gone".into(), ..KeyWish::default() }).await;
    let before = world.mock.counts().requests;
    world.mock.hold();
    world.mock.fault_next(Fault::Status(503, "{}".to_owned(), None));
    let call = tokio::spawn({
        let (world, secret) = (Arc::clone(&world), key.secret.clone());
        async move { ask(&world, Some(&secret), CHAT, "/v1/chat/completions").await }
    });
    let until = async |what: &str, ready: &dyn Fn() -> bool| {
        let wait = async {
            while !ready() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), wait).await.unwrap_or_else(|_| panic!("{what}"));
    };
    until("the first attempt", &|| world.mock.counts().requests == before + 1).await;
    put(&world, Op::RevokeKey { id: key.key.id, at: Still.now() }).await;
    let gone =
        async { while !ask(&world, Some(&key.secret), "{}", "/v1/models").await.1.contains("WFLO-4066") {} };
    tokio::time::timeout(Duration::from_secs(120), gone).await.expect("the revocation is not known");
    world.mock.release();
    let (status, text) = call.await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert_eq!(world.mock.counts().requests, before + 1);
    let world = Arc::into_inner(world).unwrap();
    assert!(world.charged().await <= BILL);
}

/// What `GET /metrics` says to a request with these headers.
async fn scraped(world: &World, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(world.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let request =
        headers.iter().fold(Request::get("/metrics"), |request, (name, value)| request.header(*name, *value));
    let response = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_told_its_own_figures_and_only_one_for_metrics_those_of_all() {
    let world = World::with(Setup::default()).await;
    let wish = |name: &str| KeyWish { name: name.into(), ..KeyWish::default() };
    let rich = made(&world, wish("rich")).await;
    let poor = made(&world, wish("poor")).await;
    let prometheus = made(&world, KeyWish { metrics: true, ..wish("prometheus") }).await;
    let (status, _) = ask(&world, Some(&rich.secret), CHAT, "/v1/chat/completions").await;
    assert_eq!(status, StatusCode::OK);
    let shows = |made: &MadeKey| format!("Bearer {}", made.secret);
    let own = scraped(&world, &[("host", "localhost"), ("authorization", &shows(&poor))]).await;
    assert_eq!(own.0, StatusCode::OK);
    for line in own.1.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.contains("{key=\"poor\"") && line.ends_with([' ', '0']), "{line}");
    }
    assert!(own.1.contains("wflo_gateway_cost_usd_total{key=\"poor\"} 0.000000000"), "{}", own.1);
    let own = scraped(&world, &[("host", "localhost"), ("authorization", &shows(&rich))]).await.1;
    assert!(own.contains("wflo_gateway_cost_usd_total{key=\"rich\"} 0.000020000"), "{own}");
    // All of it: a key for it from anywhere, and whoever is on this machine.
    for headers in [
        vec![("host", "gateway.internal"), ("authorization", &*shows(&prometheus)), ("via", "1.1 proxy")],
        vec![("host", "localhost")],
    ] {
        let (status, all) = scraped(&world, &headers).await;
        assert_eq!(status, StatusCode::OK);
        assert!(all.contains("{key=\"rich\"} 0.00002") && all.contains("wflo_gateway_connections"), "{all}");
    }
    // A proxy on this machine stands for anybody.
    for name in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
        let (status, told) = scraped(&world, &[("host", "localhost"), (name, "for=192.0.2.1")]).await;
        assert!(status == StatusCode::UNAUTHORIZED && told.contains("--metrics"), "{name}: {told}");
    }
    // It calls nothing.
    for (body, path) in [(CHAT, "/v1/chat/completions"), ("{}", "/v1/unknown")] {
        let (status, told) = ask(&world, Some(&prometheus.secret), body, path).await;
        assert!(status.is_client_error(), "{told}");
    }
    let (status, told) = ask(&world, Some(&prometheus.secret), CHAT, "/v1/chat/completions").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(told.contains("WFLO-4067") && told.contains("calls nothing"), "{told}");
    assert_eq!((world.mock.counts().requests, world.charged().await), (1, BILL));
}
