//! `GET /metrics`: what is counted of attempts, breakers, limits and queues, and what clients cannot make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use wflo_gateway::health::Breaker;
use wflo_gateway::limits::Limit;
use wflo_gateway::retry::Retry;
use wflo_gateway::routing::{Detour, Place, Routing};
use wflo_testkit::model_server::Fault;

use crate::world::{BILL, CHAT, Setup, World, over1};

async fn ask(world: &World, body: String) -> StatusCode {
    let (mut sender, connection) = http1::handshake(TokioIo::new(world.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/v1/chat/completions").header("host", "localhost");
    let response = sender.send_request(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
    let status = response.status();
    let _ = response.into_body().collect().await;
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_and_breakers_are_counted_by_provider() {
    let retry = Retry { attempts: 2, base: Duration::from_millis(1), ..Retry::default() };
    let breaker = Some(Breaker { failures: 3, open: Duration::from_secs(60), ..Breaker::default() });
    let world =
        World::with(Setup { routing: Routing { retry, breaker, ..Routing::default() }, ..Setup::default() });
    let world = world.await;
    world.mock.fault_next(Fault::Status(503, "{}".to_owned(), None));
    assert_eq!(over1(world.connect().await).await, StatusCode::OK);
    let local = |outcome| format!("wflo_gateway_attempts_total{{provider=\"local\",outcome=\"{outcome}\"}}");
    assert_eq!(world.metric(&local("answered")).await, Some(1.0));
    assert_eq!(world.metric(&local("failed")).await, Some(1.0));
    assert_eq!(world.metric("wflo_gateway_retries_total{provider=\"local\"}").await, Some(1.0));
    let breakers = |state| format!("wflo_gateway_breakers{{provider=\"local\",state=\"{state}\"}}");
    assert_eq!(world.metric(&breakers("closed")).await, Some(1.0));
    world.mock.fault_always(Some(Fault::Status(503, "{}".to_owned(), None)));
    while over1(world.connect().await).await == StatusCode::SERVICE_UNAVAILABLE
        && world.metric(&breakers("open")).await != Some(1.0)
    {}
    assert_eq!(world.metric(&breakers("open")).await, Some(1.0));
    assert_eq!(world.metric("wflo_gateway_breaker_openings_total{provider=\"local\"}").await, Some(1.0));
    assert_eq!(world.metric(&local("answered")).await, Some(1.0));
    assert_eq!(world.charged().await, BILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fallbacks_are_counted_where_they_lead() {
    let place = Place { provider: Some("other".into()), model: "smol".into() };
    let detour = Detour { fallbacks: vec![place], ..Detour::default() };
    let routing = Routing { models: BTreeMap::from([("smol".to_owned(), detour)]), ..Routing::default() };
    let world = World::with(Setup { routing, ..Setup::default() }).await;
    world.mock.fault_next(Fault::Status(503, "{}".to_owned(), None));
    assert_eq!(over1(world.connect().await).await, StatusCode::OK);
    for (provider, outcome, fallbacks) in [("local", "failed", 0.0), ("other", "answered", 1.0)] {
        let series = format!("wflo_gateway_attempts_total{{provider=\"{provider}\",outcome=\"{outcome}\"}}");
        assert_eq!(world.metric(&series).await, Some(1.0));
        let series = format!("wflo_gateway_fallbacks_total{{provider=\"{provider}\"}}");
        assert_eq!(world.metric(&series).await, Some(fallbacks));
    }
    assert_eq!(world.charged().await, BILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_wait_for_a_limit_or_for_room_are_counted() {
    let limit = Limit { concurrent: Some(1), wait: Duration::from_secs(120), queue: 1, ..Limit::new("one") };
    let world = World::with(Setup {
        routing: Routing { limits: vec![limit], ..Routing::default() },
        ..Setup::default()
    });
    let world = world.await;
    world.mock.hold();
    let address = world.server.address();
    let call =
        || tokio::spawn(async move { over1(tokio::net::TcpStream::connect(address).await.unwrap()).await });
    let reach = async |series: &str, value: f64| {
        let reached = async { while world.metric(series).await != Some(value) {} };
        tokio::time::timeout(Duration::from_secs(120), reached)
            .await
            .unwrap_or_else(|_| panic!("{series} {value}"));
    };
    let first = call();
    reach("wflo_gateway_running_calls", 1.0).await;
    let second = call();
    reach("wflo_gateway_limit_waiting_calls{limit=\"one\"}", 1.0).await;
    assert_eq!(call().await.unwrap(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(world.metric("wflo_gateway_limit_denials_total{limit=\"one\"}").await, Some(1.0));
    world.mock.release();
    for call in [first, second] {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(world.metric("wflo_gateway_limit_waiting_calls{limit=\"one\"}").await, Some(0.0));
    assert_eq!(world.metric("wflo_gateway_limit_wait_seconds_count{limit=\"one\"}").await, Some(2.0));
    // What is counted goes on when settings are read anew.
    world
        .server
        .reload(wflo_proxy::Config { routes: world.routes.clone(), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(world.metric("wflo_gateway_limit_denials_total{limit=\"one\"}").await, Some(1.0));
    assert_eq!(world.charged().await, 2 * BILL);
}

/// Names of models, of limits, of paths, headers of every kind: nothing of a client's makes a series.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_makes_a_series() {
    let world = World::with(Setup::default()).await;
    let series = |text: String| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series.to_owned())).collect()
    };
    assert_eq!(ask(&world, CHAT.to_owned()).await, StatusCode::OK);
    assert_eq!(ask(&world, CHAT.replace("smol", "x")).await, StatusCode::BAD_REQUEST);
    let before = series(world.metrics().await);
    for nth in 0..100 {
        for model in [
            format!("x{nth}"),
            format!("ft:gpt-4o-mini:o{nth}:s:i"),
            format!("gpt-4o-mini-20{nth:02}-01-01"),
            format!("a\\\"}} {nth}\\n"),
        ] {
            world.mock.fault_next(Fault::Status([200, 404, 500][nth % 3], "{}".to_owned(), None));
            ask(&world, CHAT.replace("smol", &model)).await;
        }
    }
    let after = series(world.metrics().await);
    assert!(after.is_subset(&before), "{:?}", after.difference(&before).collect::<Vec<_>>());
    assert!(before.iter().all(|series| series.starts_with("wflo_gateway_") || series.starts_with('#')));
}
