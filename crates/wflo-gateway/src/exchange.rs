//! One call from its request to its settlement.
//!
//! Owns the order of things: bound, intent and hold, attempts, answer, settlement, last bytes. The
//! call speaks to whoever asked through a bounded channel; when that side is dropped, the call goes on to
//! its end so that its bill is known.

mod answer;
mod attempts;
mod cached;
mod candidate;
mod charge;
mod course;
mod fingerprint;
mod hours;
mod media;
mod models;
mod open;
mod plan;
mod rename;
mod running;
mod stream;

pub(crate) use self::answer::replay;
pub(crate) use self::charge::Charge;
use self::course::Course;
use self::hours::Hours;
pub(crate) use self::running::Running;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;
use wflo_core::money::NanoUsd;

use crate::cache::{Asked as AskedOf, may_keep};
use crate::dialect::request::Request;
use crate::dialect::wire::Asked;
use crate::dialect::{Dialect, Endpoint, query};
use crate::error::GatewayError;
use crate::gateway::{Buffered, Shared};
use crate::gone::Gone;
use crate::ledger::{Caller, Ledger, Outcome, Recorded, Share, Ticket};
use crate::price::{self, Price, Tier};
use crate::route::Provider;
use crate::telemetry;
use crate::turn::Held;
use crate::upstream::Deadlines;
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
    /// When all of it was there.
    pub(crate) since: Instant,
    /// The memory that the body takes, given back when it is no longer needed.
    pub(crate) buffered: Option<Buffered>,
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
    /// What its client may be told of that, with attempts before this one.
    pub(crate) charge: Charge,
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
/// `Stream` any number of `Data` and one of `Last`, `Broken`. Small, but for what comes once in a call.
pub(crate) enum Part {
    /// There is no answer but this error.
    Failed(Box<GatewayError>),
    /// The whole answer.
    Whole(Box<Whole>),
    /// An answer whose body follows.
    Stream(Box<Head>),
    /// Some of the body.
    Data(Bytes),
    /// The last of the body; the call is settled.
    Last(Box<Last>),
    /// The last that there is of a body that broke off; the error event stands in it.
    Broken(Bytes, Box<GatewayError>),
}

/// A whole answer.
pub(crate) struct Whole {
    pub(crate) head: Head,
    pub(crate) body: Bytes,
    /// As its record tells it.
    pub(crate) usage: Option<Usage>,
}

/// The end of a streamed answer.
pub(crate) struct Last {
    pub(crate) data: Bytes,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: NanoUsd,
}

/// Why an answer is not waited for any longer.
const GAVE_UP: &str = "whoever asked had gone and the time to read on was over";

/// A bill of more than so many times the most that a call can cost is no bill.
const BELIEVED: i128 = 100;

/// Starts a call.
pub(crate) fn start(shared: &Arc<Shared>, ask: Ask) -> Running {
    let span = telemetry::call_span(&ask);
    let owned = Arc::clone(shared);
    Running::new(shared, |parts, gone| {
        async move {
            let caller = ask.caller.clone();
            if let Err(error) = run(&owned, ask, (&parts, &gone)).await {
                telemetry::failed(&error);
                owned.ledger.refused(&caller, &error).await;
                // A caller that is gone needs no error.
                let _ = parts.send(Part::Failed(Box::new(error))).await;
            }
        }
        .instrument(span)
    })
}

/// A dispatched call: all that the settlement of its present attempt needs.
pub(crate) struct Live<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) provider: &'a Provider,
    pub(crate) deadlines: Deadlines,
    pub(crate) dialect: Dialect,
    pub(crate) endpoint: Endpoint,
    pub(crate) price: Option<Arc<Price>>,
    pub(crate) choices: u64,
    /// The service tier that was asked for: it counts where an answer names none.
    pub(crate) tier: Tier,
    /// Some providers ask for less at some hours.
    hours: Hours,
    pub(crate) wants_usage: bool,
    pub(crate) hold: NanoUsd,
    /// What attempts before the present one were charged.
    pub(crate) before: NanoUsd,
    /// `None` once it has been given back.
    pub(crate) ticket: Option<Ticket>,
    /// Given back when the call ends.
    pub(crate) turn: Held,
    /// Whose memory its answer takes, where callers share.
    pub(crate) share: Option<&'a Share>,
    /// The ledger knows already that the client went; it is told once.
    pub(crate) told: AtomicBool,
    pub(crate) parts: &'a mpsc::Sender<Part>,
    /// Where the answer of the present attempt is kept, if it may be.
    pub(crate) slot: Option<cached::Slot>,
}

async fn run(
    shared: &Arc<Shared>,
    mut ask: Ask,
    (parts, gone): (&mpsc::Sender<Part>, &Gone),
) -> Result<(), GatewayError> {
    if shared.closing.load(Ordering::Acquire) {
        return Err(GatewayError::ShuttingDown);
    }
    shared.hop.refuse(&ask.headers)?;
    if ask.endpoint == Endpoint::Models {
        // A caller that is gone needs no answer.
        let _ = parts.send(models::answer(&shared.routes, &ask)).await;
        return Ok(());
    }
    if ask.endpoint != Endpoint::Passthrough {
        media::json(&mut ask.headers)?;
    }
    let request = Request::read(&ask.asked(), &ask.body)?;
    telemetry::asked(&request);
    if ask.endpoint != Endpoint::Passthrough {
        // What else a server reads there would make it another request than the one that was read here.
        ask.query = ask.query.and_then(|query| query::passed(ask.dialect, &query));
    }
    let mut course = Course::new(shared, &ask, request)?;
    let Some((ticket, turn)) = open::open(shared, &ask, &mut course, (parts, gone)).await? else {
        return Ok(());
    };
    let first = course.present();
    let live = Live {
        shared,
        provider: first.provider,
        deadlines: first.deadlines,
        dialect: ask.dialect,
        endpoint: ask.endpoint,
        price: first.price.clone(),
        choices: first.request.choices,
        tier: first.request.tier.asked(),
        hours: Hours::begin(),
        wants_usage: first.request.wants_usage,
        hold: first.hold(),
        before: NanoUsd::ZERO,
        ticket: Some(ticket),
        turn,
        share: ask.caller.share(),
        told: AtomicBool::new(false),
        parts,
        slot: course.slot(&ask),
    };
    let Some((live, head, body)) = live.dispatch(&ask, &mut course).await? else { return Ok(()) };
    // No further attempt is made, and an answer can take minutes: what was asked is kept no longer.
    drop(course);
    (ask.headers, ask.body, ask.buffered) = (HeaderMap::new(), Bytes::new(), None);
    live.answer(head, body).await
}

impl Live<'_> {
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

    async fn answer(mut self, head: Parts, body: Incoming) -> Result<(), GatewayError> {
        self.hours.answered(&head.headers);
        let status = head.status.as_u16();
        if status == 304 || !(200..600).contains(&status) {
            // Nobody asked whether it had changed, and the others are no status of an answer.
            let reason =
                format!("it answered with the status {status}, which is none of an answer to a call");
            let error = GatewayError::NoAnswer { provider: self.provider.name.clone(), reason };
            return self.no_answer(error).await;
        }
        if head.status.is_redirection() {
            let error = GatewayError::Redirected { provider: self.provider.name.clone() };
            self.close(error_record(&error, self.dialect), None, NanoUsd::ZERO, false).await?;
            return Err(error);
        }
        self.slot = self.slot.take().filter(|_| may_keep(&head.headers));
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

    /// What an answer says that it used, unless its bill would be so far above the most that the call can cost
    /// that it is none: one such would end a budget for ever.
    fn believed(&self, usage: Option<Usage>) -> Option<Usage> {
        let told = usage.as_ref().zip(self.price.as_ref()).filter(|_| self.hold > NanoUsd::ZERO);
        let Some((told, price)) = told else { return usage };
        let cost = crate::price::settle(told, price);
        if i128::from(cost.nanos()) <= i128::from(self.hold.nanos()) * BELIEVED {
            return usage;
        }
        self.shared.counts.overshoots.fetch_add(1, Ordering::Relaxed);
        telemetry::not_believed(cost, self.hold);
        None
    }

    /// What the answer costs: by its usage, or the hold and the mark that it is not known.
    fn bill(&self, usage: Option<&Usage>) -> (NanoUsd, bool) {
        if !self.endpoint.is_billed() || self.hold == NanoUsd::ZERO && self.price.is_none() {
            return (NanoUsd::ZERO, false);
        }
        let Some((usage, price)) = usage.zip(self.price.as_ref()) else { return (self.hold, true) };
        let quiet = self.tier == Tier::Standard && self.hours.are_quiet(price);
        let cost = crate::price::settle_at(usage, price, if quiet { Tier::OffPeak } else { self.tier });
        if cost > self.hold {
            self.shared.counts.overshoots.fetch_add(1, Ordering::Relaxed);
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
        if let Some(usage) = &usage {
            self.turn.0.used(usage.total_input().saturating_add(usage.total_output()));
        }
        let Some(ticket) = &self.ticket else { return Ok(()) };
        (recorded.usage, recorded.cost) = (usage.clone(), cost);
        let asked = AskedOf { dialect: self.dialect, endpoint: self.endpoint, choices: self.choices };
        let kept = self.slot.as_ref().and_then(|slot| {
            slot.entry(asked, &recorded, usage.as_ref(), uncertain, self.provider).zip(Some(slot))
        });
        let priced = usage.as_ref().zip(self.price.as_ref()).filter(|_| !uncertain);
        let prompt_cache = priced.map(|(usage, price)| price::prompt_cache(usage, price, self.tier));
        let prompt_cache = prompt_cache.unwrap_or_default();
        let outcome = Outcome { recorded, settled: cost, usage, uncertain, prompt_cache };
        self.shared.ledger.close(ticket.clone(), outcome).await?;
        if let Some((entry, slot)) = kept {
            slot.keep(self.shared, entry);
        }
        Ok(())
    }

    /// Whether the answer is wanted beyond its client.
    fn is_wanted(&self) -> bool {
        self.shared.ledger.keeps_answers() || self.slot.is_some()
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
        broke: None,
        usage: None,
        cost: NanoUsd::ZERO,
    }
}

/// Headers that clients read; only these are recorded.
const RECORDED_HEADERS: [&str; 11] = [
    "content-type",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "x-request-id",
    "request-id",
    "openai-processing-ms",
    course::PROVIDER,
    course::MODEL,
    course::ATTEMPTS,
    crate::cache::HEADER,
];

fn recorded_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    RECORDED_HEADERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned())))
        .collect()
}
