//! Which rows a listing wants.

use jiff::Timestamp;

use crate::approval::ApprovalStatus;
use crate::id::{EngineId, RunId};
use crate::run::RunStatus;

/// Which runs a listing wants.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only these; all when empty.
    pub statuses: Vec<RunStatus>,
    /// Only runs of this workflow.
    pub workflow: Option<String>,
    /// Only runs driven by this engine.
    pub engine: Option<EngineId>,
    /// Only runs that ended before this.
    pub finished_before: Option<Timestamp>,
    /// At most this many, newest first; 0 means all.
    pub limit: u32,
}

/// Which approvals a listing wants.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// Only these; all when empty.
    pub statuses: Vec<ApprovalStatus>,
    /// Only of this run.
    pub run: Option<RunId>,
    /// At most this many, newest first; 0 means all.
    pub limit: u32,
}
