//! Calls over each protocol, and what budgets let pass.

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wflo_proxy::Config;

use crate::world::{BILL, CHAT, World, over1, over2, rules};

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
    let limit =
        |limit: i64| Config { routes: world.routes.clone(), rules: rules(limit, None), ..Config::default() };
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
