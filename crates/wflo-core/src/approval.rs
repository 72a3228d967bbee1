//! Approvals: durable promises that people decide.
//!
//! **Architecture Invariant:** an approval binds to exactly what it releases (action, code, evidence)
//! and is consumed once, in the commit of the effect that it released.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::Measure;
use crate::canonical::Digest;
use crate::effect::EffectKey;
use crate::id::{ApprovalId, BudgetId, RunId};
use crate::money::NanoUsd;

/// What the question is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "snake_case")]
pub enum Purpose {
    /// An approval step of the workflow.
    Gate,
    /// A step that asks before it begins.
    Start,
    /// A write effect of a step.
    Write {
        /// The effect.
        effect: EffectKey,
    },
    /// A step's output, when nothing before it was a write.
    Output,
    /// `context.approve(…)`.
    Asked {
        /// The effect.
        effect: EffectKey,
    },
    /// A budget that cannot take a call.
    Budget {
        /// The budget.
        budget: BudgetId,
        /// What it counts.
        #[serde(default, skip_serializing_if = "Measure::is_cost")]
        measure: Measure,
        /// What it lacks for the call at hand: in USD, or in calls or tokens.
        missing: NanoUsd,
        /// By how much a yes without an amount raises it ([`Shortfall::suggested`]).
        ///
        /// [`Shortfall::suggested`]: crate::budget::Shortfall::suggested
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suggested: Option<NanoUsd>,
    },
    /// A policy whose condition holds for a model call.
    Policy {
        /// The policy's name.
        policy: String,
    },
    /// A call that goes round in circles.
    Repeat {
        /// The call.
        effect: EffectKey,
    },
    /// A host that no rule of the run names.
    Host {
        /// The rule that a yes stands for.
        rule: String,
    },
    /// Writing the run's files to the project.
    Apply,
}

impl Purpose {
    /// What the question is about, as one text: questions with the same are about the same thing.
    /// `budget:<id>` whatever is missing, `write:<effect>`, `repeat:<effect>`, `policy:<name>`, `gate`, ….
    pub fn key(&self) -> String {
        match self {
            Purpose::Gate => "gate".to_owned(),
            Purpose::Start => "start".to_owned(),
            Purpose::Write { effect } => format!("write:{effect}"),
            Purpose::Output => "output".to_owned(),
            Purpose::Asked { effect } => format!("asked:{effect}"),
            Purpose::Budget { budget, .. } => format!("budget:{budget}"),
            Purpose::Policy { policy } => format!("policy:{policy}"),
            Purpose::Repeat { effect } => format!("repeat:{effect}"),
            Purpose::Host { rule } => format!("host:{rule}"),
            Purpose::Apply => "apply".to_owned(),
        }
    }
}

impl ApprovalRequest {
    /// Whether its time was up then, and nobody's word counts any more.
    pub fn is_over(&self, at: Timestamp) -> bool {
        self.on_timeout == OnTimeout::Reject && self.expires_at.is_some_and(|until| at >= until)
    }
}

/// Where a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// Nobody has decided.
    Pending,
    /// Approved and not yet used.
    Approved,
    /// Rejected by a person.
    Rejected,
    /// Nobody decided in time, and the policy says reject.
    Expired,
    /// What would run changed, so another question replaced this one.
    Superseded,
    /// Approved, and what it released is committed.
    Consumed,
}

impl ApprovalStatus {
    /// The name in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            ApprovalStatus::Pending => "pending",
            ApprovalStatus::Approved => "approved",
            ApprovalStatus::Rejected => "rejected",
            ApprovalStatus::Expired => "expired",
            ApprovalStatus::Superseded => "superseded",
            ApprovalStatus::Consumed => "consumed",
        }
    }
}

/// What happens when nobody decides in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// It counts as rejected.
    #[default]
    Reject,
    /// It is announced again and goes on waiting.
    Escalate,
    /// It goes on waiting.
    Hold,
}

/// What an approval is bound to. If any of these differs when it is to be used, it is asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Digest of the canonical action (RFC 8785).
    pub action: Digest,
    /// Digest of the code that runs.
    pub code: Digest,
    /// Digest of the evidence as it was shown.
    pub evidence: Digest,
}

/// A question to be put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRequest {
    /// What it is about.
    #[serde(flatten)]
    pub purpose: Purpose,
    /// The step it belongs to, if one.
    pub step: Option<String>,
    /// The step's generation, when it has one.
    pub generation: u32,
    /// One line for people.
    pub title: String,
    /// What they are shown: rows, statements, files, amounts.
    pub evidence: Value,
    /// What the answer is good for.
    pub binding: Binding,
    /// Who may decide; empty means anybody who can reach this data directory.
    pub approvers: Vec<String>,
    /// How many of them.
    pub quorum: u32,
    /// When it is decided by [`OnTimeout`], if ever.
    pub expires_at: Option<Timestamp>,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// Channels to announce it on.
    pub notify: Vec<String>,
}

/// For how long an answer about a host holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Lasts {
    /// For the connections that wait for it.
    Once,
    /// For this run.
    #[default]
    Run,
    /// For this run, and for the user's later ones of the project.
    Always,
}

/// Who has decided where nobody did in time ([`Decision::by`]).
pub const TIMEOUT: &str = "timeout";

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Yes or no.
    pub approved: bool,
    /// Who: `local:<os user>` in embedded mode, or [`TIMEOUT`].
    pub by: String,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// For a budget: by how much its limit is raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<NanoUsd>,
    /// For a host: for how long it holds; this run where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Lasts>,
    /// When.
    pub at: Timestamp,
}

impl Decision {
    /// What counts where nobody decided in time.
    pub fn timed_out(at: Timestamp) -> Self {
        let comment = Some("nobody decided in time".to_owned());
        Decision { approved: false, by: TIMEOUT.to_owned(), comment, amount: None, lasts: None, at }
    }
}

/// An approval as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The run it belongs to.
    pub run: RunId,
    /// The question.
    #[serde(flatten)]
    pub request: ApprovalRequest,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// The answer, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When what it released was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed_at: Option<Timestamp>,
}
