//! The time that an attempt holds ahead.
//!
//! **Architecture Invariant:** an attempt runs in time that is held: what it uses is settled out of its hold,
//! and never above it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wflo_core::budget::{Amount, Amounts, Budget, Shortfall};
use wflo_core::id::{BudgetId, HoldId};
use wflo_core::ports::store::{Batch, Op, StoreError};

use super::{Spent, limits};
use crate::budgets::Applied;
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::ledger::hold_ops;
use crate::ledger::queue::most;
use crate::services::Services;

/// A slice is a quarter of what is left, between these.
const SHORT: u64 = 1_000;
const LONG: u64 = 60_000;
/// What is less is nothing, in milliseconds.
const LEAST: u64 = 100;
/// A slice is renewed so long before it ends, and not before three quarters of it are used.
const AHEAD: Duration = Duration::from_secs(2);
/// So often somebody else may take what was left before it counts as short.
const RACES: u32 = 16;

/// What one attempt holds.
pub(super) struct Slice {
    pub(super) services: Arc<Services>,
    pub(super) attempt: Attempt,
    held: Option<Held>,
    /// From when on time is not settled.
    since: Instant,
}

struct Held {
    id: HoldId,
    budgets: Vec<BudgetId>,
    ms: u64,
}

impl Slice {
    /// None yet; time counts from now on.
    pub(super) fn new(services: Arc<Services>, attempt: Attempt) -> Slice {
        Slice { services, attempt, held: None, since: Instant::now() }
    }

    /// When it is used up.
    pub(super) fn end(&self) -> Instant {
        self.since + Duration::from_millis(self.held.as_ref().map_or(0, |held| held.ms))
    }

    /// When the next one is to be taken.
    pub(super) fn renewal(&self) -> Instant {
        let slice = self.end().duration_since(self.since);
        self.end() - AHEAD.min(slice / 4)
    }

    /// Settles what was used and holds the next slice, in one commit; else why there is none, and the slice
    /// stands as it was.
    pub(super) async fn renew(&mut self) -> Result<Option<Spent>, EngineError> {
        if self.held.is_none() {
            self.since = Instant::now();
        }
        let mut races = 0;
        loop {
            let applied = limits(&self.services, &self.attempt).await?;
            let used = self.used();
            let (room, tightest) = match self.room(&applied, used).await? {
                Some((room, tightest)) => (room, Some(tightest)),
                // Nobody limits it any more.
                None => (LONG, None),
            };
            if let Some(budget) = tightest.filter(|_| room < LEAST || races > RACES) {
                return Ok(Some(spent(&applied, budget)));
            }
            let ms = (room / 4).clamp(SHORT, LONG).min(room);
            let id = HoldId::from_uuid(self.services.clock.uuid());
            let mut ops: Vec<Op> = self.settlement(used).into_iter().collect();
            ops.extend(hold_ops(self.attempt.run, &applied, id, time(ms)));
            crate::failpoint::pass("time.slice.before");
            match self.commit(ops).await {
                Ok(()) => {
                    crate::failpoint::pass("time.slice.after");
                    let budgets = applied.iter().map(|applied| applied.budget.id).collect();
                    self.held = Some(Held { id, budgets, ms });
                    self.since += Duration::from_millis(used);
                    return Ok(None);
                }
                // Somebody else has taken of it since it was looked at.
                Err(StoreError::Short(_)) => races += 1,
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Settles what was used, and frees the rest.
    pub(super) async fn settle(&mut self) -> Result<(), EngineError> {
        let ops: Vec<Op> = self.settlement(self.used()).into_iter().collect();
        if !ops.is_empty() {
            crate::failpoint::pass("time.settle.before");
            self.commit(ops).await?;
            crate::failpoint::pass("time.settle.after");
            self.held = None;
            self.services.settled.notify_waiters();
        }
        Ok(())
    }

    /// What was used of it, in milliseconds begun; what is used above it counts in the next one.
    fn used(&self) -> u64 {
        let used = self.since.elapsed().as_nanos().div_ceil(1_000_000);
        let held = self.held.as_ref().map_or(0, |held| held.ms);
        u64::try_from(used).unwrap_or(u64::MAX).min(held)
    }

    fn settlement(&self, used: u64) -> Option<Op> {
        let held = self.held.as_ref()?;
        Some(Op::Settle { id: held.id, actual: time(used), at: self.services.clock.now() })
    }

    /// The least that any of the accounts has left once `used` is settled, and which one that is.
    async fn room(&self, applied: &[Applied], used: u64) -> Result<Option<(u64, Budget)>, EngineError> {
        let keys = applied.iter().map(|applied| applied.budget.key.clone()).collect();
        let known = self.services.store.budgets(keys).await?;
        let rooms = applied.iter().map(|Applied { budget, .. }| {
            let mut budget = known.iter().find(|known| known.id == budget.id).unwrap_or(budget).clone();
            if let Some(held) = self.held.as_ref().filter(|held| held.budgets.contains(&budget.id)) {
                budget.settled = budget.settled.saturating_add(used.into());
                budget.held = budget.held.saturating_sub(held.ms.into());
            }
            (u64::try_from(budget.left().units()).unwrap_or(0), budget)
        });
        Ok(rooms.min_by_key(|(room, _)| *room))
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        let batch = Batch { fence: Some(self.attempt.fence()), ops };
        self.services.store.commit(batch).await.map(|_| ())
    }
}

fn time(ms: u64) -> Amounts {
    Amounts { active_ms: ms, ..Amounts::default() }
}

fn spent(applied: &[Applied], budget: Budget) -> Spent {
    let shortfall = Box::new(Shortfall { budget, wanted: Amount::from(LEAST) });
    Spent { queue: most(applied, &shortfall), shortfall }
}
