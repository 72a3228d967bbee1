//! One call from its request to its settlement.
//!
//! Owns the order of things: bound, intent and hold, dispatch, answer, settlement, last bytes. The
//! call runs in a task of its own and speaks to whoever asked through a bounded channel; when that
//! side is dropped, the call goes on to its end so that its bill is known.

mod answer;
mod models;
mod stream;

pub(crate) use self::answer::replay;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use wflo_core::error::{Code, Coded as _};
use wflo_core::money::NanoUsd;

use crate::dialect::request::Request;
use crate::dialect::wire::Asked;
use crate::dialect::{Dialect, Endpoint};
use crate::error::GatewayError;
use crate::gateway::{Buffered, Shared};
use crate::ledger::{CallIntent, CallPath, Caller, Ledger, LedgerError, Opened, Outcome, Recorded, Ticket};
use crate::price::Price;
use crate::route::Provider;
use crate::shorter::Whole;
use crate::telemetry;
use crate::upstream::{self, SendError};
use crate::usage::Usage;

/// What a caller asks.
pub(crate) struct Ask {
    pub(crate) caller: Caller,
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    /// Path under the provider's address.
    pub(crate) suffix: String,
    pub(crate) query: Option<String>,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) positional: Option<(String, u32)>,
    /// The memory that the body takes, given back when the call ends.
    pub(crate) _buffered: Option<Buffered>,
}

impl Ask {
    fn asked(&self) -> Asked<'_> {
        let beta = self.headers.get("anthropic-beta").and_then(|value| value.to_str().ok());
        Asked {
            dialect: self.dialect,
            endpoint: self.endpoint,
            suffix: &self.suffix,
            query: self.query.as_deref(),
            beta: beta.unwrap_or_default(),
        }
    }
}

/// The head of an answer.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Of a journaled call whose client is still there.
    pub(crate) delivery: Option<Delivery>,
    pub(crate) cost: NanoUsd,
    /// The memory that a whole body takes, until it is delivered.
    pub(crate) held: Option<Buffered>,
}

/// An answer on its way to its client. Dropped before it arrived, wherever that happens, it tells
/// the ledger; so a client that goes while its answer waits in a channel is not missed.
pub(crate) struct Delivery {
    ledger: Arc<dyn Ledger>,
    ticket: Option<Ticket>,
}

impl Delivery {
    /// The last byte was taken.
    pub(crate) fn arrived(mut self) -> Option<Ticket> {
        self.ticket.take()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.ledger.connection_closed_early(&ticket);
        }
    }
}

/// What a call tells whoever asked, in this order: one of `Failed`, `Whole`, `Stream`; after
/// `Stream` any number of `Data` and one of `Last`, `Broken`.
pub(crate) enum Part {
    /// There is no answer but this error.
    Failed(GatewayError),
    /// The whole answer. The record tells usage and cost.
    Whole(Head, Bytes, Option<Usage>),
    /// An answer whose body follows.
    Stream(Head),
    /// Some of the body.
    Data(Bytes),
    /// The last of the body; the call is settled.
    Last { data: Bytes, usage: Option<Usage>, cost: NanoUsd },
    /// The last that there is of a body that broke off; the error event stands in it.
    Broken { data: Bytes, error: GatewayError },
}

/// Why an answer is not waited for any longer.
const GAVE_UP: &str = "whoever asked had gone and the time to read on was over";

/// Parts that may wait for a slow client before the upstream is read no further.
const PARTS: usize = 16;

/// Starts a call.
pub(crate) fn start(shared: &Arc<Shared>, ask: Ask) -> mpsc::Receiver<Part> {
    let (parts, receiver) = mpsc::channel(PARTS);
    let span = telemetry::call_span(&ask);
    let owned = Arc::clone(shared);
    shared.run(
        async move {
            if let Err(error) = run(&owned, ask, &parts).await {
                telemetry::failed(&error);
                // A caller that is gone needs no error.
                let _ = parts.send(Part::Failed(error)).await;
            }
        }
        .instrument(span),
    );
    receiver
}

/// A dispatched call: all that its settlement needs.
pub(crate) struct Live<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) provider: &'a Provider,
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) price: Option<&'a Price>,
    pub(crate) choices: u64,
    pub(crate) wants_usage: bool,
    pub(crate) hold: NanoUsd,
    /// `None` once it has been given back.
    pub(crate) ticket: Option<Ticket>,
    /// The ledger knows already that the client went; it is told once.
    pub(crate) told: AtomicBool,
    pub(crate) parts: &'a mpsc::Sender<Part>,
}

async fn run(shared: &Arc<Shared>, ask: Ask, parts: &mpsc::Sender<Part>) -> Result<(), GatewayError> {
    if shared.closing.load(Ordering::Acquire) {
        return Err(GatewayError::ShuttingDown);
    }
    if ask.endpoint == Endpoint::Models {
        // A caller that is gone needs no answer.
        let _ = parts.send(models::answer(&shared.routes, &ask)).await;
        return Ok(());
    }
    let request = Arc::new(Request::read(&ask.asked(), &ask.body)?);
    let route = shared.routes.find(Some(ask.dialect), Some(ask.endpoint), &request.model)?;
    let price = route.price.map(Arc::new);
    let bound = match (&price, ask.endpoint.is_billed()) {
        (Some(price), true) => Some(crate::reserve::upper_bound(&request, price)?),
        _ => None,
    };
    let whole = price.as_ref().filter(|_| bound.is_some()).map(|price| Whole {
        dialect: ask.dialect,
        endpoint: ask.endpoint,
        suffix: ask.suffix.clone(),
        query: ask.query.clone(),
        beta: ask.asked().beta.to_owned(),
        body: ask.body.clone(),
        price: Arc::clone(price),
    });
    let mut hold = bound.map_or(NanoUsd::ZERO, |bound| bound.cost);
    telemetry::bounded(&request, route.provider, hold);
    let mut body = request
        .outgoing(&ask.body, bound.and_then(|bound| bound.write))
        .map_err(|error| GatewayError::Request(error.into()))?;
    let not_ready = route.provider.usable().err();
    let intent = CallIntent {
        caller: ask.caller.clone(),
        path: CallPath { dialect: ask.dialect, endpoint: ask.endpoint },
        model: request.model.clone(),
        provider: route.provider.name.clone(),
        address: route.provider.address(),
        not_ready: not_ready.as_ref().map(|error| error.to_failure()),
        fingerprint: fingerprint(&ask),
        retry_of: retry_count(&ask.headers),
        hold,
        max_input_tokens: bound.map_or(0, |bound| bound.input_tokens),
        max_output_tokens: bound.map_or(0, |bound| bound.output_tokens),
        positional: ask.positional.clone(),
        request_bytes: request.body_bytes,
        stream: request.stream,
        shorter: whole.clone().zip(bound).map(|(whole, bound)| whole.shorter(&request, &bound)),
        cheaper: false,
        place: None,
    };
    let ticket = match shared.ledger.open(intent).await? {
        Opened::Dispatch { ticket, output_limit: None } => ticket,
        Opened::Dispatch { ticket, output_limit: Some(tokens) } => {
            match whole.as_ref().and_then(|whole| whole.cut(&request, tokens)) {
                Some(cut) => (hold, body) = (cut.bound.cost, cut.body),
                // A ledger that grants what was not offered holds too little for what could be sent.
                None => {
                    shared.ledger.release(ticket).await?;
                    let message = format!("{tokens} output tokens were granted to a call that cannot be cut");
                    return Err(LedgerError { code: Code(9002), message }.into());
                }
            }
            ticket
        }
        Opened::Replay(recorded) => {
            let mut held = Buffered::answer(shared);
            if !held.grow(recorded.body.len()) {
                return Err(GatewayError::TooMuch);
            }
            let path = (ask.dialect, ask.endpoint);
            return replay(path, &route.provider.name, (recorded, Some(held)), parts).await;
        }
        Opened::GivenUp => {
            parts.closed().await;
            return Ok(());
        }
        Opened::Cheaper(_, refusal) | Opened::Refused(refusal) => {
            return Err(GatewayError::from_refusal(refusal, hold, &request.model));
        }
    };
    if let Some(error) = not_ready {
        shared.ledger.release(ticket).await?;
        return Err(error);
    }
    if parts.is_closed() {
        // Whoever asked went while the ledger waited: nothing was sent, nothing is owed.
        shared.ledger.release(ticket).await?;
        return Ok(());
    }
    let live = Live {
        shared,
        provider: route.provider,
        dialect: ask.dialect,
        endpoint: ask.endpoint,
        price: price.as_deref(),
        choices: request.choices,
        wants_usage: request.wants_usage,
        hold,
        ticket: Some(ticket),
        told: AtomicBool::new(false),
        parts,
    };
    live.dispatch(&ask, body).await
}

/// BLAKE3 of what makes the request this one and no other.
fn fingerprint(ask: &Ask) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [ask.dialect.name(), ask.endpoint.name()] {
        hasher.update(part.as_bytes()).update(b"\n");
    }
    for name in ["anthropic-version", "anthropic-beta", "openai-beta"] {
        let value = ask.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        hasher.update(&(value.len() as u64).to_le_bytes()).update(value);
    }
    hasher.update(&ask.body);
    hasher.finalize().to_hex().to_string()
}

/// What the stock OpenAI and Anthropic clients say of their own retries.
fn retry_count(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-stainless-retry-count")?.to_str().ok()?.parse().ok()
}

impl Live<'_> {
    async fn dispatch(mut self, ask: &Ask, body: Bytes) -> Result<(), GatewayError> {
        let sent = match self.provider.endpoint(&ask.suffix, ask.query.as_deref()) {
            Some(uri) => {
                match upstream::request(self.provider, ask.method.clone(), uri, &ask.headers, body) {
                    Ok(request) => self.until_gone(self.shared.upstream.send(request)).await,
                    Err(error) => Some(Err(error)),
                }
            }
            None => Some(Err(SendError::NeverSent("its address does not join with the endpoint".to_owned()))),
        };
        let provider = self.provider.name.clone();
        match sent {
            Some(Ok(response)) => self.answer(response).await,
            Some(Err(SendError::NeverSent(reason))) => {
                if let Some(ticket) = self.ticket.take() {
                    self.shared.ledger.release(ticket).await?;
                }
                Err(GatewayError::Unreachable { provider, reason })
            }
            Some(Err(SendError::Unknown(reason))) => {
                self.no_answer(GatewayError::NoAnswer { provider, reason }).await
            }
            None => {
                let reason = GAVE_UP.to_owned();
                self.no_answer(GatewayError::NoAnswer { provider, reason }).await
            }
        }
    }

    /// Waits for something of the upstream. Once nobody listens any more it waits at most the drain
    /// deadline, once the caller is being ended at most that deadline, and then gives `None`. Only
    /// before the head is sent: after that, its delivery tells the ledger.
    async fn until_gone<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let drained = async {
            self.parts.closed().await;
            drop(self.delivery());
            tokio::time::sleep(self.shared.deadlines.drain).await;
        };
        tokio::select! {
            biased;
            done = wait => Some(done),
            () = drained => None,
            () = self.ended() => None,
        }
    }

    /// Resolves once the caller is being ended and the time to learn the bill is over.
    async fn ended(&self) {
        match &self.ticket {
            Some(ticket) => self.shared.ledger.ending(ticket).await,
            None => std::future::pending().await,
        }
        tokio::time::sleep(self.shared.deadlines.ending).await;
    }

    async fn answer(self, response: hyper::Response<Incoming>) -> Result<(), GatewayError> {
        let (head, body) = response.into_parts();
        if head.status.is_redirection() {
            let error = GatewayError::Redirected { provider: self.provider.name.clone() };
            self.close(error_record(&error, self.dialect), None, NanoUsd::ZERO, false).await?;
            return Err(error);
        }
        let content =
            head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let framing = crate::dialect::wire::wire(self.dialect, self.endpoint).framing(content);
        match framing.filter(|_| head.status.is_success() && is_plain(&head.headers)) {
            Some(framing) => stream::pass(self, head, body, framing).await,
            None => answer::pass(self, head, body).await,
        }
    }

    /// The delivery of this call's answer, to be given out or dropped; there is one.
    fn delivery(&self) -> Option<Delivery> {
        let ticket = self.ticket.clone()?;
        let first = !self.told.swap(true, Ordering::AcqRel);
        first.then(|| Delivery { ledger: Arc::clone(&self.shared.ledger), ticket: Some(ticket) })
    }

    /// Sent, and nothing came back: it may be billed, so the hold is charged.
    async fn no_answer(self, error: GatewayError) -> Result<(), GatewayError> {
        let (hold, record) = (self.hold, error_record(&error, self.dialect));
        self.close(record, None, hold, self.ticket.is_some()).await?;
        Err(error)
    }

    /// What the answer costs: by its usage, or the hold and the mark that it is not known.
    fn bill(&self, usage: Option<&Usage>) -> (NanoUsd, bool) {
        let Some(price) = self.price.filter(|_| self.endpoint.is_billed()) else {
            return (NanoUsd::ZERO, false);
        };
        let Some(usage) = usage else { return (self.hold, true) };
        let cost = crate::price::settle(usage, price);
        if cost > self.hold {
            self.shared.overshoots.fetch_add(1, Ordering::Relaxed);
            telemetry::overshoot(cost, self.hold);
        }
        (cost, false)
    }

    /// Settles and records; durable when this returns.
    async fn close(
        &self,
        mut recorded: Recorded,
        usage: Option<Usage>,
        cost: NanoUsd,
        uncertain: bool,
    ) -> Result<(), GatewayError> {
        telemetry::settled(usage.as_ref(), cost, uncertain, recorded.status);
        let Some(ticket) = &self.ticket else { return Ok(()) };
        (recorded.usage, recorded.cost) = (usage.clone(), cost);
        let outcome = Outcome { recorded, settled: cost, usage, uncertain };
        Ok(self.shared.ledger.close(ticket.clone(), outcome).await?)
    }
}

/// Whether a body's bytes are what it says: a server that compresses although it was told not to is passed
/// on as it is, when it is whole.
fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The record of a call that ended in an error of the gateway's own.
fn error_record(error: &GatewayError, dialect: Dialect) -> Recorded {
    Recorded {
        status: error.status().as_u16(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: error.body(dialect).into(),
        interrupted: true,
        usage: None,
        cost: NanoUsd::ZERO,
    }
}

/// Headers that clients read; only these are recorded.
const RECORDED_HEADERS: [&str; 7] = [
    "content-type",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-request-id",
    "request-id",
    "openai-processing-ms",
];

fn recorded_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    RECORDED_HEADERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned())))
        .collect()
}
