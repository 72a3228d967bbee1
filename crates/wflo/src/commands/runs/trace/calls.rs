//! A run's model calls, with what they asked and were answered as the store has it.
//!
//! Owns how the tools that answers ask for are found, and when they were answered: at the first later call of the
//! step that carries the result. So tools are in the trace of any program, whatever it is written with.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::Value;
use wflo_core::content::{Name, Outline};
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::ports::store::{Store, StoreError};
use wflo_core::run::RunRecord;
use wflo_gateway::ledger::Recorded;

use super::attributes;
use super::messages::{self, Message};

/// One model call.
pub(super) struct Call {
    pub(super) key: EffectKey,
    /// What is kept of the request; none of a run that keeps nothing, or of before it did.
    pub(super) outline: Option<Outline>,
    /// The request as it was asked, as far as it was kept.
    pub(super) request: Option<String>,
    /// What was answered.
    pub(super) answered: Vec<Message>,
    pub(super) tools: Vec<Tool>,
}

/// A tool that an answer asks for.
pub(super) struct Tool {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Value,
    pub(super) asked: Timestamp,
    /// When a call carried the result.
    pub(super) answered: Option<Timestamp>,
}

impl Call {
    /// What was asked.
    pub(super) fn asked(&self) -> Vec<Message> {
        let body = self.request.as_deref().map(serde_json::from_str::<Value>);
        body.and_then(Result::ok).map(|body| messages::asked(&body)).unwrap_or_default()
    }
}

/// The calls of a run, oldest first, without those that another run had made.
///
/// # Errors
/// Store errors.
pub(super) async fn of_run(
    store: &dyn Store,
    record: &RunRecord,
    effects: &[EffectRecord],
) -> Result<Vec<Call>, StoreError> {
    let is_call = |effect: &&EffectRecord| effect.kind == EffectKind::Llm && !attributes::is_carried(effect);
    let effects: Vec<&EffectRecord> = effects.iter().filter(is_call).collect();
    if effects.is_empty() {
        return Ok(Vec::new());
    }
    let contents = store.contents(record.id).await?;
    let mut calls: Vec<Call> = Vec::new();
    // Two steps may say the same.
    let mut seen: HashMap<&str, HashSet<Name>> = HashMap::new();
    for effect in effects {
        let Some(whole) = store.effect(record.id, effect.key.clone()).await? else { continue };
        let outline: Option<Outline> = serde_json::from_value(whole.request.field("content").clone()).ok();
        if let Some(outline) = &outline {
            let seen = seen.entry(&effect.key.step).or_default();
            let found = contents.new_texts(outline, seen).into_iter().flat_map(messages::results);
            answer(&mut calls, effect, &found.collect());
        }
        let mut call = Call {
            key: effect.key.clone(),
            request: outline.as_ref().and_then(|outline| contents.request(outline)),
            outline,
            answered: Vec::new(),
            tools: Vec::new(),
        };
        if let (EffectState::Finished { result, .. }, Some(at)) = (whole.state, effect.finished_at) {
            call.answered = answered(effect, result.into_here());
            let tools = messages::tool_calls(&call.answered).map(|(id, name, arguments)| Tool {
                id: id.to_owned(),
                name: name.to_owned(),
                arguments: arguments.clone(),
                asked: at,
                answered: None,
            });
            call.tools = tools.collect();
        }
        calls.push(call);
    }
    Ok(calls)
}

/// A call carries these results: the tools that they are of are over.
fn answer(calls: &mut [Call], carrier: &EffectRecord, results: &HashSet<String>) {
    if results.is_empty() {
        return;
    }
    let own = calls.iter_mut().filter(|call| call.key.step == carrier.key.step);
    for tool in own.flat_map(|call| &mut call.tools) {
        if tool.answered.is_none() && tool.asked <= carrier.started_at && results.contains(&tool.id) {
            tool.answered = Some(carrier.started_at);
        }
    }
}

/// What a call was answered.
fn answered(effect: &EffectRecord, result: Option<Value>) -> Vec<Message> {
    // Long lists of numbers, which nobody reads.
    if effect.name.contains("embed") {
        return Vec::new();
    }
    let recorded = result.and_then(|result| serde_json::from_value::<Recorded>(result).ok());
    let body = recorded.map(|recorded| recorded.body);
    body.and_then(|body| std::str::from_utf8(&body).map(messages::answered).ok()).unwrap_or_default()
}
