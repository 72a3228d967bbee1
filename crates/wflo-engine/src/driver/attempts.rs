//! Attempts of a run's steps: their tasks, from the start to the last word.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tracing::Instrument as _;
use wflo_core::machine::Attempt as Spoken;
use wflo_core::ports::store::{Fence, StoreError};

use super::mailbox::Msg;
use super::{Driver, DriverHandle, Left};
use crate::error::EngineError;
use crate::executor::{Active, Attempt, End, Stop, Used};

/// An attempt that has not said its last word.
pub(super) struct Live {
    pub(super) stop: watch::Sender<Option<Stop>>,
    pub(super) spoken: Spoken,
    pub(super) active: Active,
    pub(super) used: Used,
}

impl Driver {
    pub(super) fn spawn_attempt(&mut self, step: String, permit: OwnedSemaphorePermit) {
        let Some(found) = self.state.step(&step) else { return };
        let spoken = Spoken { generation: found.generation, attempt: found.attempt };
        let (stop, stopped) = watch::channel(None);
        let (active, used) = (Active::new(found.active_ms), Used::default());
        let attempt = Attempt {
            run: self.run,
            step: step.clone(),
            generation: spoken.generation,
            attempt: spoken.attempt,
            epoch: self.epoch,
            context: Arc::clone(&self.context),
            outputs: self.state.outputs_for(&step),
            variables: Arc::new(self.state.variables_for(&step)),
            layers: self.layers_before(&step),
            active: active.clone(),
            used: used.clone(),
            stop: stopped,
            decisions: self.decisions.subscribe(),
            hosts: self.hosts.subscribe(),
            remaining: self.network.clone(),
            driver: DriverHandle { mailbox: self.mailbox.clone() },
        };
        self.live.insert(step.clone(), Live { stop, spoken, active, used });
        let (executor, mailbox) = (Arc::clone(&self.shared.executor), self.mailbox.clone());
        let Spoken { generation, attempt: number } = spoken;
        let span = tracing::info_span!("step", step, generation, attempt = number);
        let work = async move {
            let end = executor.run(attempt).instrument(span).await;
            // The slot goes first, so that this run's next step can have it.
            drop(permit);
            end
        };
        tokio::spawn(async move {
            // A panic of the executor is a lost attempt, not a lost run.
            let end = match tokio::spawn(work).await {
                Ok(end) => end,
                Err(e) => End::Lost { reason: format!("internal error: {e}") },
            };
            drop(mailbox.put(Msg::Ended { step, spoken, end: Box::new(end) }));
        });
    }

    /// Layers of all steps that succeeded before this one could start, in the order they ended.
    fn layers_before(&self, step: &str) -> Vec<String> {
        let layers = crate::changes::layers(&self.state).into_iter();
        layers.filter(|(of, _)| *of != step).map(|(_, layer)| layer.to_owned()).collect()
    }

    pub(super) fn spawn_undo(&self, step: String, generation: u32) {
        let (executor, mailbox) = (Arc::clone(&self.shared.executor), self.mailbox.clone());
        let (context, fence) = (Arc::clone(&self.context), Fence { run: self.run, epoch: self.epoch });
        tokio::spawn(async move {
            let (report, error) = executor.compensate(context, step.clone(), generation, fence).await;
            drop(mailbox.put(Msg::Undone { step, report, error }));
        });
    }

    /// Ends what is still live, whatever the reason; what it says is not written any more.
    pub(super) async fn end_attempts(&mut self, left: &Left) {
        let reason = match left {
            Left::GivenUp(EngineError::Store(StoreError::LeaseLost { .. })) => Stop::LeaseLost,
            _ => Stop::Shutdown,
        };
        for live in self.live.values() {
            live.stop.send_replace(Some(reason));
        }
        while !(self.live.is_empty() && self.undoing.is_empty()) {
            match self.receiver.recv().await {
                Some(Msg::Ended { step, .. }) => {
                    self.live.remove(&step);
                }
                Some(Msg::Undone { step, .. }) => {
                    self.undoing.remove(&step);
                }
                Some(Msg::Tell { reply, .. }) => {
                    let _ = reply.send(Err(EngineError::ShuttingDown));
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}
