//! A ledger in memory: one budget, `settled + held <= limit` at every instant, identity as DESIGN
//! 5.4 has it. What the engine does durably, without the disk.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};
use wflo_core::budget::{Amount, Budget, Measure, OnExceeded, Period, Scope, Shortfall, Zone};
use wflo_core::money::NanoUsd;
use wflo_gateway::cache::Hit;
use wflo_gateway::ledger::{
    BoxFuture, CallIntent, Further, Ledger, LedgerError, Next, Opened, Outcome, Recorded, Refusal, Ticket,
    Tried,
};

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Entry {
    Running,
    Closed(Outcome),
    Released,
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) intent: CallIntent,
    pub(crate) entry: Entry,
    pub(crate) closed_early: bool,
    pub(crate) tried: Vec<Tried>,
}

#[derive(Default)]
struct Books {
    settled: i64,
    held: i64,
    calls: Vec<Call>,
    journal: HashMap<String, VecDeque<Recorded>>,
    hits: Vec<Hit>,
    fail_close: bool,
}

pub(crate) struct MemoryLedger {
    limit: i64,
    /// Fewest output tokens that a call may be cut down to.
    floor: Option<u64>,
    /// Calls that do not fit are to be made with a cheaper model.
    downgrades: bool,
    books: Mutex<Books>,
    changed: Notify,
    /// Set by a test: people wait for the end of whoever calls.
    pub(crate) ending: watch::Sender<bool>,
}

impl MemoryLedger {
    pub(crate) fn with_limit(limit: NanoUsd) -> Arc<MemoryLedger> {
        let ending = watch::channel(false).0;
        Arc::new(MemoryLedger {
            limit: limit.nanos(),
            floor: None,
            downgrades: false,
            books: Mutex::default(),
            changed: Notify::new(),
            ending,
        })
    }

    /// The same ledger before any call, whose budget says `downgrade`.
    #[allow(dead_code)]
    pub(crate) fn downgrading(self: Arc<Self>) -> Arc<MemoryLedger> {
        Arc::new(MemoryLedger { downgrades: true, ..Arc::into_inner(self).unwrap() })
    }

    /// A ledger that cuts calls down to `floor` output tokens when they do not fit.
    #[allow(dead_code)]
    pub(crate) fn with_floor(limit: NanoUsd, floor: u64) -> Arc<MemoryLedger> {
        let ledger = MemoryLedger::with_limit(limit);
        Arc::new(MemoryLedger { floor: Some(floor), ..Arc::into_inner(ledger).unwrap() })
    }

    pub(crate) fn unlimited() -> Arc<MemoryLedger> {
        MemoryLedger::with_limit(NanoUsd::MAX)
    }

    /// A ledger that resumes: answers journaled earlier, by fingerprint in their order.
    #[allow(dead_code)]
    pub(crate) fn resuming(earlier: &MemoryLedger) -> Arc<MemoryLedger> {
        let ledger = MemoryLedger::unlimited();
        for call in earlier.calls() {
            if let Entry::Closed(outcome) = call.entry {
                let mut books = ledger.books();
                books.journal.entry(call.intent.fingerprint).or_default().push_back(outcome.recorded);
            }
        }
        ledger
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    #[allow(dead_code)]
    pub(crate) fn fail_close(&self) {
        self.books().fail_close = true;
    }

    #[allow(dead_code)]
    pub(crate) fn settled(&self) -> i64 {
        self.books().settled
    }

    #[allow(dead_code)]
    pub(crate) fn held(&self) -> i64 {
        self.books().held
    }

    /// The kept answers that were given.
    #[allow(dead_code)]
    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.books().hits.clone()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.books().calls.clone()
    }

    /// Waits until the books look as wanted; the deadline is the test's failure.
    #[allow(dead_code)]
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&[Call]) -> bool) {
        let wait = async {
            loop {
                let notified = self.changed.notified();
                if wanted(&self.calls()) {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(120), wait)
            .await
            .unwrap_or_else(|_| panic!("never happened: {what}: {:?}", self.calls()));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        let result = {
            let mut books = self.books();
            let result = change(&mut books);
            assert!(books.held >= 0);
            // Zero-limit tests hold nothing; everything else is the invariant itself.
            assert!(books.settled.checked_add(books.held).is_some_and(|sum| sum <= self.limit), "overspent");
            result
        };
        self.changed.notify_waiters();
        result
    }

    fn attachable(calls: &[Call], intent: &CallIntent) -> Option<usize> {
        calls.iter().position(|call| {
            call.intent.fingerprint == intent.fingerprint
                && match &call.entry {
                    Entry::Released => false,
                    Entry::Running => call.closed_early || intent.retry_of.is_some_and(|retry| retry > 0),
                    // An error that arrived is what the client retries; one that was lost is given again.
                    Entry::Closed(outcome) => {
                        call.closed_early
                            || (intent.retry_of.is_some_and(|retry| retry > 0)
                                && outcome.recorded.status == 200
                                && !outcome.recorded.interrupted)
                    }
                }
        })
    }

    fn short(&self, wanted: NanoUsd, left: i64) -> Refusal {
        let budget = Budget {
            id: "bud_00000000-0000-0000-0000-000000000000".parse().unwrap(),
            scope: Scope::Run,
            key: "run".to_owned(),
            period: Period::Total,
            period_start: String::new(),
            time_zone: Zone::utc(),
            standing: false,
            measure: Measure::Cost,
            limit: Amount::from_units(self.limit),
            settled: Amount::from_units(self.limit - left),
            held: Amount::ZERO,
            action_on_exceeded: if self.downgrades { OnExceeded::Downgrade } else { OnExceeded::Halt },
            alert_thresholds: Vec::new(),
        };
        Refusal::Budget(Box::new(Shortfall { budget, wanted: wanted.into() }))
    }

    async fn open_call(&self, mut intent: CallIntent) -> Opened {
        if let Some(recorded) =
            self.books().journal.get_mut(&intent.fingerprint).and_then(VecDeque::pop_front)
        {
            return Opened::Replay(recorded);
        }
        loop {
            let notified = self.changed.notified();
            let attached = {
                let mut books = self.books();
                MemoryLedger::attachable(&books.calls, &intent).map(|at| {
                    let recorded = match &books.calls[at].entry {
                        Entry::Closed(outcome) => Some(outcome.recorded.clone()),
                        _ => None,
                    };
                    if recorded.is_some() {
                        books.calls[at].closed_early = false;
                    }
                    recorded
                })
            };
            match attached {
                Some(Some(recorded)) => return Opened::Replay(recorded),
                Some(None) => notified.await,
                None => break,
            }
        }
        match intent.cached.find().await {
            Ok(None) => {}
            Ok(Some(hit)) => {
                self.change(|books| books.hits.push(hit.clone()));
                return Opened::Replay(hit.recorded);
            }
            Err(refusal) => return Opened::Refused(refusal),
        }
        if let Err(refusal) = intent.turn.take().await {
            return Opened::Refused(refusal);
        }
        self.change(|books| {
            let left = self.limit - books.settled - books.held;
            let shorter = intent.shorter.clone().filter(|_| intent.hold.nanos() > left).zip(self.floor);
            let output_limit = shorter.and_then(|(shorter, floor)| {
                let tokens = shorter.longest(floor, |most| most.cost.nanos() <= left)?;
                intent.hold = shorter.at(tokens)?.cost;
                Some(tokens)
            });
            if intent.hold.nanos() > left {
                let refusal = self.short(intent.hold, left);
                return match self.downgrades && intent.cheaper {
                    true => Opened::Cheaper(Ticket::new(()), refusal),
                    false => Opened::Refused(refusal),
                };
            }
            books.held += intent.hold.nanos();
            books.calls.push(Call { intent, entry: Entry::Running, closed_early: false, tried: Vec::new() });
            Opened::Dispatch { ticket: Ticket::new(books.calls.len() - 1), output_limit }
        })
    }
}

impl Ledger for MemoryLedger {
    fn open(&self, intent: CallIntent) -> BoxFuture<'_, Result<Opened, LedgerError>> {
        Box::pin(async move { Ok(self.open_call(intent).await) })
    }

    fn close(&self, ticket: Ticket, outcome: Outcome) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.change(|books| {
                let at = *ticket.get::<usize>().unwrap();
                assert!(matches!(books.calls[at].entry, Entry::Running), "closed twice");
                books.held -= books.calls[at].intent.hold.nanos();
                books.settled += outcome.settled.nanos();
                books.calls[at].entry = Entry::Closed(outcome);
                if books.fail_close {
                    return Err(LedgerError {
                        code: wflo_core::error::Code(4013),
                        message: "disk full".to_owned(),
                    });
                }
                Ok(())
            })
        })
    }

    fn again<'a>(&'a self, ticket: &'a Ticket, next: Next) -> BoxFuture<'a, Result<Further, LedgerError>> {
        Box::pin(async move {
            Ok(self.change(|books| {
                let at = *ticket.get::<usize>().unwrap();
                assert!(matches!(books.calls[at].entry, Entry::Running), "tried again after its end");
                let before = books.calls[at].intent.hold.nanos();
                let left = self.limit - books.settled - (books.held - before) - next.charged.nanos();
                if next.hold.nanos() > left {
                    return Further::Refused(self.short(next.hold, left));
                }
                books.settled += next.charged.nanos();
                books.held += next.hold.nanos() - before;
                let call = &mut books.calls[at];
                call.intent.hold = next.hold;
                (call.intent.provider, call.intent.model) = (next.provider, next.model);
                call.tried = next.tried;
                Further::Dispatch
            }))
        })
    }

    fn release(&self, ticket: Ticket) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.change(|books| {
                let at = *ticket.get::<usize>().unwrap();
                assert!(matches!(books.calls[at].entry, Entry::Running), "released after its end");
                books.held -= books.calls[at].intent.hold.nanos();
                books.calls[at].entry = Entry::Released;
                Ok(())
            })
        })
    }

    fn connection_closed_early(&self, ticket: &Ticket) {
        self.change(|books| books.calls[*ticket.get::<usize>().unwrap()].closed_early = true);
    }

    fn ending<'a>(&'a self, _: &'a Ticket) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let mut ending = self.ending.subscribe();
            ending.wait_for(|ending| *ending).await.unwrap();
        })
    }
}
