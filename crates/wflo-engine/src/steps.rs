//! Carries out steps for real: code in a sandbox, prompts, commands, programs, and undoing them.

use std::sync::Arc;

use serde_json::Value;
use wflo_core::definition::StepKind;
use wflo_core::effect::EffectRecord;
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::event::EventBody;
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::store::{Fence, Op, StoreError};

use crate::broker::{Broker, Unanswered};
use crate::chain::Halt;
use crate::console::Console;
use crate::error::EngineError;
use crate::executor::{Attempt, End, Executor, RunContext};
use crate::journal::Journal;
use crate::launch::Launch;
use crate::ledger::within;
use crate::made;
use crate::sandboxed::{Running, Sandboxes};
use crate::services::Services;
use crate::standby::Standbys;

mod code;
mod command;
mod conversation;
mod outputs;
mod process;
mod program;
mod prompt;
mod retry;
mod template;
mod undo;

pub(crate) use self::process::is_limit;
pub(crate) use self::program::ENDED_WITH_ITS_RUN;

/// So many events are read at once; they may be large.
const PAGE: u32 = 64;
/// What the engine could not do for the step.
const INTERNAL: Code = Code(9004);

/// The executor of real steps.
pub struct Steps {
    services: Arc<Services>,
    sandboxes: Arc<Sandboxes>,
    standbys: Arc<Standbys>,
    /// What programs talk to, where somebody is there.
    console: Option<Arc<dyn Console>>,
    /// Runs that have been told, here, what a notice says.
    told: std::sync::Mutex<std::collections::HashSet<(RunId, &'static str)>>,
}

impl Steps {
    /// An executor with these services and sandboxes, and a console for programs.
    pub fn new(
        services: Arc<Services>,
        sandboxes: Arc<Sandboxes>,
        console: Option<Arc<dyn Console>>,
    ) -> Self {
        let told = std::sync::Mutex::default();
        Steps { services, sandboxes, standbys: Standbys::new(), console, told }
    }

    fn launch(&self, context: &RunContext) -> Result<Launch, EngineError> {
        serde_json::from_value(context.record.options.launch.clone())
            .map_err(|e| EngineError::Unreadable(format!("how {} is launched: {e}", context.record.id)))
    }

    /// Says, once a run, that nothing isolates its steps, and which limits wflo watches over because
    /// the kernel does not here.
    async fn tell_of_walls(&self, journal: &Journal, running: &Running) -> Result<(), EngineError> {
        let (enforcement, isolated) = running.enforcement();
        if !isolated {
            let message = format!(
                "no isolation (backend \"none\"): steps can do whatever you can; each works in a copy of the \
                 project, not at its path (here: {})",
                running.workspace()
            );
            self.tell_once(journal, "sandbox.none", message).await?;
        }
        let watched: Vec<String> = enforcement
            .iter()
            .filter(|e| e.level == wflo_sandbox::Level::Supervised && e.limit != "timeout")
            .map(|e| format!("{} ({})", e.limit, e.by))
            .collect();
        if !watched.is_empty() {
            let message =
                format!("watched over by wflo, not by the kernel, on this host: {}", watched.join(", "));
            self.tell_once(journal, "sandbox.supervised", message).await?;
        }
        Ok(())
    }

    /// A notice that a run gets once, whichever processes drive it.
    async fn tell_once(
        &self,
        journal: &Journal,
        notice: &'static str,
        message: String,
    ) -> Result<(), EngineError> {
        let run = journal.run();
        if !self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert((run, notice)) {
            return Ok(());
        }
        let mut seen = 0;
        loop {
            let page = self.services.store.events(run, seen, PAGE).await?;
            let Some(last) = page.last() else { break };
            seen = last.seq;
            let is_same =
                |body: &EventBody| matches!(body, EventBody::Notice { notice: told, .. } if told == notice);
            if page.iter().any(|recorded| is_same(&recorded.event.body)) {
                return Ok(());
            }
        }
        journal.note(vec![EventBody::Notice { notice: notice.to_owned(), message }]).await?;
        Ok(())
    }

    async fn journal(&self, attempt: &Attempt) -> Result<Arc<Journal>, EngineError> {
        let (store, clock) = (Arc::clone(&self.services.store), Arc::clone(&self.services.clock));
        let journal = Journal::load(store, clock, attempt.fence(), &attempt.step, attempt.generation).await?;
        let meter = self.services.meters.of(self.services.store.as_ref(), attempt.run).await?;
        Ok(Arc::new(journal.timed_by(attempt.active.clone()).metered(meter)))
    }

    /// How an attempt ends that has no answer to go on with.
    fn unanswered(
        &self,
        attempt: &Attempt,
        broker: &Broker,
        unanswered: Unanswered,
    ) -> Result<End, EngineError> {
        match unanswered {
            Unanswered::Broken(e) => Err(e),
            // Nobody asked for an effect, so nobody can have stopped waiting for it.
            Unanswered::Withdrawn => Ok(End::Stopped),
            Unanswered::Failed(failure) => Ok(failed(failure)),
            Unanswered::Halted => {
                Ok(self.halted(attempt, broker, broker.chain.halt().unwrap_or(Halt::Again)))
            }
        }
    }

    /// How an attempt ends whose answers are not its history any more.
    fn halted(&self, attempt: &Attempt, broker: &Broker, halt: Halt) -> End {
        match halt {
            // It waits for nothing: another attempt follows at once.
            Halt::Again => End::Suspended { on: Vec::new() },
            Halt::Lost(reason) => End::Lost { reason },
            Halt::Unknown(error) => failed(error),
            Halt::Failed(error) => {
                let Some(spec) = attempt.spec() else { return failed(error) };
                let (keep, no_retry) = retry::verdict(spec, &broker.journal.all(), &[], &error, None);
                End::Failed { error, timed_out: false, no_retry, keep, left: None }
            }
        }
    }

    /// What a step's effects were billed over all its generations.
    async fn cost(&self, attempt: &Attempt) -> Result<NanoUsd, EngineError> {
        Ok(self.services.store.step_cost(attempt.run, attempt.step.clone()).await?)
    }
}

impl Executor for Steps {
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, End> {
        let work = move |attempt: Attempt| async move {
            let kind = attempt.spec().map(|spec| spec.kind.clone());
            let done = match kind {
                Some(StepKind::Agent { prompt: Some(_), .. }) => self.prompt(&attempt).await,
                Some(StepKind::Agent { .. }) => self.code(&attempt).await,
                Some(StepKind::Tool { run }) => self.command(&attempt, &run).await,
                Some(StepKind::Program { argv }) => self.program(&attempt, &argv).await,
                _ => Ok(failed(Failure::new(INTERNAL, format!("step `{}` is nothing to run", attempt.step)))),
            };
            done.unwrap_or_else(|e| ended_by(&e))
        };
        Box::pin(within(&self.services, attempt, work))
    }

    fn leave(&self, run: RunId) -> BoxFuture<'_, ()> {
        Box::pin(self.standbys.end(run))
    }

    fn made(&self, run: RunId, rows: Vec<EffectRecord>) -> BoxFuture<'_, Result<Vec<Op>, StoreError>> {
        Box::pin(async move {
            let (store, databases) = (self.services.store.as_ref(), &self.services.databases);
            let found = made::find(store, databases, run, &rows, self.services.clock.now()).await?;
            for (key, reason) in found.unknown {
                tracing::warn!(run_id = %run, %key, reason, "whether a write was made is not known");
            }
            Ok(found.ops)
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
    End::Failed { no_retry: Some(error.clone()), error, timed_out: false, keep: Vec::new(), left: None }
}

/// What an error of the engine itself means for an attempt: gone, unless the reason is lasting.
pub(crate) fn ended_by(error: &EngineError) -> End {
    match error {
        EngineError::ShuttingDown | EngineError::Rejected(_) => End::Stopped,
        EngineError::Store(e) => End::Lost { reason: format!("{e} [{}]", e.code()) },
        other => failed(other.failure()),
    }
}
