//! Limits, and clients that never come to an end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wflo_egress::witness::End;
use wflo_egress::{Limit, Limits, Refusal};

use super::world::{World, echo, within};

fn limited(port: u16, limits: Limits) -> World {
    World::limited(&[format!("tcp://127.0.0.1:{port}")], &[], &[], limits)
}

fn connect(port: u16) -> Vec<u8> {
    format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").into_bytes()
}

/// A world with these limits, the port of a host that sends back what it gets, and what came back of more than fits.
async fn flooded(limits: Limits) -> (World, u16, Vec<u8>) {
    let port = echo().await;
    let world = limited(port, limits);
    let mut stream = world.connect().await;
    stream.write_all(&connect(port)).await.unwrap();
    let _ = stream.write_all(&[7; 5_000]).await;
    let mut got = Vec::new();
    let _ = within(stream.read_to_end(&mut got)).await;
    (world, port, got)
}

#[tokio::test]
async fn what_is_sent_is_cut_at_its_limit_to_the_byte() {
    let (world, port, _) = flooded(Limits { sent: 1_000, ..Limits::default() }).await;
    let ended = world.ends(1).await.remove(0);
    assert_eq!(ended.sent, 1_000);
    assert!(matches!(ended.end, End::Refused(Refusal::Limit(_))), "{:?}", ended.end);
    let said = world.say(&connect(port)).await;
    assert!(said.starts_with("HTTP/1.1 429 ") && said.contains("WFLO-5206"), "{said}");
}

#[tokio::test]
async fn what_is_received_is_cut_at_its_limit() {
    let (world, port, got) = flooded(Limits { received: 1_000, ..Limits::default() }).await;
    let ended = world.ends(1).await.remove(0);
    assert!(matches!(ended.end, End::Refused(Refusal::Limit(Limit::Received(_)))), "{:?}", ended.end);
    assert!(got.len() <= 1_100, "{}", got.len());
    let said = world.say(&connect(port)).await;
    assert!(said.starts_with("HTTP/1.1 429 ") && said.contains("no more may be received"), "{said}");
}

#[tokio::test]
async fn connections_are_counted_in_all_and_a_further_one_is_answered() {
    let port = echo().await;
    let world = limited(port, Limits { requests: 2, ..Limits::default() });
    for _ in 0..2 {
        let mut stream = world.connect().await;
        stream.write_all(&connect(port)).await.unwrap();
        let mut said = [0; 12];
        within(stream.read_exact(&mut said)).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 200");
    }
    world.ends(2).await;
    let third = world.say(&connect(port)).await;
    assert!(third.starts_with("HTTP/1.1 429 ") && third.contains("2 have been"), "{third}");
    let refused = world.book.refused.lock().unwrap().clone();
    assert_eq!(refused[0].1, Refusal::Limit(Limit::Requests(2)));
}

#[tokio::test]
async fn connections_at_once_are_bounded_and_a_further_one_is_answered() {
    let port = echo().await;
    let world = limited(port, Limits { connections: 1, ..Limits::default() });
    let mut first = world.connect().await;
    first.write_all(&connect(port)).await.unwrap();
    let mut said = [0; 12];
    within(first.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200");
    let second = world.say(&connect(port)).await;
    assert!(second.starts_with("HTTP/1.1 429 "), "{second}");
}

#[tokio::test]
async fn a_connection_on_which_nothing_passes_ends() {
    let port = echo().await;
    let world = limited(port, Limits { idle: Duration::from_millis(50), ..Limits::default() });
    let mut stream = world.connect().await;
    stream.write_all(&connect(port)).await.unwrap();
    let mut said = Vec::new();
    within(stream.read_to_end(&mut said)).await.unwrap();
    assert!(said.starts_with(b"HTTP/1.1 200"));
    assert_eq!(world.ends(1).await.remove(0).end, End::TimedOut);
    // A head that never ends.
    let world = limited(port, Limits { head: Duration::from_millis(50), ..Limits::default() });
    let said = world.say(b"CONNECT a.example").await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
}

#[tokio::test]
async fn a_head_without_an_end_is_refused_at_its_limit() {
    let world = limited(1, Limits::default());
    let said =
        world.say(&[b"GET http://a.example/ HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 20_000]].concat()).await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
}

#[tokio::test]
async fn clients_beyond_counting_are_closed_and_the_next_is_served() {
    let port = echo().await;
    let world = limited(port, Limits { connections: 1, ..Limits::default() });
    let mut waiting = Vec::new();
    for _ in 0..200 {
        waiting.push(world.connect().await);
    }
    // Those that found no place, the last of them, are closed without a word.
    for stream in waiting.iter_mut().skip(100) {
        assert!(within(stream.read_u8()).await.is_err());
    }
    drop(waiting);
    within(async {
        loop {
            let mut stream = world.connect().await;
            let mut said = [0; 12];
            if stream.write_all(&connect(port)).await.is_ok() && stream.read_exact(&mut said).await.is_ok() {
                return;
            }
        }
    })
    .await;
}
