//! What the gateway adds to a call on loopback: the same requests direct and through it, in turns,
//! in one process, with a ledger in memory (nothing is synced to disk).
//!
//! `cargo run --release -p wflo-gateway --example load [REQUESTS]`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/gateway/ledger.rs"]
mod ledger;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use wflo_core::money::NanoUsd;
use wflo_gateway::dialect::{Dialect, Endpoint, request};
use wflo_gateway::ledger::{BoxFuture, CallIntent, Caller, Ledger, LedgerError, Opened, Outcome, Ticket};
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::{Deadlines, Gateway, Limits};
use wflo_testkit::model_server::{Answer, ModelServer};

/// Keeps nothing: what is measured is the gateway alone.
struct Nothing;

impl Ledger for Nothing {
    fn open(&self, _: CallIntent) -> BoxFuture<'_, Result<Opened, LedgerError>> {
        Box::pin(async { Ok(Opened::Dispatch { ticket: Ticket::new(()), output_limit: None }) })
    }

    fn close(&self, _: Ticket, _: Outcome) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async { Ok(()) })
    }

    fn release(&self, _: Ticket) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async { Ok(()) })
    }

    fn connection_closed_early(&self, _: &Ticket) {}
}

struct Client(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Client {
    async fn connect(port: u16) -> Result<Client, Box<dyn std::error::Error>> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client(sender))
    }

    async fn post(&mut self, path: &str, body: &Bytes) -> Result<Duration, Box<dyn std::error::Error>> {
        let request = Request::post(path).header("host", "x").body(Full::new(body.clone()))?;
        let start = Instant::now();
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        if status != 200 {
            return Err(format!("answered {status}").into());
        }
        Ok(start.elapsed())
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times.get(times.len() * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let requests: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let mut out = std::io::stdout().lock();
    for (name, ledger) in [
        ("no ledger", Arc::new(Nothing) as Arc<dyn Ledger>),
        ("memory ledger", ledger::MemoryLedger::unlimited() as _),
    ] {
        let mock = ModelServer::start()?;
        mock.answer_always(Answer { text: Some("fine".into()), ..Answer::billed(50, 5) });
        let mock_port: u16 = mock.anthropic_url().rsplit(':').next().unwrap_or_default().parse()?;
        let provider = Provider::new("openai", Dialect::OpenAi, &mock.openai_url(), None)?;
        let routes = Routes::new(vec![provider], Vec::new(), BTreeMap::new())?;
        let gateway = Gateway::new(routes, ledger, Deadlines::default(), Limits::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let handle = gateway.serve(listener, Caller::new("load", ()))?;
        let (mut direct, mut through) = (Client::connect(mock_port).await?, Client::connect(port).await?);
        for (size, stream) in [(300, false), (100_000, false), (300, true)] {
            let text = "a".repeat(size - 120);
            let body: Bytes = format!(
                r#"{{"model":"gpt-5-mini","stream":{stream},"max_completion_tokens":100,"messages":[{{"role":"user","content":"{text}"}}]}}"#
            )
            .into();
            let count = if name == "memory ledger" { requests.min(300) } else { requests };
            let (mut plain, mut added) = (Vec::with_capacity(count), Vec::with_capacity(count));
            for turn in 0..count + 200 {
                let one = direct.post("/v1/chat/completions", &body).await?;
                let two = through.post("/openai/v1/chat/completions", &body).await?;
                if turn >= 200 {
                    plain.push(one);
                    added.push(two);
                }
            }
            let (p50, p99) = (percentile(&mut plain, 50), percentile(&mut plain, 99));
            let (g50, g99) = (percentile(&mut added, 50), percentile(&mut added, 99));
            writeln!(
                out,
                "{name:13} {size:6} B stream={stream:5} direct p50 {p50:6.0} p99 {p99:6.0} | gateway p50 {g50:6.0} p99 {g99:6.0} | added p50 {:6.0} us p99 {:6.0} us",
                g50 - p50,
                g99 - p99
            )?;
        }
        handle.stop(Duration::from_secs(1)).await;
    }
    let price = wflo_gateway::price::lookup("openai", "gpt-5.4").ok_or("no price")?;
    let body = format!(
        r#"{{"model":"gpt-5.4","max_tokens":10,"messages":[{}1]}}"#,
        r#"{"role":"a\u0000"},"#.repeat(50_000)
    );
    let start = Instant::now();
    let parsed = request::Request::parse(Dialect::OpenAi, Endpoint::Chat, body.as_bytes(), "")?;
    let bound = wflo_gateway::reserve::upper_bound(&parsed, &price)?;
    writeln!(
        out,
        "bound of a hostile {} B body: {:?}, {}",
        body.len(),
        start.elapsed(),
        bound.cost.saturating_add(NanoUsd::ZERO)
    )?;
    Ok(())
}
