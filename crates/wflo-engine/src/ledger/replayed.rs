//! A call that is answered from a recording: nothing is held, and nothing is sent.
//!
//! One commit journals intent and answer, with the answer's place in the recording; so a crash leaves
//! either nothing or an answer that counts as given.

use serde_json::json;
use wflo_core::effect::EffectKind;
use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::EffectEnd;
use wflo_gateway::ledger::{CallIntent, Opened, Recorded, Refusal};

use super::operator;
use crate::calls::Calls;
use crate::error::EngineError;
use crate::journal::Intent;
use crate::recording::{Replaying, Said};

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
    let unreadable = |error: serde_json::Error| EngineError::Unreadable(error.to_string());
    let usage = answer.usage.clone().unwrap_or_default();
    let (fingerprint, after) = calls.expected(path, seq, &intent.fingerprint);
    let made = Intent {
        path: path.to_owned(),
        seq,
        kind: EffectKind::Llm,
        name: intent.path.endpoint.name().to_owned(),
        fingerprint,
        request: json!({ "fingerprint": intent.fingerprint, "bytes": intent.request_bytes }),
        hold: None,
        attributes: json!({
            "model": intent.model,
            "provider": intent.provider,
            "dialect": intent.path.dialect.name(),
            "stream": intent.stream,
            "agent": calls.attempt.spec().map(|step| step.agent_name().to_owned()),
            "recorded": place,
            "saved_usd": saved,
        }),
        after,
    };
    let end = EffectEnd {
        outcome: Ok(serde_json::to_value(&answer).map_err(unreadable)?),
        cost: NanoUsd::ZERO,
        uncertain: false,
        attributes: json!({
            "status": answer.status,
            "interrupted": answer.interrupted,
            "input_tokens": usage.total_input(),
            "cached_tokens": usage.cached_input(),
            "output_tokens": usage.total_output(),
        }),
        at: calls.services.clock.now(),
    };
    calls.journal.record(made, end, Vec::new()).await?;
    Ok(Some(Opened::Replay(answer)))
}

fn missing(calls: &Calls, intent: &CallIntent, replaying: &Replaying) -> Refusal {
    let file = calls.attempt.context.record.options.recording.as_deref().unwrap_or_default();
    let (all, left) = replaying.count();
    let failure = Failure::new(
        NOT_RECORDED,
        format!(
            "the recording {file} has no answer to this call of {} by the step `{}` ({all} answers of the step were recorded, {left} are left)",
            intent.model, calls.attempt.step
        ),
    )
    .with_hint("the request differs from the recorded one in some byte; record anew by `wflo run --record FILE`");
    Refusal::Other { status: 409, kind: "not_recorded".to_owned(), failure }
}
