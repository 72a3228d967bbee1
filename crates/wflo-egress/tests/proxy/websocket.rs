//! WebSockets through TLS that is ended on the way.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wflo_core::error::Coded;
use wflo_egress::inspect::Inspection;
use wflo_egress::witness::End;
use wflo_egress::{Limit, Limits, Refusal};

use super::inspect::{Outside, Tls, get, secret, tls, world, world_within};
use super::world::{World, within};

/// The handshake of RFC 6455, 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Its: own\r\n\
     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn handshake(at: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {at}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Version: 13\r\nX-Mine: own\r\n\r\n"
    )
}

async fn tunnel(world: &World, inspection: &Arc<Inspection>, at: &str) -> Tls {
    tls(world, inspection.certificate(), at, "a.example", &["http/1.1"]).await.unwrap()
}

async fn head(stream: &mut Tls) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        said.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_websocket_to_a_path_that_is_allowed_carries_bytes_which_are_counted() {
    let outside = Outside::new();
    let (port, mut told) = outside.echo("a.example", AGREED).await;
    let at = format!("a.example:{port}");
    let (world, inspection) = world(&outside, &[format!("https://{at}/live/**")], &[], vec![]);
    let mut stream = tunnel(&world, &inspection, &at).await;
    // The first frame comes along with the request, as from a client that does not wait.
    stream.write_all(format!("{}first", handshake(&at, "/live/1?token=x")).as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let said = head(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 101 ") && said.contains("x-its: own\r\n"), "{said}");
    assert!(said.contains("connection: Upgrade\r\n") && said.contains("upgrade: websocket\r\n"), "{said}");
    let seen = told.recv().await.unwrap().to_lowercase();
    assert!(
        seen.starts_with("get /live/1?token=x http/1.1\r\n") && seen.contains("x-mine: own\r\n"),
        "{seen}"
    );
    assert!(seen.contains("connection: upgrade\r\n") && seen.contains("upgrade: websocket\r\n"), "{seen}");
    let mut got = [0; 5];
    within(stream.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"first");
    for _ in 0..3 {
        let sent = [7; 10_000];
        stream.write_all(&sent).await.unwrap();
        stream.flush().await.unwrap();
        let mut got = [0; 10_000];
        within(stream.read_exact(&mut got)).await.unwrap();
        assert_eq!(got, sent);
    }
    stream.shutdown().await.unwrap();
    assert_eq!(within(stream.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    let ended = world.ends(1).await.remove(0);
    assert_eq!(ended.opening.request.as_deref(), Some("WEBSOCKET /live/1"));
    assert_eq!(ended.end, End::Done);
    assert!(ended.sent > 30_000 && ended.received > 30_000, "{ended:?}");
}

#[tokio::test]
async fn one_that_no_rule_allows_is_refused_by_its_name() {
    let outside = Outside::new();
    let (port, mut told) = outside.echo("a.example", AGREED).await;
    let at = format!("a.example:{port}");
    for (rule, path, code) in [
        (format!("https://{at}/live/**"), "/other", 5202),
        (format!("GET https://{at}/live/**"), "/live/1", 5217),
        (format!("https://{at}/live/** graphql=query"), "/live/1", 5217),
    ] {
        let (world, inspection) = world(&outside, &[rule], &[], vec![]);
        let said = get(&world, &inspection, &at, &handshake(&at, path)).await;
        assert!(said.starts_with("HTTP/1.1 403 wflo") && said.contains(&format!("WFLO-{code}")), "{said}");
        let refused = world.book.refused.lock().unwrap().clone();
        assert_eq!(refused[0].1.code().0, code);
    }
    assert!(told.try_recv().is_err(), "nothing of them was sent");
    let (world, inspection) = world(&outside, &[format!("GET,WEBSOCKET https://{at}/live/**")], &[], vec![]);
    let mut stream = tunnel(&world, &inspection, &at).await;
    stream.write_all(handshake(&at, "/live/1").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn where_secrets_are_used_there_is_none() {
    let outside = Outside::new();
    let (port, mut told) = outside.echo("a.example", AGREED).await;
    let at = format!("a.example:{port}");
    let seen = std::slice::from_ref(&at);
    let (world, inspection) = world(&outside, seen, seen, vec![secret(port)]);
    let said = get(&world, &inspection, &at, &handshake(&at, "/")).await;
    assert!(said.contains("WFLO-5217") && said.contains("secrets"), "{said}");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_host_that_does_not_agree_to_it_lets_no_byte_through_unread() {
    const OTHER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n";
    const WRONG: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    const NO: &str = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno";
    let outside = Outside::new();
    for (answer, status) in [(OTHER, "502 wflo"), (WRONG, "502 wflo"), (NO, "426 ")] {
        let (port, _told) = outside.echo("a.example", answer).await;
        let at = format!("a.example:{port}");
        let (world, inspection) = world(&outside, &[format!("https://{at}/live")], &[], vec![]);
        let mut stream = tunnel(&world, &inspection, &at).await;
        // A second request hides behind the first, for a host that reads on.
        let hidden = format!("{}GET /admin HTTP/1.1\r\nHost: {at}\r\n\r\n", handshake(&at, "/live"));
        stream.write_all(hidden.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut said = Vec::new();
        let _ = within(stream.read_to_end(&mut said)).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
        // What hides is judged as what it is.
        assert!(!said.contains("101 Switching") && (status != "426 " || said.contains("403 wflo")), "{said}");
    }
}

#[tokio::test]
async fn one_ends_when_its_bytes_are_used_up() {
    let outside = Outside::new();
    let (port, _told) = outside.echo("a.example", AGREED).await;
    let at = format!("a.example:{port}");
    let limits = Limits { sent: 20_000, ..Limits::default() };
    let (world, inspection) = world_within(&outside, &[format!("https://{at}/live")], &[], vec![], limits);
    let mut stream = tunnel(&world, &inspection, &at).await;
    stream.write_all(handshake(&at, "/live").as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    for _ in 0..100 {
        if stream.write_all(&[7; 1_000]).await.is_err() || stream.flush().await.is_err() {
            break;
        }
    }
    let _ = within(stream.read_to_end(&mut Vec::new())).await;
    let ended = world.ends(1).await.remove(0);
    let limit = Refusal::Limit(Limit::Sent(wflo_core::size::Bytes(20_000)));
    assert_eq!((ended.sent, ended.end), (20_000, End::Refused(limit)));
}
