//! Exit codes: a promise to scripts.

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Completed.
    Success,
    /// The run failed or was rolled back; a check found something missing.
    Failed,
    /// Wrong use, wrong settings, or an invalid definition.
    Usage,
    /// Rejected by a person or a policy.
    Rejected,
    /// Halted by a budget.
    Halted,
    /// Cancelled or timed out.
    Cancelled,
    /// A fault of wflo itself.
    Internal,
    /// Left waiting.
    Waiting,
    /// `wflo sandbox exec` could make no sandbox.
    NoSandbox,
    /// What a command in a sandbox ended with.
    Command(u8),
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Rejected => 3,
            Exit::Halted => 4,
            Exit::Cancelled => 5,
            Exit::Internal => 70,
            Exit::Waiting => 75,
            Exit::NoSandbox => 125,
            Exit::Command(code) => code,
        }
    }
}
