//! How fast a key may ask.
//!
//! Owns a bucket for each key that fills with the permitted requests of a minute within a minute.

use std::time::Duration;

use jiff::Timestamp;

/// Requests of the last minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    permitted: u32,
    /// In thousandths of a request.
    level: i64,
    filled_ms: i64,
}

/// Whether a request comes at the permitted pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Good,
    /// So many are permitted in a minute, and the next after this time.
    TooFast(u32, Duration),
}

impl Bucket {
    /// A full one of so many requests a minute.
    pub(super) fn of(permitted: u32) -> Bucket {
        Bucket { permitted, level: i64::from(permitted) * 1_000, filled_ms: i64::MIN }
    }

    /// Takes one request out.
    pub(super) fn take(&mut self, now: Timestamp) -> Pace {
        let permitted = self.permitted;
        let (most, now) = (i64::from(permitted) * 1_000, now.as_millisecond());
        if self.filled_ms != i64::MIN {
            let since = now.saturating_sub(self.filled_ms).clamp(0, 60_000);
            self.level = (self.level + since * i64::from(permitted) / 60).min(most);
        }
        self.filled_ms = now;
        if self.level < 1_000 {
            let left = (1_000 - self.level) * 60;
            let wait = left.div_euclid(i64::from(permitted)) + 1;
            return Pace::TooFast(permitted, Duration::from_millis(wait.unsigned_abs()));
        }
        self.level -= 1_000;
        Pace::Good
    }
}
