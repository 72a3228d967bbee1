//! Whose turn it is: calls that wait for room in a budget, in the order in which they came.
//!
//! A call that does not fit keeps its place, and no call that came after it takes room in the budget that it
//! waits for. So a dear call gets its room once the calls before it have settled, however many small ones come.
//! Whoever stops waiting (it fits, people are asked about it, it is refused) gives its place up.
//!
//! The order is this engine's; engines on one data directory take turns by chance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use wflo_core::id::BudgetId;

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// By place: the budget that a call waits for.
    waiting: BTreeMap<u64, BudgetId>,
}

/// The line before all budgets of an engine.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    line: Arc<Mutex<Line>>,
    moved: Arc<Notify>,
}

impl Turns {
    /// A place behind all others.
    pub(super) fn place(&self) -> Place {
        let mut line = self.lock();
        line.next += 1;
        Place { turns: self.clone(), number: line.next }
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's place in the line.
#[derive(Debug)]
pub(super) struct Place {
    turns: Turns,
    number: u64,
}

impl Place {
    /// Whether a call that came earlier waits for one of these.
    pub(super) fn is_behind(&self, mut budgets: impl Iterator<Item = BudgetId>) -> bool {
        let line = self.turns.lock();
        budgets.any(|budget| line.waiting.range(..self.number).any(|(_, waited)| *waited == budget))
    }

    /// It waits for this budget from now on.
    pub(super) fn waits_for(&self, budget: BudgetId) {
        let before = self.turns.lock().waiting.insert(self.number, budget);
        if before.is_some_and(|before| before != budget) {
            self.turns.moved.notify_waiters();
        }
    }

    /// It waits no longer.
    pub(super) fn step_aside(&self) {
        if self.turns.lock().waiting.remove(&self.number).is_some() {
            self.turns.moved.notify_waiters();
        }
    }

    /// Resolves when somebody in the line has moved, from when this was asked.
    pub(super) fn moved(&self) -> impl Future<Output = ()> + '_ {
        self.turns.moved.notified()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.step_aside();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_later_stands_behind_whoever_waits_for_the_same_budget() {
        let turns = Turns::default();
        let budget = |n| BudgetId::from_uuid(uuid::Uuid::from_u128(n));
        let (first, second, third) = (turns.place(), turns.place(), turns.place());
        second.waits_for(budget(1));
        assert!(!first.is_behind([budget(1)].into_iter()), "it came before");
        assert!(third.is_behind([budget(2), budget(1)].into_iter()));
        assert!(!third.is_behind([budget(2)].into_iter()), "another budget");
        second.waits_for(budget(2));
        assert!(third.is_behind([budget(2)].into_iter()) && !third.is_behind([budget(1)].into_iter()));
        drop(second);
        assert!(!third.is_behind([budget(2)].into_iter()));
    }
}
