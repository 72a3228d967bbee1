//! Which process drives a run, and whether it can.

use wflo_core::error::Failure;
use wflo_core::run::RunRecord;
use wflo_engine::EngineError;
use wflo_engine::engine::live_driver;

use crate::failure::CommandError;
use crate::session::Session;

/// A live process that drives a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct LiveDriver {
    pub(crate) pid: u32,
    /// Whether it is stopped (SIGSTOP, a debugger): it keeps its runs and does nothing.
    pub(crate) stopped: bool,
}

impl LiveDriver {
    /// What to do about a stopped one.
    pub(crate) fn hint(self) -> Option<String> {
        self.stopped.then(|| {
            format!("process {0} is stopped and keeps the run; continue it with `kill -CONT {0}`", self.pid)
        })
    }

    /// The refusal to take a run over from it.
    pub(crate) fn refusal(self, run: &RunRecord) -> CommandError {
        let mut error = CommandError::engine(EngineError::DrivenElsewhere { run: run.id, pid: self.pid });
        if let (Some(hint), Some(first)) = (self.hint(), error.failures.first_mut()) {
            *first = Failure { hint: Some(hint), ..first.clone() };
        }
        error
    }
}

/// The live process that drives a run, if one does.
///
/// # Errors
/// When its lock cannot be asked.
pub(crate) fn of(session: &Session<'_>, run: &RunRecord) -> Result<Option<LiveDriver>, CommandError> {
    let pid = live_driver(&session.settings.data_dir, run).map_err(CommandError::engine)?;
    Ok(pid.map(|pid| LiveDriver { pid, stopped: is_stopped(pid) }))
}

/// Whether a process is in state T or t; `/proc/PID/stat` is `pid (name) state …`, and a name may hold
/// brackets.
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't'))
}
