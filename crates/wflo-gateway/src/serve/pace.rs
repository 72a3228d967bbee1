//! How slowly a client's body may come.
//!
//! Owns two limits: the time between two pieces, and a least rate behind the first such time. Without the
//! second, a byte a minute would keep a connection and its memory for as long as a client likes.

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
    since: Instant,
    idle: Duration,
    bytes: usize,
}

impl Pace {
    /// From now on, with at most `idle` between two pieces.
    pub(super) fn new(idle: Duration) -> Pace {
        Pace { since: Instant::now(), idle, bytes: 0 }
    }

    /// So many bytes came; how many have come by now.
    pub(super) fn came(&mut self, bytes: usize) -> usize {
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes
    }

    /// Waits for the next piece as long as the pace permits.
    pub(super) async fn within<T>(&self, piece: impl Future<Output = T>) -> Result<T, Slow> {
        let stopped = Instant::now() + self.idle;
        let dribbled = self.since + self.idle + Duration::from_secs(self.bytes as u64 / SLOWEST);
        let why = if dribbled < stopped { Slow::Dribbled } else { Slow::Stopped };
        timeout_at(stopped.min(dribbled), piece).await.map_err(|_| why)
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
        let mut slow = Pace::new(idle);
        let begun = Instant::now();
        let end = loop {
            if let Err(end) = slow.within(tokio::time::sleep(Duration::from_secs(20))).await {
                break end;
            }
            slow.came(1);
        };
        assert_eq!((end, begun.elapsed()), (Slow::Dribbled, idle));
    }
}
