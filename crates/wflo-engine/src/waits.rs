//! What the effects of one attempt wait for durably, right now.
//!
//! An attempt whose every open effect is in here can be ended without loss: each wait is in the store
//! already, and the journal brings the step back to it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use wflo_core::approval::ApprovalStatus;
use wflo_core::event::Wait;
use wflo_core::id::ApprovalId;

use crate::at_hand::AtHand;
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::protocol::On;

/// Open durable waits by effect.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    open: Mutex<Open>,
    /// What the step no longer waits for.
    withdrawn: watch::Sender<HashSet<On>>,
    /// The attempt is being ended.
    closed: watch::Sender<bool>,
    /// What effects hold while they wait, and while they do not.
    pub(crate) at_hand: AtHand,
}

impl Waits {
    /// Notes a wait for as long as the guard lives.
    pub(crate) fn begin(&self, on: On, wait: Wait) -> Waiting<'_> {
        self.lock().waits.insert(on.clone(), wait);
        self.at_hand.rest(&on);
        Waiting { waits: self, on }
    }

    /// What these wait for, if every one of them waits durably.
    pub(crate) fn of(&self, on: &[On]) -> Option<Vec<Wait>> {
        self.lock().of(on)
    }

    /// From here on no answer of people is passed on, so that nothing begins on one while the sandbox ends.
    pub(crate) fn freeze(&self) {
        self.lock().frozen = true;
    }

    /// Freezes if these still wait, which is whether it did. An answer comes before, and the attempt goes on with
    /// it, or after, and the next one finds it.
    pub(crate) fn freeze_while_waiting(&self, on: &[On]) -> bool {
        let mut open = self.lock();
        open.frozen |= open.of(on).is_some();
        open.frozen
    }

    /// As [`Waits::freeze_while_waiting`], if so many effects wait.
    pub(crate) fn freeze_while_all(&self, effects: usize) -> bool {
        let mut open = self.lock();
        open.frozen |= open.len() == effects;
        open.frozen
    }

    /// The attempt is being ended: nobody waits here any more. What is waited for is in the store, and
    /// the next attempt comes back to it.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Resolves once the attempt is being ended.
    pub(crate) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// The step no longer waits for these: who only waits for one of them ends with
    /// [`EngineError::Withdrawn`]; what has begun to happen goes on.
    pub(crate) fn withdraw(&self, these: impl IntoIterator<Item = On>) {
        self.withdrawn.send_modify(|known| known.extend(these));
    }

    /// Whether the step no longer waits for this.
    pub(crate) fn is_withdrawn(&self, on: &On) -> bool {
        self.withdrawn.borrow().contains(on)
    }

    /// Resolves once the step no longer waits for this.
    pub(crate) async fn withdrawn(&self, on: &On) {
        let mut withdrawn = self.withdrawn.subscribe();
        // The sender lives as long as this, so the wait ends only with a withdrawal.
        let _ = withdrawn.wait_for(|known| known.contains(on)).await;
    }

    /// Waits until a question is not pending any more.
    pub(crate) async fn decided(
        &self,
        attempt: &Attempt,
        on: On,
        approval: ApprovalId,
    ) -> Result<ApprovalStatus, EngineError> {
        let waiting = self.begin(on.clone(), Wait::Approval { approval_id: approval });
        let mut decisions = attempt.decisions.clone();
        let is_decided = |known: &std::sync::Arc<crate::executor::Decisions>| {
            known.get(&approval).is_some_and(|(status, _)| *status != ApprovalStatus::Pending)
        };
        let answer = async {
            let known = decisions.wait_for(is_decided).await.ok()?;
            known.get(&approval).map(|(status, _)| *status)
        };
        let status = tokio::select! {
            biased;
            () = self.withdrawn(&on) => return Err(EngineError::Withdrawn),
            // Before the decision: what it would release could not be told to anybody.
            () = self.closed() => return Err(EngineError::ShuttingDown),
            status = answer => status,
        };
        if waiting.leave() {
            return status.ok_or(EngineError::ShuttingDown);
        }
        // Not at once: it would be told to a step that still lives.
        self.closed().await;
        Err(EngineError::ShuttingDown)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Open {
    waits: HashMap<On, Wait>,
    /// An answer that comes now is the next attempt's: nothing begins on it in this one.
    frozen: bool,
}

impl Open {
    /// What these wait for, if every one of them waits durably.
    fn of(&self, on: &[On]) -> Option<Vec<Wait>> {
        on.iter().map(|each| self.waits.get(each).cloned()).collect()
    }

    /// How many effects wait durably. Calls of stock clients wait too and are no effects of the runner.
    fn len(&self) -> usize {
        self.waits.keys().filter(|on| !on.path.starts_with('@')).count()
    }
}

/// A wait that is open as long as this lives.
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    on: On,
}

impl Waiting<'_> {
    /// Ends the wait; whether what was waited for may begin.
    fn leave(self) -> bool {
        let mut open = self.waits.lock();
        open.waits.remove(&self.on);
        !open.frozen
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waits.lock().waits.remove(&self.on);
        self.waits.at_hand.resume(&self.on);
    }
}
