//! Requests of plain HTTP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wflo_egress::witness::End;

use super::world::{World, host, within};

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: 5\r\nX-Own: 1\r\nProxy-Authenticate: x\r\n\r\nhi";

fn world(port: u16, rule: &str) -> World {
    World::new(
        &[format!("{rule}:{port}")],
        &["127.0.0.1"],
        &[("a.example", &["127.0.0.1"]), ("b.example", &["127.0.0.1"])],
    )
}

#[tokio::test]
async fn a_request_arrives_as_it_was_read_and_its_answer_goes_back() {
    let (port, mut seen) = host(OK).await;
    let world = world(port, "a.example");
    let said = world
        .say(
            format!(
                "POST http://A.example:{port}/x?y=1 HTTP/1.1\r\nHost: a.example:{port}\r\nContent-Length: 3\r\nConnection: close\r\n\
                 Proxy-Authorization: secret\r\nX-Mine: 1\r\n\r\nabc"
            )
            .as_bytes(),
        )
        .await;
    assert_eq!(said, "HTTP/1.1 200 OK\r\nx-own: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi");
    let seen = within(seen.recv()).await.unwrap();
    let mut lines: Vec<&str> = seen.lines().collect();
    lines.sort_unstable();
    let host = format!("host: a.example:{port}");
    assert_eq!(
        lines,
        ["", "POST /x?y=1 HTTP/1.1", "abc", "connection: close", "content-length: 3", &host, "x-mine: 1"]
    );
    let ended = world.ends(1).await.remove(0);
    assert_eq!((ended.end, ended.opening.request.as_deref()), (End::Done, Some("POST /x")));
    assert!(ended.sent > 80 && ended.received == OK.len() as u64, "{} {}", ended.sent, ended.received);
}

#[tokio::test]
async fn every_request_of_a_kept_connection_is_judged() {
    let (port, mut seen) = host(OK).await;
    let world = world(port, "GET http://a.example");
    let ask = |method: &str, name: &str| {
        format!("{method} http://{name}:{port}/ HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n")
    };
    // All at once: what follows a request is the next one, and never a part of it.
    let said = world
        .say(
            [
                ask("GET", "a.example"),
                ask("GET", "a.example"),
                ask("GET", "b.example"),
                ask("GET", "a.example"),
            ]
            .concat()
            .as_bytes(),
        )
        .await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 2, "{said}");
    assert_eq!(said.matches("HTTP/1.1 403 ").count(), 1, "{said}");
    for _ in 0..2 {
        assert!(within(seen.recv()).await.unwrap().starts_with("GET / HTTP/1.1\r\n"));
    }
    let said = world.say(ask("DELETE", "a.example").as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("with this method and path"), "{said}");
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_redirect_is_the_clients_to_follow_and_is_judged_again() {
    let (port, _seen) = host("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/\r\nContent-Length: 0\r\n\r\n").await;
    let world = world(port, "a.example");
    let said = world
        .say(
            format!(
                "GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\nConnection: close\r\n\r\n"
            )
            .as_bytes(),
        )
        .await;
    assert!(said.contains("location: http://169.254.169.254/latest/meta-data/\r\n"), "{said}");
    let said = world
        .say(b"GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
        .await;
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
}

#[tokio::test]
async fn nothing_is_smuggled_in_a_body() {
    let (port, mut seen) = host(OK).await;
    let world = world(port, "a.example");
    let head = format!("POST http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n");
    let inner = format!("GET http://b.example:{port}/inner HTTP/1.1\r\nHost: b.example:{port}\r\n\r\n");
    for (headers, body) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n".to_owned()),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n".to_owned()),
        ("Content-Length: 0\r\nContent-Length: 80\r\n", String::new()),
        ("Transfer-Encoding: xchunked\r\n", String::new()),
        ("Transfer-Encoding:\r\n chunked\r\n", String::new()),
        ("X: 1\nContent-Length: 80\r\n", String::new()),
    ] {
        let said = world.say(format!("{head}{headers}\r\n{body}{inner}").as_bytes()).await;
        assert!(
            said.starts_with("HTTP/1.1 400 ") && said.matches("HTTP/1.1").count() == 1,
            "{headers:?}: {said}"
        );
    }
    assert!(seen.try_recv().is_err(), "nothing of them left");
    // A chunk with an extension or a trailer: begun, and then ended.
    for body in ["3;x=y\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\nX: 1\r\n\r\n", "3\nabc\n0\n\n"] {
        let said =
            world.say(format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}{inner}").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 400 ") && !said.contains(" 200 "), "{body:?}: {said}");
    }
    // What looks like a request is a body where the framing says so.
    let said = world
        .say(format!("{head}Connection: close\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()).as_bytes())
        .await;
    assert!(said.starts_with("HTTP/1.1 200 OK") && said.matches("HTTP/1.1").count() == 1, "{said}");
}

#[tokio::test]
async fn chunked_bodies_are_written_anew() {
    let (port, mut seen) = host(OK).await;
    let world = world(port, "a.example");
    let said = world
        .say(
            format!(
                "PUT http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\
                 Connection: close\r\n\r\n0003\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
            )
            .as_bytes(),
        )
        .await;
    assert!(said.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{said}");
    let seen = within(seen.recv()).await.unwrap();
    assert!(seen.contains("transfer-encoding: chunked\r\n") && !seen.contains("expect"), "{seen}");
    assert!(seen.ends_with("0\r\n\r\n") && !seen.contains("\r\n0003\r\n"), "{seen}");
}

#[tokio::test]
async fn answers_of_every_framing_come_through_whole() {
    for (answer, body) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "\r\n\r\n"),
    ] {
        let (port, _seen) = host(answer).await;
        let world = world(port, "a.example");
        let mut stream = world.connect().await;
        let ask = format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n");
        // Twice, so that the first answer's end is where it should be.
        for _ in 0..2 {
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut said = Vec::new();
            while !said.ends_with(body.as_bytes()) {
                assert!(
                    within(stream.read_buf(&mut said)).await.unwrap() > 0,
                    "{}",
                    String::from_utf8_lossy(&said)
                );
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_said_to_be_none() {
    for answer in
        ["SSH-2.0-x\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ""]
    {
        let (port, _seen) = host(answer).await;
        let world = world(port, "a.example");
        let said = world
            .say(
                format!("GET http://a.example:{port}/ HTTP/1.1\r\nHost: a.example:{port}\r\n\r\n").as_bytes(),
            )
            .await;
        assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("WFLO-5207"), "{answer:?}: {said}");
    }
}

#[tokio::test]
async fn headers_that_override_a_request_are_refused_where_requests_are_judged() {
    let (port, mut seen) = host(OK).await;
    let by_request = World::new(
        &[format!("GET http://a.example:{port}/public/**")],
        &["127.0.0.1"],
        &[("a.example", &["127.0.0.1"])],
    );
    let ask = |path: &str, header: &str| {
        format!(
            "GET http://a.example:{port}{path} HTTP/1.1\r\nHost: a.example:{port}\r\n{header}Connection: close\r\n\r\n"
        )
    };
    for header in [
        "X-HTTP-Method-Override: DELETE\r\n",
        "X_HTTP_Method_Override: DELETE\r\n",
        "X.HTTP.Method.Override: DELETE\r\n",
        "X!HTTP!Method!Override: DELETE\r\n",
        "X-Envoy-Original-Method: DELETE\r\n",
        "X-Original-URL: /admin\r\n",
        "X-Original-Uri: /admin\r\n",
        "X-Forwarded-Uri: /admin\r\n",
        "X-Forwarded-Prefix: /admin\r\n",
        "X-Envoy-Original-Path: /admin\r\n",
    ] {
        let said = by_request.say(ask("/public/x", header).as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    }
    for query in ["_method=DELETE", "a=1&_METHOD=DELETE", "%5fmethod=DELETE", "a=1;$httpMethod=DELETE"] {
        let said = by_request.say(ask(&format!("/public/x?{query}"), "").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{query}: {said}");
    }
    for path in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%2e%2e%2fadmin",
        "/public//admin",
        "/public/..;/admin",
    ] {
        let said = by_request.say(ask(path, "").as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 403 "), "{path}: {said}");
    }
    assert!(seen.try_recv().is_err());
    assert!(by_request.say(ask("/public/x?my_method=x&b", "").as_bytes()).await.starts_with("HTTP/1.1 200 "));
}
