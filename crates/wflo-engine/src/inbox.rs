//! Messages that any process may leave for a run's driver.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wflo_core::approval::Decision;
use wflo_core::id::ApprovalId;
use wflo_core::machine::{CommandBody, TimerKey};

use crate::ledger::Overshot;

/// A message for a run's driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum Message {
    /// People answered a question.
    Decide {
        /// Which.
        approval: ApprovalId,
        /// The answer.
        decision: Decision,
    },
    /// End the run.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// A provider has billed more than a call could cost. Left in the commit that settles the call, so
    /// that no crash in between lets a run go on whose budget is overdrawn by it.
    Overshot {
        /// The bill.
        overshot: Box<Overshot>,
    },
    /// Stop what runs; go on at `Resume`.
    Pause {
        /// Who.
        by: String,
    },
    /// Whatever a step waits for has changed: it looks again.
    Wake {
        /// The step.
        step: String,
        /// The waiting effect's branch.
        path: String,
        /// The waiting effect's position.
        seq: u32,
    },
    /// Go on.
    Resume {
        /// Who.
        by: String,
    },
    /// Let a host in, or keep it out, from now on.
    ChangeHost {
        /// The host, as a rule.
        rule: String,
        /// Whether it may be reached.
        allowed: bool,
        /// Who.
        by: String,
    },
    /// A message for the workflow's code.
    Signal {
        /// Its name.
        name: String,
        /// Its content.
        payload: Value,
    },
}

impl Message {
    /// What the machine is told; for a bill above its hold that depends on the budgets.
    pub fn into_command(self) -> Result<CommandBody, Box<Overshot>> {
        Ok(match self {
            Message::Decide { approval, decision } => CommandBody::ApprovalDecided { approval, decision },
            Message::Cancel { by, reason } => CommandBody::Cancel { by, reason },
            Message::Wake { step, path, seq } => {
                CommandBody::TimerFired { timer: TimerKey::Sleep { step, path, seq } }
            }
            Message::Pause { by } => CommandBody::Pause { by, error: None },
            Message::Resume { by } => CommandBody::Resume { by },
            Message::ChangeHost { rule, allowed, by } => CommandBody::ChangeHost { rule, allowed, by },
            Message::Signal { name, payload } => CommandBody::Signal { name, payload },
            Message::Overshot { overshot } => return Err(overshot),
        })
    }
}
