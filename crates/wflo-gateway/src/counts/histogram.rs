//! How often something took how long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of durations, by buckets whose upper bounds are fixed.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for all that is above.
    buckets: Box<[AtomicU64]>,
    micros: AtomicU64,
}

impl Histogram {
    /// Nothing yet, with these upper bounds in microseconds, ascending.
    pub fn new(bounds: &'static [u64]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, micros: AtomicU64::new(0) }
    }

    /// Something took so long.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = self.bounds.partition_point(|bound| *bound < micros);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How often it took at most each of the bounds, in microseconds; `None` is any time.
    pub fn below(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(&self.buckets).scan(0, |below, (bound, bucket)| {
            *below += bucket.load(Ordering::Relaxed);
            Some((bound, *below))
        })
    }

    /// All of it together, in microseconds.
    pub fn micros(&self) -> u64 {
        self.micros.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_what_took_just_as_long() {
        let histogram = Histogram::new(&[10, 100]);
        for micros in [0, 10, 11, 100, 101, 5_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let below: Vec<_> = histogram.below().collect();
        assert_eq!(below, [(Some(10), 2), (Some(100), 4), (None, 6)]);
        assert_eq!(histogram.micros(), 5_222);
    }
}
