//! Who may call, and what is answered without a call: health and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use wflo_core::error::Code;
use wflo_core::exposition::MEDIA_TYPE;
use wflo_core::key::KeyRefusal;
use wflo_gateway::Gateway;
use wflo_gateway::cache::Scope;
use wflo_gateway::error::GatewayError;
use wflo_gateway::ledger::Caller;
use wflo_gateway::serve::Body;

use super::Shared;
use crate::keys::{Client, NoCaller};
use crate::metrics::Now;

/// What goes out: an answer of the gateway, or a page of ours.
pub(super) type Answer = Either<Body, Full<Bytes>>;

/// Answers one request.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Answer> {
    if request.method() == Method::GET {
        let page = match request.uri().path() {
            "/health/live" => Some(page(StatusCode::OK, "live\n")),
            "/health/ready" => Some(ready(shared)),
            "/metrics" => Some(metrics(shared, peer, &request)),
            _ => None,
        };
        if let Some(page) = page {
            return page.map(Either::Right);
        }
    }
    let gateway = shared.gateway();
    if *shared.draining.borrow() {
        let response = gateway.refuse(request, &draining()).await;
        shared.metrics.answered(response.status().as_u16());
        return response.map(Either::Left);
    }
    let now = shared.ledger.clock.now();
    let keys = shared.keys();
    if keys.is_open()
        && let Some(why) = shared.browsers().refuse(request.uri(), request.headers())
    {
        shared.metrics.refused("origin");
        let response = gateway.refuse(request, &of_a_page(why)).await;
        shared.metrics.answered(response.status().as_u16());
        return response.map(Either::Left);
    }
    let caller = keys.caller(request.headers(), request.uri().query(), now);
    let response = match caller {
        Ok(caller) => {
            keys.cut(&mut request);
            gateway.answer(sharing(&gateway, caller), request).await
        }
        Err(why) => {
            shared.metrics.refused("key");
            gateway.refuse(request, &refusal(why)).await
        }
    };
    shared.metrics.answered(response.status().as_u16());
    response.map(Either::Left)
}

/// The caller with the space of its kept answers.
fn sharing(gateway: &Gateway, caller: Caller) -> Caller {
    match gateway.cache().map(|cache| cache.settings().scope) {
        None => caller,
        Some(Scope::Everyone) => caller.sharing("everyone"),
        // Here there are no workflows: a key has its own.
        Some(Scope::Caller | Scope::Workflow) => {
            let space = format!("key/{}", caller.label());
            caller.sharing(&space)
        }
    }
}

fn of_a_page(why: &str) -> GatewayError {
    GatewayError::Refused {
        status: 403,
        kind: "permission_error".to_owned(),
        code: Code(4074).to_string(),
        message: format!("the request is refused: {why}, and this gateway wants no key"),
        hint: Some(
            "Name the page's origin in `[gateway] allow_origins` of wflo.toml, or the host in `allow_hosts`; or make a key with `wflo keys create`."
                .to_owned(),
        ),
    }
}

/// Another gateway behind the same address may take the call, so clients are told to try again.
fn draining() -> GatewayError {
    GatewayError::Later {
        status: 503,
        kind: "shutting_down".to_owned(),
        code: Code(4014).to_string(),
        message: "the gateway is ending and takes no new calls".to_owned(),
        hint: None,
        wait: Duration::from_secs(1),
    }
}

fn refusal(why: NoCaller) -> GatewayError {
    let (code, message, hint) = match why {
        NoCaller::Missing => (
            Code(4065),
            "this gateway wants a key and the request shows none",
            "Set the client's API key to one that `wflo keys create` made.",
        ),
        NoCaller::Unknown => (
            Code(4065),
            "this gateway does not know the key that the request shows",
            "Set the client's API key to one that `wflo keys create` made; `wflo keys list` shows how they begin.",
        ),
        NoCaller::Refused(KeyRefusal::Expired) => (
            Code(4066),
            "the key that the request shows has expired",
            "Ask whoever runs the gateway for another.",
        ),
        NoCaller::Refused(KeyRefusal::Revoked) => (
            Code(4066),
            "the key that the request shows was revoked",
            "Ask whoever runs the gateway for another.",
        ),
    };
    GatewayError::Refused {
        status: 401,
        kind: "authentication_error".to_owned(),
        code: code.to_string(),
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

fn ready(shared: &Shared) -> Response<Full<Bytes>> {
    if *shared.draining.borrow() {
        return page(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match shared.treasury.is_well() {
        true => page(StatusCode::OK, "ready\n"),
        false => page(
            StatusCode::SERVICE_UNAVAILABLE,
            "calls cannot be recorded, or the store does not take what was spent\n",
        ),
    }
}

/// Metrics name keys and tell what each costs. All of them are for whoever is on this machine, and for keys that were made
/// to read them; any other key is told its own.
fn metrics(shared: &Shared, peer: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let keys = shared.keys();
    let shown = match keys.is_open() {
        true => None,
        false => keys.caller(request.headers(), request.uri().query(), shared.ledger.clock.now()).ok(),
    };
    let client = shown.as_ref().and_then(|caller| caller.get::<Arc<Client>>());
    if client.is_none() {
        if shared.browsers().refuse(request.uri(), request.headers()).is_some() {
            return page(StatusCode::FORBIDDEN, "metrics are not for pages of other sites (WFLO-4074)\n");
        }
        if !peer.ip().is_loopback() || is_forwarded(request.headers()) {
            return page(StatusCode::UNAUTHORIZED, "metrics want a key here: `wflo keys create --metrics`\n");
        }
    }
    let gateway = shared.gateway();
    let text = match client.filter(|client| !client.reads_metrics()) {
        Some(client) => shared.metrics.of(client, &gateway),
        None => {
            let spending = shared.treasury.spending();
            let (running, waiting) = (spending.running(), spending.waiting() + shared.ledger.queues.len());
            drop(spending);
            let now = Now { running, waiting, unstorable: shared.treasury.quarantined() };
            shared.metrics.render(now, &gateway)
        }
    };
    let mut response = Response::new(Full::from(text));
    let kind = HeaderValue::from_static(MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Whether something on this machine has passed a request on that may come from anywhere.
fn is_forwarded(headers: &HeaderMap) -> bool {
    let named = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
    named.iter().any(|name| headers.contains_key(*name))
}

fn page(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
