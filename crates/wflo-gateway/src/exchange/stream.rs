//! Answers that are streamed: passed on event by event, the end kept back until it is settled.
//!
//! What a client takes for the end of a stream (the last choice's finish, the usage, the end mark)
//! is held until the settlement is durable; everything before it goes out as it comes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};
use wflo_core::money::NanoUsd;

use super::{Charge, GAVE_UP, Head, Last, Live, Part, recorded_headers};
use crate::dialect::wire::{Events, wire};
use crate::error::GatewayError;
use crate::framing::{Framing, Piece};
use crate::gateway::Buffered;
use crate::ledger::Recorded;
use crate::secret::Secret;
use crate::upstream::{answer_headers, reason};
use crate::usage::Usage;

/// How long the connection may take to end after a settled end mark before it is given up: only
/// whether it can be used again depends on it.
const TAIL: Duration = Duration::from_millis(250);

/// How long usage may follow an end mark that came without it, and an end mark the complete answer.
const LATE: Duration = Duration::from_secs(5);

/// What has come so far.
struct Progress {
    events: Box<dyn Events>,
    choices: u64,
    wants_usage: bool,
    finished: u64,
    usage: Option<Usage>,
    /// Every choice has ended: the usage that follows is the whole call's.
    totalled: bool,
    /// The usage that came is the last word on it, whatever becomes of the stream.
    conclusive: bool,
    /// What is held is the answer's end unless more follows.
    last: bool,
    /// The answer is complete; no more than an end mark follows.
    complete: bool,
    done: bool,
    error: bool,
    /// To go out now.
    ready: BytesMut,
    /// To go out after settlement.
    held: BytesMut,
    /// What the client got, for the record.
    recorded: BytesMut,
    /// The provider's key, which no client is to see.
    key: Option<Secret>,
    /// There is a record.
    kept: bool,
    limit: usize,
    /// Most bytes of the record.
    record: usize,
    /// The memory that the record takes.
    room: Buffered,
    /// The record left something out.
    truncated: bool,
}

impl Progress {
    fn take(&mut self, event: &Piece) {
        let read = self.events.read(&event.data);
        // A comment says nothing of where the answer ends.
        if !event.data.is_empty() && std::mem::replace(&mut self.last, read.last) && !read.complete {
            // More follows: what was held was not the end.
            let held = self.held.split();
            self.ready.unsplit(held);
        }
        let told = read.usage.is_some();
        self.usage = read.usage.or(self.usage.take());
        self.finished += read.finished;
        self.complete |= read.complete;
        self.done |= read.done;
        self.error |= read.error;
        let strip = read.only_usage && !self.wants_usage;
        self.totalled |= self.is_over() || self.finished >= self.choices;
        if !event.data.is_empty() {
            // Counts that came while an answer was still written are those of its beginning.
            self.conclusive = (self.totalled || self.last) && (told || self.conclusive);
        }
        if strip {
            return;
        }
        let raw = match &self.key {
            Some(key) => key.conceal(event.raw.clone()),
            None => event.raw.clone(),
        };
        let fits = self.recorded.len() + raw.len() <= self.record;
        if !self.kept {
            // It is given to the client and to nobody again.
        } else if !fits || (!self.truncated && !self.room.grow(raw.len())) {
            self.truncated = true;
        } else if !self.truncated {
            self.recorded.extend_from_slice(&raw);
        }
        if self.totalled || self.last { &mut self.held } else { &mut self.ready }.extend_from_slice(&raw);
    }

    /// Nothing that follows is part of the answer.
    fn is_over(&self) -> bool {
        self.done || self.complete
    }

    /// The usage, if it is the whole call's: counts in the middle of a stream still grow. A stream that came
    /// to its end has no more to say; of one that broke, only what came with or behind the answers' ends counts.
    fn final_usage(&self, broke: bool) -> Option<Usage> {
        self.usage.clone().filter(|_| self.conclusive || !broke)
    }
}

pub(super) async fn pass(
    live: Live<'_>,
    head: Parts,
    mut body: Incoming,
    framing: Framing,
) -> Result<(), GatewayError> {
    let wire = wire(live.dialect, live.endpoint);
    let mut progress = Progress {
        events: wire.events(live.choices),
        choices: live.choices,
        wants_usage: live.wants_usage,
        finished: 0,
        usage: None,
        totalled: false,
        conclusive: false,
        last: false,
        complete: false,
        done: false,
        error: false,
        ready: BytesMut::new(),
        held: BytesMut::new(),
        recorded: BytesMut::new(),
        key: live.provider.api_key.clone(),
        kept: live.is_wanted(),
        limit: live.shared.limits.recorded_bytes,
        record: match (&live.slot, live.shared.ledger.keeps_answers()) {
            (Some(slot), false) => slot.limit(),
            _ => live.shared.limits.recorded_bytes,
        },
        room: Buffered::answer(live.shared, live.share),
        truncated: false,
    };
    let headers = if progress.kept { recorded_headers(&head.headers) } else { Vec::new() };
    let status = head.status;
    let delivery = live.delivery();
    let first = Head {
        status,
        headers: answer_headers(&head.headers),
        delivery,
        cost: NanoUsd::ZERO,
        charge: Charge::Held(live.before.saturating_add(live.hold)),
        held: None,
    };
    // Its fields hold what was read from the connection with them.
    drop(head);
    let mut listening = live.parts.send(Part::Stream(Box::new(first))).await.is_ok();
    let broke = read(&live, &mut body, framing, &mut progress, &mut listening).await;
    let broke = broke.or_else(|| progress.ended_badly());
    let usage = live.believed(progress.final_usage(broke.is_some()));
    let (cost, uncertain) = live.bill(usage.as_ref());
    let recorded = Recorded {
        status: status.as_u16(),
        headers,
        body: progress.recorded.split().freeze(),
        interrupted: broke.is_some() || progress.truncated,
        broke: broke.clone(),
        usage: usage.clone(),
        cost,
    };
    let settled = live.close(recorded, usage.clone(), cost, uncertain).await;
    let error = match (broke, settled) {
        (Some(reason), _) => Some(GatewayError::Interrupted { provider: live.provider.name.clone(), reason }),
        (None, Err(error)) => Some(error),
        (None, Ok(())) => None,
    };
    let mut data = std::mem::take(&mut progress.ready);
    let last = match error {
        None => {
            data.extend_from_slice(&progress.held);
            Part::Last(Box::new(Last { data: data.freeze(), usage, cost }))
        }
        Some(error) => {
            // What would look like the end stays back.
            data.extend_from_slice(error.event(wire, framing).as_bytes());
            Part::Broken(data.freeze(), Box::new(error))
        }
    };
    if listening {
        hand_on(&live, last).await;
    }
    if progress.done {
        // The client has its answer; reading the body's end lets the connection be used again.
        let _ = timeout(TAIL, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    }
    Ok(())
}

impl Progress {
    /// A stream that ended without saying so was cut; one that reported an error is no answer.
    fn ended_badly(&self) -> Option<String> {
        match (self.error, self.is_over() || self.last) {
            (true, _) => Some("it reported an error".to_owned()),
            (false, false) => Some("it ended before its end mark".to_owned()),
            (false, true) => None,
        }
    }
}

/// Reads until the end mark, the end, or a break, which it names.
async fn read(
    live: &Live<'_>,
    body: &mut Incoming,
    framing: Framing,
    progress: &mut Progress,
    listening: &mut bool,
) -> Option<String> {
    let deadlines = live.deadlines;
    let mut splitter = framing.splitter(progress.limit);
    let mut drain = (!*listening).then(|| Instant::now() + deadlines.drain);
    let ended = live.ended();
    tokio::pin!(ended);
    loop {
        let over = progress.is_over();
        let wait = if over { LATE.min(deadlines.idle) } else { deadlines.idle };
        let until = drain.map_or(Instant::now() + wait, |drain| drain.min(Instant::now() + wait));
        let frame = tokio::select! {
            biased;
            frame = timeout_at(until, body.frame()) => frame,
            () = &mut ended => return Some(GAVE_UP.to_owned()),
            () = live.parts.closed(), if *listening => {
                // The dropped delivery told the ledger; from here on only the bill matters.
                *listening = false;
                drain = Some(Instant::now() + deadlines.drain);
                continue;
            }
        };
        match frame {
            Err(_) if over => return None,
            Err(_) if !*listening => {
                return Some(GAVE_UP.to_owned());
            }
            Err(_) => return Some(format!("nothing came for {} s", deadlines.idle.as_secs())),
            Ok(Some(Err(_))) if over => return None,
            Ok(Some(Err(error))) => return Some(reason(&error)),
            Ok(None) => {
                if let Some(event) = splitter.rest() {
                    progress.take(&event);
                }
                return None;
            }
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                splitter.push(&data);
                loop {
                    match splitter.next_piece() {
                        Ok(Some(event)) => progress.take(&event),
                        Ok(None) => break,
                        Err(error) => return Some(error.to_string()),
                    }
                }
                if progress.done && progress.usage.is_some() {
                    return None;
                }
                if progress.held.len() > progress.limit {
                    return Some(format!("what follows its end is larger than {} bytes", progress.limit));
                }
            }
        }
        let ready: Bytes = progress.ready.split().freeze();
        if *listening && !ready.is_empty() && !hand_on(live, Part::Data(ready)).await {
            *listening = false;
            drain = Some(Instant::now() + deadlines.drain);
        }
    }
}

/// Gives a part to whoever listens. A client that takes nothing for the idle time counts as gone:
/// the provider must not be kept waiting for ever.
async fn hand_on(live: &Live<'_>, part: Part) -> bool {
    matches!(timeout(live.deadlines.idle, live.parts.send(part)).await, Ok(Ok(())))
}
