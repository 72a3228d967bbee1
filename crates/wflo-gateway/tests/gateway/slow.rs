//! Clients that send as slowly as they can, or take nothing of what they asked for. `wflo-proxy`'s tests hold the
//! same of connections from anywhere, under TLS and in HTTP/2.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wflo_gateway::Deadlines;

use crate::ledger::MemoryLedger;
use crate::shapes::SHAPES;
use crate::world::{World, deadlines};

/// A gateway with little patience for clients, and with more than an honest one needs here, however busy the
/// machine is.
fn world() -> World {
    let short = Duration::from_secs(2);
    World::with(MemoryLedger::unlimited(), Deadlines { head: short, request_idle: short, ..deadlines() })
}

/// Between two bytes of a client that dribbles: a request of these takes it longer than is waited for.
const TICK: Duration = Duration::from_millis(100);

/// What a client is told that sends this, and then a byte now and then.
async fn dribbles(port: u16, sent: &str, more: &str) -> String {
    let (mut read, mut write) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
    write.write_all(sent.as_bytes()).await.unwrap();
    let more = more.to_owned();
    let dribble = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        for byte in more.bytes() {
            ticks.tick().await;
            if write.write_all(&[byte]).await.is_err() {
                return;
            }
        }
        // It never gives up by itself.
        std::future::pending::<()>().await;
    });
    let mut told = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(120), read.read_to_end(&mut told));
    // A reset is an end, too.
    let _ = ended.await.unwrap_or_else(|_| panic!("{sent:?} is waited for"));
    dribble.abort();
    String::from_utf8_lossy(&told).into_owned()
}

#[tokio::test]
async fn a_head_that_dribbles_is_waited_for_only_a_while() {
    let world = world();
    let long = "a".repeat(100_000);
    for sent in ["", "P", "POST /v1/messages HTTP/1.1\r\nhost: g\r\nx-long: "] {
        let told = dribbles(world.port, sent, &long).await;
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{told}");
    }
    assert_eq!(SHAPES[0].ask(&world, "x").await.status, 200, "others are served");
}

#[tokio::test]
async fn a_body_that_dribbles_or_stops_is_waited_for_only_a_while_and_never_sent() {
    let world = world();
    let mut clients = tokio::task::JoinSet::new();
    for shape in SHAPES {
        let (path, body) = (shape.path, shape.body("x"));
        let head = format!("POST {path} HTTP/1.1\r\nhost: g\r\n");
        let sized = format!("{head}content-length: {}\r\n\r\n", body.len());
        for (sent, more) in [
            (sized.clone(), body.clone()),
            (format!("{sized}{}", &body[..body.len() - 1]), String::new()),
            (format!("{head}transfer-encoding: chunked\r\n\r\n2\r\n{{"), String::new()),
            (format!("{head}transfer-encoding: chunked\r\n\r\n1"), "0".repeat(12)),
        ] {
            let port = world.port;
            clients.spawn(async move {
                let told = dribbles(port, &sent, &more).await;
                assert!(told.starts_with("HTTP/1.1 400") && told.contains("WFLO-4006"), "{sent:?}: {told}");
            });
        }
    }
    clients.join_all().await;
    assert!(world.mock.seen().is_empty() && world.ledger.calls().is_empty());
}

/// What came fast is no credit for hours.
#[tokio::test]
async fn a_body_that_came_fast_and_then_dribbles_is_not_waited_for_either() {
    let world = world();
    let head = "POST /v1/messages HTTP/1.1\r\nhost: g\r\ncontent-length: 5000000\r\n\r\n";
    let sent = format!("{head}{}", "a".repeat(4_000_000));
    let told = dribbles(world.port, &sent, &"a".repeat(3_000)).await;
    assert!(told.starts_with("HTTP/1.1 400") && told.contains("WFLO-4006"), "{told}");
    assert!(world.mock.seen().is_empty() && world.ledger.calls().is_empty());
}

/// Refusing it must not cost more than taking it.
#[tokio::test]
async fn a_body_that_nobody_wants_is_not_waited_for_either() {
    let world = world();
    let head = "POST /v1/messages HTTP/1.1\r\nhost: g\r\nhost: h\r\ncontent-length: 1000\r\n\r\n";
    let told = dribbles(world.port, head, &"a".repeat(1_000)).await;
    assert!(told.starts_with("HTTP/1.1 400") && told.contains("WFLO-4120"), "{told}");
}
