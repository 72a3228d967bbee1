//! What hostile clients write, and what is read of it.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Request, RequestError> {
    Request::parse(text.as_bytes())
}

fn forward(text: &str) -> Forward {
    match read(text).unwrap() {
        Request::Forward(forward) => *forward,
        Request::Connect(target) => panic!("a tunnel to {target}"),
    }
}

#[test]
fn a_tunnel_is_a_host_and_a_port() {
    for head in [
        "CONNECT API.example.org:443 HTTP/1.1\r\nHost: api.example.org:443\r\n\r\n",
        "CONNECT api.example.org:443 HTTP/1.1\r\nHost: api.example.org\r\nProxy-Connection: keep-alive\r\n\r\n",
        "CONNECT api.example.org:443 HTTP/1.0\r\n\r\n",
    ] {
        let Ok(Request::Connect(target)) = read(head) else { panic!("{head}") };
        assert_eq!(target.to_string(), "api.example.org:443");
    }
}

#[test]
fn a_request_is_written_anew_without_what_is_of_the_connection() {
    let asked = forward(
        "POST HTTP://A.example:80/x/%7Ey?q=[1]|2 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nX-One: 1\r\n\
         Connection: close, X-Hop\r\nX-Hop: 1\r\nProxy-Authorization: Basic x\r\nUpgrade: h2c\r\nTE: trailers\r\n\
         Keep-Alive: 5\r\nExpect: 100-Continue\r\nX-Two:\t2 \r\n\r\n",
    );
    assert_eq!(asked.target.to_string(), "a.example:80");
    assert_eq!((asked.path.as_str(), asked.query.as_deref()), ("/x/%7Ey", Some("q=[1]|2")));
    assert_eq!(asked.headers, [("x-one".to_owned(), b"1".to_vec()), ("x-two".to_owned(), b"2".to_vec())]);
    assert_eq!((asked.body, asked.expects_continue, asked.close), (Framing::Length(3), true, true));
    let empty = forward("GET http://a.example?x HTTP/1.1\r\nHost: a.example:80\r\n\r\n");
    assert_eq!((empty.path.as_str(), empty.query.as_deref(), empty.body), ("/", Some("x"), Framing::Empty));
}

#[test]
fn a_websocket_is_asked_for_in_one_way() {
    let head = |method: &str, version: &str, lines: &str| {
        format!("{method} http://a.example/ws HTTP/{version}\r\nHost: a.example\r\n{lines}\r\n")
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let v13 = "Sec-WebSocket-Version: 13\r\n";
    let sound = format!("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n{key}{v13}");
    let asked = forward(&head("GET", "1.1", &sound));
    assert_eq!(asked.websocket.as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    let names: Vec<&str> = asked.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["sec-websocket-key", "sec-websocket-version"],
        "the connection's own are written anew"
    );
    assert_eq!(forward(&head("GET", "1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n")).websocket, None);
    for wrong in [
        head("POST", "1.1", &sound),
        head("GET", "1.0", &sound),
        head("GET", "1.1", &format!("Content-Length: 1\r\n{sound}")),
        head("GET", "1.1", &format!("Upgrade: websocket\r\n{key}{v13}")),
        head("GET", "1.1", &format!("Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n{key}{v13}")),
        head("GET", "1.1", &format!("{sound}Upgrade: websocket\r\n")),
        head("GET", "1.1", &format!("{sound}{key}")),
        head("GET", "1.1", &sound.replace("13", "8")),
        head("GET", "1.1", &sound.replace("dGhl", "dGh")),
    ] {
        assert_eq!(read(&wrong), Err(RequestError::WebSocket), "{wrong}");
    }
}

#[test]
fn what_another_parser_could_read_differently_is_refused() {
    let host = "Host: a.example\r\n";
    let first = [
        "GET / HTTP/1.1",
        "GET * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET a.example HTTP/1.1",
        "GET //a.example/ HTTP/1.1",
        "GET https://a.example/ HTTP/1.1",
        "GET ftp://a.example/ HTTP/1.1",
        "GET http:/a.example/ HTTP/1.1",
        "GET http://user@a.example/ HTTP/1.1",
        "GET http://a.example@evil.example/ HTTP/1.1",
        "GET http://a.example\\@evil.example/ HTTP/1.1",
        "GET http://a.example#@evil.example/ HTTP/1.1",
        "GET http://a.example/#x HTTP/1.1",
        "GET http://a.example/\\x HTTP/1.1",
        "GET http://a.example/%00 HTTP/1.1",
        "GET http://a.example/%0d%0aX: HTTP/1.1",
        "GET http://a.example/%2 HTTP/1.1",
        "GET http://a.example/%zz HTTP/1.1",
        "GET http://a%2eexample/ HTTP/1.1",
        "GET http://a.example./ HTTP/1.1",
        "GET http://a.example:080/ HTTP/1.1",
        "GET http://a.example:0/ HTTP/1.1",
        "GET http://0x7f.1/ HTTP/1.1",
        "GET http:///a.example HTTP/1.1",
        "GET  http://a.example/ HTTP/1.1",
        "GET http://a.example/  HTTP/1.1",
        "GET\thttp://a.example/ HTTP/1.1",
        " GET http://a.example/ HTTP/1.1",
        "get http://a.example/ HTTP/1.1",
        "GET http://a.example/ HTTP/1.2",
        "GET http://a.example/ HTTP/2.0",
        "GET http://a.example/ http/1.1",
        "GET http://a.example/",
        "GET http://a.example/ x HTTP/1.1",
        "GET http://a.exämple/ HTTP/1.1",
        "GET http://a.example/ä HTTP/1.1",
        "GET http://a.example/<x> HTTP/1.1",
        "CONNECT a.example HTTP/1.1",
        "CONNECT http://a.example:80 HTTP/1.1",
        "CONNECT a.example:80/ HTTP/1.1",
        "CONNECT a.example:443:80 HTTP/1.1",
        "CONNECT a.example:+443 HTTP/1.1",
        "CONNECT u@a.example:443 HTTP/1.1",
        "CONNECT a.example:443@b.example:443 HTTP/1.1",
        "CONNECT a.example:443?x HTTP/1.1",
        "CONNECT [::1%lo]:443 HTTP/1.1",
        "PRI * HTTP/2.0",
        "",
    ];
    for line in first {
        assert!(read(&format!("{line}\r\n{host}\r\n")).is_err(), "{line}");
    }
}

#[test]
fn headers_leave_nothing_open() {
    let host = "Host: a.example\r\n";
    for headers in [
        "",
        "Host: b.example\r\n",
        "Host: a.example\r\nHost: a.example\r\n",
        "Host: a.example, b.example\r\n",
        "Host: a.example:81\r\n",
        "Host: u@a.example\r\n",
        "Host : a.example\r\n",
        "Host:\r\n",
        &format!("{host}X : 1\r\n"),
        &format!("{host}X\r\n"),
        &format!("{host}: 1\r\n"),
        &format!("{host}X: 1\r\n folded\r\n"),
        &format!("{host} X: 1\r\n"),
        &format!("{host}X: a\0b\r\n"),
        &format!("{host}X: a\rb\r\n"),
        &format!("{host}X: 1\n"),
        &format!("{host}X: 1\nY: 2\r\n"),
        &format!("{host}X\u{e9}: 1\r\n"),
        &format!("{host}X: a\u{b}b\r\n"),
        &format!("{host}Content-Length: 1\r\nContent-Length: 1\r\n"),
        &format!("{host}Content-Length: 1, 1\r\n"),
        &format!("{host}Content-Length: +1\r\n"),
        &format!("{host}Content-Length: -1\r\n"),
        &format!("{host}Content-Length: 0x1\r\n"),
        &format!("{host}Content-Length: 1 1\r\n"),
        &format!("{host}Content-Length:\r\n"),
        &format!("{host}Content-Length: 99999999999999999999\r\n"),
        &format!("{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        &format!("{host}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
        &format!("{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        &format!("{host}Transfer-Encoding: gzip, chunked\r\n"),
        &format!("{host}Transfer-Encoding: identity\r\n"),
        &format!("{host}Transfer-Encoding: xchunked\r\n"),
        &format!("{host}Transfer-Encoding: \u{b}chunked\r\n"),
        &format!("{host}Expect: 200-ok\r\n"),
        &format!("{host}{}", "A: 1\r\n".repeat(100)),
    ] {
        assert!(read(&format!("POST http://a.example/ HTTP/1.1\r\n{headers}\r\n")).is_err(), "{headers:?}");
    }
    assert!(read("POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    assert!(read("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\n").is_err());
    assert!(read("CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n").is_err());
    assert!(read("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\nGET ").is_err());
    assert!(read("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n").is_err());
}

#[test]
fn other_protocols_are_told_by_their_names() {
    let of = |bytes: &[u8]| Request::parse(bytes).unwrap_err();
    assert_eq!(of(&[5, 1, 0]), HeadError::Socks.into());
    assert_eq!(of(&[4, 1, 0, 80]), HeadError::Socks.into());
    assert_eq!(of(&[0x16, 3, 1]), HeadError::Tls.into());
    assert_eq!(of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HeadError::Http2.into());
}

proptest! {
    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn what_is_read_names_one_host_however_it_was_written(
        authority in "[a-zA-Z0-9.@:%\\[\\]#?\\\\/-]{1,30}",
        path in "(/[a-z%0-9.]{0,8}){0,3}",
        connect: bool,
    ) {
        let head = if connect {
            format!("CONNECT {authority} HTTP/1.0\r\n\r\n")
        } else {
            format!("GET http://{authority}{path} HTTP/1.0\r\n\r\n")
        };
        match read(&head) {
            Ok(Request::Connect(target)) => prop_assert_eq!(target.to_string(), authority.to_ascii_lowercase()),
            Ok(Request::Forward(asked)) => {
                let written = authority.split(['/', '?']).next().unwrap().to_ascii_lowercase();
                let with_port = asked.target.to_string();
                let without = asked.target.host.to_string();
                prop_assert!(written == with_port || written == without && asked.target.port == 80);
                prop_assert!(asked.path.starts_with('/'));
            }
            Err(_) => {}
        }
    }
}
