//! When a failed attempt is followed by another, and how much load that may add.
//!
//! Owns the policy, the wait before a repetition, and the budget of repetitions. Which failures may be
//! followed at all is `exchange`'s: it knows what was sent. **Architecture Invariant:** the repetitions
//! at one provider are at most [`BURST`] and [`Retry::extra_percent`] of its calls, whatever fails: when
//! all of them fail at once, the gateway does not make it worse.

mod asked;

pub(crate) use self::asked::Asked;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Repetitions that are free, so that the first calls of a run may be repeated too.
pub const BURST: u64 = 10;

/// When an attempt is followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Most attempts of one call at one route, the first included. 1 repeats nothing: the stock
    /// clients repeat by themselves, and both together would multiply.
    pub attempts: u32,
    /// The longest wait before the first repetition; it doubles with each.
    pub base: Duration,
    /// The longest wait that doubling leads to.
    pub cap: Duration,
    /// The longest wait that a provider may ask for; beyond it the failure is given to the client.
    pub longest: Duration,
    /// Also follow a request that was sent and got no answer: it may be billed, and then twice.
    pub unanswered: bool,
    /// Repetitions that a provider gets beside its calls, in hundredths of these.
    pub extra_percent: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: 1,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            longest: Duration::from_secs(60),
            unanswered: false,
            extra_percent: 10,
        }
    }
}

impl Retry {
    /// The wait before the `nth` repetition: anything between nothing and the doubled base, so that
    /// callers that failed together do not come back together. `chance` is 64 random bits.
    pub(crate) fn backoff(&self, nth: u32, chance: u64) -> Duration {
        let doubled = self.base.saturating_mul(1_u32.checked_shl(nth.saturating_sub(1)).unwrap_or(u32::MAX));
        let ceiling = doubled.min(self.cap).as_nanos();
        let nanos = (ceiling.saturating_mul(u128::from(chance))) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// 64 random bits. Without a source of randomness everybody waits the same.
pub(crate) fn chance() -> u64 {
    let mut bytes = [0; 8];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

/// The repetitions that one provider may still get.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// In hundredths of one.
    left: AtomicU64,
    each: u64,
}

impl RetryBudget {
    pub(crate) fn new(retry: &Retry) -> RetryBudget {
        RetryBudget { left: AtomicU64::new(BURST * 100), each: u64::from(retry.extra_percent) }
    }

    /// A call was made for the first time: it earns a part of a repetition, up to the burst.
    pub(crate) fn earn(&self) {
        self.change(|left| Some((left + self.each).min(BURST * 100)));
    }

    /// Takes one repetition, if there is one.
    pub(crate) fn take(&self) -> bool {
        self.change(|left| left.checked_sub(100))
    }

    fn change(&self, change: impl FnMut(u64) -> Option<u64>) -> bool {
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, change).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wait_is_anything_up_to_the_doubled_base() {
        let retry = Retry::default();
        assert_eq!(retry.backoff(1, 0), Duration::ZERO);
        assert!(retry.backoff(1, u64::MAX) < Duration::from_millis(500));
        assert_eq!(retry.backoff(2, 1 << 63), Duration::from_millis(500));
        assert!(retry.backoff(40, u64::MAX) <= retry.cap, "doubling ends");
    }

    proptest! {
        /// However calls and failures mix, the extra load has its bound.
        #[test]
        fn repetitions_are_a_bounded_part_of_the_calls(
            fails in proptest::collection::vec(any::<bool>(), 0..2_000),
            extra_percent in 0_u32..=100,
        ) {
            let budget = RetryBudget::new(&Retry { extra_percent, ..Retry::default() });
            let mut repeated = 0_u64;
            for (made, fails) in (1_u64..).zip(fails) {
                budget.earn();
                while fails && budget.take() {
                    repeated += 1;
                }
                prop_assert!(repeated * 100 <= BURST * 100 + made * u64::from(extra_percent));
            }
        }
    }
}
