//! How slowly a client's body may come.
//!
//! Owns two limits: the time between two pieces, and a least rate, short of which a body may fall by such a time and
//! no more. Without the second, a byte a minute would keep a connection and its memory for as long as a client
//! likes. **Invariant:** what came fast is no credit for later: 40 MB in a second buy no hours of dribbling.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Bytes in a second: less than any link that people use, and 18 hours for the largest body.
const SLOWEST: u64 = 1_024;

/// Why a body is waited for no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Slow {
    /// Nothing came.
    #[error("it stopped coming")]
    Stopped,
    /// Too little came.
    #[error("it came at less than {SLOWEST} bytes a second")]
    Dribbled,
}

/// The pace of one body.
#[derive(Debug)]
pub(super) struct Pace {
    /// Until when more must have come: each byte moves it on by its time, to `idle` from now at most.
    until: Instant,
    idle: Duration,
    bytes: usize,
}

impl Pace {
    /// From now on, with at most `idle` between two pieces.
    pub(super) fn new(idle: Duration) -> Pace {
        Pace { until: Instant::now() + idle, idle, bytes: 0 }
    }

    /// So many bytes came; how many have come by now.
    pub(super) fn came(&mut self, bytes: usize) -> usize {
        let time = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / SLOWEST);
        let now = Instant::now();
        self.until = now + self.until.saturating_duration_since(now).saturating_add(time).min(self.idle);
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes
    }

    /// Waits for the next piece as long as the pace permits.
    pub(super) async fn within<T>(&self, piece: impl Future<Output = T>) -> Result<T, Slow> {
        let why = if self.until < Instant::now() + self.idle { Slow::Dribbled } else { Slow::Stopped };
        timeout_at(self.until, piece).await.map_err(|_| why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_may_pause_and_not_dribble() {
        let idle = Duration::from_secs(60);
        let mut pace = Pace::new(idle);
        let never = std::future::pending::<()>;
        // Pieces of a kilobyte a second, with a pause now and then.
        for nth in 0..100_u64 {
            let wait = Duration::from_secs(if nth % 20 == 0 { 20 } else { 0 });
            pace.within(tokio::time::sleep(wait)).await.unwrap();
            pace.came(8 << 10);
        }
        assert_eq!(pace.within(never()).await, Err(Slow::Stopped));
        for at_once in [0, 40 << 20] {
            let mut slow = Pace::new(idle);
            slow.came(at_once);
            let begun = Instant::now();
            let end = loop {
                if let Err(end) = slow.within(tokio::time::sleep(Duration::from_secs(20))).await {
                    break end;
                }
                slow.came(1);
            };
            assert_eq!(
                (end, begun.elapsed().as_secs()),
                (Slow::Dribbled, 60),
                "{at_once} bytes are no credit"
            );
        }
        // As slow as may be, for hours, in pieces that are less than a second's.
        let mut steady = Pace::new(idle);
        for _ in 0..40_000 {
            steady.within(tokio::time::sleep(Duration::from_millis(500))).await.unwrap();
            steady.came(520);
        }
    }
}
