//! One process of an attempt in its sandbox, behind the run's gateway: what commands and programs have in
//! common.

use std::time::Duration;

use wflo_core::error::{Code, Failure};
use wflo_sandbox::{Exit, Outcome};

use super::Steps;
use crate::broker::Broker;
use crate::egress::{Outlet, WayOut};
use crate::error::EngineError;
use crate::executor::{Attempt, Stop};
use crate::launch::Launch;
use crate::output::Complaint;
use crate::sandboxed::Running;

pub(super) const TIMEOUT: Code = Code(3002);
const OUT_OF_MEMORY: Code = Code(3007);
const TOO_MANY_TASKS: Code = Code(3018);
const RAN_ON: Code = Code(3041);
/// Of a process that found no network. What is said of names holds whatever the run allows.
const NO_NETWORK: &str = "programs have no network and resolve no names: models are reached at the addresses in their \
                          variables (OPENAI_BASE_URL and its like), other hosts once you name them with --allow-host HOST \
                          or allow_hosts under [sandbox], through the proxy in HTTPS_PROXY (the `fetch` of Node uses it from \
                          version 24 on)";
/// Of one that found a disk full.
const NO_SPACE: &str = "its sandbox may write so much and no more, /tmp counted: raise disk_limit under [sandbox], or \
                        inodes_limit for many small files";
/// Of one that was to commit.
const NO_IDENTITY: &str = "your own Git settings are not in the sandbox: set user.name and user.email in the project \
                           (`git config user.email …`)";
/// Of one in a linked worktree.
const NO_GIT_FOLDER: &str = "the project's `.git` leads to a folder that the sandbox does not see: run in the main \
                             checkout, or name that folder under `ro` in [sandbox], to read it";
/// Of one that used too much memory.
const MORE_MEMORY: &str = "raise memory_limit under [sandbox]; what is written to files may count too";
/// Of one that started too many.
const MORE_TASKS: &str = "raise pids_limit under [sandbox]";

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
            // Whoever asked has ended: people wait for the end, and nobody for the answer.
            Ended::OutOfTime(_) | Ended::Exit(_) => true,
            Ended::Lost(_) => false,
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
) -> Option<Failure> {
    let failed = |code: Code, how: &str| Failure::new(code, format!("{what} {how}"));
    Some(match exit.outcome {
        Outcome::Exited(0) => return None,
        Outcome::Exited(number) => failed(code, &format!("ended with exit code {number}")),
        Outcome::Signalled(signal) => failed(code, &format!("was ended by signal {signal}")),
        Outcome::NotExecuted(_) => {
            let message = format!("`{name}` was not found in the sandbox, or is no program");
            Failure::new(not_executed, message)
        }
        Outcome::OutOfMemory => {
            failed(OUT_OF_MEMORY, "used more memory than its sandbox may").with_hint(MORE_MEMORY)
        }
        Outcome::TooManyTasks => {
            failed(TOO_MANY_TASKS, "started more processes than it may").with_hint(MORE_TASKS)
        }
        Outcome::RanOn => failed(RAN_ON, "went on although it was stopped for its share of processors"),
        Outcome::TimedOut => failed(TIMEOUT, "ran out of time"),
        Outcome::Killed => failed(code, "was killed"),
    })
}

/// Whether this is the code of a process that a limit of its sandbox ended.
pub(crate) fn is_limit(code: &str) -> bool {
    [OUT_OF_MEMORY, TOO_MANY_TASKS, TIMEOUT].iter().any(|limit| limit.to_string() == code)
}

/// A failure with what helps against what the process complained of, unless more is known.
pub(super) fn because(failure: Failure, complaint: Option<Complaint>) -> Failure {
    match complaint.filter(|_| failure.hint.is_none()) {
        Some(Complaint::Network) => failure.with_hint(NO_NETWORK),
        Some(Complaint::Space) => failure.with_hint(NO_SPACE),
        Some(Complaint::Identity) => failure.with_hint(NO_IDENTITY),
        Some(Complaint::GitFolder) => failure.with_hint(NO_GIT_FOLDER),
        None => failure,
    }
}
