//! Whether a tree uses processors in time in which it was stopped for its share of them.
//!
//! A stop is a signal, and what is stopped can have itself continued at once, by timers. Honest programs use next
//! to nothing while they are stopped: what was in a system call comes to its end, and nobody runs code of their
//! own. Owns where that ends; what follows is the caller's.

/// So many looks may pass before everybody has come to a stop.
const COMES_TO_A_STOP: u32 = 3;
/// So much processor time of programs' own code is too much, in microseconds.
const OWN_US: i64 = 1_000_000;
/// And so much with what the kernel does for them: one call of each of many threads can take seconds.
const ALL_US: i64 = 10_000_000;
/// So much of a millisecond is forgiven as it passes, in microseconds.
const FORGIVEN_US: i64 = 50;

/// Processor time as it was counted, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    /// With what the kernel did.
    pub(super) all_us: i64,
    /// Of programs' own code.
    pub(super) own_us: i64,
}

/// What was used in time in which nothing should have been.
#[derive(Debug, Default)]
pub(super) struct Evasion {
    last: Option<(i64, Used)>,
    stopped: u32,
    own_us: i64,
    all_us: i64,
}

impl Evasion {
    /// Takes a look: whether it was stopped since the look before, and what was used by now, of a share in
    /// thousandths of a processor. Whether that is too much.
    pub(super) fn is_seen(&mut self, now: i64, stopped: bool, used: Used, share: i64) -> bool {
        let (then, before) = self.last.replace((now, used)).unwrap_or((now, used));
        self.stopped = if stopped { self.stopped.saturating_add(1) } else { 0 };
        if self.stopped > COMES_TO_A_STOP {
            self.own_us += (used.own_us - before.own_us).max(0);
            self.all_us += (used.all_us - before.all_us).max(0);
        }
        self.own_us = (self.own_us - (now - then) * FORGIVEN_US).max(0);
        self.all_us = (self.all_us - (now - then) * share.max(FORGIVEN_US)).max(0);
        self.own_us > OWN_US || self.all_us > ALL_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many milliseconds it is seen, of a tree that is always stopped and uses so many microseconds of
    /// each millisecond, so many of them its own; looked at every 20 ms for ten minutes.
    fn seen(all: i64, own: i64, share: i64) -> Option<i64> {
        let mut evasion = Evasion::default();
        (0..30_000)
            .map(|look| look * 20)
            .find(|now| evasion.is_seen(*now, true, Used { all_us: now * all, own_us: now * own }, share))
    }

    #[test]
    fn who_runs_on_is_seen_in_seconds() {
        assert!(seen(530, 400, 100).unwrap() < 4_000);
        assert!(seen(2_000, 1_900, 1_000).unwrap() < 1_000);
        assert!(seen(1_000, 0, 100).unwrap() < 15_000, "in the kernel alone");
    }

    #[test]
    fn who_stands_still_is_not() {
        assert_eq!(seen(0, 0, 100), None);
        assert_eq!(seen(40, 40, 10), None, "a clock that counts badly");
        let mut evasion = Evasion::default();
        // Stopped and continued: what runs in between is nobody's affair here.
        let mut used = Used::default();
        for look in 0..100_000_i64 {
            let stopped = look % 12 > 0;
            if !stopped {
                used = Used { all_us: used.all_us + 80_000, own_us: used.own_us + 80_000 };
            }
            assert!(!evasion.is_seen(look * 20, stopped, used, 100), "{look}");
        }
    }

    #[test]
    fn a_call_that_takes_its_time_is_let_end() {
        let mut evasion = Evasion::default();
        for look in 0..1_000_i64 {
            // Four threads, for two seconds.
            let used = Used { all_us: (look * 20).min(2_000) * 4_000, own_us: 0 };
            assert!(!evasion.is_seen(look * 20, true, used, 100));
        }
    }
}
