//! Commits that were handed over and are not known to be durable yet.
//!
//! A step's output is computation: nothing has left the system by it. So the next step may begin to
//! compute while the end of the one before it is being flushed. What the next step then asks for (an
//! effect's intent, its own end) is committed behind that end, because the store keeps the order, or
//! not at all, because it refuses what builds on a batch that was refused. A crash in between therefore
//! leaves a run in which the first step has not ended: it is resumed, and of the second there is no
//! trace (`docs/adr/0010`).
//!
//! **Architecture Invariant:** nobody outside of the run's sandboxes is told of a commit before it is
//! durable; every other commit of a driver waits for those that were handed over before it.

use std::collections::VecDeque;

use wflo_core::ports::store::{Receipt, StoreError};

/// The most that a crash may have to compute again, and that the store must keep in its queue.
const MOST: usize = 64;

/// Receipts, in the order of their commits.
#[derive(Default)]
pub(super) struct Ahead {
    receipts: VecDeque<Receipt>,
}

impl Ahead {
    pub(super) fn push(&mut self, receipt: Receipt) {
        self.receipts.push_back(receipt);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receipts.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.receipts.len() >= MOST
    }

    /// What became of the oldest, once it is known; `None` when there is none. Dropping the future loses
    /// nothing.
    pub(super) async fn next(&mut self) -> Option<Result<(), StoreError>> {
        let settled = self.receipts.front_mut()?.await;
        self.receipts.pop_front();
        Some(settled.map(|_| ()))
    }
}
