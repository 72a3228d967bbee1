//! What has passed one limit in the last minute, and what is passing now.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Limit;

const MINUTE: Duration = Duration::from_secs(60);

/// One limit's count, of one caller where each has its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Meter {
    /// When, of how many tokens, and whose; in the order in which passes were numbered.
    passed: VecDeque<(Instant, u64, u64)>,
    tokens: u64,
    running: u64,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There is at this time.
    Until(Instant),
    /// There is once a call ends.
    Running,
}

impl Meter {
    pub(super) fn is_idle(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.passed.is_empty() && self.running == 0
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, tokens, _)) = self.passed.front()
            && now - *at >= MINUTE
        {
            self.tokens -= tokens;
            self.passed.pop_front();
        }
    }

    /// Whether a call of so many tokens may pass now.
    pub(super) fn room(&mut self, limit: &Limit, tokens: u64, now: Instant) -> Result<(), Full> {
        self.forget(now);
        if limit.concurrent.is_some_and(|most| self.running >= most) {
            return Err(Full::Running);
        }
        let mut until = None;
        if let Some(most) = limit.requests_per_minute {
            let passed = self.passed.len() as u64;
            if passed >= most {
                // So many must have been forgotten first.
                let nth = usize::try_from(passed - most).unwrap_or(usize::MAX);
                until = until.max(self.passed.get(nth).map(|(at, ..)| *at + MINUTE));
            }
        }
        if let Some(most) = limit.tokens_per_minute {
            let (wanted, mut left) = (part(limit, tokens), self.tokens);
            for (at, passed, _) in &self.passed {
                if left.saturating_add(wanted) <= most {
                    break;
                }
                left -= passed;
                until = until.max(Some(*at + MINUTE));
            }
        }
        until.map_or(Ok(()), |until| Err(Full::Until(until)))
    }

    pub(super) fn pass(&mut self, limit: &Limit, tokens: u64, id: u64, now: Instant) {
        let tokens = part(limit, tokens);
        self.passed.push_back((now, tokens, id));
        self.tokens += tokens;
        self.running += 1;
    }

    /// The call is known to have used so many.
    pub(super) fn used(&mut self, id: u64, tokens: u64) {
        if let Ok(at) = self.passed.binary_search_by_key(&id, |(_, _, id)| *id) {
            self.tokens = self.tokens - self.passed[at].1 + tokens;
            self.passed[at].1 = tokens;
        }
    }

    pub(super) fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// A call that had passed was not made after all.
    pub(super) fn forgo(&mut self, id: u64) {
        let at = self.passed.binary_search_by_key(&id, |(_, _, id)| *id);
        if let Some((_, tokens, _)) = at.ok().and_then(|at| self.passed.remove(at)) {
            self.tokens -= tokens;
        }
    }
}

/// A call larger than the whole limit takes all of it: it could never pass otherwise.
fn part(limit: &Limit, tokens: u64) -> u64 {
    limit.tokens_per_minute.map_or(0, |most| tokens.min(most))
}
