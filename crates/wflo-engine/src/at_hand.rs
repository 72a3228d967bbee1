//! Requests of one attempt's effects that are in memory.
//!
//! A runner sends frames as fast as it likes. Its effects' requests are counted in two parts: of those that
//! the engine works on, and of those that wait for a time, for people or for the runner. While the first
//! are many, no further frame is read; if the second are too many, the step is ended.
//!
//! Why reading may stop although a lone runner thread that writes does not read meanwhile: what is worked
//! on ends by itself. No effect waits for a runner to read ([`Outbox`](crate::outbox::Outbox)), and one that
//! waits for a frame, or for anybody else, is counted among those that wait. The sequence:
//! 1. the runner writes requests and reads nothing; its socket fills, its answers are queued or only
//!    recorded;
//! 2. the engine has enough at hand and stops reading; the runner's write blocks;
//! 3. an effect is done: its request is gone and its answer is in the line; or it begins to wait, and counts
//!    no more here. Either way there is room;
//! 4. the engine reads on, and the runner's write returns.
//!
//! Between 2 and 4 a stop, a time-out and the end of the sandbox are acted on as ever.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::protocol::On;

/// Requests that are worked on take at most about this much memory, in bytes; the last may exceed it.
const WORKED_ON: usize = 64 << 20;
/// Requests that wait take at most this much memory, in bytes.
pub(crate) const WAITING: usize = 256 << 20;

#[derive(Debug, Default)]
pub(crate) struct AtHand {
    hands: Mutex<HashMap<On, Hand>>,
    held: watch::Sender<Held>,
}

/// One effect's request.
#[derive(Debug, Default)]
struct Hand {
    bytes: usize,
    /// How many waits of the effect are open.
    waits: usize,
}

/// What all requests take, in bytes of memory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) worked_on: usize,
    pub(crate) waiting: usize,
}

impl Held {
    fn part(&mut self, waits: usize) -> &mut usize {
        if waits == 0 { &mut self.worked_on } else { &mut self.waiting }
    }

    /// Whether another frame may be read.
    pub(crate) const fn has_room(self) -> bool {
        self.worked_on < WORKED_ON
    }
}

impl AtHand {
    /// Counts a request until [`AtHand::done`].
    pub(crate) fn begin(&self, on: On, bytes: usize) {
        self.change(on, |hand| hand.bytes = bytes);
    }

    /// What an effect holds instead of its request: its tool's result.
    pub(crate) fn holds(&self, on: &On, bytes: usize) {
        self.change_known(on, |hand| hand.bytes = bytes);
    }

    /// The effect is over.
    pub(crate) fn done(&self, on: &On) {
        self.forget(on);
        self.hands.lock().unwrap_or_else(PoisonError::into_inner).remove(on);
    }

    /// The effect goes on without its request.
    pub(crate) fn forget(&self, on: &On) {
        self.holds(on, 0);
    }

    /// The effect waits for something that may need the runner, or take as long as it likes.
    pub(crate) fn rest(&self, on: &On) {
        self.change_known(on, |hand| hand.waits += 1);
    }

    /// It goes on.
    pub(crate) fn resume(&self, on: &On) {
        self.change_known(on, |hand| hand.waits = hand.waits.saturating_sub(1));
    }

    pub(crate) fn held(&self) -> Held {
        *self.held.borrow()
    }

    /// Resolves once another frame may be read.
    pub(crate) async fn room(&self) {
        let mut held = self.held.subscribe();
        // The sender lives as long as this.
        let _ = held.wait_for(|held| held.has_room()).await;
    }

    fn change(&self, on: On, change: impl FnOnce(&mut Hand)) {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply(hands.entry(on).or_default(), change);
    }

    fn change_known(&self, on: &On, change: impl FnOnce(&mut Hand)) {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hand) = hands.get_mut(on) {
            self.apply(hand, change);
        }
    }

    fn apply(&self, hand: &mut Hand, change: impl FnOnce(&mut Hand)) {
        self.held.send_modify(|held| {
            *held.part(hand.waits) -= hand.bytes;
            change(hand);
            *held.part(hand.waits) += hand.bytes;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(seq: u32) -> On {
        On { path: "0".to_owned(), seq }
    }

    #[tokio::test]
    async fn what_waits_makes_room_and_is_counted_apart() {
        let at_hand = AtHand::default();
        at_hand.begin(on(0), WORKED_ON - 1);
        assert!(at_hand.held().has_room());
        at_hand.begin(on(1), 10);
        assert!(!at_hand.held().has_room());
        // It waits for two things at once, and for one of them longer.
        at_hand.rest(&on(0));
        at_hand.rest(&on(0));
        assert_eq!(at_hand.held(), Held { worked_on: 10, waiting: WORKED_ON - 1 });
        at_hand.room().await;
        at_hand.resume(&on(0));
        assert_eq!(at_hand.held().worked_on, 10);
        at_hand.resume(&on(0));
        assert!(!at_hand.held().has_room());
        at_hand.forget(&on(0));
        at_hand.done(&on(0));
        at_hand.done(&on(1));
        at_hand.rest(&on(1));
        assert_eq!(at_hand.held(), Held::default());
    }
}
