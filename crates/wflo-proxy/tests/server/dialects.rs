//! Every dialect over every protocol, well or not: what is charged is what its provider billed, or the hold of
//! what nobody knows.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use wflo_core::ports::store::SliceStore as _;
use wflo_testkit::model_server::{Answer, Fault};

use crate::world::{BILL, Setup, World};

/// How each is asked, streamed or not.
const WAYS: [(&str, &str); 8] = [
    (
        "/v1/chat/completions",
        r#"{"model":"smol","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"stream":true,"model":"smol","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#,
    ),
    (
        "/v1/messages",
        r#"{"model":"claude-x","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#,
    ),
    (
        "/v1/messages",
        r#"{"stream":true,"model":"claude-x","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#,
    ),
    (
        "/v1beta/models/gemini-x:generateContent",
        r#"{"contents":[{"parts":[{"text":"hello"}]}],"generationConfig":{"maxOutputTokens":100}}"#,
    ),
    (
        "/v1beta/models/gemini-x:streamGenerateContent?alt=sse",
        r#"{"contents":[{"parts":[{"text":"hello"}]}],"generationConfig":{"maxOutputTokens":100}}"#,
    ),
    ("/v2/chat", r#"{"model":"command-x","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#),
    (
        "/v2/chat",
        r#"{"stream":true,"model":"command-x","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}"#,
    ),
];

/// A connection of either version.
enum Client {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, second: bool) -> Client {
        let stream = TokioIo::new(stream);
        if second {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            return Client::Two(sender);
        }
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Client::One(sender)
    }

    /// The status, the body as far as it came, and whether it came to its end.
    async fn ask(&mut self, (path, body): (&str, &'static str)) -> (StatusCode, String, bool) {
        let at = if matches!(self, Client::Two(_)) { "http://localhost" } else { "" };
        let request = Request::post(format!("{at}{path}")).header("host", "localhost");
        let request = request.body(Full::from(body)).unwrap();
        let response = match self {
            Client::One(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await
            }
            Client::Two(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await
            }
        };
        let (head, mut body) = response.unwrap().into_parts();
        let mut text = Vec::new();
        loop {
            match body.frame().await {
                Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                end => return (head.status, String::from_utf8_lossy(&text).into_owned(), end.is_none()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dialect_is_served_over_every_protocol_and_billed_as_its_provider_bills() {
    for tls in [false, true] {
        let world = World::with(Setup { tls, ..Setup::default() }).await;
        for second in [false, true] {
            let mut client = match tls {
                false => Client::over(world.connect().await, second).await,
                true => {
                    Client::over(world.secured(if second { b"h2" } else { b"http/1.1" }).await, second).await
                }
            };
            for way in WAYS {
                let (status, text, whole) = client.ask(way).await;
                assert!(
                    status == StatusCode::OK && whole && text.contains("fine"),
                    "{way:?}: {status} {text}"
                );
            }
        }
        assert_eq!(world.mock.counts().billed, 16);
        assert_eq!(world.charged().await, 16 * BILL);
    }
}

/// A stream that breaks does so for a client of HTTP/2 as well, and takes no other with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_provider_does_wrong_is_told_over_every_protocol() {
    for second in [false, true] {
        let world = World::with(Setup::default()).await;
        // Of more events than are let through.
        world.mock.answer_always(Answer { text: Some("a b c d e fine".into()), ..Answer::billed(10, 5) });
        let (mut certain, mut uncertain) = (0, 0.0);
        for (fault, is_free) in [
            (Fault::Status(500, "oops".to_owned(), None), true),
            (Fault::UsageMissing, false),
            (Fault::Garbage, false),
            (Fault::Close, false),
            (Fault::EndAfter(3), false),
            (Fault::ErrorEvent(2), false),
        ] {
            for (nth, way) in WAYS.into_iter().enumerate() {
                let streams = nth % 2 == 1;
                if !streams && matches!(fault, Fault::EndAfter(_) | Fault::ErrorEvent(_)) {
                    continue;
                }
                world.mock.fault_next(fault.clone());
                let mut client = Client::over(world.connect().await, second).await;
                let (status, text, whole) = client.ask(way).await;
                match &fault {
                    Fault::Status(..) => assert_eq!((status.as_u16(), text.as_str()), (500, "oops")),
                    Fault::Close => assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{text}"),
                    Fault::UsageMissing | Fault::Garbage => {
                        // What was to be an array, and never ended, is a stream that broke.
                        let broke = fault == Fault::Garbage && way.0.contains(":streamGenerateContent");
                        assert!(
                            status == StatusCode::OK && whole != broke,
                            "{fault:?} {way:?}: {status} {text}"
                        );
                    }
                    _ => {
                        assert!(!whole && text.contains("WFLO-4010"), "{fault:?} {way:?}: {text}");
                    }
                }
                uncertain += f64::from(u8::from(!is_free));
                if second {
                    // The connection is as good as before.
                    let (status, ..) = client.ask(WAYS[0]).await;
                    assert_eq!(status, StatusCode::OK);
                    certain += BILL;
                }
            }
        }
        assert_eq!(world.metric("wflo_gateway_uncertain_calls_total").await, Some(uncertain));
        let store = std::sync::Arc::clone(&world.store);
        let charged = world.charged().await;
        let lines = store.calls_lines().await.unwrap();
        let unknown: i64 = lines.iter().map(|line| line.sum.uncertain.nanos()).sum();
        assert_eq!(charged, certain + unknown);
        assert!(unknown > 0);
    }
}
