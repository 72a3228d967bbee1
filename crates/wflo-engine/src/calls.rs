//! The model calls of one attempt: which journal entry a request is, and which is in flight.
//!
//! A call made through `context.llm` is known by its place. A call of a stock client is known by its
//! request and its occurrence: five identical requests are five calls, unless the earlier one's
//! connection closed before its last byte or the client says that it repeats itself.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use wflo_core::canonical::Digest;
use wflo_core::effect::{EffectRecord, EffectState};
use wflo_core::ports::store::StoreError;
use wflo_gateway::ledger::Share;

use crate::chain::Chain;
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::journal::Journal;
use crate::recording::{RecordingError, Replaying};
use crate::services::Services;
use crate::waits::Waits;

mod caller;
mod given_up;
mod refused;
mod replaying;

/// Which journal entry a request is.
pub(crate) enum Place {
    /// A call of its own.
    New { path: String, seq: u32, nth: u32 },
    /// The same call as one that is in flight, on its `nth` connection: wait for its answer.
    Attach { path: String, seq: u32, nth: u32, over: watch::Receiver<bool> },
}

struct Occurrence {
    seq: u32,
    /// How many connections have asked for it.
    connections: u32,
    /// The one for which it was made.
    first: u32,
    /// Those that are known to have closed before the last byte.
    left: Vec<u32>,
    /// One did, and no request has attached to the call since then.
    abandoned: bool,
    /// Answered, refused or lost: nothing more comes of it.
    over: watch::Sender<bool>,
}

impl Occurrence {
    /// The number of a further connection.
    fn next(&mut self) -> u32 {
        self.connections += 1;
        self.connections - 1
    }

    /// One of its connections closed; it counts once, from whoever sees it first.
    fn leave(&mut self, nth: u32) {
        if !self.left.contains(&nth) {
            self.left.push(nth);
            self.abandoned = true;
        }
    }

    fn is_over(&self) -> bool {
        *self.over.borrow()
    }
}

/// A call that may reach the provider, until it is settled: the attempt does not end before.
pub(crate) struct Flight {
    calls: Arc<Calls>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.calls.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.calls.idle.notify_waiters();
        }
    }
}

/// The model calls of one attempt.
pub(crate) struct Calls {
    pub(crate) attempt: Attempt,
    pub(crate) journal: Arc<Journal>,
    pub(crate) services: Arc<Services>,
    pub(crate) waits: Arc<Waits>,
    /// Of the memory for bodies: what one step holds leaves as much to the others.
    share: Share,
    /// The writes that a new call waits for.
    pub(crate) chain: Arc<Chain>,
    occurrences: Mutex<HashMap<String, Vec<Occurrence>>>,
    /// Gateway rows of earlier attempts that no request has matched yet.
    unmatched: Mutex<HashSet<(String, u32)>>,
    /// Of calls made through `context.llm`: the engine's own fingerprint, and after which answer the step
    /// asked.
    expected: Mutex<HashMap<(String, u32), (Digest, u32)>>,
    /// Of stock clients: what their connections wait for.
    asked: Mutex<Vec<given_up::Asked>>,
    /// The pieces of requests that this attempt has kept.
    pub(crate) kept: crate::ledger::Kept,
    giving_up: tokio::sync::Mutex<()>,
    /// What was said of calls that the gateway ended.
    refused: Mutex<BTreeSet<String>>,
    reached: AtomicU32,
    ended: AtomicBool,
    in_flight: AtomicUsize,
    idle: Notify,
    closing: watch::Sender<bool>,
    /// People wait for the attempt's end.
    hurried: watch::Sender<bool>,
    /// The answers of the run's recording, once one was asked for.
    replaying: tokio::sync::OnceCell<Result<Replaying, RecordingError>>,
    /// Why calls cannot be recorded.
    broken: watch::Sender<Option<StoreError>>,
}

impl Calls {
    pub(crate) fn new(
        attempt: Attempt,
        journal: Arc<Journal>,
        services: Arc<Services>,
        waits: Arc<Waits>,
        chain: Arc<Chain>,
    ) -> Self {
        let rows = journal.all().into_iter().filter(|row| row.key.path.starts_with("@gateway/"));
        let unmatched = rows.map(|row| (row.key.path, row.key.seq)).collect();
        Calls {
            attempt,
            journal,
            services,
            waits,
            share: Share::default(),
            chain,
            occurrences: Mutex::default(),
            unmatched: Mutex::new(unmatched),
            expected: Mutex::default(),
            asked: Mutex::default(),
            kept: crate::ledger::Kept::default(),
            giving_up: tokio::sync::Mutex::default(),
            refused: Mutex::default(),
            reached: AtomicU32::new(0),
            ended: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            closing: watch::channel(false).0,
            hurried: watch::channel(false).0,
            replaying: tokio::sync::OnceCell::new(),
            broken: watch::channel(None).0,
        }
    }

    /// Says what the journal will hold for a call made through `context.llm`.
    pub(crate) fn expect(&self, path: &str, seq: u32, print: Digest, after: u32) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.insert((path.to_owned(), seq), (print, after));
    }

    /// The fingerprint that guards a call's place (of the step's request, where it has one), and after
    /// which answer the step asked.
    pub(crate) fn expected(&self, path: &str, seq: u32, bytes: &str) -> (Digest, u32) {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.get(&(path.to_owned(), seq)).cloned().unwrap_or_else(|| (Digest::from_hex(bytes), 0))
    }

    /// Finds the place of a stock client's request.
    pub(crate) fn place(&self, fingerprint: &str, retry: Option<u32>) -> Place {
        let path = format!("@gateway/{}", fingerprint.get(..32).unwrap_or(fingerprint));
        let mut all = self.occurrences.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(path.clone()).or_default();
        let says_retry = retry.is_some_and(|n| n > 0);
        let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
        // The retry header speaks of the newest call; a closed connection of any call without a reader.
        let newest = known.len().checked_sub(1);
        let earlier =
            known.iter_mut().enumerate().find(|(at, o)| o.abandoned || (says_retry && Some(*at) == newest));
        if let Some((_, occurrence)) = earlier {
            let again = self.journal.get(&path, occurrence.seq).is_some_and(|row| worth_repeating(&row));
            if !(occurrence.is_over() && again) {
                occurrence.abandoned = false;
                let (seq, nth) = (occurrence.seq, occurrence.next());
                if occurrence.is_over() {
                    // What the journal holds of it is given, or it is made again.
                    occurrence.over.send_replace(false);
                    occurrence.first = nth;
                    return Place::New { path, seq, nth };
                }
                return Place::Attach { path, seq, nth, over: occurrence.over.subscribe() };
            }
            occurrence.abandoned = false;
        }
        known.push(Occurrence {
            seq: next,
            connections: 1,
            first: 0,
            left: Vec::new(),
            abandoned: false,
            over: watch::channel(false).0,
        });
        Place::New { path, seq: next, nth: 0 }
    }

    /// Whether a request that the journal does not hold comes from a program that repeats itself
    /// differently: rows of earlier attempts are still waiting to be matched.
    pub(crate) fn misses(&self) -> bool {
        self.attempt.attempt > 1 && !self.unmatched.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn matched(&self, path: &str, seq: u32) {
        self.unmatched.lock().unwrap_or_else(PoisonError::into_inner).remove(&(path.to_owned(), seq));
    }

    /// The call was answered, refused or lost.
    pub(crate) fn finished(&self, path: &str, seq: u32) {
        self.answered(path, seq);
        self.with(path, seq, |occurrence| {
            occurrence.over.send_replace(true);
        });
    }

    /// The connection for which a call was made closed before the last byte.
    pub(crate) fn abandoned(&self, path: &str, seq: u32) {
        self.with(path, seq, |occurrence| occurrence.leave(occurrence.first));
    }

    /// A connection of a call closed before the last byte.
    fn left(&self, path: &str, seq: u32, nth: u32) {
        self.with(path, seq, |occurrence| occurrence.leave(nth));
    }

    fn with(&self, path: &str, seq: u32, change: impl FnOnce(&mut Occurrence)) {
        let mut all = self.occurrences.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get_mut(path);
        if let Some(occurrence) = known.and_then(|known| known.iter_mut().find(|o| o.seq == seq)) {
            change(occurrence);
        }
    }

    /// Counts a call in before its intent is made; none once the attempt is being ended. In this order,
    /// so that whoever closes either waits for the call or refuses it.
    pub(crate) fn take_off(self: &Arc<Self>) -> Option<Flight> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let flight = Flight { calls: Arc::clone(self) };
        (!self.is_closed()).then_some(flight)
    }

    /// Whether no call is on its way.
    pub(crate) fn none_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) == 0
    }

    /// Refuses what has not been dispatched yet, and waits until what has is settled.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        loop {
            let idle = self.idle.notified();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            // The gateway's own deadlines bound every call; the second look is for a missed wake-up.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(200), idle).await;
        }
    }

    /// People wait for the attempt's end: calls that are on their way are waited for only a short while.
    pub(crate) fn hurry(&self) {
        self.hurried.send_replace(true);
    }

    /// Resolves when people wait for the attempt's end.
    pub(crate) async fn hurried(&self) {
        let mut hurried = self.hurried.subscribe();
        let _ = hurried.wait_for(|hurried| *hurried).await;
    }

    /// A call could not be recorded. Whoever made it hears of an error that no resume would repeat, so the
    /// attempt is lost and must not go on from there.
    pub(crate) fn break_off(&self, error: &EngineError) {
        if let EngineError::Store(error) = error {
            self.broken.send_replace(Some(error.clone()));
        }
    }

    /// Why the attempt is lost, if it is.
    pub(crate) fn broke(&self) -> Option<StoreError> {
        self.broken.borrow().clone()
    }

    /// Resolves when a call could not be recorded.
    pub(crate) async fn broken(&self) -> StoreError {
        let mut broken = self.broken.subscribe();
        match broken.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(StoreError::Closed),
            Err(_) => StoreError::Closed,
        }
    }

    /// Resolves when the attempt is being ended.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        let _ = closing.wait_for(|c| *c).await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }
}

/// An answer that a client repeats its request for: it would get the same error for ever otherwise.
fn worth_repeating(row: &EffectRecord) -> bool {
    match row.state {
        // A call is never previewed.
        EffectState::Intent | EffectState::Previewed { .. } => false,
        EffectState::Failed { .. } => true,
        EffectState::Finished { .. } => {
            let interrupted = row.attributes["interrupted"].as_bool().unwrap_or(false);
            let status = row.attributes["status"].as_u64().unwrap_or(200);
            interrupted || status >= 500 || matches!(status, 408 | 409 | 429)
        }
    }
}
