//! The time that counts towards a step's limit.
//!
//! A generation has its limit once, whatever its attempts die of. Not counted: time in which nobody runs
//! it, a suspended step's above all, and the replay of what it has done before, which has the limit for
//! itself. While its sandbox lives, time counts whatever the step says it waits for: code that keeps a
//! long wait pending beside its computation would else have no limit. What is counted is recorded with each intent and with each end of an
//! attempt; a crash loses what came behind the last of them. A step that loses more than that (one that
//! does nothing but compute) is bounded by the number of crashes that a generation may have.

use std::time::Duration;

use tokio::time::Instant;

use crate::executor::Active;

pub(super) struct Stopwatch {
    active: Active,
    limit: Option<Duration>,
    counted: Duration,
    replayed: Duration,
    /// Recorded effects that have not been asked for again.
    recorded: usize,
    since: Instant,
}

impl Stopwatch {
    /// Starts it, for a generation with so many recorded effects.
    pub(super) fn start(active: Active, limit: Option<Duration>, recorded: usize, now: Instant) -> Self {
        let counted = Duration::from_millis(active.ms());
        Stopwatch { active, limit, counted, replayed: Duration::ZERO, recorded, since: now }
    }

    /// Counts up to now.
    pub(super) fn look(&mut self, now: Instant) {
        let spent = now.duration_since(self.since);
        let of = if self.recorded > 0 { &mut self.replayed } else { &mut self.counted };
        *of = of.saturating_add(spent);
        self.since = now;
        self.active.reach(u64::try_from(self.counted.as_millis()).unwrap_or(u64::MAX));
    }

    /// The step has asked for an effect.
    pub(super) fn asked(&mut self, recorded: bool, now: Instant) {
        self.look(now);
        self.recorded = if recorded { self.recorded.saturating_sub(1) } else { 0 };
    }

    /// How long it still has, if that is limited.
    pub(super) fn left(&self) -> Option<Duration> {
        let spent = if self.recorded > 0 { self.replayed } else { self.counted };
        self.limit.map(|limit| limit.saturating_sub(spent))
    }

    /// Resolves when the time is up, unless something else happens first.
    pub(super) async fn expired(&self) {
        match self.left() {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn seconds(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn the_next_attempt_has_what_is_left_and_the_time_between_is_free() {
        let (active, began) = (Active::default(), Instant::now());
        let at = |n| began + Duration::from_secs(n);
        let mut first = Stopwatch::start(active.clone(), Some(LIMIT), 0, began);
        first.look(at(4));
        first.look(at(6));
        assert_eq!((active.ms(), first.left()), (6_000, seconds(4)));
        let mut second = Stopwatch::start(active, Some(LIMIT), 0, at(9_000));
        assert_eq!(second.left(), seconds(4));
        second.look(at(9_005));
        assert_eq!(second.left(), seconds(0));
    }

    #[test]
    fn a_replay_has_a_limit_of_its_own() {
        let (active, began) = (Active::new(9_000), Instant::now());
        let at = |n| began + Duration::from_secs(n);
        let mut watch = Stopwatch::start(active.clone(), Some(LIMIT), 2, began);
        watch.asked(true, at(3));
        assert_eq!(watch.left(), seconds(7), "of the replay");
        watch.asked(true, at(6));
        assert_eq!((active.ms(), watch.left()), (9_000, seconds(1)));
        let mut other = Stopwatch::start(active, Some(LIMIT), 5, began);
        other.asked(false, at(3));
        assert_eq!(other.left(), seconds(1), "something new is no replay");
    }

    #[test]
    fn without_a_limit_it_only_counts() {
        let (active, began) = (Active::default(), Instant::now());
        let mut watch = Stopwatch::start(active.clone(), None, 0, began);
        watch.look(began + LIMIT);
        assert_eq!((active.ms(), watch.left()), (10_000, None));
    }
}
