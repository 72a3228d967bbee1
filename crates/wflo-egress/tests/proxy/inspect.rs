//! TLS that is ended on the way: what is judged, what the host sees, and what a hostile program tries.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use wflo_core::error::Coded;
use wflo_egress::Limits;
use wflo_egress::inspect::Inspection;
use wflo_egress::inspect::roots::Roots;
use wflo_egress::secrets::{Secret, Secrets, Value};
use wflo_egress::witness::{End, Way};

use super::world::{World, within};

pub(super) type Tls = tokio_rustls::client::TlsStream<TcpStream>;

const HELD: &str = "wflo-0123456789abcdef0123456789abcdef";
const VALUE: &str = "the-real-value-of-it";

/// An authority of the world outside.
pub(super) struct Outside {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Outside {
    pub(super) fn new() -> Outside {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Outside { issuer: rcgen::Issuer::new(params, key), pem }
    }

    /// TLS of a host.
    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// A host that gives `answer` once a request's head has arrived, and then sends back whatever it gets.
    pub(super) async fn echo(
        &self,
        name: &str,
        answer: &'static str,
    ) -> (u16, mpsc::UnboundedReceiver<String>) {
        let acceptor = self.acceptor(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, tell) = (acceptor.clone(), tell.clone());
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    let mut seen = Vec::new();
                    while !seen.ends_with(b"\r\n\r\n") {
                        seen.push(stream.read_u8().await.unwrap());
                    }
                    tell.send(String::from_utf8_lossy(&seen).into_owned()).unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    let (mut read, mut write) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        (port, told)
    }

    /// A host that gives `answer` to each request whose head has arrived, in two parts, and tells what it was sent.
    pub(super) async fn host(
        &self,
        name: &str,
        answer: &'static [&'static str],
    ) -> (u16, mpsc::UnboundedReceiver<String>) {
        let acceptor = self.acceptor(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, tell) = (acceptor.clone(), tell.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut seen = Vec::new();
                    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let text = String::from_utf8_lossy(&seen).into_owned();
                    let length = text
                        .to_ascii_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
                    let whole = text.find("\r\n\r\n").unwrap() + 4 + length;
                    let chunked = text.to_ascii_lowercase().contains("transfer-encoding: chunked");
                    while seen.len() < whole || chunked && !seen.ends_with(b"0\r\n\r\n") {
                        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                            break;
                        }
                    }
                    let _ = tell.send(String::from_utf8_lossy(&seen).into_owned());
                    for part in answer {
                        let _ = stream.write_all(part.as_bytes()).await;
                        let _ = stream.flush().await;
                        tokio::task::yield_now().await;
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        (port, told)
    }
}

pub(super) fn secret(port: u16) -> Secret {
    Secret {
        name: "api".to_owned(),
        placeholder: HELD.to_owned(),
        value: Value::new(VALUE).unwrap(),
        hosts: vec![format!("a.example:{port}").parse().unwrap()],
        headers: vec!["authorization".to_owned()],
        query: Vec::new(),
    }
}

pub(super) fn world(
    outside: &Outside,
    rules: &[String],
    seen: &[String],
    secrets: Vec<Secret>,
) -> (World, Arc<Inspection>) {
    world_within(outside, rules, seen, secrets, Limits::default())
}

pub(super) fn world_within(
    outside: &Outside,
    rules: &[String],
    seen: &[String],
    secrets: Vec<Secret>,
    limits: Limits,
) -> (World, Arc<Inspection>) {
    let roots = Arc::new(Roots::load(Some(("outside", outside.pem.as_bytes()))).unwrap());
    let inspection = Arc::new(Inspection::new(roots, Secrets::new(secrets)).unwrap());
    let names: &[(&str, &[&str])] =
        &[("a.example", &["127.0.0.1"]), ("b.example", &["127.0.0.1"]), ("c.example", &["127.0.0.1"])];
    let world = World::looking(rules, &["127.0.0.1"], names, seen, &inspection, limits);
    (world, inspection)
}

/// A tunnel to `host`, and TLS in it for `name`.
pub(super) async fn tls(
    world: &World,
    trusted: &str,
    host: &str,
    name: &str,
    alpn: &[&str],
) -> std::io::Result<Tls> {
    let mut stream = world.connect().await;
    stream.write_all(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\n") {
        if within(stream.read_buf(&mut said)).await? == 0 {
            return Err(std::io::Error::other(String::from_utf8_lossy(&said).into_owned()));
        }
    }
    if !said.starts_with(b"HTTP/1.1 200") {
        return Err(std::io::Error::other(String::from_utf8_lossy(&said).into_owned()));
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    within(
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream),
    )
    .await
}

pub(super) async fn say(stream: &mut Tls, bytes: &str) -> String {
    let _ = stream.write_all(bytes.as_bytes()).await;
    let _ = stream.flush().await;
    let mut said = Vec::new();
    let _ = within(stream.read_to_end(&mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

pub(super) async fn get(world: &World, inspection: &Inspection, host: &str, request: &str) -> String {
    let name = host.split(':').next().unwrap();
    let mut stream = tls(world, inspection.certificate(), host, name, &["h2", "http/1.1"]).await.unwrap();
    say(&mut stream, request).await
}

pub(super) const HELLO: &[&str] = &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello"];

#[tokio::test]
async fn methods_and_paths_of_tls_are_judged_one_by_one() {
    let outside = Outside::new();
    let (port, mut told) = outside.host("a.example", HELLO).await;
    let at = format!("a.example:{port}");
    let (world, inspection) = world(&outside, &[format!("GET https://{at}/repos/**")], &[], vec![]);
    let mut stream = tls(&world, inspection.certificate(), &at, "a.example", &["http/1.1"]).await.unwrap();
    // Two requests of one connection; the host sees each on one of its own, and not a byte as it was written.
    let both = format!(
        "GET /repos/x?q=1 HTTP/1.1\r\nHOST: {at}\r\nX-A:   b\r\n\r\nPOST /repos/x HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\n\r\n"
    );
    let said = say(&mut stream, &both).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.contains("hello"), "{said}");
    assert!(said.contains("HTTP/1.1 403 wflo: no rule allows") && said.contains("WFLO-5202"), "{said}");
    let seen = told.recv().await.unwrap();
    assert!(seen.starts_with("GET /repos/x?q=1 HTTP/1.1\r\n") && seen.contains("x-a: b\r\n"), "{seen}");
    assert!(told.try_recv().is_err(), "the other was not sent");
    let opened = world.book.opened.lock().unwrap().clone();
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].way, opened[0].request.as_deref()), (Way::Https, Some("GET /repos/x")));
    for path in ["/repos/../admin", "/repos/%2e%2e/admin", "/repos//x", "/repos/%2fx", "/repos/a;b", "/admin"]
    {
        let said = get(&world, &inspection, &at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n")).await;
        assert!(said.contains("403 wflo"), "{path}: {said}");
    }
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn one_parser_reads_a_request_and_what_two_could_read_differently_is_refused() {
    let outside = Outside::new();
    let (port, mut told) = outside.host("a.example", HELLO).await;
    let at = format!("a.example:{port}");
    let (world, inspection) = world(&outside, std::slice::from_ref(&at), std::slice::from_ref(&at), vec![]);
    for request in [
        format!(
            "POST / HTTP/1.1\r\nHost: {at}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n"
        ),
        format!("POST / HTTP/1.1\r\nHost: {at}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding : chunked\r\n\r\n"),
        format!("GET / HTTP/1.1\nHost: {at}\n\n\r\n\r\n"),
        format!("GET http://b.example/ HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        format!("GET https://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {at}\r\nHost: b.example\r\n\r\n"),
        format!("CONNECT b.example:443 HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("OPTIONS * HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {at}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ] {
        let said = get(&world, &inspection, &at, &request).await;
        assert!(said.starts_with("HTTP/1.1 400 wflo"), "{request:?}: {said}");
    }
    assert!(told.try_recv().is_err(), "nothing was sent");
    // Another upgrade than to a WebSocket is not asked for, whoever wants one.
    let upgrade = format!("GET / HTTP/1.1\r\nHost: {at}\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    let mut stream = tls(&world, inspection.certificate(), &at, "a.example", &[]).await.unwrap();
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    assert!(!within(told.recv()).await.unwrap().to_ascii_lowercase().contains("upgrade"));
}

#[tokio::test]
async fn tls_is_for_the_tunnels_host_and_in_http_1_1() {
    let outside = Outside::new();
    let (port, mut told) = outside.host("a.example", HELLO).await;
    let at = format!("a.example:{port}");
    let (world, inspection) = world(&outside, std::slice::from_ref(&at), std::slice::from_ref(&at), vec![]);
    let trusted = inspection.certificate();
    let stream = tls(&world, trusted, &at, "a.example", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(tls(&world, trusted, &at, "a.example", &["h2"]).await.is_err(), "HTTP/2 alone is not spoken");
    assert!(tls(&world, trusted, &at, "b.example", &[]).await.is_err(), "another name than the tunnel's");
    // The authority of another sandbox has no say here.
    let other = Inspection::new(Arc::new(Roots::load(None).unwrap()), Secrets::default()).unwrap();
    assert!(tls(&world, other.certificate(), &at, "a.example", &[]).await.is_err());
    let refused = world.book.refused.lock().unwrap().clone();
    assert!(refused.iter().any(|(_, refusal)| refusal.code().0 == 5213), "{refused:?}");
    assert!(refused.iter().any(|(_, refusal)| refusal.code().0 == 5205), "{refused:?}");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_host_proves_who_it_is_before_anything_is_sent() {
    let (outside, stranger) = (Outside::new(), Outside::new());
    let (wrong_name, mut one) = outside.host("b.example", HELLO).await;
    let (untrusted, mut other) = stranger.host("a.example", HELLO).await;
    for port in [wrong_name, untrusted] {
        let at = format!("a.example:{port}");
        let (world, inspection) =
            world(&outside, std::slice::from_ref(&at), std::slice::from_ref(&at), vec![secret(port)]);
        let request = format!("GET / HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {HELD}\r\n\r\n");
        let said = get(&world, &inspection, &at, &request).await;
        assert!(said.starts_with("HTTP/1.1 502 wflo: TLS with") && said.contains("WFLO-5214"), "{said}");
        let ended = world.ends(1).await.remove(0);
        assert!(matches!(ended.end, End::Refused(_)));
    }
    assert!(one.try_recv().is_err() && other.try_recv().is_err());
    // And so does nobody whom the authority of a sandbox vouches for.
    let inspection = Inspection::new(Arc::new(Roots::load(None).unwrap()), Secrets::default()).unwrap();
    assert!(inspection.bundle().contains(inspection.certificate()));
}

#[tokio::test]
async fn a_value_reaches_its_host_and_nobody_else_and_does_not_come_back() {
    const ECHO: &[&str] = &[
        "HTTP/1.1 200 OK\r\nX-Echo: Bearer the-real-value-of-it\r\nContent-Length: 31\r\n\r\n",
        "you sent the-real",
        "-value-of-it",
        "..",
    ];
    let outside = Outside::new();
    let (port, mut told) = outside.host("a.example", ECHO).await;
    let (other_port, mut other) = outside.host("b.example", HELLO).await;
    let (at, elsewhere) = (format!("a.example:{port}"), format!("b.example:{other_port}"));
    let (world, inspection) = world(
        &outside,
        &[at.clone(), elsewhere.clone()],
        &[at.clone(), elsewhere.clone()],
        vec![secret(port)],
    );
    let with = |host: &str| {
        format!(
            "GET /x HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {HELD}\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
        )
    };
    let said = get(&world, &inspection, &at, &with(&at)).await;
    let seen = told.recv().await.unwrap();
    assert!(seen.contains(&format!("authorization: Bearer {VALUE}\r\n")) && !seen.contains(HELD), "{seen}");
    assert!(seen.contains("accept-encoding: identity\r\n"), "{seen}");
    assert!(
        !said.contains(VALUE) && said.contains("x-echo: [redacted]") && said.contains("[redacted]"),
        "{said}"
    );
    assert!(!said.contains("the-real"), "not a part of it either: {said}");
    assert_eq!(world.book.opened.lock().unwrap()[0].secrets, ["api"]);
    // Elsewhere, in plain text, in an address, in a body in two parts: refused, and told.
    let mut refused = vec![
        (elsewhere.clone(), with(&elsewhere)),
        (at.clone(), format!("GET /{HELD} HTTP/1.1\r\nHost: {at}\r\n\r\n")),
        (at.clone(), format!("GET / HTTP/1.1\r\nHost: {at}\r\nCookie: a={HELD}\r\n\r\n")),
    ];
    let (begin, end) = HELD.split_at(10);
    refused.push((
        elsewhere.clone(),
        format!(
            "POST / HTTP/1.1\r\nHost: {elsewhere}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{begin}\r\n{:x}\r\n{end}\r\n0\r\n\r\n",
            begin.len(),
            end.len()
        ),
    ));
    for (host, request) in refused {
        let said = get(&world, &inspection, &host, &request).await;
        assert!(said.contains("WFLO-5211") && said.contains("`api`"), "{request}: {said}");
    }
    let plain = format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {HELD}\r\n\r\n");
    assert!(world.say(plain.as_bytes()).await.contains("[WFLO-5211]"));
    let codes: Vec<u16> = world.book.refused.lock().unwrap().iter().map(|(_, r)| r.code().0).collect();
    assert!(codes.iter().filter(|code| **code == 5211).count() >= 4, "{codes:?}");
    while let Ok(seen) = other.try_recv() {
        assert!(!seen.contains(HELD) && !seen.contains(VALUE), "{seen}");
    }
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn an_answer_in_which_a_value_could_hide_is_refused() {
    const CONTENT: &[&str] = &["HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx"];
    const TRANSFER: &[&str] =
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: deflate, chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n"];
    const PARTED: &[&str] = &[
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n",
    ];
    const CLOSED: &[&str] = &["HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx"];
    const CHUNKED: &[&str] = &["HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n"];
    let outside = Outside::new();
    for (answer, why) in [
        (CONTENT, Some("its answer is encoded")),
        (TRANSFER, Some("transfer coding")),
        (PARTED, Some("transfer coding")),
        (CLOSED, Some("transfer coding")),
        (CHUNKED, None),
    ] {
        let (port, _told) = outside.host("a.example", answer).await;
        let at = format!("a.example:{port}");
        let (world, inspection) =
            world(&outside, std::slice::from_ref(&at), std::slice::from_ref(&at), vec![secret(port)]);
        let request = format!("GET / HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        let said = get(&world, &inspection, &at, &request).await;
        match why {
            Some(why) => assert!(said.starts_with("HTTP/1.1 502 wflo") && said.contains(why), "{said}"),
            None => assert!(said.starts_with("HTTP/1.1 200 OK") && said.contains("xx"), "{said}"),
        }
    }
}

#[tokio::test]
async fn calls_are_judged_by_the_very_bytes_that_are_sent() {
    let outside = Outside::new();
    let (port, mut told) = outside.host("a.example", HELLO).await;
    let at = format!("a.example:{port}");
    let (world, inspection) = world(&outside, &[format!("POST https://{at}/mcp tools=search")], &[], vec![]);
    let call = |tool: &str| {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#);
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {at}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        );
        (head, body)
    };
    let (head, body) = call("search");
    let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    assert!(get(&world, &inspection, &at, &whole).await.contains("hello"));
    assert!(told.recv().await.unwrap().ends_with(&body));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert!(get(&world, &inspection, &at, &chunked).await.contains("hello"));
    assert!(told.recv().await.unwrap().contains(&body));
    let (head, body) = call("delete");
    let whole = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let said = get(&world, &inspection, &at, &whole).await;
    assert!(said.contains("WFLO-5215") && said.contains("the tool delete"), "{said}");
    assert!(told.try_recv().is_err() && world.book.opened.lock().unwrap().len() == 2);
}

#[tokio::test]
async fn no_query_of_an_address_speaks_past_a_body_that_is_judged() {
    let outside = Outside::new();
    let (port, mut told) = outside.host("a.example", HELLO).await;
    let at = format!("a.example:{port}");
    let rules =
        [format!("POST https://{at}/graphql graphql=query"), format!("https://{at}/mcp tools=search")];
    let (world, inspection) = world(&outside, &rules, &[], vec![]);
    let asked = |method: &str, address: &str, body: &str| {
        format!(
            "{method} {address} HTTP/1.1\r\nHost: {at}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let query = r#"{"query":"{viewer{login}}"}"#;
    assert!(get(&world, &inspection, &at, &asked("POST", "/graphql", query)).await.contains("hello"));
    assert!(told.recv().await.unwrap().ends_with(query));
    for request in [
        asked("POST", "/graphql?query=mutation%7BdeleteRepository%7D", query),
        asked("POST", "/graphql?", query),
        asked("POST", "/mcp?method=tools/call", r#"{"method":"ping"}"#),
        asked("GET", "/mcp?name=delete", ""),
    ] {
        let said = get(&world, &inspection, &at, &request).await;
        assert!(said.contains("WFLO-5215") && said.contains("its address has a query"), "{request}: {said}");
    }
    assert!(told.try_recv().is_err(), "nothing of them was sent");
}
