//! What each request is for, and whether it may.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::access::{Keys, Operation, text};
use crate::answer::{self, Body};
use crate::body;
use crate::code;
use crate::connect::{self, Call};
use crate::control::{self, Asked};
use crate::error::ApiError;
use crate::guests::Guest;
use crate::live::Live;
use crate::sandboxes::Sandboxes;
use crate::secret;
use crate::transfer::{self, Address};

/// The ports inside E2B's sandboxes that something answers on: files and programs, and code.
const PORTS: [&str; 2] = ["49983", "49999"];

/// What every request is answered with.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) sandboxes: Arc<Sandboxes>,
    pub(crate) keys: Keys,
    /// Answers that are still being sent.
    pub(crate) streams: TaskTracker,
}

/// Answers one request.
pub(crate) async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let mut answer = answer_of(shared, &head, &mut body).await;
    let refused = answer.status().is_client_error() || answer.status().is_server_error();
    // A client that still sends comes to read why it was refused, and its next request finds its connection; or it
    // is told that there is none.
    if refused && !body::drain(&mut body).await && head.version < Version::HTTP_2 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn answer_of(shared: &Shared, head: &http::request::Parts, body: &mut Incoming) -> Response<Body> {
    let path = head.uri.path().trim_matches('/').to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["health"] => health(shared, head),
        ["files"] => files(shared, head, body).await.unwrap_or_else(|error| transfer::failed(&error)),
        ["execute"] | ["contexts", ..] => of_code(shared, head, &parts, body).await,
        [_, _] if connect::is_method(&path) => call(shared, head, path.clone(), body).await,
        ["v1" | "v2" | "v3", rest @ ..] => control(shared, head, rest, body).await,
        rest => control(shared, head, rest, body).await,
    }
}

/// The name of the sandbox that a request is for, and the port: said by headers, or by the host's name
/// (`PORT-NAME.…`).
fn named(head: &http::request::Parts) -> Option<(String, String)> {
    if let Some(id) = text(&head.headers, "e2b-sandbox-id") {
        let port = text(&head.headers, "e2b-sandbox-port").unwrap_or("49983");
        return Some((id.to_owned(), port.to_owned()));
    }
    let host = head.uri.host().or_else(|| text(&head.headers, "host"))?;
    let (port, rest) = host.split_once('-')?;
    let id = rest.split('.').next()?;
    // Hosts have names of their own, with hyphens in them.
    let is_name = port.parse::<u16>().is_ok() && id.len() == secret::NAME;
    is_name.then(|| (id.to_owned(), port.to_owned()))
}

/// The sandbox that a request is for, awake.
async fn live(shared: &Shared, head: &http::request::Parts) -> Result<Arc<Live>, ApiError> {
    let (id, port) = named(head).ok_or_else(|| {
        ApiError::Unclear("the request names no sandbox: E2b-Sandbox-Id is missing".to_owned())
    })?;
    let live = shared.sandboxes.find(&id).ok_or_else(|| ApiError::Gone(id.clone()))?;
    if !PORTS.contains(&port.as_str()) {
        return Err(ApiError::NoPort { id, port });
    }
    Ok(live)
}

/// Whoever asks has shown a key or a token, and keeps the connection.
fn known(head: &http::request::Parts) {
    if let Some(guest) = head.extensions.get::<Arc<Guest>>() {
        guest.stays();
    }
}

/// Lets a sandbox that is paused go on, where its client wanted that, once it is known who asks.
async fn awake(shared: &Shared, live: &Arc<Live>) -> Result<(), ApiError> {
    if !live.is_paused() {
        return Ok(());
    }
    if !live.wakes {
        return Err(ApiError::Asleep(live.id.clone()));
    }
    shared.sandboxes.resume(live, None, json!({ "why": "request" })).await.map(drop)
}

/// Nobody needs a token to be told that a sandbox runs whose name they know.
fn health(shared: &Shared, head: &http::request::Parts) -> Response<Body> {
    let Some((id, _)) = named(head) else { return answer::status(StatusCode::NO_CONTENT) };
    match shared.sandboxes.find(&id) {
        Some(live) if live.is_paused() => answer::error(&ApiError::Asleep(id)),
        Some(_) => answer::status(StatusCode::NO_CONTENT),
        None => answer::error(&ApiError::Gone(id)),
    }
}

async fn files(
    shared: &Shared,
    head: &http::request::Parts,
    body: &mut Incoming,
) -> Result<Response<Body>, ApiError> {
    let operation = match head.method {
        Method::GET => Operation::Read,
        Method::POST => Operation::Write,
        _ => return Err(ApiError::NotOffered(format!("{} /files", head.method))),
    };
    let address = Address::read(head.uri.query().unwrap_or_default())?;
    let (sandboxes, headers) = (&shared.sandboxes, &head.headers);
    let live = match named(head) {
        Some(_) => live(shared, head).await?,
        None => address.signer(sandboxes, operation).ok_or(ApiError::NoToken)?,
    };
    if !address.opens(&live, headers, operation, sandboxes.clock.now().as_second()) {
        return Err(ApiError::NoToken);
    }
    known(head);
    awake(shared, &live).await?;
    match operation {
        Operation::Read => transfer::download(&live, &address, &sandboxes.audit, &shared.streams).await,
        Operation::Write => transfer::upload(&live, &address, headers, body, &sandboxes.audit).await,
    }
}

async fn of_code(
    shared: &Shared,
    head: &http::request::Parts,
    parts: &[&str],
    body: &mut Incoming,
) -> Response<Body> {
    let answered = async {
        let live = live(shared, head).await?;
        if !live.tokens.open_code(&head.headers) {
            return Err(ApiError::NoToken);
        }
        known(head);
        awake(shared, &live).await?;
        code::answer(&live, &head.method, parts, body, &shared.sandboxes.audit, &shared.streams).await
    };
    answered.await.unwrap_or_else(|error| answer::error(&error))
}

async fn call(
    shared: &Shared,
    head: &http::request::Parts,
    method: String,
    body: &mut Incoming,
) -> Response<Body> {
    let allowed = async {
        if head.method != Method::POST {
            return Err(ApiError::NotOffered(format!("{} of a method", head.method)));
        }
        let live = live(shared, head).await?;
        if !live.tokens.open_files_and_programs(&head.headers) {
            return Err(ApiError::NoToken);
        }
        known(head);
        awake(shared, &live).await?;
        Ok(live)
    };
    match allowed.await {
        Ok(live) => {
            let (audit, streams) = (&shared.sandboxes.audit, &shared.streams);
            let call = Call { live: &live, method, headers: &head.headers, audit, streams };
            connect::answer(call, body).await
        }
        // A sandbox that is gone is told as whatever stands before E2B's tells it.
        Err(error @ (ApiError::Gone(_) | ApiError::Asleep(_) | ApiError::NoPort { .. })) => {
            answer::error(&error)
        }
        Err(error) => connect::fault(error),
    }
}

async fn control(
    shared: &Shared,
    head: &http::request::Parts,
    path: &[&str],
    body: &mut Incoming,
) -> Response<Body> {
    if !shared.keys.open(&head.headers) {
        return answer::error(&ApiError::NoKey);
    }
    known(head);
    let query = head.uri.query().unwrap_or_default();
    let asked = Asked { method: &head.method, path, query, headers: &head.headers };
    let answered = control::answer(&shared.sandboxes, asked, body).await;
    answered.unwrap_or_else(|error| answer::error(&error))
}
