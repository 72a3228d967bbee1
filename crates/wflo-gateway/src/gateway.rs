//! The gateway as a value: its routes, its way out, its ledger, and the calls in flight.
//!
//! Owns the count of running calls: a client's disconnect ends nothing but the client's view of one.
//! [`Gateway::shutdown`] waits for all of them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::counts::{AtProvider, Counts};
use crate::health::{Health, Phase};
use crate::hop::Hop;
use crate::ledger::{Caller, Ledger};
use crate::limits::{Gate, Queue};
use crate::repeats::Seen;
use crate::retry::RetryBudget;
use crate::route::Routes;
use crate::upstream::{Deadlines, Upstream};

/// Limits of what the gateway takes and keeps.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub request_bytes: usize,
    /// Largest answer that is read whole or recorded, and largest event of a stream, in bytes. A
    /// longer stream still passes; its record is marked interrupted.
    pub recorded_bytes: usize,
    /// Most bytes of request bodies that all calls together hold at a time: a hostile client must
    /// not be able to use up the memory of the process. One of several callers takes no more of it than it leaves.
    pub buffered_bytes: usize,
    /// Most bytes of answers that all calls together hold at a time, until their clients have taken them:
    /// nor must a hostile upstream, or a client that does not read. Shared in the same way.
    pub answered_bytes: usize,
    /// Most connections of one listener at a time; more wait.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes: 64 << 20,
            recorded_bytes: 64 << 20,
            buffered_bytes: 512 << 20,
            answered_bytes: 512 << 20,
            connections: 1_024,
        }
    }
}

pub(crate) struct Shared {
    pub(crate) routes: Routes,
    pub(crate) upstream: Upstream,
    pub(crate) ledger: Arc<dyn Ledger>,
    /// Answers that may be given again.
    pub(crate) cache: Option<Cache>,
    pub(crate) deadlines: Deadlines,
    pub(crate) limits: Limits,
    pub(crate) hop: Hop,
    pub(crate) counts: Arc<Counts>,
    /// Of these, each provider's.
    at: HashMap<String, Arc<AtProvider>>,
    /// The repetitions that each provider may still get.
    pub(crate) retries: HashMap<String, RetryBudget>,
    pub(crate) health: Health,
    /// The limits of the operator's own, where there are any.
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) seen: Seen,
    buffered: AtomicUsize,
    answered: AtomicUsize,
    pub(crate) closing: AtomicBool,
    calls: TaskTracker,
}

/// What is left to do of a call.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The model gateway. Cheap to clone; all clones are one gateway.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) shared: Arc<Shared>,
}

impl Gateway {
    /// A gateway over these routes, keeping its money in `ledger`.
    pub fn new(routes: Routes, ledger: Arc<dyn Ledger>, deadlines: Deadlines, limits: Limits) -> Gateway {
        Gateway::counting(routes, ledger, deadlines, limits, Arc::default(), None)
    }

    /// The same, giving answers of `cache` again to callers that share any ([`Caller::sharing`]).
    ///
    /// [`Caller::sharing`]: crate::ledger::Caller::sharing
    pub fn caching(
        routes: Routes,
        ledger: Arc<dyn Ledger>,
        cache: Option<Cache>,
        deadlines: Deadlines,
        limits: Limits,
    ) -> Gateway {
        Gateway::counting(routes, ledger, deadlines, limits, Arc::default(), cache)
    }

    /// A gateway that goes on with the counts of one before it.
    pub fn counting(
        routes: Routes,
        ledger: Arc<dyn Ledger>,
        deadlines: Deadlines,
        limits: Limits,
        counts: Arc<Counts>,
        cache: Option<Cache>,
    ) -> Gateway {
        let budget = || RetryBudget::new(&routes.routing().retry);
        let retries = routes.providers().iter().map(|provider| (provider.name.clone(), budget())).collect();
        let names = routes.providers().iter().map(|provider| &provider.name);
        let at = names.map(|name| (name.clone(), counts.provider(name))).collect();
        let limited = routes.routing().limits.clone();
        Gateway {
            shared: Arc::new(Shared {
                retries,
                health: Health::default(),
                gate: (!limited.is_empty()).then(|| Arc::new(Gate::new(limited, &counts))),
                seen: Seen::default(),
                routes,
                upstream: Upstream::new(deadlines),
                ledger,
                cache,
                deadlines,
                limits,
                hop: Hop::draw(),
                counts,
                at,
                buffered: AtomicUsize::new(0),
                answered: AtomicUsize::new(0),
                closing: AtomicBool::new(false),
                calls: TaskTracker::new(),
            }),
        }
    }

    /// The routes that this gateway uses.
    pub fn routes(&self) -> &Routes {
        &self.shared.routes
    }

    /// A caller begins anew, as a step does that is resumed: nothing that it called before is part of a circle.
    pub fn begins(&self, caller: &str) {
        self.shared.seen.begin_anew(caller);
    }

    /// The answers that it gives again, if it does.
    pub fn cache(&self) -> Option<&Cache> {
        self.shared.cache.as_ref()
    }

    /// What the circuit breaker of each way is doing, by provider and model.
    pub fn breakers(&self) -> Vec<(String, String, Phase)> {
        self.shared.health.phases()
    }

    /// The limits of the operator's own, and how many wait for each.
    pub fn queues(&self) -> Vec<Queue> {
        self.shared.gate.as_ref().map_or_else(Vec::new, |gate| gate.queues())
    }

    /// What was counted so far.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.shared.counts
    }

    /// Calls that were billed more than their hold. An alarm: it stays 0.
    pub fn overshoots(&self) -> u64 {
        self.shared.counts.overshoots.load(Ordering::Relaxed)
    }

    /// Refuses new calls and waits until every running one is settled. Bounded by the deadlines of
    /// the calls.
    pub async fn shutdown(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.calls.close();
        self.shared.calls.wait().await;
    }
}

/// The memory that the bodies of one of several callers take. Cheap to clone; all clones are one share.
#[derive(Debug, Clone, Default)]
pub struct Share(Arc<Taken>);

/// In bytes.
#[derive(Debug, Default)]
struct Taken {
    buffered: AtomicUsize,
    answered: AtomicUsize,
}

/// Memory that one body takes of what all of its kind may take together.
///
/// **Invariant:** one of several callers takes no more than it leaves free. Alone it has half, beside others that
/// have much it has less, and whoever comes next finds room.
pub(crate) struct Buffered {
    shared: Arc<Shared>,
    share: Option<Share>,
    of: BodyOf,
    bytes: usize,
}

/// Whose body it is.
#[derive(Clone, Copy)]
enum BodyOf {
    Request,
    Answer,
}

impl Buffered {
    /// Nothing yet of a request's body.
    pub(crate) fn request(shared: &Arc<Shared>, caller: &Caller) -> Buffered {
        Buffered::of(shared, caller.share(), BodyOf::Request)
    }

    /// Nothing yet of an answer's body.
    pub(crate) fn answer(shared: &Arc<Shared>, share: Option<&Share>) -> Buffered {
        Buffered::of(shared, share, BodyOf::Answer)
    }

    fn of(shared: &Arc<Shared>, share: Option<&Share>, of: BodyOf) -> Buffered {
        Buffered { shared: Arc::clone(shared), share: share.cloned(), of, bytes: 0 }
    }

    fn pool(&self) -> (&AtomicUsize, usize) {
        match self.of {
            BodyOf::Request => (&self.shared.buffered, self.shared.limits.buffered_bytes),
            BodyOf::Answer => (&self.shared.answered, self.shared.limits.answered_bytes),
        }
    }

    /// Of the caller, if it is one of several.
    fn own(&self) -> Option<&AtomicUsize> {
        let Share(taken) = self.share.as_ref()?;
        Some(match self.of {
            BodyOf::Request => &taken.buffered,
            BodyOf::Answer => &taken.answered,
        })
    }

    /// Takes more; `false` when there is no more to take.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let (taken, limit) = self.pool();
        let before = taken.fetch_add(bytes, Ordering::AcqRel);
        let own = self.own().map_or(0, |own| own.fetch_add(bytes, Ordering::AcqRel) + bytes);
        self.bytes += bytes;
        before + bytes + own <= limit
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.pool().0.fetch_sub(self.bytes, Ordering::AcqRel);
        if let Some(own) = self.own() {
            own.fetch_sub(self.bytes, Ordering::AcqRel);
        }
    }
}

impl Shared {
    /// What is counted of a provider.
    pub(crate) fn at(&self, provider: &str) -> Option<&AtProvider> {
        self.at.get(provider).map(Arc::as_ref)
    }

    /// The work of a call, which counts as running until it is dropped.
    pub(crate) fn counted(&self, work: impl Future<Output = ()> + Send + 'static) -> Work {
        Box::pin(self.calls.track_future(work))
    }

    /// Runs what is left of a call to its end, in a task of its own.
    pub(crate) fn run(&self, work: Option<Work>) {
        // Without a runtime the process is ending, and who comes next charges what was held.
        if let (Some(work), Ok(runtime)) = (work, Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}
