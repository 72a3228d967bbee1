//! Answers that are given whole, and answers given again.

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use wflo_core::money::NanoUsd;

use super::{Charge, GAVE_UP, Head, Last, Live, Part, Whole, recorded_headers};
use crate::dialect::wire::wire;
use crate::dialect::{Dialect, Endpoint};
use crate::error::GatewayError;
use crate::gateway::Buffered;
use crate::ledger::Recorded;
use crate::upstream::{answer_headers, reason};
use crate::usage::Usage;

/// Reads an answer to its end, settles it, and hands it on.
pub(super) async fn pass(live: Live<'_>, head: Parts, body: Incoming) -> Result<(), GatewayError> {
    let mut held = Buffered::answer(live.shared, live.share);
    let read = live.until_gone(collect(&live, body, &mut held)).await;
    let read = read.unwrap_or_else(|| Err(GAVE_UP.to_owned()));
    let provider = live.provider.name.clone();
    let body = match read {
        Ok(body) => body,
        Err(reason) => return live.no_answer(GatewayError::Interrupted { provider, reason }).await,
    };
    give(live, head, body, held).await
}

/// Settles an answer that was read to its end, and hands it on.
pub(super) async fn give(
    live: Live<'_>,
    head: Parts,
    body: Bytes,
    held: Buffered,
) -> Result<(), GatewayError> {
    let body = match &live.provider.api_key {
        Some(key) => key.conceal(body),
        None => body,
    };
    let told = usage(&live, &body);
    // A provider bills no error, unless it says what the error used.
    let free = !head.status.is_success() && told.is_none();
    let usage = live.believed(told);
    let (cost, uncertain) = if free { (NanoUsd::ZERO, false) } else { live.bill(usage.as_ref()) };
    let kept = live.is_wanted();
    let recorded = Recorded {
        status: head.status.as_u16(),
        headers: if kept { recorded_headers(&head.headers) } else { Vec::new() },
        body: if kept { body.clone() } else { Bytes::new() },
        interrupted: false,
        broke: None,
        usage: usage.clone(),
        cost,
    };
    live.close(recorded, usage.clone(), cost, uncertain).await?;
    let delivery = live.delivery();
    let head = Head {
        status: head.status,
        headers: answer_headers(&head.headers),
        delivery,
        cost,
        charge: Charge::Cost(live.before.saturating_add(cost)),
        held: Some(held),
    };
    // A client that is gone drops the delivery, which tells the ledger.
    let _ = live.parts.send(Part::Whole(Box::new(Whole { head, body, usage }))).await;
    Ok(())
}

/// What an answer says that it used.
pub(super) fn usage(live: &Live<'_>, body: &[u8]) -> Option<Usage> {
    wire(live.dialect, live.endpoint).usage(body)
}

/// Reads an answer to its end.
pub(super) async fn collect(
    live: &Live<'_>,
    mut body: Incoming,
    held: &mut Buffered,
) -> Result<Bytes, String> {
    let mut whole = BytesMut::new();
    let (idle, limit) = (live.deadlines.idle, live.shared.limits.recorded_bytes);
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await;
        match frame.map_err(|_| format!("nothing came for {} s", idle.as_secs()))? {
            None => return Ok(whole.freeze()),
            Some(Err(error)) => return Err(reason(&error)),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if whole.len() + data.len() > limit {
                        return Err(format!("it is larger than {limit} bytes"));
                    }
                    if !held.grow(data.len()) {
                        return Err(
                            "the answers that are being read take too much memory together".to_owned()
                        );
                    }
                    whole.extend_from_slice(data);
                }
            }
        }
    }
}

/// Gives a recorded answer again. One that broke off breaks off again, so that a resumed program
/// sees what it would have seen.
pub(crate) async fn replay(
    (dialect, endpoint): (Dialect, Endpoint),
    provider: &str,
    (recorded, held): (Recorded, Option<Buffered>),
    parts: &mpsc::Sender<Part>,
) {
    let mut headers = HeaderMap::new();
    for (name, value) in &recorded.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    let status = StatusCode::from_u16(recorded.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let wire = wire(dialect, endpoint);
    let content = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let framing = wire.framing(content).filter(|_| status.is_success());
    let head = Head {
        status,
        headers,
        delivery: None,
        cost: recorded.cost,
        charge: Charge::Cost(recorded.cost),
        held,
    };
    // Nobody left to hear a replay is no loss: it costs nothing and can be given again.
    let Some(framing) = framing else {
        let whole = Whole { head, body: recorded.body, usage: recorded.usage };
        let _ = parts.send(Part::Whole(Box::new(whole))).await;
        return;
    };
    if parts.send(Part::Stream(Box::new(head))).await.is_err() {
        return;
    }
    let last = if recorded.interrupted {
        let reason = recorded.broke.unwrap_or_else(|| "it was interrupted when it was first made".to_owned());
        let error = GatewayError::Interrupted { provider: provider.to_owned(), reason };
        let data = [&recorded.body[..], error.event(wire, framing).as_bytes()].concat().into();
        Part::Broken(data, Box::new(error))
    } else {
        Part::Last(Box::new(Last { data: recorded.body, usage: recorded.usage, cost: recorded.cost }))
    };
    let _ = parts.send(last).await;
}
