//! Clients that go: before their request is whole, from a queue, before the answer, behind its last byte. Each
//! time in every dialect; in the middle of a stream they go in `dialects`. What was sent is billed as the
//! provider billed it, what was not sent costs nothing, and nothing stays held.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use http_body_util::BodyExt as _;
use wflo_gateway::limits::Limit;
use wflo_gateway::routing::Routing;
use wflo_gateway::serve::UnderWay;
use wflo_testkit::model_server::{Answer, ModelServer};

use crate::ledger::{Entry, MemoryLedger};
use crate::shapes::{SHAPES, only_outcome};
use crate::world::{World, deadlines, send, start};

pub(crate) async fn until(what: &str, ready: impl Fn() -> bool) {
    let wait = async {
        while !ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_client_goes_before_it_is_whole_is_never_sent() {
    let world = World::new(MemoryLedger::unlimited());
    for shape in SHAPES {
        let body = shape.body("x");
        for sent in [0, 1, body.len() / 2, body.len() - 1] {
            let mut stream = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
            let (head, part) = (shape.path, &body[..sent]);
            let length = body.len();
            write!(stream, "POST {head} HTTP/1.1\r\nhost: g\r\ncontent-length: {length}\r\n\r\n{part}")
                .unwrap();
            drop(stream);
        }
    }
    let connections = world.handle.connections();
    until("all of them gone", || connections.under_way(0) == UnderWay::Nothing).await;
    assert!(world.mock.seen().is_empty() && world.ledger.calls().is_empty());
    assert_eq!(SHAPES[0].ask(&world, "x").await.status, 200, "others are served");
}

#[tokio::test]
async fn a_call_whose_client_goes_from_the_queue_is_never_sent() {
    let one = Limit { concurrent: Some(1), ..Limit::new("one") };
    let mock = ModelServer::start().unwrap();
    let providers = World::providers(&mock);
    let routing = Routing { limits: vec![one], ..Routing::default() };
    let world = World::routed(mock, providers, routing, MemoryLedger::unlimited(), deadlines());
    for (nth, shape) in SHAPES.into_iter().enumerate() {
        world.mock.hold();
        let port = world.port;
        let ask = |text: &str| {
            let body = shape.body(text);
            tokio::spawn(async move { send(port, "POST", shape.path, &[], &body).await })
        };
        let first = ask(&format!("first {nth}"));
        until("the first is sent", || world.mock.counts().requests == 2 * nth as u64 + 1).await;
        let waits = ask(&format!("waits {nth}"));
        let behind = ask(&format!("behind {nth}"));
        until("the others wait", || world.gateway.queues()[0].waiting == 2).await;
        waits.abort();
        let _ = waits.await;
        // On this one thread it is seen to have gone before a later client is answered.
        assert_eq!(send(port, "GET", "/openai/v1/models", &[], "").await.status, 200);
        world.mock.release();
        assert_eq!(first.await.unwrap().status, 200);
        assert_eq!(behind.await.unwrap().status, 200, "its place went to the next");
        assert!(world.mock.seen().iter().all(|seen| !String::from_utf8_lossy(&seen.body).contains("waits")));
    }
    let closed = |entry: &Entry| matches!(entry, Entry::Closed(outcome) if !outcome.uncertain);
    let calls = world.ledger.calls();
    assert!(
        calls.iter().all(|call| closed(&call.entry) || matches!(call.entry, Entry::Released)),
        "{calls:?}"
    );
    assert_eq!((calls.iter().filter(|call| closed(&call.entry)).count(), world.ledger.held()), (22, 0));
}

#[tokio::test]
async fn a_call_whose_client_goes_before_the_answer_is_billed_as_the_provider_billed_it() {
    for shape in SHAPES {
        let world = World::new(MemoryLedger::unlimited());
        world.mock.answer_next(Answer::billed(10, 5));
        world.mock.hold();
        let (port, body) = (world.port, shape.body("x"));
        let client = tokio::spawn(async move { send(port, "POST", shape.path, &[], &body).await });
        until("sent", || world.mock.counts().requests == 1).await;
        client.abort();
        world.ledger.until("seen to have gone", |calls| calls[0].closed_early).await;
        world.mock.release();
        world.ledger.until("settled", |calls| matches!(calls[0].entry, Entry::Closed(_))).await;
        let outcome = only_outcome(&world);
        assert_eq!((outcome.settled.nanos(), outcome.uncertain), (shape.bill(10, 5), false), "{shape:?}");
    }
}

/// Whoever has the end of an answer may go: it is in the books already.
#[tokio::test]
async fn the_end_of_an_answer_comes_behind_its_settlement() {
    for shape in SHAPES {
        let world = World::new(MemoryLedger::unlimited());
        world.mock.answer_next(Answer { text: Some("a b c d".to_owned()), ..Answer::billed(10, 5) });
        let mut response = start(world.port, "POST", shape.path, &[], &shape.body("x")).await;
        let mut seen = Vec::new();
        while let Some(Ok(frame)) = response.body_mut().frame().await {
            seen.extend_from_slice(frame.data_ref().unwrap());
            if !shape.streams || String::from_utf8_lossy(&seen).contains(shape.end) {
                break;
            }
        }
        drop(response);
        let outcome = only_outcome(&world);
        assert_eq!((outcome.settled.nanos(), outcome.uncertain), (shape.bill(10, 5), false), "{shape:?}");
    }
}
