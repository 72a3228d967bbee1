//! How much sandboxes may ask of the network, and how long for.
//!
//! Owns the numbers and what is left of them. What is counted in all ([`Totals`]) may be shared by the sandboxes of
//! one run; what is counted at once or by the minute is each sandbox's own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wflo_core::definition::NetworkSpec;
use wflo_core::size::Bytes;

/// What a sandbox's connections may take, together or each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections to other hosts at once.
    pub connections: u32,
    /// Connections to other hosts begun in a minute.
    pub per_minute: u32,
    /// Connections to other hosts in all.
    pub requests: u64,
    /// Bytes sent to all hosts together.
    pub sent: u64,
    /// Bytes received from all hosts together.
    pub received: u64,
    /// For the head of a request to arrive, and for the first message of TLS.
    pub head: Duration,
    /// For a name to be resolved.
    pub resolve: Duration,
    /// For a connection to be made.
    pub dial: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// For one connection.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 64,
            per_minute: 1_200,
            requests: 1_000_000_000,
            sent: 1 << 30,
            received: 16 << 30,
            head: Duration::from_secs(10),
            resolve: Duration::from_secs(5),
            dial: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            total: Duration::from_secs(4 * 3_600),
        }
    }
}

impl Limits {
    /// The usual ones, with what is said of them.
    pub fn of(said: &NetworkSpec) -> Limits {
        let usual = Limits::default();
        let bytes = |said: Option<Bytes>, usual| said.map_or(usual, |bytes| bytes.0);
        Limits {
            connections: said.connections.unwrap_or(usual.connections),
            per_minute: said.requests_per_minute.unwrap_or(usual.per_minute),
            requests: said.requests.map_or(usual.requests, u64::from),
            sent: bytes(said.sent, usual.sent),
            received: bytes(said.received, usual.received),
            ..usual
        }
    }
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Connections at once.
    #[error("too many connections of this sandbox at once: it may have {0}")]
    Connections(u32),
    /// Connections a minute.
    #[error("too many connections of this sandbox in a minute: it may begin {0}")]
    Rate(u32),
    /// Connections in all.
    #[error("no further connection may be made: {0} have been, and that is the limit")]
    Requests(u64),
    /// Bytes to hosts.
    #[error("no more may be sent to hosts: {0} have been, and that is the limit")]
    Sent(Bytes),
    /// Bytes from hosts.
    #[error("no more may be received from hosts: {0} have been, and that is the limit")]
    Received(Bytes),
}

impl Limit {
    /// What the settings call it.
    pub const fn setting(self) -> &'static str {
        match self {
            Limit::Connections(_) => "connections",
            Limit::Rate(_) => "requests_per_minute",
            Limit::Requests(_) => "requests",
            Limit::Sent(_) => "sent",
            Limit::Received(_) => "received",
        }
    }
}

/// What has been used already of what is counted in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Connections.
    pub requests: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// What is left of what is counted in all, by every sandbox that shares it.
#[derive(Debug)]
pub struct Totals {
    limits: Limits,
    requests: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Totals {
    /// All of `limits`.
    pub fn new(limits: &Limits) -> Self {
        Totals::after(limits, Used::default())
    }

    /// What `used` leaves of `limits`.
    pub fn after(limits: &Limits, used: Used) -> Self {
        Totals {
            limits: *limits,
            requests: AtomicU64::new(limits.requests.saturating_sub(used.requests)),
            sent: AtomicU64::new(limits.sent.saturating_sub(used.sent)),
            received: AtomicU64::new(limits.received.saturating_sub(used.received)),
        }
    }

    fn no_more_sent(&self) -> Limit {
        Limit::Sent(Bytes(self.limits.sent))
    }

    fn no_more_received(&self) -> Limit {
        Limit::Received(Bytes(self.limits.received))
    }

    fn admit(&self) -> Result<(), Limit> {
        if self.sent.load(Ordering::Relaxed) == 0 {
            return Err(self.no_more_sent());
        }
        if self.received.load(Ordering::Relaxed) == 0 {
            return Err(self.no_more_received());
        }
        let less = |left: u64| left.checked_sub(1);
        let taken = self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.map(|_| ()).map_err(|_| Limit::Requests(self.limits.requests))
    }
}

/// What is left of one sandbox's limits.
#[derive(Debug)]
pub(crate) struct Allowance {
    connections: u32,
    slots: Arc<Semaphore>,
    per_minute: u32,
    rate: Bucket,
    totals: Arc<Totals>,
}

impl Allowance {
    pub(crate) fn new(limits: &Limits, totals: Arc<Totals>) -> Self {
        Allowance {
            connections: limits.connections,
            slots: Arc::new(Semaphore::new(limits.connections as usize)),
            per_minute: limits.per_minute,
            rate: Bucket::new(limits.per_minute, limits.per_minute),
            totals,
        }
    }

    /// A place for one more connection.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Limit> {
        let full = |_| Limit::Connections(self.connections);
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(full)?;
        if !self.rate.take() {
            return Err(Limit::Rate(self.per_minute));
        }
        self.totals.admit().map(|()| slot)
    }
}

/// So many of something at once, and so many a minute after that.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_minute: u64,
    /// In 1/60,000 of one.
    full: u64,
    /// What may be taken now, and since when that is known.
    left: Mutex<(u64, Instant)>,
}

impl Bucket {
    pub(crate) fn new(at_once: u32, per_minute: u32) -> Self {
        let full = u64::from(at_once) * 60_000;
        Bucket { per_minute: per_minute.into(), full, left: Mutex::new((full, Instant::now())) }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = u64::try_from(now.duration_since(left.1).as_millis()).unwrap_or(u64::MAX);
        let there = left.0.saturating_add(passed.saturating_mul(self.per_minute)).min(self.full);
        let taken = there.checked_sub(60_000);
        *left = (taken.unwrap_or(there), now);
        taken.is_some()
    }
}

/// One connection's bytes and times.
#[derive(Debug)]
pub(crate) struct Flow {
    allowance: Arc<Allowance>,
    started: Instant,
    /// Milliseconds after `started`.
    last: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    over: OnceLock<Limit>,
}

impl Flow {
    pub(crate) fn new(allowance: Arc<Allowance>) -> Self {
        let zero = || AtomicU64::new(0);
        Flow {
            allowance,
            started: Instant::now(),
            last: zero(),
            sent: zero(),
            received: zero(),
            over: OnceLock::new(),
        }
    }

    /// How many of `wanted` bytes may be sent; they are taken off, and what was not sent is given back.
    pub(crate) fn take(&self, wanted: usize) -> Option<usize> {
        let mut granted = 0;
        let take = |left: u64| {
            granted = left.min(wanted as u64);
            Some(left - granted)
        };
        let totals = &self.allowance.totals;
        let _ = totals.sent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if granted == 0 {
            let _ = self.over.set(totals.no_more_sent());
            return None;
        }
        usize::try_from(granted).ok()
    }

    pub(crate) fn sent(&self, taken: usize, sent: usize) {
        self.allowance.totals.sent.fetch_add((taken - sent) as u64, Ordering::Relaxed);
        self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        if sent > 0 {
            self.touch();
        }
    }

    /// Whether so many more bytes may be received.
    pub(crate) fn received(&self, bytes: usize) -> bool {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
        let less = |left: u64| Some(left.saturating_sub(bytes as u64));
        let totals = &self.allowance.totals;
        let before = totals.received.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let fits = before.is_ok_and(|left| left >= bytes as u64);
        if !fits {
            let _ = self.over.set(totals.no_more_received());
        }
        fits
    }

    fn touch(&self) {
        let passed = self.started.elapsed().as_millis();
        self.last.store(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes sent and received.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    pub(crate) fn lasted(&self) -> Duration {
        self.started.elapsed()
    }

    /// The limit of bytes that it was ended by.
    pub(crate) fn over(&self) -> Option<Limit> {
        self.over.get().copied()
    }

    /// Resolves when nothing has passed for too long, or it has lasted too long.
    pub(crate) async fn timed_out(&self, limits: &Limits) {
        let end = self.started + limits.total;
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let due = (self.started + last + limits.idle).min(end);
            if Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(limits: Limits) -> Allowance {
        Allowance::new(&limits, Arc::new(Totals::new(&limits)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_counted_in_all_is_shared_and_goes_on_where_it_was() {
        let limits = Limits { requests: 5, sent: 10, ..Limits::default() };
        let totals = Arc::new(Totals::after(&limits, Used { requests: 2, sent: 4, ..Used::default() }));
        let sandbox = || Arc::new(Allowance::new(&limits, Arc::clone(&totals)));
        let (one, other) = (sandbox(), sandbox());
        assert!(one.admit().is_ok() && other.admit().is_ok() && one.admit().is_ok());
        assert_eq!(other.admit().unwrap_err(), Limit::Requests(5));
        assert_eq!(Flow::new(one).take(8), Some(6));
        assert_eq!(Flow::new(other).take(1), None);
    }

    #[test]
    fn what_nobody_says_is_as_usual() {
        assert_eq!(Limits::of(&NetworkSpec::default()), Limits::default());
        let said = NetworkSpec { sent: Some(Bytes(7)), requests: Some(9), ..NetworkSpec::default() };
        assert_eq!(Limits::of(&said), Limits { sent: 7, requests: 9, ..Limits::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_counted_at_once_and_by_the_minute() {
        let allowance = allowance(Limits { connections: 2, per_minute: 3, ..Limits::default() });
        let (first, _second) = (allowance.admit().unwrap(), allowance.admit().unwrap());
        assert_eq!(allowance.admit().unwrap_err(), Limit::Connections(2));
        drop(first);
        let third = allowance.admit().unwrap();
        drop(third);
        assert_eq!(allowance.admit().unwrap_err(), Limit::Rate(3));
        tokio::time::advance(Duration::from_secs(21)).await;
        assert!(allowance.admit().is_ok());
        assert_eq!(allowance.admit().unwrap_err(), Limit::Rate(3));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_over_all_connections() {
        let allowance = Arc::new(allowance(Limits { sent: 10, received: 5, ..Limits::default() }));
        let (one, other) = (Flow::new(Arc::clone(&allowance)), Flow::new(Arc::clone(&allowance)));
        assert_eq!(one.take(8), Some(8));
        one.sent(8, 6);
        assert_eq!(other.take(8), Some(4));
        other.sent(4, 4);
        assert_eq!(one.take(1), None);
        assert_eq!((one.over(), other.over()), (Some(Limit::Sent(Bytes(10))), None));
        assert_eq!(allowance.admit().unwrap_err(), Limit::Sent(Bytes(10)));
        assert!(other.received(5) && !other.received(1));
        assert_eq!(other.over(), Some(Limit::Received(Bytes(5))));
        assert_eq!((one.bytes(), other.bytes()), ((6, 0), (4, 6)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_nothing_passes_and_when_its_time_is_up() {
        let limits =
            Limits { idle: Duration::from_secs(5), total: Duration::from_secs(12), ..Limits::default() };
        let flow = Flow::new(Arc::new(allowance(limits)));
        let began = Instant::now();
        let active = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                flow.received(1);
            }
        };
        tokio::select! {
            () = active => panic!("it went on"),
            () = flow.timed_out(&limits) => assert_eq!(began.elapsed(), Duration::from_secs(12)),
        }
        let quiet = Flow::new(Arc::new(allowance(limits)));
        quiet.timed_out(&limits).await;
        assert_eq!(quiet.lasted(), Duration::from_secs(5));
    }
}
