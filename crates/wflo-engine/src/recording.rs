//! A recording: the answers of a run's model calls, in a file, for tests without a provider.
//!
//! Owns what is recorded; its file is `file`'s, which answer belongs to a call `replaying`'s. A run keeps
//! every answer in its journal, so recording is a copy of it; replaying answers a step's calls from the
//! file, journals them like any other, and makes none. An answer belongs to a step, a request byte for byte,
//! and an occurrence of it. Times and random values are recorded as well, because requests are made of them.
//!
//! **Architecture Invariant:** a run that replays sends nothing to a provider: a call that the recording
//! does not hold is refused.

mod file;
mod parts;
mod replaying;

pub use self::file::RecordingError;
pub use self::parts::Parts;
pub(crate) use self::parts::told;
pub(crate) use self::replaying::{Nearest, Replaying, place_of};

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wflo_core::cost;
use wflo_core::effect::{EffectKind, EffectState};
use wflo_core::id::RunId;
use wflo_core::ports::store::Store;
use wflo_core::run::RunRecord;
use wflo_gateway::ledger::Recorded;

use crate::error::EngineError;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The step that asked.
    pub step: String,
    /// In hex. Of a model call: BLAKE3 of the endpoint, the headers that change its meaning, and the
    /// request's bytes. Else the effect's own.
    pub fingerprint: String,
    /// What is kept of a call's request, to say what is another in one that is not recorded.
    #[serde(default, skip_serializing_if = "Parts::is_empty")]
    pub parts: Parts,
    /// What was answered.
    #[serde(flatten)]
    pub said: Said,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Said {
    /// To a model call.
    Llm {
        /// What was asked of: `chat`, `messages`, …
        endpoint: String,
        /// The provider that answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
        /// The model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        /// The answer.
        answer: Recorded,
    },
    /// The time, or a random value.
    Drawn {
        /// It.
        value: Value,
    },
}

/// The answers of a run, in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The workflow's name.
    pub workflow: String,
    /// The answers.
    pub entries: Vec<Entry>,
}

impl Recording {
    /// The answers that a run has in its journal; those of its retries are in theirs.
    ///
    /// # Errors
    /// Store errors; a run that is not there.
    pub async fn of_run(store: &dyn Store, run: RunId) -> Result<Recording, EngineError> {
        let unreadable = |what: String| EngineError::Unreadable(what);
        let record = store.run(run).await?.ok_or_else(|| unreadable(format!("{run} is not there")))?;
        let mut entries = Vec::new();
        for effect in store.run_effects(run).await? {
            let is_drawn = matches!(effect.kind, EffectKind::Now | EffectKind::Random);
            let is_own = is_drawn && effect.attributes["carried"] != true || cost::is_call(&effect);
            if !is_own || !matches!(effect.state, EffectState::Finished { .. }) {
                continue;
            }
            let gone = || unreadable(format!("the answer of {} is gone", effect.key));
            let whole = store.effect(run, effect.key.clone()).await?.ok_or_else(gone)?;
            let EffectState::Finished { result, .. } = whole.state else { return Err(gone()) };
            let value = result.into_here().ok_or_else(gone)?;
            let step = whole.key.step;
            if is_drawn {
                let fingerprint = whole.fingerprint.to_string();
                let (parts, said) = (Parts::default(), Said::Drawn { value });
                entries.push(Entry { step, fingerprint, parts, said });
                continue;
            }
            let answer = serde_json::from_value(value).map_err(|error| unreadable(error.to_string()))?;
            let request = whole.request.into_here().unwrap_or_default();
            let text = |name: &str| whole.attributes[name].as_str().map(str::to_owned);
            entries.push(Entry {
                step,
                fingerprint: request["fingerprint"].as_str().unwrap_or_default().to_owned(),
                parts: serde_json::from_value(request["parts"].clone()).unwrap_or_default(),
                said: Said::Llm {
                    endpoint: whole.name,
                    provider: text("provider"),
                    model: text("model"),
                    answer,
                },
            });
        }
        Ok(Recording { workflow: record.workflow, entries })
    }

    /// How many model calls it answers.
    pub fn calls(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.said, Said::Llm { .. })).count()
    }

    /// How many answers to model calls the recording of a replayed run holds, and how many of them the run was
    /// not given; `None` for a run that is not answered from one.
    ///
    /// # Errors
    /// Store errors; a recording that does not read.
    pub async fn left_by(store: &dyn Store, run: &RunRecord) -> Result<Option<(usize, usize)>, EngineError> {
        let Some(file) = run.options.recording.as_deref() else { return Ok(None) };
        let recording =
            Recording::read(Path::new(file)).map_err(|error| EngineError::Unreadable(error.to_string()))?;
        let effects = store.run_effects(run.id).await?;
        let used: HashSet<usize> = effects.iter().filter_map(place_of).collect();
        let calls = recording.entries.iter().enumerate();
        let calls = calls.filter(|(_, entry)| matches!(entry.said, Said::Llm { .. }));
        let (mut all, mut left) = (0, 0);
        for (place, _) in calls {
            all += 1;
            left += usize::from(!used.contains(&place));
        }
        Ok(Some((all, left)))
    }
}

#[cfg(test)]
mod tests;
