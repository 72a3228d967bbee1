//! A call that is answered from a recording or from the cache: nothing is held, and nothing is sent.
//!
//! One commit journals intent and answer, with where the answer is from; so a crash leaves either nothing or an
//! answer that counts as given.

use serde_json::{Value, json};
use wflo_core::effect::EffectKind;
use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::EffectEnd;
use wflo_gateway::ledger::{CallIntent, Opened, Recorded, Refusal};

use super::content::Asked;
use super::operator;
use crate::calls::Calls;
use crate::error::EngineError;
use crate::journal::Intent;
use crate::recording::{Nearest, Parts, Replaying, Said, told};

/// The recording holds no answer to a call.
const NOT_RECORDED: Code = Code(4099);

/// The answer of the run's recording; `None` for a run without one.
pub(super) async fn answer(
    calls: &Calls,
    intent: &CallIntent,
    path: &str,
    seq: u32,
) -> Result<Option<Opened>, EngineError> {
    let replaying = match calls.replaying().await? {
        None => return Ok(None),
        Some(Ok(replaying)) => replaying,
        Some(Err(error)) => return operator::hold_back(calls, error.to_failure()).await.map(Some),
    };
    let Some((place, Said::Llm { answer, .. })) = replaying.take(&intent.fingerprint) else {
        return Ok(Some(Opened::Refused(missing(calls, intent, replaying))));
    };
    let saved = answer.cost;
    let answer = Recorded { cost: NanoUsd::ZERO, ..answer };
    let usage = answer.usage.clone().unwrap_or_default();
    let from = json!({ "recorded": place, "saved_usd": saved });
    let used = json!({
        "input_tokens": usage.total_input(),
        "cached_tokens": usage.cached_input(),
        "output_tokens": usage.total_output(),
    });
    given(calls, intent, (path, seq), &answer, from, used).await?;
    Ok(Some(Opened::Replay(answer)))
}

/// The answer of the cache; `None` where it has none, and the provider is to be asked.
pub(super) async fn kept(
    calls: &Calls,
    intent: &CallIntent,
    path: &str,
    seq: u32,
) -> Result<Option<Opened>, EngineError> {
    let hit = match intent.cached.find().await {
        Ok(Some(hit)) => hit,
        Ok(None) => return Ok(None),
        Err(refusal) => return Ok(Some(Opened::Refused(refusal))),
    };
    let cache = json!({ "age_seconds": hit.age.as_secs() });
    // A way may have been drawn that is another.
    let (provider, model) = (&hit.provider, &hit.model);
    let from = json!({ "cache": cache, "saved_usd": hit.saved, "provider": provider, "model": model });
    // What it used was paid for by another call, and counts there.
    given(calls, intent, (path, seq), &hit.recorded, from, json!({})).await?;
    Ok(Some(Opened::Replay(hit.recorded)))
}

/// Journals a call with an answer that nothing was sent for.
async fn given(
    calls: &Calls,
    intent: &CallIntent,
    (path, seq): (&str, u32),
    answer: &Recorded,
    from: Value,
    used: Value,
) -> Result<(), EngineError> {
    let unreadable = |error: serde_json::Error| EngineError::Unreadable(error.to_string());
    let (fingerprint, after) = calls.expected(path, seq, &intent.fingerprint);
    let mut attributes = json!({
        "model": intent.model,
        "provider": intent.provider,
        "dialect": intent.path.dialect.name(),
        "stream": intent.stream,
        "agent": calls.attempt.spec().map(|step| step.agent_name().to_owned()),
    });
    merge(&mut attributes, from);
    let asked = Asked::of(calls, &intent.body).await;
    let mut request = request_of(intent);
    asked.outline(&mut request);
    let made = Intent {
        path: path.to_owned(),
        seq,
        kind: EffectKind::Llm,
        name: intent.path.endpoint.name().to_owned(),
        fingerprint,
        request,
        hold: None,
        attributes,
        after,
    };
    let mut attributes = json!({ "status": answer.status, "interrupted": answer.interrupted });
    merge(&mut attributes, used);
    let end = EffectEnd {
        outcome: Ok(serde_json::to_value(answer).map_err(unreadable)?),
        cost: NanoUsd::ZERO,
        uncertain: false,
        attributes,
        at: calls.services.clock.now(),
    };
    let with = asked.op(calls.attempt.run).into_iter().collect();
    calls.journal.record_with(made, end, with).await?;
    asked.committed(calls);
    Ok(())
}

fn merge(attributes: &mut Value, more: Value) {
    if let (Value::Object(attributes), Value::Object(more)) = (attributes, more) {
        attributes.extend(more);
    }
}

/// What is journaled of a request.
pub(super) fn request_of(intent: &CallIntent) -> Value {
    let parts = Parts::of(&intent.body);
    json!({ "fingerprint": intent.fingerprint, "bytes": intent.request_bytes, "parts": parts })
}

fn missing(calls: &Calls, intent: &CallIntent, replaying: &Replaying) -> Refusal {
    let file = calls.attempt.context.record.options.recording.as_deref().unwrap_or_default();
    let (all, left) = replaying.count();
    let answers =
        if all == 1 { "1 answer of the step was" } else { &format!("{all} answers of the step were") };
    let left = if left == 1 { "1 is" } else { &format!("{left} are") };
    let failure = Failure::new(
        NOT_RECORDED,
        format!(
            "the recording {file} has no answer to this call of {} by the step `{}` ({answers} recorded, {left} left)",
            intent.model, calls.attempt.step
        ),
    )
    .with_hint(format!("{}; record anew by `wflo run --record FILE`", what_differs(intent, replaying)));
    Refusal::Other { status: 409, kind: "not_recorded".to_owned(), failure }
}

/// The request beside the recorded one that is most like it.
fn what_differs(intent: &CallIntent, replaying: &Replaying) -> String {
    match replaying.nearest(&intent.fingerprint, intent.path.endpoint.name(), &intent.body) {
        Nearest::Given(times) => {
            let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            format!("the step makes this call more often than when it was recorded, {times}")
        }
        Nearest::Unknown => "the request differs from the recorded one in some byte".to_owned(),
        Nearest::Call { nth, differences } if differences.is_empty() => format!(
            "it differs from call {nth} of the step in no field: in spaces, the order of fields, the address or a header"
        ),
        Nearest::Call { nth, differences } => {
            format!("beside call {nth} of the step, the most like it: {}", told(&differences))
        }
    }
}
