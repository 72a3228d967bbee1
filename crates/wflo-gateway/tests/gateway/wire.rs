//! HTTP as clients really send it, and as hostile ones might.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use wflo_gateway::ledger::{Caller, Share};
use wflo_gateway::serve::ServeHandle;
use wflo_gateway::{Gateway, Limits};

use crate::ledger::MemoryLedger;
use crate::world::{World, chat};

/// Sends raw bytes and reads until the connection ends or the wanted text came.
async fn raw(port: u16, request: Vec<u8>, until: &'static str) -> String {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&request).unwrap();
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&all).contains(until) {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                read => all.extend_from_slice(&buffer[..read]),
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    })
    .await
    .unwrap()
}

const HEAD: &str = "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: x\r\n";

#[tokio::test]
async fn http_1_0_chunked_and_expect_continue_are_served() {
    let world = World::new(MemoryLedger::unlimited());
    let body = chat("hi");
    let old =
        format!("POST /openai/v1/chat/completions HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    assert!(raw(world.port, old.into(), "\"stop\"").await.contains("You said: hi"));
    let (front, back) = body.split_at(20);
    let chunked = format!(
        "{HEAD}transfer-encoding: chunked\r\n\r\n{:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n",
        front.len(),
        back.len()
    );
    assert!(raw(world.port, chunked.into(), "\"stop\"").await.contains("You said: hi"));
    let expect = format!("{HEAD}expect: 100-continue\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let got = raw(world.port, expect.into(), "\"stop\"").await;
    assert!(got.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "{got}");
    let seen = world.mock.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.body == body && seen.headers.get("expect").is_none()));
}

#[tokio::test]
async fn a_request_that_two_servers_read_differently_is_refused() {
    let world = World::new(MemoryLedger::unlimited());
    let body = chat("hi");
    let both = format!(
        "{HEAD}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let lengths = format!("{HEAD}content-length: 5\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for request in [both, lengths] {
        raw(world.port, request.into(), "HTTP/1.1").await;
    }
    // Chunked wins by RFC 9112; whatever is accepted goes upstream with one length of its own.
    for seen in world.mock.seen() {
        assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
        assert!(seen.headers.get("transfer-encoding").is_none());
    }
}

#[tokio::test]
async fn too_large_and_broken_bodies_are_refused_without_a_call() {
    let world = World::new(MemoryLedger::unlimited());
    let huge = format!("{HEAD}content-length: {}\r\n\r\n", 65_usize << 20);
    assert!(raw(world.port, huge.into(), "WFLO-4007").await.starts_with("HTTP/1.1 413"));
    for body in ["", "[]", "{", "null", "{\"model\":5}", "{}"] {
        let got = world.chat(body).await;
        assert_eq!(
            (got.status.as_u16(), got.text().contains("WFLO-4006")),
            (400, true),
            "{body}: {}",
            got.text()
        );
    }
    assert!(world.ledger.calls().is_empty());
}

/// A listener of a gateway with these limits.
fn limited(world: &World, limits: Limits) -> (u16, ServeHandle) {
    let [alone] = shared(world, limits, [Caller::new("step", ())]);
    alone
}

/// One gateway that serves each of these callers.
fn shared<const N: usize>(world: &World, limits: Limits, callers: [Caller; N]) -> [(u16, ServeHandle); N] {
    let routes = world.gateway.routes().clone();
    let small = Gateway::new(routes, Arc::clone(&world.ledger) as _, crate::world::deadlines(), limits);
    callers.map(|caller| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (port, small.serve(listener, caller).unwrap())
    })
}

#[tokio::test]
async fn upstreams_cannot_fill_the_memory_of_the_process() {
    let world = World::new(MemoryLedger::unlimited());
    let path = "/openai/v1/chat/completions";
    for (answered_bytes, status) in [(100, 502), (2_000, 200)] {
        let (port, _handle) = limited(&world, Limits { answered_bytes, ..Limits::default() });
        // What an answer takes is given back when it is delivered.
        for _ in 0..20 {
            assert_eq!(crate::world::send(port, "POST", path, &[], &chat("hello")).await.status, status);
        }
    }
}

#[tokio::test]
async fn clients_cannot_fill_the_memory_of_the_process() {
    let world = World::new(MemoryLedger::unlimited());
    let (port, _handle) = limited(&world, Limits { buffered_bytes: 1_000, ..Limits::default() });
    let path = "/openai/v1/chat/completions";
    // Not one that is too large alone, nor many after each other: what runs at one time counts.
    assert_eq!(crate::world::send(port, "POST", path, &[], &chat(&"a".repeat(2_000))).await.status, 503);
    for _ in 0..3 {
        assert_eq!(crate::world::send(port, "POST", path, &[], &chat(&"a".repeat(600))).await.status, 200);
    }
    world.mock.hold();
    let held =
        tokio::spawn(
            async move { crate::world::send(port, "POST", path, &[], &chat(&"b".repeat(600))).await },
        );
    world.ledger.until("dispatched", |calls| calls.len() == 4).await;
    let refused = crate::world::send(port, "POST", path, &[], &chat(&"c".repeat(600))).await;
    assert_eq!((refused.status.as_u16(), refused.headers.get("x-should-retry")), (503, None));
    world.mock.release();
    assert_eq!(held.await.unwrap().status, 200);
}

/// Where several call, none has all of the memory: what one holds leaves as much to the others.
#[tokio::test]
async fn no_caller_can_fill_the_memory_that_others_need() {
    let world = World::new(MemoryLedger::unlimited());
    let limits = Limits { buffered_bytes: 2_000, ..Limits::default() };
    let [(greedy, _first), (other, _second)] =
        shared(&world, limits, ["a", "b"].map(|name| Caller::new(name, ()).among_others(&Share::default())));
    let path = "/openai/v1/chat/completions";
    let send = |port, length: usize| {
        let body = chat(&"a".repeat(length));
        async move { crate::world::send(port, "POST", path, &[], &body).await.status.as_u16() }
    };
    assert_eq!(send(greedy, 1_100).await, 503, "more than half");
    world.mock.hold();
    let held = tokio::spawn(send(greedy, 750));
    world.ledger.until("dispatched", |calls| calls.len() == 1).await;
    assert_eq!(send(greedy, 300).await, 503, "there would be room, of others");
    let others = tokio::spawn(send(other, 300));
    world.ledger.until("another's passes", |calls| calls.len() == 2).await;
    world.mock.release();
    assert_eq!((held.await.unwrap(), others.await.unwrap()), (200, 200));
    assert_eq!(send(greedy, 750).await, 200, "what was held is given back");

    // Answers likewise: what fits alone does not fit twice.
    let whole = crate::world::send(other, "POST", path, &[], &chat("x")).await.body.len();
    let limits = Limits { answered_bytes: whole * 2 - 1, ..Limits::default() };
    let callers = [Caller::new("alone", ()), Caller::new("a", ()).among_others(&Share::default())];
    let [(alone, _third), (one, _fourth)] = shared(&world, limits, callers);
    assert_eq!((send(alone, 1).await, send(one, 1).await), (200, 502));
}
