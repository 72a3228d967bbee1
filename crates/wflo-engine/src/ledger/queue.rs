//! Calls that are queued for a budget: until running calls free room, its next period begins, or people top
//! it up; and no longer than it says.
//!
//! The sequence, with what a crash after each line leaves behind:
//! 1. `budget.queued` is recorded with the time until which the call waits; crash: the resume finds it, and
//!    waits no longer than it said then;
//! 2. the call waits. Where everything else of its step waits durably too, the sandbox is ended, and the run is
//!    `waiting` with a timer; crash: the timer is durable, and whoever fires it comes back here;
//! 3. there is room: the intent and the hold are one commit, as for every call; crash: as for every call;
//! 4. there is none in time: the run is halted.
//!
//! A step that was ended looks again every [`LOOK`] at the latest: a top-up while it was being ended rings a
//! bell that nobody hears.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use wflo_core::budget::{OnExceeded, Shortfall};
use wflo_core::event::{EventBody, Wait};
use wflo_core::size::Millis;

use crate::budgets::Applied;
use crate::calls::Calls;
use crate::error::EngineError;
use crate::protocol::On;
use crate::waits::Waiting;

/// How long a step that was ended sleeps at most.
const LOOK: SignedDuration = SignedDuration::from_mins(15);
/// How often a call that waits in memory looks for what other processes have changed.
const POLL: Duration = Duration::from_secs(2);

/// Waits a while in the queue of the budget that is short; `false` where it has none, or where the call has
/// waited as long as it may.
pub(crate) async fn queue<'a>(
    calls: &'a Calls,
    on: &On,
    shortfall: &Shortfall,
    applied: &[Applied],
    queued: &mut Option<Queued<'a>>,
) -> Result<bool, EngineError> {
    if shortfall.budget.action_on_exceeded != OnExceeded::Queue {
        return Ok(false);
    }
    let turn = match queued {
        Some(queued) => queued,
        None => {
            let most = most(applied, shortfall);
            queued.insert(Queued::enter(calls, on, shortfall, most).await?)
        }
    };
    let again = turn.wait(calls, on, shortfall).await;
    if !again {
        *queued = None;
    }
    Ok(again)
}

/// How long one may be queued for the budget that is short.
pub(super) fn most(applied: &[Applied], shortfall: &Shortfall) -> Millis {
    let which = applied.iter().find(|applied| applied.budget.id == shortfall.budget.id);
    which.map_or(Millis(0), |applied| applied.queue)
}

/// A call in the queue.
pub(crate) struct Queued<'a> {
    until: Timestamp,
    /// Shows that the call waits durably.
    wait: Option<Waiting<'a>>,
}

impl<'a> Queued<'a> {
    /// Puts the call into the queue, or finds it there.
    async fn enter(
        calls: &Calls,
        on: &On,
        shortfall: &Shortfall,
        most: Millis,
    ) -> Result<Queued<'a>, EngineError> {
        let key = calls.journal.key(&on.path, on.seq);
        let events = calls.services.store.events(calls.attempt.run, 0, 0).await?;
        let known = events.iter().find_map(|event| match &event.event.body {
            EventBody::BudgetQueued { key: queued, until, .. } if *queued == key => Some(*until),
            _ => None,
        });
        if let Some(until) = known {
            return Ok(Queued { until, wait: None });
        }
        let now = calls.services.clock.now();
        let until = until(now, most);
        let shortfall = Box::new(shortfall.clone());
        let due = next_period(&shortfall, now);
        crate::failpoint::pass("budget.queued.before");
        calls.journal.note(vec![EventBody::BudgetQueued { key, shortfall, due, until }]).await?;
        crate::failpoint::pass("budget.queued.after");
        Ok(Queued { until, wait: None })
    }

    /// Waits a while for room; `false` once it has waited as long as it may.
    async fn wait(&mut self, calls: &'a Calls, on: &On, shortfall: &Shortfall) -> bool {
        let now = calls.services.clock.now();
        if now >= self.until {
            return false;
        }
        // Whatever may free room soon happens in this process: it is not worth ending a sandbox for.
        if shortfall.may_fit_later() {
            self.wait = None;
        } else if self.wait.is_none() {
            let due = due(shortfall, now, self.until);
            let wait = Wait::Timer { path: on.path.clone(), seq: on.seq, due };
            self.wait = Some(calls.waits.begin(on.clone(), wait));
        }
        let settled = calls.services.settled.notified();
        let left = self.until.duration_since(now).unsigned_abs();
        tokio::select! {
            () = settled => {}
            () = tokio::time::sleep(POLL.min(left)) => {}
            () = calls.closed() => {}
            () = calls.waits.withdrawn(on) => {}
        }
        true
    }
}

/// Until when one is queued at most.
pub(super) fn until(now: Timestamp, most: Millis) -> Timestamp {
    let most = SignedDuration::from_millis(i64::try_from(most.0).unwrap_or(i64::MAX));
    now.checked_add(most).unwrap_or(Timestamp::MAX)
}

/// When a step that was ended looks again.
pub(super) fn due(shortfall: &Shortfall, now: Timestamp, until: Timestamp) -> Timestamp {
    let look = now.checked_add(LOOK).unwrap_or(until);
    next_period(shortfall, now).unwrap_or(until).min(until).min(look)
}

/// When the budget's next period begins.
pub(super) fn next_period(shortfall: &Shortfall, now: Timestamp) -> Option<Timestamp> {
    let budget = &shortfall.budget;
    budget.period.span(&budget.time_zone, now).map(|span| span.end)
}
