//! Turns: live answers reach the runner in the order in which they were journaled.

use std::sync::{Mutex, PoisonError};

/// Answers are given out in the order in which they were journaled.
pub(super) struct Turns {
    next: tokio::sync::watch::Sender<u32>,
    skipped: Mutex<std::collections::BTreeSet<u32>>,
}

impl Turns {
    pub(super) fn after(last: u32) -> Self {
        Turns { next: tokio::sync::watch::channel(last + 1).0, skipped: Mutex::default() }
    }

    pub(super) async fn wait(&self, order: u32) -> Turn<'_> {
        let mut next = self.next.subscribe();
        // The sender lives as long as this, so the wait ends only with the turn.
        let _ = next.wait_for(|next| *next >= order).await;
        Turn { turns: self, order }
    }

    pub(super) fn skip(&self, order: u32) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.insert(order);
        self.next.send_if_modified(|next| {
            let before = *next;
            while skipped.remove(next) {
                *next += 1;
            }
            *next != before
        });
    }
}

/// One answer's turn.
pub struct Turn<'a> {
    turns: &'a Turns,
    order: u32,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // One that comes late (an answer read back) has no place to give up.
        if *self.turns.next.borrow() <= self.order {
            self.turns.skip(self.order);
        }
    }
}
