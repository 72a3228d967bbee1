//! The intent of a call: written, replayed or refused.
//!
//! Owns what the ledger is told before anything is sent, and what becomes of each of its decisions.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use wflo_core::error::{Code, Coded as _};
use wflo_core::money::NanoUsd;

use super::candidate::Candidate;
use super::course::Course;
use super::fingerprint::fingerprint;
use super::{Ask, Part, replay};
use crate::cache::Lookup;
use crate::error::GatewayError;
use crate::gateway::{Buffered, Shared};
use crate::gone::Gone;
use crate::ledger::{CallIntent, CallPath, LedgerError, Opened, Ticket};
use crate::repeats::{Circle, OnRepeat};
use crate::telemetry;
use crate::turn::{Held, Turn};

/// Opens the call at its first candidate, or at a cheaper one where a budget wants that. `None` when nothing is to be sent: it was answered from its
/// record, or whoever asked has gone.
pub(super) async fn open<'a>(
    shared: &'a Arc<Shared>,
    ask: &Ask,
    course: &mut Course<'a>,
    (parts, gone): (&mpsc::Sender<Part>, &Gone),
) -> Result<Option<(Ticket, Held)>, GatewayError> {
    // Hashing a body is not free: only for who looks at it.
    let looked_at = shared.ledger.keeps_answers() || shared.routes.routing().repeats.is_some();
    let fingerprint = if looked_at { fingerprint(ask) } else { String::new() };
    let circle = circles(shared, ask, &fingerprint)?;
    let mut place = None;
    let meant = shared.routes.routing().meant(course.asked());
    let caller = match meant.is_empty() {
        true => ask.caller.clone(),
        false => ask.caller.clone().asking(course.asked(), meant),
    };
    loop {
        let first = course.present();
        let (provider, hold) = (first.provider, first.hold());
        telemetry::bounded(&first.request, provider, hold);
        // Refused before anything is asked for, if it cannot be written.
        first.outgoing()?;
        let not_ready = shared.routes.usable(provider).err();
        let turn = first.turn(shared, ask.caller.label(), course.guarded);
        let held = Held(turn.clone());
        let intent = CallIntent {
            caller: caller.clone(),
            not_ready: not_ready.as_ref().map(|error| error.to_failure()),
            cheaper: course.has_cheaper(),
            place: place.take(),
            turn: turn.clone(),
            gone: gone.clone(),
            circle,
            cached: course.lookup(shared, ask, &caller),
            ..intent(ask, first, fingerprint.clone())
        };
        let opened = shared.ledger.open(intent).await?;
        // The same on a resume, where the call is answered from its record.
        let let_pass = matches!(opened, Opened::Dispatch { .. } | Opened::Replay(_));
        if let_pass && circle.is_some_and(|circle| circle.closed) {
            shared.seen.begin_anew(ask.caller.label());
        }
        let ticket = match opened {
            Opened::Dispatch { ticket, output_limit } => {
                if let Some(tokens) = output_limit
                    && !course.cut(tokens)
                {
                    // A ledger that grants what was not offered holds too little for what could be sent.
                    shared.ledger.release(ticket).await?;
                    let message = format!("{tokens} output tokens were granted to a call that cannot be cut");
                    return Err(LedgerError { code: Code(9002), message }.into());
                }
                ticket
            }
            Opened::Replay(recorded) => {
                let mut held = Buffered::answer(shared, ask.caller.share());
                if !held.grow(recorded.body.len()) {
                    return Err(GatewayError::TooMuch);
                }
                telemetry::settled(recorded.usage.as_ref(), NanoUsd::ZERO, false, recorded.status);
                let path = (ask.dialect, ask.endpoint);
                replay(path, &provider.name, (recorded, Some(held)), parts).await;
                return Ok(None);
            }
            Opened::GivenUp => {
                parts.closed().await;
                return Ok(None);
            }
            Opened::Cheaper(same, _) => {
                // Without one after all it is opened as it was, and its budget halts.
                course.downgrade(shared, ask);
                place = Some(same);
                continue;
            }
            Opened::Refused(refusal) => {
                let unlimited = first.request.max_output.is_none();
                let counted = first.bound().map(|bound| bound.output_tokens).filter(|_| unlimited);
                return Err(GatewayError::from_refusal(refusal, &first.request.model)
                    .counting(counted.filter(|tokens| *tokens > 0)));
            }
        };
        if let Some(error) = not_ready {
            shared.ledger.release(ticket).await?;
            return Err(error);
        }
        if parts.is_closed() {
            // Whoever asked went while the ledger waited: nothing was sent, nothing is owed.
            shared.ledger.release(ticket).await?;
            return Ok(None);
        }
        // A ledger that takes no turns has none: it is waited for here.
        return match gone.unless(turn.take()).await {
            Some(Ok(())) => Ok(Some((ticket, held))),
            Some(Err(refusal)) => {
                shared.ledger.release(ticket).await?;
                Err(GatewayError::from_refusal(refusal, &course.present().request.model))
            }
            None => {
                shared.ledger.release(ticket).await?;
                Ok(None)
            }
        };
    }
}

/// Counts a call, and refuses or marks one that goes round in circles where the operator wants that. A client's own
/// repetition of a failed call is none.
fn circles(shared: &Shared, ask: &Ask, fingerprint: &str) -> Result<Option<Circle>, GatewayError> {
    let Some(settings) = &shared.routes.routing().repeats else { return Ok(None) };
    if retry_count(&ask.headers).is_some_and(|nth| nth > 0) {
        return Ok(None);
    }
    let caller = ask.caller.label();
    let times = shared.seen.count(settings, caller, fingerprint, &ask.body);
    let closed = times >= settings.same;
    if closed {
        telemetry::repeated(caller, times);
    }
    match settings.action {
        OnRepeat::Ask => Ok(Some(Circle { times, closed })),
        _ if !closed => Ok(None),
        OnRepeat::Warn => Ok(None),
        OnRepeat::Halt => Err(GatewayError::Repeated { caller: caller.to_owned(), times }),
    }
}

/// What the ledger is told of a call by one way.
fn intent(ask: &Ask, at: &Candidate<'_>, fingerprint: String) -> CallIntent {
    CallIntent {
        caller: ask.caller.clone(),
        path: CallPath { dialect: ask.dialect, endpoint: ask.endpoint },
        model: at.request.model.clone(),
        provider: at.provider.name.clone(),
        address: at.provider.address(),
        not_ready: None,
        body: if fingerprint.is_empty() { Bytes::new() } else { ask.body.clone() },
        fingerprint,
        retry_of: retry_count(&ask.headers),
        hold: at.hold(),
        max_input_tokens: at.bound().map_or(0, |bound| bound.input_tokens),
        max_output_tokens: at.bound().map_or(0, |bound| bound.output_tokens),
        positional: ask.positional.clone(),
        since: ask.since,
        request_bytes: at.request.body_bytes,
        stream: at.request.stream,
        closer: at.closer(),
        shorter: at.shorter(),
        cheaper: false,
        place: None,
        turn: Turn::free(),
        gone: Gone::never(),
        circle: None,
        cached: Lookup::none(),
    }
}

/// What the stock OpenAI and Anthropic clients say of their own retries.
pub(super) fn retry_count(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-stainless-retry-count")?.to_str().ok()?.parse().ok()
}
