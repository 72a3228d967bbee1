//! A circuit breaker: a way that fails is left alone for a while, then asked once before it is trusted.
//!
//! Owns the three states and nothing else; the time is given to it. **Architecture Invariant:** while it is
//! not closed, at most one call at a time passes, and none before the time is over.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// When a way counts as failing, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Fewest failures in the window.
    pub failures: u32,
    /// Fewest failures of a hundred answers in the window.
    pub percent: u32,
    /// How far back counts.
    pub window: Duration,
    /// How long it stays open at first; it doubles each time that the probe fails, to eight times.
    pub open: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { failures: 5, percent: 50, window: Duration::from_secs(30), open: Duration::from_secs(15) }
    }
}

/// What a breaker is doing, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Calls pass.
    Closed,
    /// No call passes.
    Open,
    /// One call may pass, to see.
    HalfOpen,
}

/// Parts of the window that are forgotten one by one.
const PARTS: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Beginning, successes and failures of each part of the window.
    parts: VecDeque<(Instant, u32, u32)>,
    /// Since when it is not closed: open until then, and the probe that is under way.
    tripped: Option<(Instant, Option<u64>)>,
    trips: u32,
    probes: u64,
}

/// Whether a call passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Pass,
    Probe(u64),
    Wait(Duration),
}

impl State {
    pub(super) fn phase(&self, now: Instant) -> Phase {
        match self.tripped {
            None => Phase::Closed,
            Some((until, _)) if now < until => Phase::Open,
            Some(_) => Phase::HalfOpen,
        }
    }

    /// No answer was ever recorded.
    pub(super) fn is_untouched(&self) -> bool {
        self.tripped.is_none() && self.parts.is_empty()
    }

    /// Whether a call would pass.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.tripped.is_none_or(|(until, probe)| now >= until && probe.is_none())
    }

    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match &mut self.tripped {
            None => Admission::Pass,
            Some((until, _)) if now < *until => Admission::Wait(*until - now),
            // Its answer decides; until then nobody knows more.
            Some((_, Some(_))) => Admission::Wait(Duration::from_secs(1)),
            Some((_, probe)) => {
                self.probes += 1;
                *probe = Some(self.probes);
                Admission::Probe(self.probes)
            }
        }
    }

    /// The probe came to no answer, good or bad.
    pub(super) fn abandon(&mut self, id: u64) {
        if let Some((_, probe)) = &mut self.tripped
            && *probe == Some(id)
        {
            *probe = None;
        }
    }

    /// An answer came, or did not; whether it opened by that.
    pub(super) fn record(
        &mut self,
        settings: &Breaker,
        ok: bool,
        now: Instant,
        chance: impl FnOnce() -> u64,
    ) -> bool {
        if let Some((until, _)) = self.tripped {
            // Of a call from before it tripped, or the probe's.
            if ok {
                (self.tripped, self.trips) = (None, 0);
                self.parts.clear();
            } else if now >= until {
                self.trip(settings, now, chance());
                return true;
            }
            return false;
        }
        let part = settings.window / PARTS;
        while self.parts.front().is_some_and(|(since, ..)| now - *since >= settings.window) {
            self.parts.pop_front();
        }
        if self.parts.back().is_none_or(|(since, ..)| now - *since >= part) {
            self.parts.push_back((now, 0, 0));
        }
        if let Some((_, good, bad)) = self.parts.back_mut() {
            *(if ok { good } else { bad }) += 1;
        }
        let count = |of: fn(&(Instant, u32, u32)) -> u32| -> u64 {
            self.parts.iter().map(|part| u64::from(of(part))).sum()
        };
        let (good, bad) = (count(|part| part.1), count(|part| part.2));
        let failing = !ok
            && bad >= u64::from(settings.failures)
            && bad * 100 >= (good + bad) * u64::from(settings.percent);
        if failing {
            self.trip(settings, now, chance());
        }
        failing
    }

    fn trip(&mut self, settings: &Breaker, now: Instant, chance: u64) {
        let open = settings.open * (1 << self.trips.min(3));
        // A quarter more or less, so that processes do not probe together.
        let spread = open.as_nanos() / 2;
        let nanos = open.as_nanos() - spread / 2 + ((spread * u128::from(chance)) >> 64);
        let open = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.tripped = Some((now + open, None));
        self.trips += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF: u64 = 1 << 63;

    fn tripped(settings: &Breaker, now: Instant) -> State {
        let mut state = State::default();
        for _ in 0..settings.failures {
            assert_eq!(state.phase(now), Phase::Closed);
            state.record(settings, false, now, || HALF);
        }
        assert_eq!(state.phase(now), Phase::Open);
        state
    }

    #[test]
    fn it_opens_by_failures_of_the_window_alone() {
        let (settings, now) = (Breaker::default(), Instant::now());
        let mut state = State::default();
        for nth in 0..40 {
            // Four in thirty seconds, never five.
            state.record(&settings, false, now + Duration::from_secs(8) * nth, || HALF);
        }
        assert!(state.admits(now + Duration::from_secs(320)));
        let mut mixed = State::default();
        for nth in 0..100 {
            mixed.record(&settings, nth % 5 < 3, now, || HALF);
        }
        assert!(mixed.admits(now), "two in five is less than half");
    }

    #[test]
    fn one_probe_passes_and_its_answer_decides() {
        let (settings, now) = (Breaker::default(), Instant::now());
        let mut state = tripped(&settings, now);
        assert_eq!(state.admit(now), Admission::Wait(settings.open));
        let later = now + settings.open;
        assert_eq!(state.phase(later), Phase::HalfOpen);
        let Admission::Probe(first) = state.admit(later) else { panic!("no probe") };
        assert!(matches!(state.admit(later), Admission::Wait(_)), "a second one waits");
        state.record(&settings, false, later, || HALF);
        assert_eq!(state.admit(later), Admission::Wait(settings.open * 2), "twice as long");
        let later = later + settings.open * 2;
        let Admission::Probe(second) = state.admit(later) else { panic!("no probe") };
        assert_ne!(first, second);
        state.abandon(first);
        assert!(matches!(state.admit(later), Admission::Wait(_)), "an old probe ends no new one");
        state.abandon(second);
        assert!(matches!(state.admit(later), Admission::Probe(_)));
        state.record(&settings, true, later, || HALF);
        assert_eq!((state.phase(later), state.admit(later)), (Phase::Closed, Admission::Pass));
    }

    proptest! {
        /// Whatever happens in whatever order, not more than one call passes while it is not closed.
        #[test]
        fn at_most_one_call_passes_while_it_is_not_closed(
            steps in proptest::collection::vec((0_u8..4, 0_u64..40), 1..300),
            chance: u64,
        ) {
            let (settings, mut now) = (Breaker::default(), Instant::now());
            let (mut state, mut probe) = (State::default(), None);
            for (what, seconds) in steps {
                now += Duration::from_secs(seconds);
                match what {
                    0 => {
                        let closed = state.phase(now) == Phase::Closed;
                        match state.admit(now) {
                            Admission::Pass => prop_assert!(closed),
                            Admission::Probe(id) => {
                                prop_assert!(!closed && probe.is_none());
                                probe = Some(id);
                            }
                            Admission::Wait(_) => prop_assert!(!closed),
                        }
                    }
                    1 => {
                        if let Some(id) = probe.take() {
                            state.abandon(id);
                        }
                    }
                    ok => {
                        state.record(&settings, ok == 2, now, || chance);
                        if state.tripped.is_none_or(|(_, probe)| probe.is_none()) {
                            probe = None;
                        }
                    }
                }
            }
        }
    }
}
