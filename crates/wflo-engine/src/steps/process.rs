//! One process of an attempt in its sandbox, behind the run's gateway: what commands and programs have in
//! common.

use std::time::Duration;

use wflo_core::error::Code;
use wflo_sandbox::{Exit, Outcome};

use super::Steps;
use crate::broker::Broker;
use crate::egress::{Outlet, WayOut};
use crate::error::EngineError;
use crate::executor::{Attempt, Stop};
use crate::launch::Launch;
use crate::sandboxed::Running;

pub(super) const TIMEOUT: Code = Code(3002);
const OUT_OF_MEMORY: Code = Code(3007);
const TOO_MANY_TASKS: Code = Code(3018);
const RAN_ON: Code = Code(3041);

/// How the process ended. Nothing of it is left, and its calls are settled.
pub(super) enum Ended {
    /// By itself, or by a limit.
    Exit(Exit),
    /// It ran for longer than it may.
    OutOfTime(Duration),
    /// The attempt was asked to end.
    Stopped(Stop),
    /// Its sandbox went.
    Lost(String),
}

impl Steps {
    /// Serves the process its models until it ends, and ends it where it does not by itself.
    pub(super) async fn attend(
        &self,
        attempt: &Attempt,
        launch: &Launch,
        broker: &Broker,
        (running, way_out): (&Running, &WayOut),
    ) -> Result<Ended, EngineError> {
        let outlet = Outlet::open(launch, running, &broker.journal, attempt, way_out)?;
        let served = running.serve(self.services.gateway(), broker.calls.caller());
        let served =
            served.map_err(|e| EngineError::Unreadable(format!("a sandbox's model listener: {e}")))?;
        let limit = attempt.spec().and_then(|spec| spec.timeout_seconds);
        let limit = limit.into_iter().chain(launch.sandbox.timeout).min();
        let limit = limit.map_or(Duration::from_secs(366 * 86_400), |l| l.duration());
        let ended = tokio::select! {
            exit = running.ended() => match exit {
                Ok(exit) if exit.outcome == Outcome::Killed => Ended::Lost("its sandbox was killed".to_owned()),
                Ok(exit) => Ended::Exit(exit),
                Err(failure) => Ended::Lost(failure.message),
            },
            () = tokio::time::sleep(limit) => Ended::OutOfTime(limit),
            stop = attempt.stopped() => Ended::Stopped(stop),
        };
        // Before the kill, which closes its connections: the program has given none of them up.
        broker.calls.ends();
        running.kill().await;
        if let Some(outlet) = outlet {
            outlet.close().await;
        }
        let urgent = match &ended {
            Ended::Stopped(stop) => stop.is_urgent(),
            Ended::OutOfTime(_) => true,
            Ended::Exit(_) | Ended::Lost(_) => false,
        };
        if urgent {
            broker.calls.hurry();
        }
        broker.calls.close().await;
        if let Some(served) = served {
            served.stop(Duration::ZERO).await;
        }
        Ok(ended)
    }
}

/// Why the end of the process `what`, whose program is `name`, is a failure. Its own failures have the first
/// code, a program that could not be executed the other.
pub(super) fn failure(
    exit: &Exit,
    what: &str,
    name: &str,
    (code, not_executed): (Code, Code),
) -> Option<(Code, String)> {
    Some(match exit.outcome {
        Outcome::Exited(0) => return None,
        Outcome::Exited(number) => (code, format!("{what} ended with exit code {number}")),
        Outcome::Signalled(signal) => (code, format!("{what} was ended by signal {signal}")),
        Outcome::NotExecuted(_) => {
            (not_executed, format!("`{name}` was not found in the sandbox, or is no program"))
        }
        Outcome::OutOfMemory => (OUT_OF_MEMORY, format!("{what} used more memory than its sandbox may")),
        Outcome::TooManyTasks => (TOO_MANY_TASKS, format!("{what} started more processes than it may")),
        Outcome::RanOn => {
            (RAN_ON, format!("{what} went on although it was stopped for its share of processors"))
        }
        Outcome::TimedOut => (TIMEOUT, format!("{what} ran out of time")),
        Outcome::Killed => (code, format!("{what} was killed")),
    })
}
