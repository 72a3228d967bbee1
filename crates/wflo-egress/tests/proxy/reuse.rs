//! One connection of a client, many requests: each is judged, each goes on a connection of its own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::inspect::{HELLO, Outside, Tls, say, tls, world};
use super::world::within;

/// One answer with the body `hello`, and no byte more.
async fn answer(stream: &mut Tls) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n\r\nhello") {
        said.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_connection_that_is_kept_has_every_request_judged() {
    let outside = Outside::new();
    let (port, mut told) = outside.host("a.example", HELLO).await;
    let at = format!("a.example:{port}");
    let (world, inspection) = world(&outside, &[format!("GET,POST https://{at}/in/**")], &[], vec![]);
    let mut stream = tls(&world, inspection.certificate(), &at, "a.example", &["http/1.1"]).await.unwrap();
    for (request, sent) in [
        (format!("GET /in/1 HTTP/1.1\r\nHost: {at}\r\n\r\n"), "GET /in/1 "),
        (format!("POST /in/2 HTTP/1.1\r\nHost: {at}\r\nContent-Length: 3\r\n\r\nabc"), "POST /in/2 "),
        (
            format!(
                "POST /in/3 HTTP/1.1\r\nHost: {at}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ),
            "POST /in/3 ",
        ),
        (format!("GET /in/4 HTTP/1.1\r\nHost: {at}\r\n\r\n"), "GET /in/4 "),
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(within(told.recv()).await.unwrap().starts_with(sent));
    }
    let said = say(&mut stream, &format!("GET /out HTTP/1.1\r\nHost: {at}\r\n\r\n")).await;
    assert!(said.starts_with("HTTP/1.1 403 wflo") && said.contains("WFLO-5202"), "{said}");
    assert!(told.try_recv().is_err() && world.book.opened.lock().unwrap().len() == 4);
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order_up_to_the_one_that_is_refused() {
    let outside = Outside::new();
    let (port, mut told) = outside.host("a.example", HELLO).await;
    let at = format!("a.example:{port}");
    let (world, inspection) = world(&outside, &[format!("https://{at}/in/**")], &[], vec![]);
    let mut stream = tls(&world, inspection.certificate(), &at, "a.example", &["http/1.1"]).await.unwrap();
    let one = |head: &str, rest: &str| format!("{head} HTTP/1.1\r\nHost: {at}\r\n{rest}");
    let all = [
        one("GET /in/1", "\r\n"),
        // What stands in a body is no request.
        one("POST /in/2", "Content-Length: 40\r\n\r\nGET /in/evil HTTP/1.1\r\nHost: a.example\r\n"),
        one("PUT /in/3", "Transfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n"),
        one("DELETE /out", "\r\n"),
        one("GET /in/5", "\r\n"),
    ]
    .concat();
    let said = say(&mut stream, &all).await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 3, "{said}");
    assert_eq!(said.matches("HTTP/1.1 403 wflo").count(), 1, "{said}");
    let mut seen = Vec::new();
    while let Ok(request) = told.try_recv() {
        seen.push(request.split(" HTTP").next().unwrap().to_owned());
    }
    assert_eq!(seen, ["GET /in/1", "POST /in/2", "PUT /in/3"], "nothing after the one that was refused");
    assert_eq!(world.book.opened.lock().unwrap().len(), 3);
}
