//! How much one sandbox may ask of the network, and how long for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// What a sandbox's connections may take, together or each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections to other hosts at once.
    pub connections: usize,
    /// Connections to other hosts begun in a minute.
    pub per_minute: u32,
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

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Connections at once.
    #[error("too many connections of this sandbox at once")]
    Connections,
    /// Connections a minute.
    #[error("too many connections of this sandbox in a minute")]
    Rate,
    /// Bytes.
    #[error("this sandbox has sent or received as many bytes as it may")]
    Bytes,
}

/// What is left of one sandbox's limits.
#[derive(Debug)]
pub(crate) struct Allowance {
    slots: Arc<Semaphore>,
    rate: Bucket,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Allowance {
    pub(crate) fn new(limits: &Limits) -> Self {
        Allowance {
            slots: Arc::new(Semaphore::new(limits.connections)),
            rate: Bucket::new(limits.per_minute, limits.per_minute),
            sent: AtomicU64::new(limits.sent),
            received: AtomicU64::new(limits.received),
        }
    }

    /// A place for one more connection.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Limit> {
        if self.sent.load(Ordering::Relaxed) == 0 || self.received.load(Ordering::Relaxed) == 0 {
            return Err(Limit::Bytes);
        }
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Limit::Connections)?;
        if self.rate.take() { Ok(slot) } else { Err(Limit::Rate) }
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
    over: AtomicBool,
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
            over: AtomicBool::new(false),
        }
    }

    /// How many of `wanted` bytes may be sent; they are taken off, and what was not sent is given back.
    pub(crate) fn take(&self, wanted: usize) -> Option<usize> {
        let mut granted = 0;
        let take = |left: u64| {
            granted = left.min(wanted as u64);
            Some(left - granted)
        };
        let _ = self.allowance.sent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if granted == 0 {
            self.over.store(true, Ordering::Relaxed);
            return None;
        }
        usize::try_from(granted).ok()
    }

    pub(crate) fn sent(&self, taken: usize, sent: usize) {
        self.allowance.sent.fetch_add((taken - sent) as u64, Ordering::Relaxed);
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
        let before = self.allowance.received.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let fits = before.is_ok_and(|left| left >= bytes as u64);
        if !fits {
            self.over.store(true, Ordering::Relaxed);
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

    /// Whether it was ended by a limit of bytes.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
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

    #[tokio::test(start_paused = true)]
    async fn connections_are_counted_at_once_and_by_the_minute() {
        let allowance = Allowance::new(&Limits { connections: 2, per_minute: 3, ..Limits::default() });
        let (first, _second) = (allowance.admit().unwrap(), allowance.admit().unwrap());
        assert_eq!(allowance.admit().unwrap_err(), Limit::Connections);
        drop(first);
        let third = allowance.admit().unwrap();
        drop(third);
        assert_eq!(allowance.admit().unwrap_err(), Limit::Rate);
        tokio::time::advance(Duration::from_secs(21)).await;
        assert!(allowance.admit().is_ok());
        assert_eq!(allowance.admit().unwrap_err(), Limit::Rate);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_over_all_connections() {
        let allowance = Arc::new(Allowance::new(&Limits { sent: 10, received: 5, ..Limits::default() }));
        let (one, other) = (Flow::new(Arc::clone(&allowance)), Flow::new(Arc::clone(&allowance)));
        assert_eq!(one.take(8), Some(8));
        one.sent(8, 6);
        assert_eq!(other.take(8), Some(4));
        other.sent(4, 4);
        assert_eq!(one.take(1), None);
        assert!(one.is_over() && !other.is_over());
        assert_eq!(allowance.admit().unwrap_err(), Limit::Bytes);
        assert!(other.received(5) && !other.received(1));
        assert_eq!((one.bytes(), other.bytes()), ((6, 0), (4, 6)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_nothing_passes_and_when_its_time_is_up() {
        let limits =
            Limits { idle: Duration::from_secs(5), total: Duration::from_secs(12), ..Limits::default() };
        let flow = Flow::new(Arc::new(Allowance::new(&limits)));
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
        let quiet = Flow::new(Arc::new(Allowance::new(&limits)));
        quiet.timed_out(&limits).await;
        assert_eq!(quiet.lasted(), Duration::from_secs(5));
    }
}
