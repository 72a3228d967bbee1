//! Effects: journaled interactions of a step with the world.
//!
//! Owns their identity and record. **Architecture Invariant:** an effect's intent is durable before
//! anything leaves the system, and its result is durable before anybody sees it.

mod kept;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::Digest;
use crate::error::Failure;
use crate::id::HoldId;
use crate::money::NanoUsd;

pub use kept::{Kept, json_bytes, memory_of};

/// What kind of interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffectKind {
    /// A model call.
    Llm,
    /// A command journaled with its workspace changes.
    Tool,
    /// An HTTP request.
    Http,
    /// A database statement.
    Db,
    /// A durable wait.
    Sleep,
    /// A question to people.
    Approval,
    /// An event that the step publishes.
    Emit,
    /// Random numbers.
    Random,
    /// The time.
    Now,
}

impl EffectKind {
    /// The name in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            EffectKind::Llm => "llm",
            EffectKind::Tool => "tool",
            EffectKind::Http => "http",
            EffectKind::Db => "db",
            EffectKind::Sleep => "sleep",
            EffectKind::Approval => "approval",
            EffectKind::Emit => "emit",
            EffectKind::Random => "random",
            EffectKind::Now => "now",
        }
    }
}

/// What may be done with an effect whose result was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Running it again changes nothing.
    Idempotent,
    /// Running it again is allowed and recorded.
    AtLeastOnce,
    /// Running it again could do harm: see [`OnAmbiguous`].
    Guarded,
}

/// What happens to a guarded effect whose result was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnAmbiguous {
    /// Run it again.
    Rerun,
    /// Go on as if it had given nothing.
    Skip,
    /// Fail the step.
    Fail,
}

/// The identity of an effect within its run: `<step>/<generation>/<path>/<seq>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EffectKey {
    /// The step's name.
    pub step: String,
    /// The journal, from 1.
    pub generation: u32,
    /// The branch: `0`, `0.1`, or `@gateway/<fingerprint>`.
    pub path: String,
    /// The position on the branch, from 0. In JSON `effect_seq`, because an event has a `seq` of its own.
    #[serde(rename = "effect_seq")]
    pub seq: u32,
}

impl std::fmt::Display for EffectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}", self.step, self.generation, self.path, self.seq)
    }
}

/// How far an effect is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectState {
    /// Its intent is durable; whether it happened is not known.
    Intent,
    /// Its result is durable. `order` counts the finished effects of the generation from 1 and is the
    /// order in which results are delivered on replay.
    Finished {
        /// Position among the generation's results.
        order: u32,
        /// The result.
        result: Kept,
    },
    /// Its error is durable and is delivered on replay as well.
    Failed {
        /// Position among the generation's results.
        order: u32,
        /// The error.
        error: Failure,
    },
    /// Answered on top of changes that are not made yet: what comes of it stays inside. It becomes
    /// finished or failed when people approve those changes and they are committed, and is dropped when
    /// they cannot be.
    Previewed {
        /// Position among the generation's results.
        order: u32,
        /// What the step was told.
        outcome: Result<Kept, Failure>,
    },
}

/// One row of a step's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectRecord {
    /// Its identity.
    pub key: EffectKey,
    /// Its kind.
    pub kind: EffectKind,
    /// Its name within the kind: `chat`, `execute`, …
    pub name: String,
    /// Digest of kind, name and canonical request, computed by the engine.
    pub fingerprint: Digest,
    /// The canonical request.
    pub request: Kept,
    /// How far it is.
    pub state: EffectState,
    /// The money reserved for it.
    pub hold: Option<HoldId>,
    /// What it was billed.
    pub cost: NanoUsd,
    /// How much of that is whole holds, charged because the real bills were lost.
    pub uncertain: NanoUsd,
    /// What a report needs and the result may not say: model, provider, tokens, approval.
    pub attributes: Value,
    /// The `order` of the last answer that the step had been given when it asked for this; 0 before the
    /// first. A replay gives out no later answer before it has been asked for again.
    pub after: u32,
    /// How long the generation had been active when the intent was made, in milliseconds.
    pub active_ms: u64,
    /// When the intent was made.
    pub started_at: Timestamp,
    /// When the result became known.
    pub finished_at: Option<Timestamp>,
}

impl EffectRecord {
    /// Its position in delivery order, once answered.
    pub fn order(&self) -> Option<u32> {
        match self.state {
            EffectState::Intent => None,
            EffectState::Finished { order, .. }
            | EffectState::Failed { order, .. }
            | EffectState::Previewed { order, .. } => Some(order),
        }
    }

    /// Whether its answer rests on changes that are not made yet.
    pub const fn is_previewed(&self) -> bool {
        matches!(self.state, EffectState::Previewed { .. })
    }
}

/// The step stopped waiting for an effect: a time-out, a lost race, a cancelled task. What became of the
/// effect itself is in its own record, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelledWait {
    /// The effect's branch.
    pub path: String,
    /// Its position there.
    pub seq: u32,
    /// As [`EffectRecord::after`]: the last answer that the step had been given by then.
    pub after: u32,
}

/// The engine's fingerprint of a request.
///
/// # Errors
/// When the request is not JSON that can be made canonical.
pub fn fingerprint(kind: EffectKind, name: &str, request: &Value) -> Result<Digest, serde_json::Error> {
    Digest::of_json(&serde_json::json!([kind.as_str(), name, request]))
}
