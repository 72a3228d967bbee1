//! The clients.
//!
//! `latency direct=PORT through=PORT size=B count=N` asks both in turns on one connection each;
//! `stream` the same for streams, and gives how late each event is;
//! `rate through=PORT clients=N seconds=S size=B` asks as fast as it is answered;
//! `burst through=PORT clients=N` asks from N clients until each is refused three times in a row;
//! `hold through=PORT clients=N pid=P` opens N streams that do not end, and gives the resident memory of P.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::Outcome;
use super::http::{Wire, nanos};

struct Options<'a>(BTreeMap<&'a str, &'a str>);

impl Options<'_> {
    fn number(&self, name: &str, usual: u64) -> Outcome<u64> {
        Ok(self.0.get(name).map(|text| text.parse()).transpose()?.unwrap_or(usual))
    }

    fn port(&self, name: &str) -> Outcome<u16> {
        let text = self.0.get(name).ok_or_else(|| format!("{name}=PORT is missing"))?;
        Ok(text.parse()?)
    }
}

pub(crate) async fn run(what: &str, words: &[&str]) -> Outcome<Value> {
    let options = Options(words.iter().filter_map(|word| word.split_once('=')).collect());
    match what {
        "latency" => latency(&options).await,
        "stream" => stream(&options).await,
        "rate" => LocalSet::new().run_until(rate(&options)).await,
        "burst" => LocalSet::new().run_until(burst(&options)).await,
        "hold" => hold(&options).await,
        other => Err(format!("no such load: {other}").into()),
    }
}

fn request(size: u64, stream: bool, text: &str) -> Vec<u8> {
    let filler = "a".repeat(usize::try_from(size).unwrap_or(0).saturating_sub(140));
    let body = format!(
        r#"{{"model":"gpt-5-mini","stream":{stream},"max_completion_tokens":100,"messages":[{{"role":"user","content":"{text} {filler}"}}]}}"#
    );
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer sk-any\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn ask(wire: &mut Wire, request: &[u8]) -> Outcome<(Duration, bool)> {
    let start = Instant::now();
    wire.write(request).await?;
    let (first, _) = wire.sized().await?;
    Ok((start.elapsed(), first.contains(" 200")))
}

fn summary(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len() as f64) * share) as usize).or(times.last()).copied();
    json!({"p50_us": at(0.5), "p99_us": at(0.99), "count": times.len()})
}

async fn latency(options: &Options<'_>) -> Outcome<Value> {
    let (size, count) = (options.number("size", 300)?, options.number("count", 2_000)?);
    let request = request(size, false, "hi");
    let mut direct = Wire::connect(options.port("direct")?).await?;
    let mut through = Wire::connect(options.port("through")?).await?;
    let (mut plain, mut added) = (Vec::new(), Vec::new());
    let warm = count / 10;
    for turn in 0..count + warm {
        let (one, _) = ask(&mut direct, &request).await?;
        let (two, good) = ask(&mut through, &request).await?;
        if !good {
            return Err("the gateway did not answer with 200".into());
        }
        if turn >= warm {
            plain.push(one.as_secs_f64() * 1e6);
            added.push(two.as_secs_f64() * 1e6);
        }
    }
    Ok(json!({"direct": summary(plain), "through": summary(added), "bytes": request.len()}))
}

async fn stream(options: &Options<'_>) -> Outcome<Value> {
    let count = options.number("count", 100)?;
    let request = request(300, true, "hi");
    let (mut late, mut plain) = (Vec::new(), Vec::new());
    let mut wires =
        [Wire::connect(options.port("direct")?).await?, Wire::connect(options.port("through")?).await?];
    for _ in 0..count {
        for (at, wire) in wires.iter_mut().enumerate() {
            wire.write(&request).await?;
            let head = wire.head().await?;
            if head.length.is_some() {
                return Err(format!("no stream: {}", head.first).into());
            }
            let times = if at == 0 { &mut plain } else { &mut late };
            wire.chunked(head, |piece| lateness(piece, times)).await?;
        }
    }
    Ok(json!({"direct": summary(plain), "through": summary(late)}))
}

/// How late each event of a piece is, by the moment that stands in it.
fn lateness(piece: &[u8], times: &mut Vec<f64>) {
    let now = nanos();
    let text = String::from_utf8_lossy(piece);
    let mut parts = text.split('@');
    while let (Some(_), Some(sent)) = (parts.next(), parts.next()) {
        if let Ok(sent) = sent.parse::<u64>() {
            times.push(now.saturating_sub(sent) as f64 / 1e3);
        }
    }
}

async fn rate(options: &Options<'_>) -> Outcome<Value> {
    let (clients, seconds) = (options.number("clients", 32)?, options.number("seconds", 5)?);
    let request: Rc<[u8]> = request(options.number("size", 300)?, false, "hi").into();
    let port = options.port("through")?;
    let (answered, failed) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (request, answered, failed) = (Rc::clone(&request), Rc::clone(&answered), Rc::clone(&failed));
        tasks.push(tokio::task::spawn_local(async move {
            let mut wire = Wire::connect(port).await?;
            while Instant::now() < end {
                let (_, good) = ask(&mut wire, &request).await?;
                let counter = if good { &answered } else { &failed };
                counter.set(counter.get() + 1);
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(
        json!({"per_second": answered.get() as f64 / seconds, "answered": answered.get(), "failed": failed.get()}),
    )
}

async fn burst(options: &Options<'_>) -> Outcome<Value> {
    let (clients, port) = (options.number("clients", 10)?, options.port("through")?);
    let most = options.number("most", 2_000)?;
    let request: Rc<[u8]> = request(300, false, "hi").into();
    let (answered, refused) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (request, answered, refused) = (Rc::clone(&request), Rc::clone(&answered), Rc::clone(&refused));
        tasks.push(tokio::task::spawn_local(async move {
            let mut wire = Wire::connect(port).await?;
            let mut in_a_row = 0;
            while in_a_row < 3 && answered.get() < most {
                match ask(&mut wire, &request).await {
                    Ok((_, true)) => {
                        answered.set(answered.get() + 1);
                        in_a_row = 0;
                    }
                    Ok((_, false)) => {
                        refused.set(refused.get() + 1);
                        in_a_row += 1;
                    }
                    // A server may close a connection after a refusal.
                    Err(_) => {
                        wire = Wire::connect(port).await?;
                        in_a_row += 1;
                    }
                }
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(
        json!({"answered": answered.get(), "refused": refused.get(), "seconds": start.elapsed().as_secs_f64()}),
    )
}

async fn hold(options: &Options<'_>) -> Outcome<Value> {
    let (clients, port, pid) =
        (options.number("clients", 2_000)?, options.port("through")?, options.number("pid", 0)?);
    let request = request(300, true, "hold");
    let before = resident(pid)?;
    let mut wires = Vec::new();
    for _ in 0..clients {
        let mut wire = Wire { buffer: Vec::new(), ..Wire::connect(port).await? };
        wire.write(&request).await?;
        wires.push(wire);
    }
    for wire in &mut wires {
        let head = wire.head().await?;
        if !head.first.contains(" 200") {
            return Err(format!("a stream was refused: {}", head.first).into());
        }
    }
    Ok(json!({"clients": clients, "before_kb": before, "resident_kb": resident(pid)?}))
}

fn resident(pid: u64) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
