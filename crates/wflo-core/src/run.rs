//! Runs as the store keeps them and as scripts see them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::Digest;
use crate::error::Failure;
use crate::id::{EngineId, RunId};
use crate::machine::Changes;
use crate::size::Millis;

/// Where a run stands. The last seven are terminal and never reopened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted, not begun. Woken by its driver's queue.
    Pending,
    /// Something is running or may. Woken by its driver.
    Running,
    /// Everything left waits for a person, a timer or a signal. Woken by the inbox or a timer.
    Waiting,
    /// Paused by a person. Woken by `resume`.
    Paused,
    /// Every step succeeded or was skipped.
    Completed,
    /// A step failed.
    Failed,
    /// A person cancelled it.
    Cancelled,
    /// An approval or a policy said no.
    Rejected,
    /// A budget ran out and its action is `halt`.
    Halted,
    /// A time-out ended it.
    TimedOut,
    /// A rollback run that restored what it was to restore.
    RolledBack,
}

impl RunStatus {
    /// Those that something can follow.
    pub const OPEN: [RunStatus; 4] =
        [RunStatus::Pending, RunStatus::Running, RunStatus::Waiting, RunStatus::Paused];
    /// Those that nothing can follow.
    pub const TERMINAL: [RunStatus; 7] = [
        RunStatus::Completed,
        RunStatus::Failed,
        RunStatus::Cancelled,
        RunStatus::Rejected,
        RunStatus::Halted,
        RunStatus::TimedOut,
        RunStatus::RolledBack,
    ];

    /// Whether nothing can follow.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, RunStatus::Pending | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused)
    }

    /// The name in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunStatus::Pending => "pending",
            RunStatus::Running => "running",
            RunStatus::Waiting => "waiting",
            RunStatus::Paused => "paused",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
            RunStatus::Rejected => "rejected",
            RunStatus::Halted => "halted",
            RunStatus::TimedOut => "timed_out",
            RunStatus::RolledBack => "rolled_back",
        }
    }

    /// The exit code of a command that waited for the run.
    pub const fn exit_code(self) -> u8 {
        match self {
            RunStatus::Completed => 0,
            RunStatus::Failed | RunStatus::RolledBack => 1,
            RunStatus::Rejected => 3,
            RunStatus::Halted => 4,
            RunStatus::Cancelled | RunStatus::TimedOut => 5,
            RunStatus::Pending | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => 75,
        }
    }
}

impl std::fmt::Display for RunStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a run was started with, beside its definition and inputs. Sealed at submission.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunOptions {
    /// Ask at writes to databases, at guarded commands, and before files are applied.
    #[serde(default)]
    pub require_approval: bool,
    /// Commands that people are asked about before they start, as patterns in which `*` is any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ask_commands: Vec<String>,
    /// For how long a call of a program is held while people are asked about its budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_timeout: Option<Millis>,
    /// Refuse at submission when a channel is not configured.
    #[serde(default)]
    pub strict_channels: bool,
    /// Write the changed files to the project when the run completes.
    #[serde(default)]
    pub apply: bool,
    /// Export the trace whenever a process leaves the run.
    #[serde(default)]
    pub trace: bool,
    /// `native`, or `none` for no sandbox.
    #[serde(default)]
    pub backend: Option<String>,
    /// Further channels to announce on.
    #[serde(default)]
    pub notify: Vec<String>,
    /// Limits that the command line and `wflo.toml` add to the definition's; none raises another.
    #[serde(default)]
    pub budgets: Vec<crate::definition::BudgetSpec>,
    /// Whose run it is: what budgets per label and reports tell apart.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
    /// The organisation that budgets per org count for; `local` when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// What happens when a call does not fit and no limit says: people are asked when this is set.
    #[serde(default)]
    pub ask_when_exceeded: bool,
    /// The file whose answers the run's model calls get instead of being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// The run whose files this one holds as they stood before one of its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<RunId>,
    /// Steps that a retried run had finished: they are not run again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<Carried>,
    /// Whatever the driver must know to start the run's steps again: project folder, entry point,
    /// sealed tree, interpreter. Its shape belongs to the engine.
    #[serde(default)]
    pub launch: Value,
}

/// A finished step of a retried run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// The step.
    pub step: String,
    /// What it returned.
    pub output: Value,
    /// What it changed of the run's variables.
    #[serde(flatten)]
    pub changes: Changes,
    /// The workspace layer it left.
    pub layer: Option<String>,
}

/// A run as the store keeps it; its steps are the fold of its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The workflow's name.
    pub workflow: String,
    /// Hash of the canonical definition and the code digest.
    pub version: Digest,
    /// The user's own label for the version.
    pub label: Option<String>,
    /// Digest of the code that runs.
    pub code: Digest,
    /// The inputs.
    pub inputs: Value,
    /// What else it was started with.
    pub options: RunOptions,
    /// Where it stands.
    pub status: RunStatus,
    /// Its result.
    pub outputs: Option<Value>,
    /// Why it did not complete.
    pub error: Option<Failure>,
    /// The run that this one retries; both are charged to the same run budget.
    pub retried_from: Option<RunId>,
    /// The key of its run budget: the first run of the chain of retries.
    pub budget_key: String,
    /// W3C trace id, 32 hexadecimal characters.
    pub trace_id: String,
    /// The fencing token of its driver.
    pub lease_epoch: u64,
    /// The process that drives it.
    pub engine: Option<EngineId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}
