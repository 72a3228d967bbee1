//! Calls that the gateway itself holds back: breakers, limits, circles. Each time nothing is sent and
//! nothing is held, and the client is told who says no and when to come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wflo_gateway::dialect::Dialect;
use wflo_gateway::health::{Breaker, Phase};
use wflo_gateway::limits::Limit;
use wflo_gateway::repeats::{Circle, OnRepeat, Repeats};
use wflo_gateway::route::Provider;
use wflo_gateway::routing::{Detour, Place, Routing};
use wflo_testkit::model_server::{Fault, ModelServer};

use crate::ledger::{Entry, MemoryLedger};
use crate::world::{World, chat, deadlines};

fn world(routing: Routing) -> World {
    world_over(routing, MemoryLedger::unlimited())
}

fn world_over(routing: Routing, ledger: Arc<MemoryLedger>) -> World {
    let mock = ModelServer::start().unwrap();
    let providers =
        ["a", "b"].map(|name| Provider::new(name, Dialect::OpenAi, &mock.openai_url(), None).unwrap());
    World::routed(mock, providers.to_vec(), routing, ledger, deadlines())
}

fn ask(nth: u32) -> String {
    chat(&nth.to_string()).replace("gpt-5-mini", "small")
}

fn failing() -> Fault {
    Fault::Status(500, "{}".to_owned(), None)
}

fn breaker(open: Duration) -> Routing {
    Routing { breaker: Some(Breaker { failures: 3, open, ..Breaker::default() }), ..Routing::default() }
}

#[tokio::test]
async fn an_open_breaker_sends_nothing_holds_nothing_and_says_when() {
    let world = world(breaker(Duration::from_secs(60)));
    world.mock.fault_always(Some(failing()));
    for nth in 0..3 {
        assert_eq!(world.chat(&ask(nth)).await.text(), "{}");
    }
    assert_eq!(world.gateway.breakers(), [("a".to_owned(), "small".to_owned(), Phase::Open)]);
    let got = world.chat(&ask(9)).await;
    assert_eq!(
        (got.status.as_u16(), got.text().contains("makes no calls of small at `a`")),
        (503, true),
        "{}",
        got.text()
    );
    assert_eq!(got.headers["x-should-retry"], "true");
    let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=75).contains(&wait), "{wait}");
    assert_eq!((world.mock.counts().requests, world.ledger.calls().len(), world.ledger.held()), (3, 3, 0));
}

#[tokio::test]
async fn a_breaker_lets_one_call_through_to_see_and_closes_when_it_is_answered() {
    let world = world(breaker(Duration::from_millis(1)));
    world.mock.fault_always(Some(failing()));
    for nth in 0..3 {
        world.chat(&ask(nth)).await;
    }
    let phase = || world.gateway.breakers()[0].2;
    let half_open = async {
        while phase() != Phase::HalfOpen {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), half_open).await.unwrap();
    world.mock.fault_always(None);
    world.mock.hold();
    let port = world.port;
    let probe = tokio::spawn(async move {
        crate::world::send(port, "POST", "/openai/v1/chat/completions", &[], &ask(10)).await
    });
    world.ledger.until("the probe is sent", |calls| calls.len() == 4).await;
    let other = world.chat(&ask(11)).await;
    assert!(other.text().contains("WFLO-4083"), "one probe at a time: {}", other.text());
    world.mock.release();
    assert_eq!(probe.await.unwrap().status, 200);
    assert_eq!(phase(), Phase::Closed);
    assert_eq!(world.chat(&ask(12)).await.status, 200);
}

#[tokio::test]
async fn a_recorded_answer_needs_no_turn() {
    let made = world(Routing::default());
    let first = made.chat(&ask(1)).await;
    let limit = Limit { concurrent: Some(1), wait: Duration::from_millis(1), ..Limit::new("one") };
    let routing = Routing { limits: vec![limit], ..breaker(Duration::from_secs(60)) };
    let resumed = world_over(routing, MemoryLedger::resuming(&made.ledger));
    // The one slot is taken, and the breaker is open.
    resumed.mock.fault_always(Some(failing()));
    for nth in 10..13 {
        resumed.chat(&ask(nth)).await;
    }
    assert_eq!(resumed.chat(&ask(1)).await.body, first.body);
}

#[tokio::test]
async fn a_way_whose_breaker_is_open_is_passed_over_while_there_is_another() {
    let place = Place { provider: Some("b".into()), model: "small".into() };
    let detour = Detour { fallbacks: vec![place], ..Detour::default() };
    let world =
        world(Routing { models: BTreeMap::from([("small".to_owned(), detour)]), ..Routing::default() });
    // The first five calls fail at `a`; nobody configured a breaker, but there is another way.
    for nth in 0..5 {
        world.mock.fault_next(failing());
        assert_eq!(world.chat(&ask(nth)).await.headers["wflo-attempts"], "2");
    }
    let got = world.chat(&ask(9)).await;
    assert_eq!(
        (&got.headers["wflo-provider"], &got.headers["wflo-attempts"]),
        (&"b".parse().unwrap(), &"1".parse().unwrap())
    );
}

#[tokio::test]
async fn a_limit_refuses_what_it_has_no_room_for_in_time_and_nothing_is_journaled() {
    let limit =
        Limit { requests_per_minute: Some(2), wait: Duration::from_millis(20), ..Limit::new("two-a-minute") };
    let world = world(Routing { limits: vec![limit], ..Routing::default() });
    for nth in 0..2 {
        assert_eq!(world.chat(&ask(nth)).await.status, 200);
    }
    let got = world.chat(&ask(3)).await;
    assert_eq!(
        (got.status.as_u16(), got.text().contains("[limits.two-a-minute]")),
        (429, true),
        "{}",
        got.text()
    );
    assert!(got.text().contains("WFLO-4084"));
    assert_eq!(got.headers["x-should-retry"], "true");
    let wait: u64 = got.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(got.headers.contains_key("retry-after-ms"));
    assert_eq!((world.mock.counts().requests, world.ledger.calls().len()), (2, 2), "no intent is written");
}

#[tokio::test]
async fn so_many_calls_at_a_time_reach_the_provider() {
    let limit = Limit { concurrent: Some(2), ..Limit::new("two") };
    let world = Arc::new(world(Routing { limits: vec![limit], ..Routing::default() }));
    world.mock.hold();
    let mut clients = tokio::task::JoinSet::new();
    for nth in 0..6 {
        let port = world.port;
        clients.spawn(async move {
            crate::world::send(port, "POST", "/openai/v1/chat/completions", &[], &ask(nth)).await
        });
    }
    world.ledger.until("two are journaled", |calls| calls.len() == 2).await;
    world.mock.release();
    while let Some(got) = clients.join_next().await {
        assert_eq!(got.unwrap().status, 200);
    }
    let mut running: i32 = 0;
    for call in world.ledger.calls() {
        running += i32::from(!matches!(call.entry, Entry::Closed(_)));
    }
    assert_eq!((running, world.mock.counts().requests), (0, 6));
}

#[tokio::test]
async fn a_circle_is_logged_or_refused_and_a_clients_own_repetition_is_none() {
    let repeats =
        |action| Routing { repeats: Some(Repeats { same: 3, near: false, action }), ..Routing::default() };
    let warned = world(repeats(OnRepeat::Warn));
    for _ in 0..5 {
        assert_eq!(warned.chat(&ask(1)).await.status, 200);
    }
    let halted = world(repeats(OnRepeat::Halt));
    let path = "/openai/v1/chat/completions";
    for nth in 0..3 {
        assert_eq!(halted.chat(&ask(nth)).await.status, 200);
        assert_eq!(halted.chat(&ask(1_000 + nth)).await.status, 200);
    }
    assert_eq!(halted.chat(&ask(0)).await.status, 200);
    assert_eq!(halted.post_with(path, &[("x-stainless-retry-count", "1")], &ask(0)).await.status, 200);
    let got = halted.chat(&ask(0)).await;
    assert_eq!((got.status.as_u16(), got.text().contains("WFLO-4085")), (403, true), "{}", got.text());
    assert_eq!(got.headers["x-should-retry"], "false");
    assert!(got.text().contains("run_x/step"));
}

#[tokio::test]
async fn a_ledger_that_can_ask_people_is_told_of_circles_and_counts_begin_anew_when_it_lets_one_pass() {
    let repeats = Some(Repeats { same: 3, near: false, action: OnRepeat::Ask });
    let world = world(Routing { repeats, ..Routing::default() });
    for _ in 0..4 {
        assert_eq!(world.chat(&ask(1)).await.status, 200);
    }
    let told = |times, closed| Some(Circle { times, closed });
    let circles: Vec<_> = world.ledger.calls().iter().map(|call| call.intent.circle).collect();
    assert_eq!(circles, [told(1, false), told(2, false), told(3, true), told(1, false)]);
}
