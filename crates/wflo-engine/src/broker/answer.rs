//! What a step is told of an effect, or why it is told nothing.
//!
//! Owns the shapes of answers and of errors that are answers.

use serde_json::Value;
use wflo_core::effect::{EffectKind, EffectRecord};
use wflo_core::error::{Code, Coded, Failure};
use wflo_core::ports::store::StoreError;

use crate::error::EngineError;
use crate::outbox::{Outbox, Told};
use crate::protocol::{Answer, EffectCall, EffectError};

/// What the step does is not what it did before the restart: the request is not what the journal holds at its
/// place, or the step waits for what it had given up.
pub(super) const MISMATCH: Code = Code(3020);
/// A request of the wrong shape.
const BAD_REQUEST: Code = Code(3022);

/// What reaches the step for one effect.
pub(crate) struct Answered {
    /// Its place in delivery order, when it comes from the journal.
    pub(crate) order: Option<u32>,
    /// None where it is in the journal and is read when it is sent.
    pub(crate) answer: Option<Answer>,
}

impl Answered {
    pub(super) fn new(order: Option<u32>, outcome: Result<Value, EffectError>) -> Self {
        Answered { order, answer: Some(answer_of(outcome)) }
    }

    /// As it is put into the line of what is sent.
    pub(crate) fn told(self, sink: &Outbox) -> Told {
        self.answer.map_or(Told::Recorded, |answer| sink.keep(answer))
    }
}

pub(super) fn answer_of(outcome: Result<Value, EffectError>) -> Answer {
    match outcome {
        Ok(value) => Answer::Ok(value),
        Err(error) => Answer::Error(EffectError { message: short(error.message), ..error }),
    }
}

/// Why an effect has no answer.
pub(crate) enum Unanswered {
    /// The attempt cannot go on: the lease is lost, the store fails, the run ends.
    Broken(EngineError),
    /// The step no longer waits for one.
    Withdrawn,
    /// The attempt must end: what it was told is not its history any more. The chain says what follows.
    Halted,
    /// The step has gone too far and fails.
    Failed(Failure),
}

impl From<StoreError> for Unanswered {
    fn from(e: StoreError) -> Self {
        Unanswered::Broken(e.into())
    }
}

impl From<EngineError> for Unanswered {
    fn from(e: EngineError) -> Self {
        match e {
            EngineError::Withdrawn => Unanswered::Withdrawn,
            e => Unanswered::Broken(e),
        }
    }
}

/// What the step is told, if it is told anything.
pub(super) type Outcome = Result<Result<Value, EffectError>, Unanswered>;

pub(super) fn bad_request(detail: &str) -> EffectError {
    EffectError {
        code: BAD_REQUEST.to_string(),
        kind: "failed".to_owned(),
        message: format!("the request cannot be read: {detail}"),
        hint: None,
    }
}

/// The step does something else than it did before the crash: loud, with both sides.
pub(super) fn mismatch(row: &EffectRecord, call: &EffectCall) -> EffectError {
    let show = |kind: EffectKind, name: &str, request: &dyn std::fmt::Display| {
        let text: String = format!("{}.{name} {request}", kind.as_str()).chars().take(400).collect();
        text
    };
    EffectError {
        code: MISMATCH.to_string(),
        kind: "replay_mismatch".to_owned(),
        message: format!(
            "effect {}/{} is not what it was before the restart; expected: {}; got: {}",
            call.path,
            call.seq,
            show(row.kind, &row.name, &row.request),
            show(call.kind, &call.name, &call.request),
        ),
        hint: Some(
            "take the time, random numbers and anything else that changes from context (context.now(), context.random()), or begin again with `wflo runs retry ID`"
                .to_owned(),
        ),
    }
}

pub(super) fn replayed_error(row: &EffectRecord, error: &Failure) -> EffectError {
    EffectError {
        code: error.code.clone(),
        kind: row.attributes["error_kind"].as_str().unwrap_or("failed").to_owned(),
        message: error.message.clone(),
        hint: error.hint.clone(),
    }
}

/// The longest message of an effect's error, in characters: it may quote what the step asked for.
const MESSAGE: usize = 8_000;

fn short(message: String) -> String {
    if message.len() <= MESSAGE { message } else { message.chars().take(MESSAGE).collect() }
}

pub(crate) fn failure_of(error: &EffectError) -> Failure {
    Failure {
        code: error.code.clone(),
        message: short(error.message.clone()),
        hint: error.hint.clone(),
        place: None,
        traceback: None,
    }
}

/// A coded error as user code sees it.
pub(crate) fn effect_error(kind: &str, error: &impl Coded) -> EffectError {
    EffectError {
        code: error.code().to_string(),
        kind: kind.to_owned(),
        message: error.to_string(),
        hint: error.hint(),
    }
}
