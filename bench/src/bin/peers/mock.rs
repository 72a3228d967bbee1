//! The provider: chat completions with a fixed answer, 50 tokens in and 5 out, streamed if asked.
//!
//! A stream is 20 events, a millisecond apart, each with the moment at which it was written; a request whose
//! text says `hold` is answered with two events and then nothing. `GET /counts` says how many were asked.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::LocalSet;

use super::Outcome;
use super::http::{Wire, nanos};

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1763700000,"model":"gpt-5-mini","choices":[{"index":0,"message":{"role":"assistant","content":"fine","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":50,"completion_tokens":5,"total_tokens":55,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default"}"#;

const EVENTS: usize = 20;

pub(crate) async fn serve(port: u16) -> Outcome<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let asked = Rc::new(Cell::new(0_u64));
    let local = LocalSet::new();
    local
        .run_until(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let asked = Rc::clone(&asked);
                tokio::task::spawn_local(async move {
                    // A client that goes is what clients do.
                    let _ = connection(Wire::new(stream), asked).await;
                });
            }
        })
        .await
}

async fn connection(mut wire: Wire, asked: Rc<Cell<u64>>) -> Outcome<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    loop {
        let (first, body) = wire.sized().await?;
        if first.starts_with("get ") {
            let counts = asked.get().to_string();
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{counts}", counts.len());
            wire.write(text.as_bytes()).await?;
            continue;
        }
        asked.set(asked.get() + 1);
        let head = &body[..body.len().min(400)];
        let says = |what: &[u8]| head.windows(what.len()).any(|some| some == what);
        if says(br#""stream":true"#) || says(br#""stream": true"#) {
            stream(&mut wire, says(b"hold")).await?;
        } else {
            wire.write(answer.as_bytes()).await?;
        }
    }
}

async fn stream(wire: &mut Wire, hold: bool) -> Outcome<()> {
    wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    for event in 0..EVENTS {
        pace.tick().await;
        let text = format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1763700000,\"model\":\"gpt-5-mini\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"@{:020}@\"}},\"finish_reason\":null}}]}}\n\n",
            nanos()
        );
        wire.write(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await?;
        if hold && event == 1 {
            std::future::pending::<()>().await;
        }
    }
    let end = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1763700000,\"model\":\"gpt-5-mini\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1763700000,\"model\":\"gpt-5-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":5,\"total_tokens\":55}}\n\ndata: [DONE]\n\n";
    wire.write(format!("{:x}\r\n{end}\r\n0\r\n\r\n", end.len()).as_bytes()).await
}
