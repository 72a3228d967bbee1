//! `docs/reference/gateway.md` lists what the gateway changes in a request and in an answer. Here both sides
//! of it are sockets that see every byte: what is not on the list arrives as it was sent.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::dialect::limit::OutputLimit;
use wflo_gateway::route::Provider;
use wflo_gateway::secret::Secret;
use wflo_testkit::model_server::{Fault, ModelServer};

use crate::ledger::MemoryLedger;
use crate::shapes::{charged_as_held, only_outcome, streams};
use crate::world::{KEY, World, chat, deadlines};

/// A provider that answers one request with these bytes, and tells what it was sent.
pub(crate) fn provider(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let sent = message(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        sent
    });
    (url, thread)
}

/// Reads a message to the end that its content-length tells, or to the connection's.
fn message(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            length.is_some_and(|length| body.len() >= length.parse().unwrap())
        });
        match if whole { 0 } else { stream.read(&mut buffer).unwrap() } {
            0 => return text,
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
}

/// A gateway before such a provider, of the dialect.
pub(crate) fn before(dialect: Dialect, url: &str) -> World {
    let mut provider = Provider::new(dialect.name(), dialect, url, Secret::new(KEY)).unwrap();
    provider.output_limit = OutputLimit::MaxCompletionTokens;
    World::over(ModelServer::start().unwrap(), vec![provider], MemoryLedger::unlimited(), deadlines())
}

pub(crate) async fn exchange(world: &World, request: String) -> String {
    let port = world.port;
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        message(&mut stream)
    })
    .await
    .unwrap()
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: Mon, 01 Dec 2025 00:00:00 GMT\r\nX-Request-ID: r\r\nx-twice: 1\r\nset-cookie: a=b\r\nConnection: x-hop, keep-alive\r\nx-hop: 1\r\nx-odd: caf\u{e9} \t;, \"\r\nx-twice: 2\r\nalt-svc: h3\r\nContent-Type: application/json; x=\"Y\"\r\nContent-Length: 111\r\nopenai-version: 2020-10-01\r\n\r\n{ \"usage\" : {\"prompt_tokens\":1,\"completion_tokens\":2 ,\"x\":1.50e1},\r\n\t\"choices\":[], \"unknown\": \"\\u00e9\u{e9}\"}      ";

#[tokio::test]
async fn of_the_heads_only_what_is_listed_changes() {
    let body = chat("hi");
    for (dialect, path, key) in [
        (Dialect::OpenAi, "/openai/v1/chat/completions", format!("authorization: Bearer {KEY}")),
        (Dialect::Cohere, "/cohere/v2/chat", format!("authorization: Bearer {KEY}")),
        (Dialect::Google, "/v1beta/models/m:generateContent", format!("x-goog-api-key: {KEY}")),
        (Dialect::Anthropic, "/v1/messages", format!("x-api-key: {KEY}")),
    ] {
        let (url, provider) = provider(ANSWER);
        let base = if dialect == Dialect::OpenAi { format!("{url}/v1") } else { url.clone() };
        let world = before(dialect, &base);
        let model = match dialect {
            Dialect::OpenAi => "gpt-5-mini",
            Dialect::Anthropic => "claude-sonnet-4-5",
            Dialect::Google => "gemini-x",
            Dialect::Cohere => "command-x",
        };
        let body = match dialect {
            Dialect::Google => r#"{"contents":[],"generationConfig":{"maxOutputTokens":1}}"#.to_owned(),
            _ => body.replace("gpt-5-mini", model).replace("max_completion_tokens", "max_tokens"),
        };
        let path = path.replace("/m:", &format!("/{model}:"));
        let (asked, kept) = match dialect {
            Dialect::OpenAi => ("%61pi-version=1", "?%61pi-version=1"),
            Dialect::Anthropic => ("beta=tru%65", "?beta=tru%65"),
            Dialect::Google => ("alt=%6ason", "?alt=%6ason"),
            Dialect::Cohere => ("alt=json", ""),
        };
        let request = format!(
            "POST {path}?x=%2f&y&{asked} HTTP/1.1\r\nHost: gateway\r\nUser-Agent: Client/1\r\nX-One: 1\r\nAuthorization: Bearer placeholder\r\nx-api-key: placeholder\r\nApi-Key: placeholder\r\nX-Goog-Api-Key: placeholder\r\nProxy-Authorization: Basic eA==\r\nCookie: c=d\r\nAccept-Encoding: gzip, br\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Two: caf\u{e9} \t;\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\nX-One: 3\r\nAccept: */*\r\n\r\n{body}",
            body.len()
        );
        let got = exchange(&world, request).await;
        let sent = provider.join().unwrap();
        let address = url.strip_prefix("http://").unwrap();
        let target = path.strip_prefix("/openai").or(path.strip_prefix("/cohere")).unwrap_or(&path);
        let hop = sent.split("\r\nwflo-hop: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
        assert!(hop.len() == 16 && hop.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hop}");
        // Names are written small, and lines of one name stand together.
        let expected = format!(
            "POST {target}{kept} HTTP/1.1\r\nuser-agent: Client/1\r\nx-one: 1\r\nx-one: 3\r\nx-two: caf\u{e9} \t;\r\ncontent-type: application/json\r\naccept: */*\r\naccept-encoding: identity\r\n{key}\r\nwflo-hop: {hop}\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(sent, expected, "{dialect:?}");
        let whole = ANSWER.split_once("\r\n\r\n").unwrap().1;
        let expected = format!(
            "HTTP/1.1 200 OK\r\ndate: Mon, 01 Dec 2025 00:00:00 GMT\r\nx-request-id: r\r\nx-twice: 1\r\nx-twice: 2\r\nx-odd: caf\u{e9} \t;, \"\r\ncontent-type: application/json; x=\"Y\"\r\nopenai-version: 2020-10-01\r\ncontent-length: 111\r\n\r\n{whole}",
        );
        assert_eq!(got, expected, "{dialect:?}");
    }
}

/// What each dialect's stream ends with; the rest is the same for all of them.
pub(crate) fn ending(path: &str) -> &'static str {
    match path {
        "/openai/v1/chat/completions" => {
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\rdata: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n"
        }
        "/openai/v1/responses" => {
            "event: response.completed\rdata: {\"type\":\"response.completed\",\rdata: \"response\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":2}}}\r\r: after\n\ndata: [DONE]\n\n"
        }
        "/anthropic/v1/messages" => {
            "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}}\r\n\r\nevent: message_delta\ndata: {\"type\":\"message_delta\",\ndata:\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
        }
        "/cohere/v2/chat" => {
            "event: message-end\ndata:{\"type\":\"message-end\",\"delta\":{\"usage\":{\"billed_units\":{\"input_tokens\":4,\"output_tokens\":2}}}}\n\n: after\r\n\r\ndata: [DONE]\n\n"
        }
        _ => {
            "data: {\"candidates\":[{\"finishReason\":\"STOP\",\"index\":0}],\rdata: \"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":2}}\r\r: after\n\n"
        }
    }
}

/// Comments, every kind of line end, fields that nobody knows, an event of many lines, a byte-order mark.
const BEGINNING: &str = "\u{feff}: hello\n\nid: 7\r\nretry: 10\r\nx-field\r\n\r\ndata: {\"a\":\"caf\u{e9} \u{1f600} \\ud83d\\ude00\",\ndata:  \"b\":1}\r\rdata\n\n\n\n: keep-alive\r\n\r\n";

#[tokio::test]
async fn of_a_stream_no_byte_changes_wherever_the_network_cuts_it() {
    for shape in streams().filter(|shape| !shape.path.ends_with("Content")) {
        let all = Bytes::from(format!("{BEGINNING}{}", ending(shape.path.split('?').next().unwrap())));
        for size in [1, 2, 3, 5, 64, 4_096] {
            let world = World::new(MemoryLedger::unlimited());
            let pieces = all.chunks(size).map(Bytes::copy_from_slice).collect();
            let headers = vec![("content-type", "text/event-stream; charset=utf-8"), ("x-own", "1")];
            world.mock.fault_next(Fault::Verbatim(headers, pieces));
            let got = shape.ask(&world, "x").await;
            assert!(got.whole, "{shape:?} in pieces of {size}: {}", got.text());
            assert_eq!(got.body, all, "{shape:?} in pieces of {size}");
            assert_eq!(got.headers["x-own"], "1");
            let usage = only_outcome(&world).usage.unwrap();
            assert_eq!((usage.total_input(), usage.total_output()), (4, 2), "{shape:?}");
        }
    }
}

#[tokio::test]
async fn of_googles_array_no_byte_changes_wherever_the_network_cuts_it() {
    let shape = streams().find(|shape| shape.path.ends_with("Content")).unwrap();
    let all = Bytes::from_static(b" [ {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"]}\\\"\xc3\xa9\"}]}}]}\r\n,\n{\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":2}}\n]\r\n\n");
    for size in [1, 2, 7, 4_096] {
        let world = World::new(MemoryLedger::unlimited());
        let pieces = all.chunks(size).map(Bytes::copy_from_slice).collect();
        world
            .mock
            .fault_next(Fault::Verbatim(vec![("content-type", "application/json; charset=UTF-8")], pieces));
        let got = shape.ask(&world, "x").await;
        assert!(got.whole, "in pieces of {size}: {}", got.text());
        assert_eq!(got.body, all, "in pieces of {size}");
        assert_eq!(only_outcome(&world).usage.unwrap().total_input(), 4);
    }
}

/// A server that compresses although it was told not to: what it sent is what the client gets.
#[tokio::test]
async fn a_compressed_answer_passes_as_it_is_and_is_charged_as_held() {
    let squeezed = Bytes::from_static(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03 data: [DONE]\n\n\xff\xfe");
    for kind in ["text/event-stream", "application/json"] {
        for shape in streams() {
            let world = World::new(MemoryLedger::unlimited());
            let headers = vec![("content-type", kind), ("content-encoding", "gzip")];
            let pieces = squeezed.chunks(4).map(Bytes::copy_from_slice).collect();
            world.mock.fault_next(Fault::Verbatim(headers, pieces));
            let got = shape.ask(&world, "x").await;
            assert!(got.whole && got.status == 200);
            assert_eq!((&got.body, &got.headers["content-encoding"]), (&squeezed, &"gzip".parse().unwrap()));
            charged_as_held(&world);
        }
    }
}
