//! How a driver begins: with a new run, or with what a predecessor left.

use wflo_core::machine::{self, Action, Attempt as Spoken, CommandBody, StepState, StepStatus};
use wflo_core::ports::store::Op;
use wflo_core::run::RunStatus;

use super::{Acceptance, Driver, tolerate_rejection};
use crate::error::EngineError;
use crate::inbox::Message;

impl Driver {
    /// Accepts and starts a new run in one commit. Nobody can have left it a message before.
    pub(super) async fn accept(&mut self, acceptance: Acceptance) -> Result<(), EngineError> {
        let told = self.command(self.start(), acceptance.ops).await;
        let begun = if told.is_ok() { Ok(()) } else { Err(EngineError::NoRun(self.run)) };
        // The submitter may have been dropped; the run is durable all the same.
        let _ = acceptance.reply.send(told.map(|_| ()));
        begun
    }

    fn start(&self) -> CommandBody {
        let record = &self.context.record;
        CommandBody::Start { version: record.version.clone(), carried: record.options.carried.clone() }
    }

    /// Starts a new run, or takes up what a predecessor left.
    pub(super) async fn begin(&mut self) -> Result<(), EngineError> {
        if self.state.status == RunStatus::Pending {
            self.cancel_before_it_begins().await?;
        }
        if self.state.status == RunStatus::Pending {
            self.command(self.start(), Vec::new()).await?;
        } else {
            // By the moment at which they were set: a clock that was changed since does not move them.
            for timer in self.shared.store.timers(None, Some(self.run)).await? {
                if let Ok(key) = timer.key.parse() {
                    self.shared.timers.set(self.run, key, timer.due, &timer.set);
                }
            }
            // What people have said comes before any step is started again: a cancelled run starts none.
            // So does the count of what died, or a step that died too often would be started once more.
            self.taking_over = true;
            self.charge_the_dead().await?;
            self.read_inbox().await?;
            self.answer_for_the_dead().await?;
            self.count_the_dead().await?;
            self.taking_over = false;
            self.commit(Vec::new(), self.state.clone(), Vec::new()).await?;
        }
        self.read_inbox().await
    }

    /// A run that was cancelled while it was queued starts nothing.
    async fn cancel_before_it_begins(&mut self) -> Result<(), EngineError> {
        for message in self.shared.store.run_inbox(self.run).await? {
            if let Ok(Message::Cancel { by, reason }) = serde_json::from_value(message.message) {
                let read = vec![Op::DropInbox { ids: vec![message.id] }];
                self.command(CommandBody::Cancel { by, reason }, read).await?;
                break;
            }
        }
        Ok(())
    }

    /// Time that attempts which died with their engine had taken ahead: how much of it they used is not
    /// known, so all of it counts.
    async fn charge_the_dead(&mut self) -> Result<(), EngineError> {
        let (store, at) = (&self.shared.store, self.shared.clock.now());
        let taken = store.open_holds(self.run).await?.into_iter().filter(|hold| hold.amounts.active_ms > 0);
        let ops: Vec<Op> = taken.map(|hold| Op::Settle { id: hold.id, actual: hold.amounts, at }).collect();
        if !ops.is_empty() {
            self.commit(Vec::new(), self.state.clone(), ops).await?;
        }
        Ok(())
    }

    /// A stop that was asked of an attempt which died with its engine is done.
    pub(super) async fn answer_for_the_dead(&mut self) -> Result<(), EngineError> {
        for action in machine::outstanding(&self.state) {
            if let Action::StopStep { step } = action
                && !self.live.contains_key(&step)
            {
                let Some(found) = self.state.step(&step) else { continue };
                let attempt = Spoken { generation: found.generation, attempt: found.attempt };
                let active_ms = found.active_ms;
                self.command(CommandBody::StepStopped { step, attempt, active_ms }, Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// An attempt that died with its engine is lost, and counted: it may be what the engine died of.
    async fn count_the_dead(&mut self) -> Result<(), EngineError> {
        let running = |step: &&StepState| matches!(step.status, StepStatus::Running { .. });
        let dead: Vec<(String, Spoken)> = (self.state.definition.steps.iter().zip(&self.state.steps))
            .filter(|(spec, step)| running(step) && !self.live.contains_key(&spec.name))
            .map(|(spec, step)| {
                (spec.name.clone(), Spoken { generation: step.generation, attempt: step.attempt })
            })
            .collect();
        for (step, attempt) in dead {
            let rows = self.shared.store.effects(self.run, step.clone(), attempt.generation).await?;
            let answered = rows.iter().filter(|row| row.order().is_some()).count();
            // What was active behind the last effect is not known.
            let active_ms = rows.iter().map(|row| row.active_ms).max().unwrap_or(0);
            let answered = Some(u32::try_from(answered).unwrap_or(u32::MAX));
            let reason = "its engine ended".to_owned();
            let lost = CommandBody::StepLost { step, attempt, reason, active_ms, answered };
            tolerate_rejection(self.command(lost, Vec::new()).await)?;
        }
        Ok(())
    }
}
