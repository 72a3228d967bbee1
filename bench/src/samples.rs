//! Numbers of one kind, and what is said of them.

use std::time::Duration;

/// Numbers of one kind: one a round, or one a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// One number.
    pub(crate) fn one(value: f64) -> Samples {
        Samples(vec![value])
    }

    /// Adds a number.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds a time, in microseconds.
    pub(crate) fn push_us(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e6);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The number below which `share` percent lie; 0 when there is none.
    pub(crate) fn percentile(&self, share: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or(0.0)
    }

    /// The middle.
    pub(crate) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The least.
    pub(crate) fn low(&self) -> f64 {
        self.percentile(0)
    }

    /// The most.
    pub(crate) fn high(&self) -> f64 {
        self.percentile(100)
    }
}
