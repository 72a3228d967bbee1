//! What the end of a conversation means for the attempt.

use serde_json::Value;
use wflo_core::error::{Code, Failure};
use wflo_core::money::NanoUsd;
use wflo_sandbox::{Exit, Outcome as Ended};

use super::{Conversation, Last};
use crate::error::EngineError;
use crate::executor::End;
use crate::protocol::On;
use crate::steps::{failed, retry};

/// The step took too long.
const STEP_TIMEOUT: Code = Code(3002);
/// The step used more memory than it may.
const OUT_OF_MEMORY: Code = Code(3007);
/// The step had more processes and threads than it may.
const TOO_MANY_TASKS: Code = Code(3018);
/// The step went on although it was stopped.
const RAN_ON: Code = Code(3041);
/// The step's process ended without a result.
const NO_RESULT: Code = Code(3008);

impl Conversation<'_> {
    pub(super) async fn conclude(
        &self,
        last: Last,
        exit: Option<Result<Exit, Failure>>,
    ) -> Result<End, EngineError> {
        if let Some(halt) = self.broker.chain.halt()
            && !matches!(last, Last::Stop(_) | Last::Engine(_))
        {
            return Ok(self.steps.halted(self.attempt, &self.broker, halt));
        }
        let end = self.ended(last, exit).await?;
        if matches!(end, End::Failed { .. }) {
            self.broker.chain.withdraw().await?;
        }
        Ok(end)
    }

    async fn ended(&self, last: Last, exit: Option<Result<Exit, Failure>>) -> Result<End, EngineError> {
        match last {
            Last::Succeeded { output, state } => self.succeeded(output, state).await,
            Last::Failed(error) => Ok(self.failed(
                &self.steps.services.redact_failure(error.failure(&self.broker.codes())),
                error.effect.as_ref(),
                false,
            )),
            Last::Suspended(on) => Ok(End::Suspended { on }),
            Last::Broken(failure) => Ok(self.failed(&failure, None, false)),
            Last::Engine(e) => Err(e),
            Last::Stop(_) => Ok(End::Stopped),
            Last::TimedOut => {
                let limit = self.deadline.unwrap_or_default();
                let message = format!(
                    "step `{}` was active for longer than {} s",
                    self.attempt.step,
                    limit.as_secs_f64()
                );
                let failure = Failure::new(STEP_TIMEOUT, message).with_hint(
                    "raise timeout_seconds of the step, or of the sandbox if that is the shorter one",
                );
                Ok(self.failed(&failure, None, true))
            }
            Last::Gone => Ok(self.gone(exit)),
            // The chain says why, above.
            Last::Halted => Ok(End::Suspended { on: Vec::new() }),
        }
    }

    fn failed(&self, error: &Failure, left_by: Option<&On>, timed_out: bool) -> End {
        let Some(spec) = self.attempt.spec() else { return failed(error.clone()) };
        let (rows, cancelled) = (self.broker.journal.all(), self.broker.journal.cancelled_waits());
        let (keep, no_retry) = retry::verdict(spec, &rows, &cancelled, error, left_by);
        End::Failed { error: error.clone(), timed_out, no_retry, keep, left: None }
    }

    fn gone(&self, exit: Option<Result<Exit, Failure>>) -> End {
        let exit = match exit {
            Some(Ok(exit)) => exit,
            Some(Err(failure)) => return End::Lost { reason: failure.message },
            None => {
                let message = "the runner closed its connection and went on";
                return self.failed(&Failure::new(NO_RESULT, message), None, false);
            }
        };
        let step = &self.attempt.step;
        match exit.outcome {
            Ended::OutOfMemory => {
                let failure = Failure::new(
                    OUT_OF_MEMORY,
                    format!("step `{step}` used more memory than its sandbox may"),
                )
                .with_hint("raise memory_limit of the sandbox; what is written to files counts too");
                self.failed(&failure, None, false)
            }
            Ended::TooManyTasks => {
                let message = format!("step `{step}` started more processes and threads than it may");
                let failure =
                    Failure::new(TOO_MANY_TASKS, message).with_hint("raise pids_limit of the sandbox");
                self.failed(&failure, None, false)
            }
            Ended::RanOn => {
                let message =
                    format!("step `{step}` went on although it was stopped for its share of processors");
                let failure = Failure::new(RAN_ON, message)
                    .with_hint("no program may have itself continued (SIGCONT) while wflo has stopped it");
                self.failed(&failure, None, false)
            }
            Ended::TimedOut => {
                self.failed(&Failure::new(STEP_TIMEOUT, format!("step `{step}` ran out of time")), None, true)
            }
            Ended::Exited(code) => {
                let message =
                    format!("the process of step `{step}` ended with exit code {code} before the step did");
                let failure = Failure::new(NO_RESULT, message)
                    .with_hint("step code must return or raise; os._exit() ends it without a result");
                self.failed(&failure, None, false)
            }
            Ended::NotExecuted(errno) => {
                let message = format!("the interpreter cannot be started in the sandbox (error {errno})");
                failed(Failure::new(NO_RESULT, message).with_hint("run `wflo doctor`"))
            }
            Ended::Signalled(signal) => {
                End::Lost { reason: format!("its worker was ended by signal {signal}") }
            }
            Ended::Killed => End::Lost { reason: "its sandbox was killed".to_owned() },
        }
    }

    async fn succeeded(&self, output: Value, state: Option<Value>) -> Result<End, EngineError> {
        Ok(match self.broker.release_output(&output, None).await {
            Ok(Ok(ops)) => End::Succeeded { output, state, cost: NanoUsd::ZERO, layer: None, ops },
            Ok(Err(wait)) => End::Suspended { on: vec![wait] },
            Err(unanswered) => self.steps.unanswered(self.attempt, &self.broker, unanswered)?,
        })
    }
}
