//! What can go wrong in driving runs.

use wflo_core::error::{Code, Coded, Failure};
use wflo_core::id::RunId;
use wflo_core::machine::Rejection;
use wflo_core::ports::store::StoreError;
use wflo_core::run::RunStatus;

/// Why the engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine said no.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    /// No such run.
    #[error("there is no run {0}")]
    NoRun(RunId),
    /// Another live process drives the run.
    #[error("run {run} is driven by process {pid}")]
    DrivenElsewhere {
        /// The run.
        run: RunId,
        /// The process.
        pid: u32,
    },
    /// Nothing can follow.
    #[error("run {run} has ended as {status}")]
    Ended {
        /// The run.
        run: RunId,
        /// As what.
        status: RunStatus,
    },
    /// Too much is queued.
    #[error("{waiting} runs are queued, which is the limit")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The inputs or the definition are wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Failure>),
    /// Something named by its own code.
    #[error("{0}")]
    Failure(Failure),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// The step stopped waiting for an effect, which was not made for that reason.
    #[error("the step no longer waits for this effect")]
    Withdrawn,
    /// A record in the store that this build cannot read.
    #[error("a stored record cannot be read: {0}")]
    Unreadable(String),
}

impl EngineError {
    /// The failure as data, keeping codes and hints of what it wraps.
    pub fn failure(&self) -> Failure {
        match self {
            EngineError::Failure(failure) => failure.clone(),
            EngineError::Invalid(failures) if !failures.is_empty() => failures[0].clone(),
            other => other.to_failure(),
        }
    }
}

impl Coded for EngineError {
    fn code(&self) -> Code {
        match self {
            EngineError::Store(e) => e.code(),
            EngineError::Rejected(_) => Code(3010),
            EngineError::NoRun(_) => Code(2002),
            EngineError::DrivenElsewhere { .. } => Code(3011),
            EngineError::Ended { .. } => Code(3012),
            EngineError::Busy { .. } => Code(3013),
            EngineError::Invalid(_) => Code(1001),
            EngineError::Failure(_) => Code(3000),
            EngineError::ShuttingDown | EngineError::Withdrawn => Code(3014),
            EngineError::Unreadable(_) => Code(9001),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            EngineError::Store(e) => e.hint(),
            EngineError::NoRun(_) => Some("list runs with `wflo runs list`".to_owned()),
            EngineError::DrivenElsewhere { run, pid } => Some(format!(
                "watch it with `wflo runs events {run} --follow`; if process {pid} is stopped, continue it with `kill -CONT {pid}`"
            )),
            EngineError::Ended { run, .. } => {
                Some(format!("`wflo runs retry {run}` begins a new run from it"))
            }
            EngineError::Busy { .. } => Some("submit again when some have finished".to_owned()),
            EngineError::Failure(failure) => failure.hint.clone(),
            EngineError::Invalid(failures) => failures.first().and_then(|f| f.hint.clone()),
            _ => None,
        }
    }
}
