//! The drivers of an engine: which runs have one, and how one comes and goes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::Instrument as _;
use wflo_core::id::RunId;
use wflo_core::machine::{RunState, StepState, StepStatus};
use wflo_core::ports::store::{Batch, Op};

use super::{Engine, load};
use crate::driver::{Acceptance, Driver, Left, Mailbox, Msg};
use crate::error::EngineError;
use crate::executor::RunContext;
use crate::waiters::Progress;

impl Engine {
    /// Loads a run of this engine that nobody drives, and drives it. `None` when there is nothing to.
    pub(super) async fn wake(&self, run: RunId) -> Result<Option<Mailbox>, EngineError> {
        let _one_at_a_time = self.inner.waking.lock().await;
        if let Some(mailbox) = self.runs().get(&run) {
            return Ok(Some(mailbox.clone()));
        }
        let record = self.record(run).await?;
        if record.engine != Some(self.inner.id) || record.status.is_terminal() {
            return Ok(None);
        }
        let (definition, state) = load(self.store().as_ref(), &record).await?;
        let mut epoch = record.lease_epoch;
        let left_running =
            |step: &StepState| matches!(step.status, StepStatus::Running { epoch: e } if e >= epoch);
        if state.steps.iter().any(left_running) {
            // This engine's own driver gave the run up in the middle of a step and has ended all of it:
            // a newer lease is the proof without which no step is started again.
            let claim = Op::Claim { run, expected: epoch, engine: self.inner.id };
            self.inner.shared.store.commit(Batch { fence: None, ops: vec![claim] }).await?;
            epoch += 1;
        }
        Ok(self.spawn(RunContext { record, definition }, state, epoch, None))
    }

    pub(super) fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Mailbox>> {
        self.inner.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spawn(
        &self,
        context: RunContext,
        state: RunState,
        epoch: u64,
        new: Option<(OwnedSemaphorePermit, Acceptance)>,
    ) -> Option<Mailbox> {
        let run = context.record.id;
        let mut runs = self.runs();
        if *self.inner.closing.borrow() {
            return None;
        }
        if let Some(known) = runs.get(&run) {
            return Some(known.clone());
        }
        let (mailbox, receiver) = Mailbox::new();
        runs.insert(run, mailbox.clone());
        // Said under the lock, as everything that is said of a run: nobody hears an old word last.
        self.inner.shared.waiters.say(run, &Progress::Driving);
        let (engine, into) = (self.clone(), mailbox.clone());
        let span = tracing::info_span!("run", run_id = %run, trace_id = context.record.trace_id);
        self.inner.queued.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let work = async move {
            let (place, acceptance) = match new {
                Some((place, acceptance)) => (Some(place), Some(acceptance)),
                None => (engine.place().await, None),
            };
            engine.inner.queued.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            let (left, receiver) = match place {
                Some(_) => {
                    let shared = Arc::clone(&engine.inner.shared);
                    let driver = Driver::new(shared, Arc::new(context), state, epoch, (into, receiver));
                    driver.drive(acceptance).await
                }
                None => (Left::Shutdown, receiver),
            };
            drop(place);
            engine.left(run, left, receiver).await;
        };
        let mut drivers = self.inner.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        while drivers.try_join_next().is_some() {}
        drivers.spawn(work.instrument(span));
        Some(mailbox)
    }

    /// A place among the runs that have something to do; none once the engine shuts down, so that a run
    /// which is still queued then does not begin.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let mut closing = self.inner.closing.subscribe();
        tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => None,
            place = Arc::clone(&self.inner.places).acquire_owned() => place.ok(),
        }
    }

    /// A driver has ended. What came for its run in the last moment is not lost: the run is woken again.
    async fn left(&self, run: RunId, left: Left, mut receiver: mpsc::UnboundedReceiver<Msg>) {
        let progress = match left {
            Left::Ended(status) => Progress::Ended(status),
            Left::Parked(status) => Progress::Parked(status),
            Left::Shutdown => Progress::GivenUp(EngineError::ShuttingDown.failure()),
            Left::GivenUp(e) => Progress::GivenUp(e.failure()),
        };
        let late = {
            let mut runs = self.runs();
            receiver.close();
            runs.remove(&run);
            let mut late = Vec::new();
            while let Ok(message) = receiver.try_recv() {
                late.extend(Some(message).filter(|m| matches!(m, Msg::Inbox | Msg::Timer(..))));
            }
            if late.is_empty() || !matches!(progress, Progress::Parked(_)) {
                self.inner.shared.waiters.say(run, &progress);
                return;
            }
            late
        };
        let mut driven = false;
        for message in late {
            driven |= self.deliver(run, message).await;
        }
        let runs = self.runs();
        if !driven && !runs.contains_key(&run) {
            self.inner.shared.waiters.say(run, &progress);
        }
    }

    /// Brings a message to a run's driver, waking the run if it rests. Whether a driver has had it, or
    /// has read the store since it came, which is as good.
    pub(super) async fn deliver(&self, run: RunId, message: Msg) -> bool {
        let mut message = message;
        // Again: a driver may park between the look-up and the delivery.
        for _ in 0..2 {
            let known = self.runs().get(&run).cloned();
            let mailbox = match known {
                Some(mailbox) => mailbox,
                None => match Box::pin(self.wake(run)).await {
                    Ok(Some(mailbox)) => mailbox,
                    Ok(None) => return false,
                    Err(e) => {
                        tracing::warn!(run_id = %run, error = %e, "a run could not be woken");
                        return false;
                    }
                },
            };
            match mailbox.put(message) {
                Ok(()) => return true,
                Err(returned) => message = *returned,
            }
        }
        true
    }
}
