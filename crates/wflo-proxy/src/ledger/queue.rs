//! Calls that are queued for budgets whose limits say `queue`: until a period ends, until somebody raises a limit,
//! until something comes free after all; and no longer than the budget says.
//!
//! Nothing of them is durable: whoever waits is a client with an open connection, and once that is gone so is its place.
//! **Architecture Invariant:** of those that are queued for one budget, the first alone looks for room, so that
//! nobody in the queue overtakes; a call that is not queued may, as nothing that runs makes room for those that are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, watch};
use tokio::time::Instant;
use wflo_core::id::BudgetId;

/// How often the first looks whether a period has ended.
const LOOK: Duration = Duration::from_millis(500);

/// Everybody who is queued.
pub(crate) struct Queues {
    turns: Mutex<HashMap<BudgetId, Arc<Turn<()>>>>,
    /// Nobody waits any longer.
    ended: watch::Sender<bool>,
}

impl Default for Queues {
    fn default() -> Queues {
        Queues { turns: Mutex::default(), ended: watch::Sender::new(false) }
    }
}

/// The first place in the queue for a budget.
pub(super) struct Place {
    budget: BudgetId,
    /// Of the store, since it was entered: what changes is worth another look.
    changes: watch::Receiver<u64>,
    _turn: OwnedMutexGuard<()>,
}

impl Queues {
    /// Waits until it is worth another look; `false` once it is too late. Left in the middle, a place that was not yet
    /// had is none.
    pub(super) async fn wait(
        &self,
        place: &mut Option<Place>,
        budget: BudgetId,
        until: Option<Instant>,
        changes: impl Fn() -> watch::Receiver<u64>,
    ) -> bool {
        let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        let mut ended = self.ended.subscribe();
        if Instant::now() >= until || *ended.borrow() {
            return false;
        }
        if let Some(first) = place.as_mut().filter(|place| place.budget == budget) {
            tokio::select! {
                _ = first.changes.changed() => {}
                _ = ended.wait_for(|ended| *ended) => return false,
                () = tokio::time::sleep_until(until.min(Instant::now() + LOOK)) => {}
            }
            return true;
        }
        // Who is first in one queue leaves it for another.
        *place = None;
        let turn = self.turn(budget);
        let turn = tokio::select! {
            turn = turn.lock_owned() => turn,
            () = tokio::time::sleep_until(until) => return false,
            _ = ended.wait_for(|ended| *ended) => return false,
        };
        *place = Some(Place { budget, changes: changes(), _turn: turn });
        true
    }

    /// The process ends: who is queued is refused.
    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// How many are queued.
    pub(crate) fn len(&self) -> usize {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever is first, and whoever waits to be.
        turns.values().map(|turn| Arc::strong_count(turn) - 1).sum()
    }

    fn turn(&self, budget: BudgetId) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Queues that nobody stands in are of no use.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(budget).or_default())
    }
}
