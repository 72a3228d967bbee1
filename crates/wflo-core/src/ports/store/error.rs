//! Why the store could not do what was asked.

use crate::approval::ApprovalStatus;
use crate::budget::Shortfall;
use crate::effect::EffectKey;
use crate::error::{Code, Coded};
use crate::id::{ApprovalId, RunId};

/// Why the store could not do what was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// Another process has taken the run over.
    #[error("the lease on {run} is lost: it is at epoch {current}, this writer holds {held}")]
    LeaseLost {
        /// The run.
        run: RunId,
        /// What the store says.
        current: u64,
        /// What the writer holds.
        held: u64,
    },
    /// A hold does not fit.
    #[error("{}", .0.explain())]
    Short(Box<Shortfall>),
    /// No such thing.
    #[error("there is no {noun} `{id}`")]
    NotFound {
        /// What.
        noun: &'static str,
        /// Which.
        id: String,
    },
    /// The run exists already.
    #[error("run {0} exists already")]
    RunExists(RunId),
    /// The effect exists already.
    #[error("effect {0} exists already")]
    EffectExists(EffectKey),
    /// The effect has a result already.
    #[error("effect {0} is not open")]
    EffectNotOpen(EffectKey),
    /// Somebody else was first.
    #[error("approval {id} is already {}", status.as_str())]
    AlreadyDecided {
        /// Which.
        id: ApprovalId,
        /// Where it stands.
        status: ApprovalStatus,
    },
    /// It was not approved, or is used up.
    #[error("approval {id} is {}, not approved", status.as_str())]
    NotApproved {
        /// Which.
        id: ApprovalId,
        /// Where it stands.
        status: ApprovalStatus,
    },
    /// Something still needs the run.
    #[error("run {run} cannot be removed: {why}")]
    StillNeeded {
        /// The run.
        run: RunId,
        /// What.
        why: String,
    },
    /// The disk is full.
    #[error("the disk that holds {path} is full; nothing was lost, nothing more is recorded")]
    DiskFull {
        /// The data file.
        path: String,
    },
    /// The data file is damaged or is not wflo's.
    #[error("{path} is not a usable wflo database: {detail}")]
    Corrupt {
        /// The data file.
        path: String,
        /// What SQLite or Postgres says.
        detail: String,
    },
    /// The data file holds what wflo does not make, and would carry out: somebody else made it so.
    #[error("{path} is not as wflo made it: {detail}")]
    Altered {
        /// The data file.
        path: String,
        /// What.
        detail: String,
    },
    /// Another program holds the data file.
    #[error("{path} is locked by another program")]
    Locked {
        /// The data file.
        path: String,
    },
    /// It was written by a newer wflo.
    #[error("{path} was written by a newer wflo (schema {found}, this one knows {known})")]
    TooNew {
        /// The data file.
        path: String,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Anything else.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Coded for StoreError {
    fn code(&self) -> Code {
        Code(match self {
            StoreError::LeaseLost { .. } => 2001,
            StoreError::Short(_) => 4001,
            StoreError::NotFound { .. } => 2002,
            StoreError::RunExists(_) | StoreError::EffectExists(_) | StoreError::EffectNotOpen(_) => 2003,
            StoreError::AlreadyDecided { .. } => 7001,
            StoreError::NotApproved { .. } => 7002,
            StoreError::DiskFull { .. } => 2004,
            StoreError::Corrupt { .. } => 2005,
            StoreError::Locked { .. } => 2006,
            StoreError::TooNew { .. } => 2007,
            StoreError::Failed(_) => 2008,
            StoreError::Closed => 2009,
            StoreError::StillNeeded { .. } => 2011,
            StoreError::Altered { .. } => 2012,
        })
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            StoreError::LeaseLost { .. } => "another wflo process drives this run now; watch it with `wflo runs events ID --follow`".to_owned(),
            StoreError::Short(_) => "raise the limit with --budget, or approve a top-up with `wflo approvals approve ID --amount USD`".to_owned(),
            StoreError::DiskFull { .. } => "free some space, then `wflo runs resume ID`".to_owned(),
            StoreError::Corrupt { path, .. } => format!("wflo changed nothing; restore {path} from a backup, or move it away to start afresh"),
            StoreError::Altered { path, .. } => format!("wflo read nothing of it; if you did not do this yourself, move {path} away to start afresh"),
            StoreError::Locked { .. } => "close the other program, or use another --data-dir".to_owned(),
            StoreError::TooNew { .. } => "upgrade wflo".to_owned(),
            StoreError::StillNeeded { .. } => "runs go once they have ended, and their retries too: `wflo runs cancel ID` ends one".to_owned(),
            StoreError::Failed(_) => "the data directory must be on a local disk that you may write to; --data-dir names another one".to_owned(),
            _ => return None,
        })
    }
}
