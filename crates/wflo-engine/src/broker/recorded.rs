//! Answers that are in the journal, read at the moment they are sent.

use serde_json::Value;
use wflo_core::effect::{EffectKind, EffectRecord, EffectState, Kept};
use wflo_gateway::ledger::Recorded;

use super::llm::{call_error, reply_json};
use super::{Broker, answer_of, replayed_error};
use crate::error::EngineError;
use crate::protocol::{Answer, On};

impl Broker {
    /// The answer to an effect; none when it has none any more, because what it rested on was dropped.
    pub(crate) async fn recorded(&self, on: &On) -> Result<Option<Answer>, EngineError> {
        let Some(row) = self.journal.whole(&on.path, on.seq).await? else { return Ok(None) };
        let outcome = match &row.state {
            EffectState::Intent => return Ok(None),
            EffectState::Failed { error, .. } => Err(replayed_error(&row, error)),
            EffectState::Previewed { outcome: Err(error), .. } => Err(replayed_error(&row, error)),
            EffectState::Finished { result, .. } | EffectState::Previewed { outcome: Ok(result), .. } => {
                let value = here(&row, result)?;
                match row.kind {
                    EffectKind::Llm => return self.reply(&row, value).await.map(Some),
                    _ => Ok(value.clone()),
                }
            }
        };
        if let Err(error) = &outcome {
            self.heard(error);
        }
        Ok(Some(answer_of(outcome)))
    }

    /// A model's answer, which is recorded as it came.
    async fn reply(&self, row: &EffectRecord, value: &Value) -> Result<Answer, EngineError> {
        let recorded: Recorded =
            serde_json::from_value(value.clone()).map_err(|e| EngineError::Unreadable(e.to_string()))?;
        let gateway = self.services.gateway().ok_or(EngineError::ShuttingDown)?;
        let model = row.attributes["model"].as_str().unwrap_or_default();
        let provider = row.attributes["provider"].as_str().unwrap_or_default();
        let dialect = serde_json::from_value(row.attributes["dialect"].clone())
            .map_err(|e| EngineError::Unreadable(format!("the dialect of {}: {e}", row.key)))?;
        let reply = gateway.again(dialect, provider, model, recorded).await;
        let outcome = reply.map(|reply| reply_json(&reply)).map_err(|error| call_error(&error));
        if let Err(error) = &outcome {
            self.heard(error);
        }
        Ok(answer_of(outcome))
    }
}

fn here<'a>(row: &EffectRecord, result: &'a Kept) -> Result<&'a Value, EngineError> {
    let missing = || EngineError::Unreadable(format!("the answer of {} was not read", row.key));
    result.here().ok_or_else(missing)
}
