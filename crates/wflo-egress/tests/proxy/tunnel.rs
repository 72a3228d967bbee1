//! CONNECT.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wflo_core::error::Coded;
use wflo_egress::Refusal;
use wflo_egress::witness::{End, Way};

use super::world::{World, echo, within};

async fn connect(world: &World, authority: &str) -> (TcpStream, String) {
    let mut stream = world.connect().await;
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        if within(stream.read_buf(&mut said)).await.unwrap() == 0 {
            break;
        }
    }
    (stream, String::from_utf8(said).unwrap())
}

fn hello(name: &'static str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn tls_to_a_named_host_passes_unchanged() {
    let port = echo().await;
    let world = World::new(
        &[format!("api.example.org:{port}")],
        &["127.0.0.1"],
        &[("api.example.org", &["127.0.0.1"])],
    );
    let (mut stream, said) = connect(&world, &format!("API.example.org:{port}")).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    let sent = [hello("api.example.org"), vec![23; 100_000]].concat();
    let (mut read, mut write) = stream.split();
    let mut got = vec![0; sent.len()];
    let (wrote, _) = within(async { tokio::join!(write.write_all(&sent), read.read_exact(&mut got)) }).await;
    wrote.unwrap();
    assert!(got == sent);
    drop(stream);
    let ended = world.ends(1).await.remove(0);
    assert_eq!((ended.sent, ended.received, ended.end), (sent.len() as u64, sent.len() as u64, End::Done));
    assert_eq!(
        (ended.opening.way, ended.opening.target.to_string()),
        (Way::Tls, format!("api.example.org:{port}"))
    );
    assert_eq!(ended.address.unwrap().to_string(), "127.0.0.1");
    assert_eq!(*world.names.asked.lock().unwrap(), ["api.example.org"], "asked once");
}

#[tokio::test]
async fn what_no_rule_names_is_refused_before_anybody_is_asked() {
    let world = World::new(&["api.example.org".to_owned()], &[], &[("evil.example", &["1.1.1.1"])]);
    let (_, said) = connect(&world, "evil.example:443").await;
    assert!(said.starts_with("HTTP/1.1 403 wflo: no rule allows evil.example:443 [WFLO-5202]\r\n"), "{said}");
    let whole = world.say(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n").await;
    assert!(
        whole.ends_with(
            "allows it with --allow-host evil.example, or allow_hosts under [sandbox] in wflo.toml\n"
        ),
        "{whole}"
    );
    assert!(world.names.asked.lock().unwrap().is_empty() && world.book.opened.lock().unwrap().is_empty());
    assert_eq!(world.book.refused.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_name_that_stands_for_an_inner_address_is_refused_whole() {
    for answer in [
        &["10.0.0.1"][..],
        &["127.0.0.1"],
        &["169.254.169.254"],
        &["1.1.1.1", "192.168.1.1"],
        &["fd00:ec2::254"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::a00:1"],
        &["0.0.0.0"],
        &["::1"],
    ] {
        let world = World::new(&["rebound.example".to_owned()], &[], &[("rebound.example", answer)]);
        let (_, said) = connect(&world, "rebound.example:443").await;
        assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("WFLO-5203"), "{answer:?}: {said}");
        assert!(!said.contains(answer[answer.len() - 1]), "the address is nobody's business: {said}");
        let ended = world.ends(1).await.remove(0);
        assert!(matches!(ended.end, End::Refused(Refusal::Address { .. })) && ended.sent == 0);
    }
}

#[tokio::test]
async fn an_address_is_reached_only_when_it_is_named() {
    let port = echo().await;
    let named = World::new(&[format!("tcp://127.0.0.1:{port}")], &[], &[]);
    let (mut stream, said) = connect(&named, &format!("127.0.0.1:{port}")).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    stream.write_all(b"SSH-2.0-any bytes\r\n").await.unwrap();
    let mut got = [0; 19];
    within(stream.read_exact(&mut got)).await.unwrap();
    let other = World::new(&["*.example.org".to_owned(), "example.org".to_owned()], &[], &[]);
    for text in [format!("127.0.0.1:{port}"), "169.254.169.254:80".to_owned(), "[::1]:443".to_owned()] {
        let (_, said) = connect(&other, &text).await;
        assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    }
}

#[tokio::test]
async fn what_is_not_tls_for_the_host_never_arrives() {
    let port = echo().await;
    let world = World::new(&[format!("a.example:{port}")], &["127.0.0.1"], &[("a.example", &["127.0.0.1"])]);
    let refused: [(&[u8], &[u8]); 3] = [
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (&hello("b.example"), &[21, 3, 1, 0, 2, 2, 49]),
        (&hello("127.0.0.1"), &[21, 3, 1, 0, 2, 2, 49]),
    ];
    for (bytes, answer) in refused {
        let (mut stream, said) = connect(&world, &format!("a.example:{port}")).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        stream.write_all(bytes).await.unwrap();
        let mut got = Vec::new();
        within(stream.read_to_end(&mut got)).await.unwrap();
        assert_eq!(got, answer);
    }
    let ended = world.ends(3).await;
    assert!(
        ended.iter().all(|ended| ended.sent == 0 && matches!(ended.end, End::Refused(Refusal::Hello { .. }))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn other_protocols_are_told_no_in_their_own_words() {
    let world = World::new(&["a.example".to_owned()], &[], &[]);
    let mut stream = world.connect().await;
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut said = Vec::new();
    within(stream.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, [5, 0xff]);
    let said = world.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("HTTP/2"), "{said}");
    let said = world.say(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("CONNECT"), "{said}");
}

#[tokio::test]
async fn a_name_or_a_host_that_does_not_answer_fails_at_once_and_says_so() {
    // At port 1 no other test can come to listen, as it could at one that was free a moment ago.
    let world = World::new(
        &["a.example:1".to_owned(), "b.example".to_owned()],
        &["127.0.0.1"],
        &[("a.example", &["127.0.0.1"])],
    );
    let (_, said) = connect(&world, "a.example:1").await;
    assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("nobody listens there [WFLO-5207]"), "{said}");
    let (_, said) = connect(&world, "b.example:443").await;
    assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("b.example:443 has no address"), "{said}");
}

#[tokio::test]
async fn nothing_leaves_that_cannot_be_recorded() {
    let world = World::new(&["a.example".to_owned()], &[], &[("a.example", &["1.1.1.1"])]);
    world.book.is_full.store(true, std::sync::atomic::Ordering::SeqCst);
    let (_, said) = connect(&world, "a.example:443").await;
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("WFLO-5208"), "{said}");
    assert!(world.names.asked.lock().unwrap().is_empty());
    assert_eq!(Refusal::Unrecorded.code().to_string(), "WFLO-5208");
}

#[tokio::test]
async fn the_end_of_the_sandbox_ends_its_tunnels_and_says_so() {
    let port = echo().await;
    let mut world = World::new(&[format!("tcp://127.0.0.1:{port}")], &[], &[]);
    let (mut stream, _) = connect(&world, &format!("127.0.0.1:{port}")).await;
    stream.write_all(b"x").await.unwrap();
    within(stream.read_u8()).await.unwrap();
    within(world.handle.take().unwrap().stop()).await;
    let ended = world.book.ended.lock().unwrap().clone();
    assert_eq!((ended[0].end.clone(), ended[0].sent, ended[0].received), (End::Cut, 1, 1));
    assert!(within(stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn who_is_held_reaches_nobody_until_it_is_held_no_longer() {
    let port = echo().await;
    let world = World::new(&[format!("tcp://127.0.0.1:{port}")], &[], &[]);
    let handle = world.handle.as_ref().unwrap();
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let mut said = [0; 12];
    let mut open = world.connect().await;
    open.write_all(connect.as_bytes()).await.unwrap();
    within(open.read_exact(&mut said)).await.unwrap();
    handle.hold(true);
    // It ends, with whatever is on its way.
    let _ = within(open.read_to_end(&mut Vec::new())).await;
    assert_eq!(world.ends(1).await.len(), 1);
    // The kernel takes the connection; nobody answers it.
    let mut next = world.connect().await;
    next.write_all(connect.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_millis(500), next.read_exact(&mut said)).await;
    assert!(early.is_err(), "{early:?}");
    handle.hold(false);
    within(next.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200");
}
