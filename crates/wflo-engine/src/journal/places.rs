//! Places: what the step asked for, and what it stopped waiting for, between which answers.
//!
//! A resume gives recorded answers out in their order, and the step's code goes the way it went as long
//! as it meets them at the same places. A time-out breaks that: code that went on without an answer
//! would on resume get the answer, which was journaled later, in time. So each intent keeps the last
//! answer that the step had been given when it asked (`after`), and so does each wait that was cancelled;
//! a resume gives no answer out before the step has come again to every mark before it.
//!
//! The sequence, with what a crash between two lines leaves behind (the step waits for A, gives it up,
//! and asks for B):
//! 1. A's intent is committed; crash: A is asked for again and runs anew;
//! 2. a timer fires in the step, which says that it no longer waits for A. Crash: nothing depends on it,
//!    and the resume may go the other way;
//! 3. that is committed ([`Journal::cancel`]), before any frame behind it is read. Crash: the resume is
//!    told that no answer of A will come and where it was given up; its timers do not wait again;
//! 4. B's intent is committed with `after`, then B is dispatched. Crash: as before, and B is asked for
//!    before any later answer is given out;
//! 5. A's answer is committed, paid for, and told to nobody. Crash: it is passed over, as it was;
//! 6. B's answer is committed, then given out. Crash: the resume gives it out at its place.
//!
//! Where the wait itself is not cancelled (`asyncio.wait(…, timeout=5)`), 2 and 3 are missing and `after`
//! of B alone keeps A's answer behind it.

use std::sync::PoisonError;

use serde::Serialize;
use wflo_core::effect::CancelledWait;
use wflo_core::ports::store::{Op, StoreError};

use super::{Journal, Rows};

/// What a resume comes to again, each as path, position and after how many answers, in that order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Marks {
    /// What the step asked for.
    pub asked: Vec<(String, u32, u32)>,
    /// What it stopped waiting for.
    pub cancelled: Vec<(String, u32, u32)>,
}

impl Rows {
    /// How many answers reached the step up to this one.
    fn place(&self, order: u32) -> u32 {
        u32::try_from(self.told.partition_point(|told| *told <= order)).unwrap_or(u32::MAX)
    }
}

impl Journal {
    /// The place of a row in what a resume delivers, from 1 without gaps: calls of stock clients have an
    /// order of their own in the journal and are not delivered through the runner.
    pub fn replay_place(&self, order: u32) -> u32 {
        self.lock().place(order)
    }

    /// The `order` behind a place that the runner names; the reverse of [`Journal::replay_place`].
    pub fn order_at(&self, place: u32) -> u32 {
        let rows = self.lock();
        let nth = usize::try_from(place).unwrap_or(usize::MAX).min(rows.told.len());
        nth.checked_sub(1).and_then(|last| rows.told.get(last)).copied().unwrap_or(0)
    }

    /// What the step asked for and stopped waiting for so far, each at its place among the answers.
    pub fn marks(&self) -> Marks {
        let cancelled = self.cancelled_waits();
        let rows = self.lock();
        let asked = rows.by_place.values().filter(|row| !row.key.path.starts_with('@'));
        let asked = asked.map(|row| (row.key.path.clone(), row.key.seq, rows.place(row.after)));
        // What stock clients gave up is the gateway's to repeat.
        let cancelled = cancelled.into_iter().filter(|wait| !wait.path.starts_with('@'));
        let cancelled = cancelled.map(|wait| (wait.path, wait.seq, rows.place(wait.after)));
        let mut marks = Marks { asked: asked.collect(), cancelled: cancelled.collect() };
        for list in [&mut marks.asked, &mut marks.cancelled] {
            list.sort_unstable_by(|a, b| (a.2, &a.0, a.1).cmp(&(b.2, &b.0, b.1)));
        }
        marks
    }

    /// What the step has stopped waiting for, in no order.
    pub fn cancelled_waits(&self) -> Vec<CancelledWait> {
        let cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = cancelled.iter();
        waits
            .map(|((path, seq), after)| CancelledWait { path: path.clone(), seq: *seq, after: *after })
            .collect()
    }

    /// Whether the step has stopped waiting for an effect.
    pub fn is_cancelled(&self, path: &str, seq: u32) -> bool {
        let cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        cancelled.contains_key(&(path.to_owned(), seq))
    }

    /// Makes it durable that the step stopped waiting for these.
    ///
    /// # Errors
    /// Store errors; nothing was written then.
    pub async fn cancel(&self, waits: &[CancelledWait]) -> Result<(), StoreError> {
        let op = |wait: &CancelledWait| Op::CancelWait {
            run: self.fence.run,
            key: self.key(&wait.path, wait.seq),
            after: wait.after,
        };
        self.commit(waits.iter().map(op).collect()).await?;
        let mut cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        for wait in waits {
            cancelled.entry((wait.path.clone(), wait.seq)).or_insert(wait.after);
        }
        Ok(())
    }
}
