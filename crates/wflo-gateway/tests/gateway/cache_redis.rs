//! Answers in a real Redis: shared, sealed, and never in the way.

use std::time::Duration;

use http::StatusCode;
use redis::aio::MultiplexedConnection;
use tokio::io::AsyncReadExt as _;
use wflo_gateway::cache::{Address, CachePlace, CacheSettings};
use wflo_testkit::redis_server::RedisServer;

use crate::cache::{Cached, said};
use crate::ledger::MemoryLedger;
use crate::world::{KEY, World, chat, streamed};

fn at(url: &str, patience: Duration) -> CacheSettings {
    let place = CachePlace::Redis { address: Address::parse(url).unwrap(), patience };
    CacheSettings {
        place,
        namespace: "tests".into(),
        ttl: Duration::from_secs(600),
        ..CacheSettings::default()
    }
}

/// A Redis that answers does so in far less.
const PATIENCE: Duration = Duration::from_secs(10);

async fn until(what: &str, mut wanted: impl FnMut() -> bool) {
    let wait = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn client(server: &RedisServer) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn run<T: redis::FromRedisValue>(client: &mut MultiplexedConnection, words: &[&[u8]]) -> T {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.query_async(client).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_what_one_of_them_paid_for() {
    let server = RedisServer::start(&[]).unwrap();
    let (one, other) = (Cached::new(at(&server.url(), PATIENCE)), Cached::new(at(&server.url(), PATIENCE)));
    let mut bodies = Vec::new();
    for (nth, body) in [chat("hi"), streamed("hi")].iter().enumerate() {
        let first = one.ask(&[], body).await;
        assert_eq!(said(&first), "miss");
        until("it is kept", || one.cache.stats().stored == nth as u64 + 1).await;
        bodies.push(first.body);
    }
    // The same mock's address and key are another gateway's only if they are the same.
    assert_eq!(said(&other.ask(&[], &chat("hi")).await), "miss", "its provider is elsewhere");
    let elsewhere = World::over(
        wflo_testkit::model_server::ModelServer::start().unwrap(),
        one.gateway.routes().providers().to_vec(),
        MemoryLedger::unlimited(),
        crate::world::deadlines(),
    );
    let other = Cached::over(elsewhere, at(&server.url(), PATIENCE), |routes| routes);
    for (body, first) in [chat("hi"), streamed("hi")].iter().zip(&bodies) {
        let got = other.ask(&[], body).await;
        assert_eq!((said(&got), &got.body), ("hit", first));
    }
    assert_eq!(other.world.ledger.hits().len(), 2);
    let mut client = client(&server).await;
    let names: Vec<String> = run(&mut client, &[b"KEYS", b"*"]).await;
    assert!(
        names.len() >= 2 && names.iter().all(|name| name.starts_with("wflo:cache:2:tests:")),
        "{names:?}"
    );
    for name in &names {
        let value: Vec<u8> = run(&mut client, &[b"GET", name.as_bytes()]).await;
        assert!(memchr::memmem::find(&value, KEY.as_bytes()).is_none(), "no secret is there");
        let left: i64 = run(&mut client, &[b"PTTL", name.as_bytes()]).await;
        assert!((1..=600_000).contains(&left), "Redis forgets it by itself: {left}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_is_no_answer() {
    let server = RedisServer::start(&[]).unwrap();
    let cached = Cached::new(at(&server.url(), PATIENCE));
    cached.ask(&[], &chat("hi")).await;
    cached.ask(&[], &chat("ho")).await;
    until("both are kept", || cached.cache.stats().stored == 2).await;
    let mut client = client(&server).await;
    let mut names: Vec<String> = run(&mut client, &[b"KEYS", b"*"]).await;
    names.sort();
    let value: Vec<u8> = run(&mut client, &[b"GET", names[0].as_bytes()]).await;
    let other: Vec<u8> = run(&mut client, &[b"GET", names[1].as_bytes()]).await;
    let huge = vec![b'x'; 8 << 20];
    let mut flipped = value.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for wrong in [&b""[..], b"x", &value[..value.len() - 1], &flipped, &other, &huge] {
        for name in &names {
            let () = run(&mut client, &[b"SET", name.as_bytes(), wrong]).await;
        }
        // One of the two has the other's value; both have it only if it is a third's.
        let answers = [cached.ask(&[], &chat("hi")).await, cached.ask(&[], &chat("ho")).await];
        for (got, text) in answers.iter().zip(["You said: hi", "You said: ho"]) {
            assert_eq!(got.status, StatusCode::OK);
            assert!(got.text().contains(text), "{}", got.text());
        }
        let misses = answers.iter().filter(|got| said(got) == "miss").count();
        assert!(misses >= 1, "{}", wrong.len());
        let stored = cached.cache.stats().misses;
        until("they are kept anew", || cached.cache.stats().stored == stored).await;
    }
    for name in &names {
        let () = run(&mut client, &[b"DEL", name.as_bytes()]).await;
        let _: i64 = run(&mut client, &[b"LPUSH", name.as_bytes(), b"x"]).await;
    }
    assert_eq!(said(&cached.ask(&[], &chat("hi")).await), "miss", "a value of another kind");
    assert_eq!(cached.cache.stats().failures, 0, "none of it is a failure of Redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_down_is_a_miss_and_comes_back() {
    let mut server = RedisServer::start(&[]).unwrap();
    let cached = Cached::new(at(&server.url(), PATIENCE));
    cached.ask(&[], &chat("hi")).await;
    until("it is kept", || cached.cache.stats().stored == 1).await;
    assert_eq!(said(&cached.ask(&[], &chat("hi")).await), "hit");
    server.kill();
    for _ in 0..3 {
        let got = cached.ask(&[], &chat("hi")).await;
        assert_eq!((got.status, said(&got)), (StatusCode::OK, "miss"));
    }
    let failures = cached.cache.stats().failures;
    assert!(failures >= 1);
    server.again().unwrap();
    // It is left alone for a while, and then used again without anybody's help.
    let back = async {
        while said(&cached.ask(&[], &chat("hi")).await) != "hit" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), back).await.expect("it was not used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_answer_is_waited_for_once_and_not_long() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://:s3cret-w0rd@{}/0", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 64];
            let _ = stream.read(&mut some).await;
            streams.push(stream);
        }
    });
    let cached = Cached::new(at(&url, Duration::from_millis(50)));
    for nth in 0..20 {
        let got = cached.ask(&[], &chat(&nth.to_string())).await;
        assert_eq!((got.status, said(&got)), (StatusCode::OK, "miss"));
    }
    let pinged = Address::parse(&url).unwrap().ping(Duration::from_millis(50)).await.unwrap_err().to_string();
    assert!(!pinged.contains("s3cret") && pinged.contains("does not answer"), "{pinged}");
    silent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_used_and_never_shown() {
    let server = RedisServer::start(&["--requirepass", "s3cret-w0rd"]).unwrap();
    let good = format!("{}?pass=s3cret-w0rd", server.url());
    Address::parse(&good).unwrap().ping(PATIENCE).await.unwrap();
    let bad = Address::parse(&format!("{}?pass=wr0ng-secret", server.url())).unwrap();
    let error = bad.ping(PATIENCE).await.unwrap_err().to_string();
    assert!(!error.contains("wr0ng"), "{error}");
    let cached = Cached::new(at(&good, PATIENCE));
    cached.ask(&[], &chat("hi")).await;
    until("it is kept", || cached.cache.stats().stored == 1).await;
    let wrong = Cached::new(at(&format!("{}?pass=wr0ng-secret", server.url()), PATIENCE));
    assert_eq!(said(&wrong.ask(&[], &chat("hi")).await), "miss");
    assert_eq!(wrong.ask(&[], &chat("hi")).await.status, StatusCode::OK);
    assert!(wrong.cache.stats().failures >= 1, "one that was never reached is counted, too");
    assert!(!format!("{:?}{:?}", cached.cache, wrong.cache).contains("s3cret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_that_cannot_be_is_an_error_and_no_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rediss://{}/0", listener.local_addr().unwrap());
    let plain = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 1];
            stream.read_exact(&mut hello).await.unwrap();
            assert_eq!(hello, [22], "a handshake begins");
        }
    });
    let error = Address::parse(&url).unwrap().ping(PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
    let cached = Cached::new(at(&url, PATIENCE));
    assert_eq!(said(&cached.ask(&[], &chat("hi")).await), "miss");
    assert!(!plain.is_finished());
    plain.abort();
}
