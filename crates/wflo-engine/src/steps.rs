//! Carries out steps for real: code in a sandbox, prompts, commands, and undoing them.

use std::sync::Arc;

use serde_json::Value;
use wflo_core::definition::StepKind;
use wflo_core::effect::EffectRecord;
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::store::Fence;

use crate::error::EngineError;
use crate::executor::{Attempt, End, Executor, RunContext};
use crate::journal::Journal;
use crate::launch::Launch;
use crate::sandboxed::Sandboxes;
use crate::services::Services;

mod code;
pub(crate) use code::{runner_command, runner_env};
mod command;
mod conversation;
mod prompt;
mod retry;
mod template;
mod undo;

/// What the engine could not do for the step.
const INTERNAL: Code = Code(9004);

/// The executor of real steps.
pub struct Steps {
    services: Arc<Services>,
    sandboxes: Arc<Sandboxes>,
    /// Runs that have been told which of their limits are only watched over.
    told: std::sync::Mutex<std::collections::HashSet<wflo_core::id::RunId>>,
}

impl Steps {
    /// An executor with these services and sandboxes.
    pub fn new(services: Arc<Services>, sandboxes: Arc<Sandboxes>) -> Self {
        Steps { services, sandboxes, told: std::sync::Mutex::default() }
    }

    fn launch(&self, context: &RunContext) -> Result<Launch, EngineError> {
        serde_json::from_value(context.record.options.launch.clone())
            .map_err(|e| EngineError::Unreadable(format!("how {} is launched: {e}", context.record.id)))
    }

    /// Says, once a run, which limits wflo watches over because the kernel cannot here.
    async fn tell_of_supervision(
        &self,
        journal: &Journal,
        sandbox: &wflo_sandbox::Sandbox,
    ) -> Result<(), EngineError> {
        let watched: Vec<String> = sandbox
            .enforcement()
            .iter()
            .filter(|e| e.level == wflo_sandbox::Level::Supervised && e.limit != "timeout")
            .map(|e| format!("{} ({})", e.limit, e.by))
            .collect();
        let first = !watched.is_empty()
            && self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(journal.run());
        if first {
            let message =
                format!("watched over by wflo, not by the kernel, on this host: {}", watched.join(", "));
            let notice = "sandbox.supervised".to_owned();
            journal.note(vec![wflo_core::event::EventBody::Notice { notice, message }]).await?;
        }
        Ok(())
    }

    async fn journal(&self, attempt: &Attempt) -> Result<Arc<Journal>, EngineError> {
        let (store, clock) = (Arc::clone(&self.services.store), Arc::clone(&self.services.clock));
        let journal = Journal::load(store, clock, attempt.fence(), &attempt.step, attempt.generation).await?;
        Ok(Arc::new(journal))
    }

    /// What a step's effects were billed over all its generations.
    async fn cost(&self, attempt: &Attempt) -> Result<NanoUsd, EngineError> {
        let rows: Vec<EffectRecord> = self.services.store.run_effects(attempt.run).await?;
        let own = rows.iter().filter(|row| row.key.step == attempt.step);
        Ok(own.fold(NanoUsd::ZERO, |sum, row| sum.saturating_add(row.cost)))
    }
}

impl Executor for Steps {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, End> {
        Box::pin(async move {
            let kind = attempt.spec().map(|spec| spec.kind.clone());
            let done = match kind {
                Some(StepKind::Agent { prompt: Some(_), .. }) => self.prompt(&attempt).await,
                Some(StepKind::Agent { .. }) => self.code(&attempt).await,
                Some(StepKind::Tool { run }) => self.command(&attempt, &run).await,
                _ => Ok(failed(Failure::new(INTERNAL, format!("step `{}` is nothing to run", attempt.step)))),
            };
            done.unwrap_or_else(|e| ended_by(&e))
        })
    }

    fn compensate(
        &self,
        context: Arc<RunContext>,
        step: String,
        generation: u32,
        fence: Fence,
    ) -> BoxFuture<'_, (Value, Option<Failure>)> {
        Box::pin(self.undo(context, step, generation, fence))
    }
}

/// A failure that no retry mends.
pub(crate) fn failed(error: Failure) -> End {
    End::Failed { no_retry: Some(error.clone()), error, timed_out: false, keep: Vec::new() }
}

/// What an error of the engine itself means for an attempt: gone, unless the reason is lasting.
fn ended_by(error: &EngineError) -> End {
    match error {
        EngineError::ShuttingDown | EngineError::Rejected(_) => End::Stopped,
        EngineError::Store(e) => End::Lost { reason: format!("{e} [{}]", e.code()) },
        other => failed(other.failure()),
    }
}
