//! A run's model calls, with what they asked and were answered as the store has it.
//!
//! Owns how the tools that answers ask for are found, and when they were answered: at the first later call of the
//! step that carries the result. So tools are in the trace of any program, whatever it is written with.
//!
//! **Architecture Invariant:** the contents of one call are in memory at a time, whatever a run has asked; where none
//! are shown, requests are not read but for the results of tools that a call before has asked for.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::Value;
use wflo_core::canonical::Digest;
use wflo_core::content::{Name, Outline, Part, name};
use wflo_core::effect::{EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::ports::store::{Store, StoreError};
use wflo_core::run::RunRecord;
use wflo_gateway::ledger::Recorded;

use super::attributes;
use super::messages::{self, Message, Said};

/// So many tools of one answer are spans; of more there is the number.
const TOOLS: usize = 128;
/// So many characters of a tool's name and id are kept.
const NAME: usize = 256;
/// So many links of a list are read at once.
const LINKS: u32 = 64;

/// One model call, without its contents.
pub(super) struct Call {
    pub(super) key: EffectKey,
    pub(super) tools: Vec<Tool>,
    /// How many more tools its answer asks for.
    pub(super) more_tools: u64,
}

/// A tool that an answer asks for.
pub(super) struct Tool {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) asked: Timestamp,
    /// When a call carried the result.
    pub(super) answered: Option<Timestamp>,
}

/// What one call asked and was answered.
pub(super) struct Contents {
    /// What is kept of the request; none of a run that keeps nothing, or of before it did.
    pub(super) outline: Option<Outline>,
    /// The request as it was asked, as far as it was kept.
    pub(super) request: Option<String>,
    /// The same as messages; none where it is not there, or cannot be read.
    pub(super) asked: Option<Said>,
    pub(super) answered: Said,
}

/// Whether an effect is a model call of this run, and not one that another run had made.
pub(super) fn is_call(effect: &EffectRecord) -> bool {
    effect.kind == EffectKind::Llm && !attributes::is_carried(effect)
}

/// Reads the contents of one call.
///
/// # Errors
/// Store errors.
pub(super) async fn contents(
    store: &dyn Store,
    record: &RunRecord,
    key: &EffectKey,
) -> Result<Contents, StoreError> {
    let whole = store.effect(record.id, key.clone()).await?;
    let outline = whole.as_ref().and_then(outline_of);
    let request = match &outline {
        Some(outline) => store.kept_request(record.id, outline.clone()).await?,
        None => None,
    };
    let not_kept = outline.as_ref().map_or(0, |outline| outline.not_kept);
    let asked = request.as_deref().and_then(|request| messages::asked(request, not_kept));
    let answered = whole.map(answered).unwrap_or_default();
    Ok(Contents { outline, request, asked, answered })
}

fn outline_of(effect: &EffectRecord) -> Option<Outline> {
    serde_json::from_value(effect.request.field("content").clone()).ok()
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
    let mut calls: Vec<Call> = Vec::new();
    // Two steps may say the same.
    let mut steps: HashMap<&str, Step> = HashMap::new();
    for effect in effects.iter().filter(|effect| is_call(effect)) {
        let step = steps.entry(&effect.key.step).or_default();
        let Some(whole) = store.effect(record.id, effect.key.clone()).await? else { continue };
        if let Some(outline) = outline_of(&whole) {
            for text in step.new_texts(store, record, &outline).await? {
                let Some(text) = store.content_text(record.id, text).await? else { continue };
                for id in messages::results(&text) {
                    step.answer(&mut calls, &id, effect.started_at);
                }
            }
        }
        let mut call = Call { key: effect.key.clone(), tools: Vec::new(), more_tools: 0 };
        if let (false, Some(at)) = (is_embedding(effect), effect.finished_at) {
            let said = answered(whole);
            for (id, name, _) in messages::tool_calls(&said.messages) {
                if call.tools.len() == TOOLS {
                    call.more_tools += 1;
                    continue;
                }
                step.open
                    .entry(Digest::of_bytes(id.as_bytes()))
                    .or_default()
                    .push((calls.len(), call.tools.len()));
                let cut = |text: &str| text.chars().take(NAME).collect();
                call.tools.push(Tool { id: cut(id), name: cut(name), asked: at, answered: None });
            }
        }
        calls.push(call);
    }
    Ok(calls)
}

/// What is known of a step's calls so far.
#[derive(Default)]
struct Step {
    /// The links of requests that were there before.
    seen: HashSet<Name>,
    /// The tools that wait for their results: places of calls and of tools, by what the id hashes to.
    open: HashMap<Digest, Vec<(usize, usize)>>,
}

impl Step {
    /// The texts that no earlier request of the step had in the same place; none where no tool waits for a result.
    async fn new_texts(
        &mut self,
        store: &dyn Store,
        record: &RunRecord,
        outline: &Outline,
    ) -> Result<Vec<Name>, StoreError> {
        let mut texts = Vec::new();
        for part in &outline.parts {
            let Part::List { list } = part else { continue };
            let mut next = name(list).filter(|last| !self.seen.contains(last));
            while let Some(last) = next.take() {
                for link in store.content_links(record.id, last, LINKS).await? {
                    if !self.seen.insert(link.name) {
                        next = None;
                        break;
                    }
                    if !self.open.is_empty() {
                        texts.push(link.text);
                    }
                    next = link.before;
                }
            }
        }
        Ok(texts)
    }

    /// A call carries this result: the tools that it is of are over.
    fn answer(&mut self, calls: &mut [Call], id: &str, at: Timestamp) {
        let of = Digest::of_bytes(id.as_bytes());
        let Some(waiting) = self.open.get_mut(&of) else { return };
        waiting.retain(|(call, tool)| {
            let tool = calls.get_mut(*call).and_then(|call| call.tools.get_mut(*tool));
            let Some(tool) = tool.filter(|tool| tool.asked <= at) else { return true };
            tool.answered = Some(at);
            false
        });
        if waiting.is_empty() {
            self.open.remove(&of);
        }
    }
}

fn is_embedding(effect: &EffectRecord) -> bool {
    effect.name.contains("embed")
}

/// What a call was answered.
fn answered(effect: EffectRecord) -> Said {
    let is_embedding = is_embedding(&effect);
    let EffectState::Finished { result, .. } = effect.state else { return Said::default() };
    let not_shown = Said::not_shown;
    // Long lists of numbers, which nobody reads.
    if is_embedding {
        return not_shown("the answer, which is lists of numbers", result.bytes());
    }
    let recorded = result.into_here().and_then(|result| serde_json::from_value::<Recorded>(result).ok());
    let Some(Recorded { body, .. }) = recorded else { return Said::default() };
    match std::str::from_utf8(&body) {
        Ok(body) => messages::answered(body),
        Err(_) => not_shown("the answer, which is no text", body.len() as u64),
    }
}

/// The arguments of the tools that an answer asks for, as they are spans.
pub(super) fn arguments(answered: &[Message]) -> Vec<Value> {
    messages::tool_calls(answered).take(TOOLS).map(|(_, _, arguments)| arguments.clone()).collect()
}
