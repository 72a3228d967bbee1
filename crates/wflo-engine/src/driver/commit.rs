//! From a change of the state to what follows from it: the commit, and then its consequences.
//!
//! The end of a step and the start of the next are handed to the store together, and the next step
//! begins to compute while they are being flushed. See [`Ahead`] for why that is safe.

use std::sync::Arc;

use wflo_core::event::{Ending, Event, EventBody};
use wflo_core::machine::{self, Action, CommandBody, RunState, StepStatus};
use wflo_core::ports::store::{Batch, Fence, Op, StoreError};

use super::mailbox::Msg;
use super::{Driver, decisions_of, is_fatal, leftovers, ops};
use crate::error::EngineError;
use crate::executor::Stop;
use crate::waiters::Progress;

impl Driver {
    /// Writes events, together with the starts that they allow, and carries out what follows. They are
    /// durable when this returns, unless nothing but computation follows from them (see [`Ahead`]).
    pub(super) async fn commit(
        &mut self,
        mut events: Vec<Event>,
        mut next: RunState,
        mut ops: Vec<Op>,
    ) -> Result<(), EngineError> {
        self.close_leftovers(&events).await?;
        if next.status.is_terminal() && !self.state.status.is_terminal() {
            // Nothing of it is left when it is said to be over.
            self.shared.executor.leave(self.run).await;
        }
        let starts = self.admit(&mut events, &mut next);
        let was = std::mem::replace(&mut self.state, next);
        // Callers' ops come first: they may refuse the batch (a hold, a use of an approval).
        ops.extend(ops::of_change(self.run, &was, &self.state, &events, &self.shared.clock.moment()));
        if !ops.is_empty() {
            let computes = only_computation_follows(&was, &self.state, &events, &ops);
            let batch = Batch { fence: Some(Fence { run: self.run, epoch: self.epoch }), ops };
            crate::failpoint::pass("run.commit.before");
            let written = if computes { self.post(batch).await } else { self.write(batch).await };
            if let Err(e) = written {
                self.state = was;
                self.permits.clear();
                if !starts.is_empty() {
                    // They were refused with the rest and are tried again on their own.
                    self.want_slot();
                }
                return Err(e.into());
            }
            crate::failpoint::pass(if computes { "run.commit.posted" } else { "run.commit.after" });
        }
        self.follow(&was, starts);
        // A slot that nothing here needs is another run's.
        self.permits.clear();
        Ok(())
    }

    /// Hands a batch over and goes on.
    async fn post(&mut self, batch: Batch) -> Result<(), StoreError> {
        if self.ahead.is_full() {
            self.settle_ahead().await;
        }
        if let Some(e) = &self.lost {
            return Err(e.clone());
        }
        let receipt = self.shared.store.post(batch).await?;
        self.ahead.push(receipt);
        Ok(())
    }

    /// Makes a batch durable, and with it all that was handed over before.
    async fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        let written = self.shared.store.commit(batch).await;
        self.settle_ahead().await;
        match &self.lost {
            Some(e) => Err(e.clone()),
            None => written.map(|_| ()),
        }
    }

    /// Waits for all that was handed over.
    async fn settle_ahead(&mut self) {
        while let Some(settled) = self.ahead.next().await {
            if let Err(e) = settled {
                self.lost.get_or_insert(e);
            }
        }
    }

    /// In commits of their own: what they close is over whatever becomes of the events.
    async fn close_leftovers(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let (store, at) = (self.shared.store.as_ref(), self.shared.clock.now());
        for rows in leftovers::journals(store, self.run, &self.state, events).await? {
            let calls = leftovers::calls(store, self.run, &rows, at).await?;
            let writes = self.shared.executor.made(self.run, rows).await?;
            for ops in [calls, writes].into_iter().filter(|ops| !ops.is_empty()) {
                let batch = Batch { fence: Some(Fence { run: self.run, epoch: self.epoch }), ops };
                match store.commit(batch).await {
                    Err(e) if is_fatal(&e) => return Err(e),
                    Err(e) => {
                        tracing::warn!(run_id = %self.run, error = %e, "what a generation left could not be closed");
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Starts, in the draft, every outstanding step that has a free slot.
    fn admit(&mut self, events: &mut Vec<Event>, next: &mut RunState) -> Vec<String> {
        let mut starts = Vec::new();
        // Apart from the free ones, or the next step would take the slot of the one before it.
        let mut taken = Vec::new();
        if self.stopping.is_some() || self.taking_over || !next.steps.iter().any(|s| s.status.is_active()) {
            return starts;
        }
        for action in machine::outstanding(next) {
            let Action::RunStep { step, .. } = action else { continue };
            if self.live.contains_key(&step) || starts.contains(&step) {
                continue;
            }
            let permit =
                self.permits.pop().or_else(|| Arc::clone(&self.shared.slots).try_acquire_owned().ok());
            let Some(permit) = permit else {
                self.want_slot();
                break;
            };
            let body = CommandBody::StepStarted { step: step.clone(), epoch: self.epoch };
            let told = self.told(self.shared.clock.now(), body);
            match machine::step(next, told) {
                Ok((more, state)) => {
                    events.extend(more);
                    *next = state;
                    taken.push(permit);
                    starts.push(step);
                }
                Err(e) => {
                    tracing::warn!(run_id = %self.run, step, error = %e, "an outstanding step cannot start")
                }
            }
        }
        self.permits.append(&mut taken);
        starts
    }

    fn want_slot(&mut self) {
        if self.wants_slot {
            return;
        }
        self.wants_slot = true;
        let (slots, mailbox) = (Arc::clone(&self.shared.slots), self.mailbox.clone());
        tokio::spawn(async move {
            if let Ok(permit) = slots.acquire_owned().await {
                // A driver that is gone gives the slot back by dropping it.
                drop(mailbox.put(Msg::Slot(permit)));
            }
        });
    }

    /// What the commit asks for.
    fn follow(&mut self, was: &RunState, starts: Vec<String>) {
        for step in starts {
            if let Some(permit) = self.permits.pop() {
                self.spawn_attempt(step, permit);
            }
        }
        // Before the decisions: who hears of an answer finds what it opens.
        if was.hosts != self.state.hosts {
            self.hosts.send_replace(Arc::new(self.state.hosts.clone()));
        }
        if was.approvals != self.state.approvals {
            self.decisions.send_replace(Arc::new(decisions_of(&self.state)));
        }
        let holding = self.state.paused || self.state.ending.is_some();
        if holding {
            let reason = match &self.state.ending {
                Some(Ending::Cancelled { .. } | Ending::TimedOut { .. }) => Stop::Cancelled,
                Some(_) => Stop::Ending,
                None => Stop::Paused,
            };
            for live in self.live.values().filter(|live| live.stop.borrow().is_none()) {
                live.stop.send_replace(Some(reason));
            }
        }
        let definition = Arc::clone(&self.state.definition);
        for (spec, step) in definition.steps.iter().zip(&self.state.steps) {
            if matches!(step.status, StepStatus::Undoing { .. }) && self.undoing.insert(spec.name.clone()) {
                self.spawn_undo(spec.name.clone(), step.generation);
            }
        }
        self.shared.follow_timers(self.run, was, &self.state);
        if was.status != self.state.status {
            self.shared.waiters.say(self.run, &Progress::Driving);
        }
    }
}

/// Whether a change lets steps compute and does nothing else: nothing in it can be refused for a reason
/// of its own, and nobody is told of it before it is durable.
fn only_computation_follows(was: &RunState, now: &RunState, events: &[Event], ops: &[Op]) -> bool {
    let computes =
        |e: &Event| matches!(e.body, EventBody::StepSucceeded { .. } | EventBody::StepStarted { .. });
    let plain = |op: &Op| matches!(op, Op::AppendEvents { .. } | Op::PutTimer { .. } | Op::DropTimer { .. });
    was.status == now.status
        && was.approvals == now.approvals
        && events.iter().all(computes)
        && ops.iter().all(plain)
}
