//! Budgets of the standalone gateway: which hold a call, what becomes of one that does not fit, and what a
//! clock that is set does to them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows tests, not what they call"
)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Standing, Zone};
use wflo_core::definition::{BudgetSpec, Per};
use wflo_core::id::BudgetId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::{Clock, Moment};
use wflo_core::ports::store::{Batch, Op, SliceStore as _, Store as _};
use wflo_core::size::Millis;
use wflo_gateway::Deadlines;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::price::ModelSettings;
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::routing::{Detour, Place, Routing};
use wflo_proxy::{Config, KeyWish, Rules, Server, ServerOptions, TreasuryOptions};
use wflo_store::{SqliteStore, StoreOptions};
use wflo_testkit::model_server::{Answer, ModelServer};

/// What one call is billed: 10 tokens in, 5 out, at 1 and 2 USD per million.
const BILL: i64 = 20_000;

/// How long anything is waited for.
const LONG: Duration = Duration::from_secs(60);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A clock that is set.
struct Hands(AtomicI64);

impl Hands {
    fn set(&self, at: &str) {
        self.0.store(at.parse::<Timestamp>().unwrap().as_second(), Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
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
    clock: Arc<Hands>,
    routes: Routes,
    server: Server,
}

impl World {
    async fn new(budgets: Vec<BudgetSpec>) -> World {
        World::knowing(budgets, None).await
    }

    /// A gateway that has this key from the beginning, if any.
    async fn knowing(budgets: Vec<BudgetSpec>, key: Option<&str>) -> World {
        World::at(Ipv4Addr::LOCALHOST, budgets, key).await
    }

    /// The same, on an address of this machine's loopback.
    async fn at(address: Ipv4Addr, budgets: Vec<BudgetSpec>, key: Option<&str>) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mock = ModelServer::start().unwrap();
        mock.answer_always(Answer { text: Some("fine".into()), ..Answer::billed(10, 5) });
        let store = Arc::new(SqliteStore::open(dir.path().join("wflo.db"), StoreOptions::default()).unwrap());
        let clock = Arc::new(Hands(AtomicI64::new(0)));
        clock.set("2026-11-21T10:00:00Z");
        if let Some(name) = key {
            let made = KeyWish { name: name.to_owned(), ..KeyWish::default() }.make(&*clock).unwrap();
            let ops = vec![Op::PutKey(Box::new(made.key))];
            store.commit(Batch { fence: None, ops }).await.unwrap();
        }
        let routes = routes(&mock);
        let server = Server::start(ServerOptions {
            listener: std::net::TcpListener::bind((address, 0)).unwrap(),
            tls: None,
            plain: false,
            treasury: TreasuryOptions {
                store: Arc::clone(&store) as _,
                data_dir: dir.path().to_path_buf(),
                clock: Arc::clone(&clock) as _,
                pid: std::process::id(),
                fold_every: Duration::from_millis(20),
            },
            config: Config { routes: routes.clone(), rules: rules(budgets), ..Config::default() },
            room: LONG,
            deadlines: Deadlines::default(),
            notice: Arc::new(|_| {}),
        });
        World { _dir: dir, store, mock, clock, routes, server: server.await.unwrap() }
    }

    /// A key with a label, and what a client shows of it.
    async fn key(&self, name: &str, label: Option<(&str, &str)>) -> String {
        let labels = label.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let made =
            KeyWish { name: name.to_owned(), labels, ..KeyWish::default() }.make(&*self.clock).unwrap();
        self.commit(Op::PutKey(Box::new(made.key))).await;
        let secret = made.secret;
        until("the key", async || self.send("small", &secret).await.0 != StatusCode::UNAUTHORIZED).await;
        secret
    }

    async fn commit(&self, op: Op) {
        self.store.commit(Batch { fence: None, ops: vec![op] }).await.unwrap();
    }

    async fn send(&self, model: &str, key: &str) -> (StatusCode, String) {
        send(self.server.address(), model, key).await
    }

    async fn call(&self) -> StatusCode {
        self.send("small", "none").await.0
    }

    /// A call that may take a while.
    fn calls(&self) -> JoinHandle<StatusCode> {
        let address = self.server.address();
        tokio::spawn(async move { send(address, "small", "none").await.0 })
    }

    /// How many calls fit until one does not.
    async fn fill(&self) -> usize {
        let mut made = 0;
        while self.call().await == StatusCode::OK {
            made += 1;
        }
        made
    }

    async fn reload(&self, budgets: Vec<BudgetSpec>) {
        let config = Config { routes: self.routes.clone(), rules: rules(budgets), ..Config::default() };
        self.server.reload(config).await.unwrap();
    }

    async fn budgets(&self) -> Vec<Budget> {
        self.store.all_budgets().await.unwrap()
    }

    /// Of the only account with this measure.
    async fn id(&self, measure: Measure) -> BudgetId {
        self.budgets().await.iter().find(|budget| budget.measure == measure).unwrap().id
    }

    /// Ends it. What the books say is what the provider billed, and nothing is held.
    async fn end(self) -> Vec<Budget> {
        self.server.drain(LONG).await;
        let lines = self.store.calls_lines().await.unwrap();
        let charged: i64 = lines.iter().map(|line| line.sum.cost.nanos()).sum();
        let counts = self.mock.counts();
        assert_eq!(charged, (counts.input_tokens + 2 * counts.output_tokens) as i64 * 1_000);
        assert_eq!(charged, counts.billed as i64 * BILL);
        assert!(self.store.spenders().await.unwrap().is_empty());
        assert_eq!(self.store.overruns().await.unwrap(), 0);
        let budgets = self.store.all_budgets().await.unwrap();
        for budget in &budgets {
            assert!(budget.held == Amount::ZERO && budget.settled <= budget.limit, "{budget:?}");
        }
        budgets
    }
}

fn rules(budgets: Vec<BudgetSpec>) -> Rules {
    Rules { budgets, org: Some("acme".to_owned()) }
}

/// Two models at one provider; the large one costs ten times as much, and has the small one for budgets that
/// want a cheaper one.
fn routes(mock: &ModelServer) -> Routes {
    let model = |input: &str, output: &str| ModelSettings {
        provider: Some("local".into()),
        input: Some(input.into()),
        output: Some(output.into()),
        context_tokens: Some(1_000),
        max_output_tokens: Some(500),
        ..ModelSettings::default()
    };
    let local = Provider::new("local", Dialect::OpenAi, &mock.openai_url(), None).unwrap();
    let models =
        BTreeMap::from([("small".to_owned(), model("1", "2")), ("large".to_owned(), model("10", "20"))]);
    let small = Place { provider: None, model: "small".to_owned() };
    let detour = Detour { downgrade: vec![small], ..Detour::default() };
    let routing = Routing { models: BTreeMap::from([("large".to_owned(), detour)]), ..Routing::default() };
    Routes::new(vec![local], Vec::new(), models).unwrap().with_routing(routing).unwrap()
}

async fn send(address: std::net::SocketAddr, model: &str, key: &str) -> (StatusCode, String) {
    let body =
        format!(r#"{{"model":"{model}","max_tokens":100,"messages":[{{"role":"user","content":"hello"}}]}}"#);
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/v1/chat/completions")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {key}"))
        .body(Full::<Bytes>::from(body))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn until(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !ready().await {
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::task::yield_now().await;
    }
}

/// A limit on model calls: each takes one and no more, so that how many fit is plain.
fn at_most(calls: u64, per: Per) -> BudgetSpec {
    BudgetSpec { max_model_calls: Some(calls), per, ..BudgetSpec::default() }
}

fn daily(calls: u64, zone: &str) -> BudgetSpec {
    let (period, time_zone) = (Some(Period::Day), Some(zone.parse().unwrap()));
    BudgetSpec { period, time_zone, ..at_most(calls, Per::Gateway) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_held_on_every_budget_that_can_count_it_or_on_none() {
    let label = BudgetSpec { label: Some("team".into()), ..at_most(5, Per::Label) };
    let per_run = [Per::Run, Per::Step, Per::Agent, Per::Workflow].map(|per| at_most(1, per));
    let budgets = [at_most(9, Per::Org), at_most(3, Per::Key), label].into_iter().chain(per_run).collect();
    let world = World::knowing(budgets, Some("first")).await;
    let anna = world.key("anna", Some(("team", "search"))).await;
    let bert = world.key("bert", Some(("team", "search"))).await;
    let carl = world.key("carl", None).await;
    let fill = async |key: &str| {
        let mut made = 0;
        loop {
            let (status, body) = world.send("small", key).await;
            match status {
                StatusCode::OK => made += 1,
                StatusCode::PAYMENT_REQUIRED => return (made, body),
                other => panic!("{other} {body}"),
            }
        }
    };
    // Each key was used once when it was waited for.
    let (made, body) = fill(&anna).await;
    assert!(made == 2 && body.contains("for key `anna`"), "{made} {body}");
    let (made, body) = fill(&bert).await;
    assert!(made == 1 && body.contains("for label `team=search`"), "{made} {body}");
    let (made, body) = fill(&carl).await;
    assert!(made == 2 && body.contains("for key `carl`"), "{made} {body}");
    let dora = world.key("dora", None).await;
    let (made, body) = fill(&dora).await;
    assert!(made == 0 && body.contains("for org `acme`"), "{made} {body}");
    let mut used: Vec<_> = world
        .end()
        .await
        .into_iter()
        .map(|budget| (budget.scope, budget.settled.units()))
        .filter(|(_, settled)| *settled > 0)
        .collect();
    used.sort_unstable();
    // All that were refused have taken nothing of the others.
    assert_eq!(
        used,
        [
            (Scope::Org, 9),
            (Scope::Label, 5),
            (Scope::Key, 1),
            (Scope::Key, 2),
            (Scope::Key, 3),
            (Scope::Key, 3)
        ]
    );
}

fn standing(scope: Scope, key: &str, calls: u64) -> Standing {
    Standing {
        scope,
        key: key.to_owned(),
        period: Period::Total,
        time_zone: Zone::utc(),
        measure: Measure::ModelCalls,
        limit: calls.into(),
        action_on_exceeded: None,
        alert_thresholds: vec![1_000],
        min_output_tokens: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_set_raise_and_correct_holds_in_a_running_gateway() {
    let world = World::new(Vec::new()).await;
    assert_eq!(world.call().await, StatusCode::OK);
    let (by, at) = ("anna".to_owned(), Timestamp::UNIX_EPOCH);
    let set = |calls| Op::SetStanding {
        standing: Box::new(standing(Scope::Gateway, "gateway", calls)),
        by: by.clone(),
        at,
    };
    // As many as are made before it is seen are none of its.
    world.commit(set(3)).await;
    until("the limit", async || world.call().await == StatusCode::PAYMENT_REQUIRED).await;
    let budget = world.id(Measure::ModelCalls).await;
    let settled = async || world.budgets().await[0].settled.units();
    until("the fold", async || settled().await == 3).await;
    world.commit(Op::TopUp { budget, amount: 2_u64.into(), by: by.clone(), at }).await;
    assert_eq!(world.fill().await, 2);
    world.reload(Vec::new()).await;
    assert_eq!(world.fill().await, 0);
    until("the fold", async || settled().await == 5).await;
    let reason = "two of them were never made".to_owned();
    world.commit(Op::CorrectBudget { budget, settled: 3_u64.into(), by: by.clone(), reason, at }).await;
    assert_eq!(world.fill().await, 2);
    until("the fold", async || settled().await == 5).await;
    // Lowered, the account is as full as it can be; taken away, it is in nobody's way.
    world.commit(set(1)).await;
    until("the limit", async || world.budgets().await[0].limit.units() == 5).await;
    let standing = Box::new(standing(Scope::Gateway, "gateway", 1));
    world.commit(Op::RemoveStanding { standing, by, at }).await;
    until("the end of the limit", async || world.call().await == StatusCode::OK).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_top_up_outlasts_settings_that_are_read_anew() {
    let limit = |calls| vec![at_most(calls, Per::Gateway)];
    let world = World::new(limit(2)).await;
    assert_eq!(world.fill().await, 2);
    let (budget, by) = (world.id(Measure::ModelCalls).await, "anna".to_owned());
    let at = Timestamp::UNIX_EPOCH;
    world.commit(Op::TopUp { budget, amount: 3_u64.into(), by, at }).await;
    world.reload(limit(2)).await;
    assert_eq!(world.fill().await, 3);
    world.reload(limit(4)).await;
    assert_eq!(world.fill().await, 2);
    world.reload(limit(1)).await;
    assert_eq!(world.fill().await, 0);
    let budgets = world.end_with_lowered().await;
    assert_eq!((budgets[0].limit.units(), budgets[0].settled.units()), (4, 7));
}

impl World {
    /// Ends it where a limit was lowered below what was used.
    async fn end_with_lowered(self) -> Vec<Budget> {
        self.server.drain(LONG).await;
        let budgets = self.store.all_budgets().await.unwrap();
        assert!(budgets.iter().all(|budget| budget.held == Amount::ZERO));
        budgets
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_gives_no_period_twice_and_loses_no_hold() {
    // In Berlin a day begins at 23:00 UTC.
    let world = World::new(vec![daily(3, "Europe/Berlin")]).await;
    assert_eq!(world.call().await, StatusCode::OK);
    // A call that runs while the clock is set belongs to the day in which it began.
    world.mock.hold();
    let running = world.calls();
    until("the call", async || world.mock.counts().requests == 2).await;
    world.clock.set("2026-11-21T23:00:00Z");
    let next = world.calls();
    until("the call", async || world.mock.counts().requests == 3).await;
    world.clock.set("2026-11-21T22:59:59Z");
    let third = world.calls();
    until("the call", async || world.mock.counts().requests == 4).await;
    // The first day's three are made or under way: nothing comes free that another could take for good.
    world.mock.release();
    for call in [running, next, third] {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(world.fill().await, 0, "the first day is used up");
    world.clock.set("2026-11-22T08:00:00Z");
    assert_eq!(world.fill().await, 2, "one of the second was made before");
    for (at, left) in [
        ("2026-11-21T10:00:00Z", 0),
        ("2026-11-22T22:59:59Z", 0),
        ("2026-11-20T22:59:59Z", 3),
        ("2026-11-21T10:00:00Z", 0),
        ("2026-11-20T12:00:00Z", 0),
        ("2027-02-01T00:00:00Z", 3),
        ("2026-11-22T08:00:00Z", 0),
    ] {
        world.clock.set(at);
        assert_eq!(world.fill().await, left, "at {at}");
    }
    let mut days: Vec<_> = world.end().await.into_iter().map(|day| (day.period_start, day.settled)).collect();
    days.sort();
    let starts: Vec<&str> = days.iter().map(|(start, _)| start.as_str()).collect();
    assert_eq!(
        starts,
        ["2026-11-19T23:00:00Z", "2026-11-20T23:00:00Z", "2026-11-21T23:00:00Z", "2027-01-31T23:00:00Z"]
    );
    assert!(days.iter().all(|(_, settled)| settled.units() == 3), "{days:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_call_is_made_in_the_next_period_or_after_a_top_up_and_refused_in_time() {
    let queue = |seconds: u64| BudgetSpec {
        action_on_exceeded: Some(OnExceeded::Queue),
        queue_timeout_seconds: Some(Millis(seconds * 1_000)),
        ..daily(2, "UTC")
    };
    let world = World::new(vec![queue(600)]).await;
    for _ in 0..2 {
        assert_eq!(world.call().await, StatusCode::OK);
    }
    let queued = [world.calls(), world.calls(), world.calls()];
    let budget = world.id(Measure::ModelCalls).await;
    let (by, at) = ("anna".to_owned(), Timestamp::UNIX_EPOCH);
    world.commit(Op::TopUp { budget, amount: 1_u64.into(), by, at }).await;
    until("the first of the queue", async || world.mock.counts().billed == 3).await;
    assert_eq!(world.mock.counts().requests, 3, "one has room, and no other");
    world.clock.set("2026-11-22T00:00:00Z");
    for call in queued {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    world.reload(vec![queue(0)]).await;
    assert_eq!(world.call().await, StatusCode::PAYMENT_REQUIRED);
    let mut used: Vec<i64> = world.end().await.iter().map(|day| day.settled.units()).collect();
    used.sort_unstable();
    assert_eq!(used, [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_wants_a_cheaper_model_gets_one() {
    // A call of the large model does not fit, ever; of the small one a few do.
    let small = 1_000_000 + 2 * 108_000;
    let limit = BudgetSpec {
        max_cost_usd: Some(NanoUsd::from_nanos(small + BILL)),
        per: Per::Gateway,
        action_on_exceeded: Some(OnExceeded::Downgrade),
        ..BudgetSpec::default()
    };
    let world = World::new(vec![limit]).await;
    let mut made = 0;
    loop {
        let (status, body) = world.send("large", "none").await;
        match status {
            StatusCode::OK => made += 1,
            other => {
                assert_eq!(other, StatusCode::PAYMENT_REQUIRED, "{body}");
                break;
            }
        }
    }
    assert_eq!(made, 2);
    assert!(world.mock.seen().iter().all(|seen| String::from_utf8_lossy(&seen.body).contains("\"small\"")));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_counted_as_they_were_billed_and_cut_where_the_budget_permits() {
    let tokens = |limit, floor| BudgetSpec {
        max_tokens: Some(limit),
        per: Per::Gateway,
        min_output_tokens: floor,
        ..BudgetSpec::default()
    };
    // The most that a call takes: the window, and 108 tokens of output.
    let world = World::new(vec![tokens(1_108 + 30, None)]).await;
    assert_eq!(world.fill().await, 3);
    assert_eq!(world.end().await[0].settled.units(), 45);
    let world = World::new(vec![tokens(1_060, Some(16))]).await;
    assert_eq!(world.call().await, StatusCode::OK);
    let sent: serde_json::Value = serde_json::from_slice(&world.mock.seen()[0].body).unwrap();
    assert!((16..100).contains(&sent["max_tokens"].as_u64().unwrap()), "{sent}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_refuses_who_is_queued() {
    let queue = BudgetSpec { action_on_exceeded: Some(OnExceeded::Queue), ..daily(1, "UTC") };
    // An address that nobody else listens on: a port that is free again stays free.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let world = World::at(Ipv4Addr::new(127, 77, high, low), vec![queue], None).await;
    assert_eq!(world.call().await, StatusCode::OK);
    let queued = [world.calls(), world.calls()];
    let waiting = async || metrics(world.server.address()).await.contains("budget_waiting_calls 2\n");
    until("both in the queue", waiting).await;
    let address = world.server.address();
    assert_eq!(world.end().await[0].settled.units(), 1);
    for call in queued {
        assert_eq!(call.await.unwrap(), StatusCode::PAYMENT_REQUIRED);
    }
    assert!(TcpStream::connect(address).await.is_err());
}

/// Whoever waits, in a queue or for room, first or behind: once its client has gone it waits no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_client_goes_while_it_waits_leaves_at_once() {
    for action_on_exceeded in [Some(OnExceeded::Queue), None] {
        let world = World::new(vec![BudgetSpec { action_on_exceeded, ..daily(2, "UTC") }]).await;
        assert_eq!(world.call().await, StatusCode::OK);
        world.mock.hold();
        let held = world.calls();
        until("the other is sent", async || world.mock.counts().requests == 2).await;
        if action_on_exceeded.is_some() {
            // With nothing running it is the queue that they wait in.
            world.mock.release();
        }
        let waits = [world.calls(), world.calls(), world.calls()];
        let waiting = async |calls: usize| {
            let line = format!("budget_waiting_calls {calls}\n");
            metrics(world.server.address()).await.contains(&line)
        };
        until("all wait", async || waiting(3).await).await;
        for call in waits {
            call.abort();
            let _ = call.await;
        }
        until("none does", async || waiting(0).await).await;
        world.mock.release();
        assert_eq!(held.await.unwrap(), StatusCode::OK);
        assert_eq!(world.mock.counts().requests, 2, "what waited is never sent");
        assert_eq!(world.end().await[0].settled.units(), 2);
    }
}

async fn metrics(address: std::net::SocketAddr) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        Request::get("/metrics").header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
    let page = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&page).into_owned()
}
