//! What the gateway adds to a model call on loopback, journaled and not.
//!
//! The same requests go direct and through it, in turns. The journaled call is also set beside two
//! commits of the same content on the same store, and beside two flushes of the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use wflo_core::money::NanoUsd;
use wflo_gateway::dialect::Dialect;
use wflo_gateway::ledger::{Caller, Ledger};
use wflo_gateway::route::{Provider, Routes};
use wflo_gateway::{Deadlines, Gateway, Limits};
use wflo_testkit::model_server::{Answer, ModelServer};

use crate::disk::Disk;
use crate::ledger::{Journaled, Nothing};
use crate::row::Row;
use crate::samples::Samples;
use crate::workload::Bench;
use crate::{Outcome, Plan};

const SECTION: &str = "gateway";
const CALLS: usize = 600;
const WARM: usize = 100;

pub(crate) async fn measure(plan: &Plan) -> Outcome<Vec<Row>> {
    let (mut direct, mut added, mut added_p99) = (Samples::default(), Samples::default(), Samples::default());
    let (mut journaled, mut commits, mut flushes) =
        (Samples::default(), Samples::default(), Samples::default());
    let mut groups = Samples::default();
    for _ in 0..plan.rounds {
        let plain = compare(Arc::new(Nothing)).await?;
        direct.push(plain.direct.median());
        added.push(plain.through.median() - plain.direct.median());
        added_p99.push(plain.through.percentile(99) - plain.direct.percentile(99));

        let dir = tempfile::tempdir_in(&plan.dir)?;
        let bench = Arc::new(Bench::start(dir.path(), Duration::ZERO, Duration::ZERO).await?);
        let ledger = Arc::new(Journaled::new(&bench).await?);
        let before = *bench.store.commits().borrow();
        let kept = compare(Arc::clone(&ledger) as Arc<dyn Ledger>).await?;
        let after = *bench.store.commits().borrow();
        journaled.push(kept.through.median() - kept.direct.median());
        groups.push((after - before) as f64 / (CALLS + WARM) as f64);
        let (pair, flush) = pairs(&ledger, &mut Disk::new(dir.path(), Duration::ZERO)?).await?;
        commits.push(pair.median());
        flushes.push(flush.median());
        drop(ledger);
        if let Ok(bench) = Arc::try_unwrap(bench) {
            bench.stop().await;
        }
    }
    let two_commits = commits.median();
    Ok(vec![
        Row::new(SECTION, "a call direct: p50", "us", direct.clone()),
        Row::new(SECTION, "added by the gateway, not journaled: p50", "us", added)
            .beside("direct", direct.median())
            .wanted("<= 200 us"),
        Row::new(SECTION, "added by the gateway, not journaled: p99", "us", added_p99),
        Row::new(SECTION, "two flushes of the disk: p50", "us", flushes.clone()),
        Row::new(SECTION, "two commits of a call's content: p50", "us", commits)
            .beside("two flushes", flushes.median()),
        Row::new(SECTION, "added by the gateway, journaled: p50", "us", journaled)
            .beside("two commits", two_commits),
        Row::new(SECTION, "group commits of a journaled call", "", groups).wanted("2"),
    ])
}

/// The same calls both ways.
struct Both {
    direct: Samples,
    through: Samples,
}

async fn compare(ledger: Arc<dyn Ledger>) -> Outcome<Both> {
    let mock = ModelServer::start()?;
    mock.answer_always(Answer { text: Some("fine".into()), ..Answer::billed(50, 5) });
    let mock_port = mock.anthropic_url().rsplit(':').next().unwrap_or_default().parse()?;
    let provider = Provider::new("openai", Dialect::OpenAi, &mock.openai_url(), None)?;
    let routes = Routes::new(vec![provider], Vec::new(), BTreeMap::new())?;
    let gateway = Gateway::new(routes, ledger, Deadlines::default(), Limits::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let handle = gateway.serve(listener, Caller::new("bench", ()))?;
    let body: Bytes = json!({
        "model": "gpt-5-mini",
        "max_completion_tokens": 100,
        "messages": [{ "role": "user", "content": "a".repeat(200) }],
    })
    .to_string()
    .into();
    let (mut direct, mut through) = (Client::connect(mock_port).await?, Client::connect(port).await?);
    let mut both = Both { direct: Samples::default(), through: Samples::default() };
    for call in 0..CALLS + WARM {
        let one = direct.post("/v1/chat/completions", &body).await?;
        let two = through.post("/openai/v1/chat/completions", &body).await?;
        if call >= WARM {
            both.direct.push_us(one);
            both.through.push_us(two);
        }
    }
    handle.stop(Duration::from_secs(1)).await;
    Ok(both)
}

/// What a journaled call commits, without the call, in turns with two flushes of the disk.
async fn pairs(ledger: &Journaled, disk: &mut Disk) -> Outcome<(Samples, Samples)> {
    let (mut times, mut flushes) = (Samples::default(), Samples::default());
    for _ in 0..CALLS {
        let start = Instant::now();
        let request = json!({ "fingerprint": "0".repeat(64), "bytes": 300 });
        let (ops, key, hold) = ledger.intent("chat", request, NanoUsd::from_nanos(1_000_000));
        ledger.commit(ops).await?;
        let result = json!({ "status": 200, "body": { "text": "a".repeat(400) } });
        ledger.commit(ledger.answer(&key, "chat", hold, result)).await?;
        times.push_us(start.elapsed());
        let start = Instant::now();
        disk.flush()?;
        disk.flush()?;
        flushes.push_us(start.elapsed());
    }
    Ok((times, flushes))
}

/// One kept-alive connection.
struct Client(http1::SendRequest<Full<Bytes>>);

impl Client {
    async fn connect(port: u16) -> Outcome<Client> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Client(sender))
    }

    async fn post(&mut self, path: &str, body: &Bytes) -> Outcome<Duration> {
        let request = Request::post(path).header("host", "localhost").body(Full::new(body.clone()))?;
        let start = Instant::now();
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        match status.as_u16() {
            200 => Ok(start.elapsed()),
            _ => Err(format!("answered {status}").into()),
        }
    }
}
