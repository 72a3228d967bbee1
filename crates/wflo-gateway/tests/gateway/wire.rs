//! HTTP as clients really send it, and as hostile ones might.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use wflo_gateway::ledger::Caller;
use wflo_gateway::serve::ServeHandle;
use wflo_gateway::{Gateway, Limits};

use crate::ledger::MemoryLedger;
use crate::world::{World, chat};

/// Sends raw bytes and reads until the connection ends or the wanted text came.
async fn raw(port: u16, request: Vec<u8>, until: &'static str) -> String {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
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
    let routes = world.gateway.routes().clone();
    let small = Gateway::new(routes, Arc::clone(&world.ledger) as _, crate::world::deadlines(), limits);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, small.serve(listener, Caller::new("step", ())).unwrap())
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
