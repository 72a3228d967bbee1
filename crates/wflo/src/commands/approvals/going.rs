//! Runs that have not come to a question yet: what somebody may be waiting for who finds none.

use std::fmt;

use wflo_core::id::RunId;
use wflo_core::ports::store::{RunFilter, Store};
use wflo_core::run::RunStatus;

use crate::commands::drivers;
use crate::failure::CommandError;
use crate::plain;
use crate::session::Session;

/// The newest of the runs that go, and what shows its question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Going {
    run: RunId,
    workflow: String,
    /// Whether a process drives it.
    is_driven: bool,
    /// How many more there are.
    others: usize,
}

impl Going {
    /// The runs that have begun or are to begin, and that wait for nobody.
    ///
    /// # Errors
    /// Store errors; that the lock of a driving process cannot be asked.
    pub(crate) async fn find(session: &Session<'_>) -> Result<Option<Going>, CommandError> {
        let statuses = vec![RunStatus::Pending, RunStatus::Running];
        let runs = session.store.runs(RunFilter { statuses, ..RunFilter::default() }).await?;
        let others = runs.len().saturating_sub(1);
        let Some(newest) = runs.into_iter().next() else { return Ok(None) };
        let is_driven = drivers::of(session, &newest)?.is_some();
        Ok(Some(Going { run: newest.id, workflow: newest.workflow, is_driven, others }))
    }
}

impl fmt::Display for Going {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Going { run, workflow, is_driven, others } = self;
        let workflow = plain::short(workflow, 60);
        if *is_driven {
            write!(f, "run {run} of {workflow} still goes and asks nothing now: ")?;
            write!(f, "`wflo runs events {run} --follow` shows when it does")?;
        } else {
            write!(f, "run {run} of {workflow} asks nothing now, and no process drives it: ")?;
            write!(f, "`wflo runs resume {run}` goes on with it")?;
        }
        match others {
            0 => Ok(()),
            1 => write!(f, "; one more has not ended either (`wflo runs list`)"),
            more => write!(f, "; {more} more have not ended either (`wflo runs list`)"),
        }
    }
}
