//! The control plane: sandboxes are made, listed, looked at, given more time, paused and ended.

mod told;
mod wish;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use self::told::{Created, Listed};
use self::wish::Filter;
use crate::access;
use crate::answer::{self, Body};
use crate::ask::{self, Ask, DISK, DiskUse};
use crate::body;
use crate::error::ApiError;
use crate::live::Live;
use crate::sandboxes::Sandboxes;

/// The time that is given where a client says nothing.
const USUAL: Duration = Duration::from_secs(300);

/// A request of the control plane.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// The path's parts, without the version before them.
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// Of `timeout`, `refreshes`, `resume` and `connect`.
#[derive(Debug, Default, Deserialize)]
struct Time {
    /// In seconds.
    timeout: Option<u64>,
    /// The same, of `refreshes`.
    duration: Option<u64>,
    /// Whether memory is kept, of `pause`, or brought back.
    memory: Option<bool>,
}

/// Answers it.
pub(crate) async fn answer(
    sandboxes: &Arc<Sandboxes>,
    asked: Asked<'_>,
    body: &mut Incoming,
) -> Result<Response<Body>, ApiError> {
    match (asked.method, asked.path) {
        (&Method::POST, ["sandboxes"]) => {
            let wish = wish::read(&message(sandboxes, body).await?, sandboxes, asked.headers)?;
            let live = sandboxes.create(wish).await?;
            Ok(answer::message(StatusCode::CREATED, &Created::of(&live)))
        }
        (&Method::GET, ["sandboxes"]) => list(sandboxes, asked.query),
        (&Method::GET, ["sandboxes", "metrics"]) => metrics_of_many(sandboxes, asked.query).await,
        (&Method::GET, ["sandboxes", id]) => {
            let live = find(sandboxes, id)?;
            Ok(answer::message(StatusCode::OK, &Listed::of(&live, &sandboxes.each).in_full(&live)))
        }
        (&Method::DELETE, ["sandboxes", id]) => {
            let live = find(sandboxes, id)?;
            sandboxes.audit.record("sandbox.killed", id, &json!({}));
            sandboxes.kill(&live).await;
            Ok(answer::status(StatusCode::NO_CONTENT))
        }
        (&Method::GET, ["sandboxes", id, "metrics"]) => {
            let measured = metric(sandboxes, &find(sandboxes, id)?).await?;
            Ok(answer::message(StatusCode::OK, &[measured]))
        }
        (&Method::GET, ["sandboxes", id, "logs"]) => {
            find(sandboxes, id)?;
            Err(ApiError::NotOffered("logs of sandboxes: its audit log says what was done".to_owned()))
        }
        (&Method::POST, ["sandboxes", id, verb]) => {
            let live = find(sandboxes, id)?;
            let time: Time = body::parsed(&message(sandboxes, body).await?)?;
            verb_of(sandboxes, &live, verb, &time).await.map_err(|error| match error {
                ApiError::Gone(id) => ApiError::NoSandbox(id),
                other => other,
            })
        }
        (&Method::PUT, ["sandboxes", id, "network"]) => {
            let live = find(sandboxes, id)?;
            let hosts = wish::network(&message(sandboxes, body).await?, &sandboxes.each.hosts)?;
            live.allow(hosts)?;
            sandboxes.audit.record("sandbox.network", id, &json!({ "hosts": live.hosts() }));
            Ok(answer::status(StatusCode::NO_CONTENT))
        }
        (method, path) => Err(ApiError::NotOffered(format!("{method} /{}", path.join("/")))),
    }
}

/// All of a message. How much of them is held at once is bounded for all clients together.
async fn message(sandboxes: &Sandboxes, body: &mut Incoming) -> Result<Bytes, ApiError> {
    body::gathered(body, wish::MESSAGE, &sandboxes.inward).await
}

/// One sandbox, or that there is none.
fn find(sandboxes: &Sandboxes, id: &str) -> Result<Arc<Live>, ApiError> {
    sandboxes.find(id).ok_or_else(|| ApiError::NoSandbox(id.to_owned()))
}

async fn verb_of(
    sandboxes: &Arc<Sandboxes>,
    live: &Arc<Live>,
    verb: &str,
    time: &Time,
) -> Result<Response<Body>, ApiError> {
    let now = sandboxes.clock.now();
    let span = time.timeout.or(time.duration).map(|seconds| wish::span(seconds, sandboxes)).transpose()?;
    let give = |only_more| {
        live.give(span.unwrap_or(USUAL), now, only_more)?;
        sandboxes.audit.record("sandbox.timeout", &live.id, &json!({ "ends": live.ends().to_string() }));
        Ok::<(), ApiError>(())
    };
    match verb {
        "timeout" | "refreshes" => {
            give(verb == "refreshes")?;
            Ok(answer::status(StatusCode::NO_CONTENT))
        }
        "pause" => {
            if time.memory == Some(false) {
                let why = "a sandbox that is paused stays in memory as it is";
                return Err(ApiError::NotHere { what: "memory: false".to_owned(), why });
            }
            if !sandboxes.pause(live).await? {
                return Err(ApiError::Paused(live.id.clone()));
            }
            Ok(answer::status(StatusCode::NO_CONTENT))
        }
        "resume" | "connect" => {
            if time.memory == Some(false) {
                let why = "a sandbox goes on as it was paused";
                return Err(ApiError::NotHere { what: "memory: false".to_owned(), why });
            }
            let woken = sandboxes.resume(live, span, json!({})).await?;
            if !woken {
                give(true)?;
            }
            let status = if woken { StatusCode::CREATED } else { StatusCode::OK };
            Ok(answer::message(status, &Created::of(live)))
        }
        other => Err(ApiError::NotOffered(format!("`{other}` of a sandbox"))),
    }
}

/// A page of them.
fn list(sandboxes: &Sandboxes, query: &str) -> Result<Response<Body>, ApiError> {
    let filter = Filter::read(query)?;
    let mut all = sandboxes.list();
    all.retain(|live| filter.takes(live));
    // The newest first, as E2B has them.
    all.sort_by(|a, b| (b.started, &b.id).cmp(&(a.started, &a.id)));
    if filter.oldest_first {
        all.reverse();
    }
    let from = match &filter.after {
        Some(id) => all.iter().position(|live| live.id == *id).map_or(all.len(), |at| at + 1),
        None => 0,
    };
    let page: Vec<_> = all.iter().skip(from).take(filter.limit).collect();
    let more = all.len() > from + page.len();
    let told: Vec<_> = page.iter().map(|live| Listed::of(live, &sandboxes.each)).collect();
    let mut answer = answer::message(StatusCode::OK, &told);
    if let Some(last) = page.last().filter(|_| more)
        && let Ok(value) = HeaderValue::from_str(&last.id)
    {
        answer.headers_mut().insert("x-next-token", value);
    }
    Ok(answer)
}

async fn metrics_of_many(sandboxes: &Sandboxes, query: &str) -> Result<Response<Body>, ApiError> {
    let mut told = serde_json::Map::new();
    for id in wish::named(query) {
        if let Some(live) = sandboxes.find(&id) {
            told.insert(id, json!(metric(sandboxes, &live).await?));
        }
    }
    Ok(answer::message(StatusCode::OK, &json!({ "sandboxes": told })))
}

async fn metric(sandboxes: &Sandboxes, live: &Arc<Live>) -> Result<told::Metric, ApiError> {
    let own = Arc::clone(live);
    let used = tokio::task::spawn_blocking(move || own.tree.usage()).await;
    let used = used.ok().and_then(Result::ok).ok_or_else(|| ApiError::Gone(live.id.clone()))?;
    let disk = match live.is_paused() {
        true => DiskUse { used: 0, total: sandboxes.each.disk.0 },
        false => disk(live).await?,
    };
    let share = live.share(used.cpu.unwrap_or_default());
    Ok(told::Metric::new(
        sandboxes.clock.now(),
        &sandboxes.each,
        used.memory.or(used.memory_peak).unwrap_or_default(),
        share,
        disk,
    ))
}

async fn disk(live: &Live) -> Result<DiskUse, ApiError> {
    let nothing = ask::own(&json!({}));
    let answer = live.ask(&Ask::new(DISK, &nothing)).await?.answer(crate::conversation::ANSWER).await?;
    serde_json::from_slice(&answer).map_err(|_| ApiError::Broken(live.id.clone()))
}

/// The text of the header that makes a request one that is carried out once.
fn idempotency(headers: &HeaderMap) -> Option<String> {
    access::text(headers, "idempotency-key")
        .filter(|key| !key.is_empty() && key.len() <= 255)
        .map(str::to_owned)
}
