//! What a call needs of whoever operates this process, and what happens where it is not there.
//!
//! Owns two facts. A run is sealed with where each provider is, as it is with its code and its files, so
//! that a shell with other variables sends none of its data elsewhere; and a key may be missing here that
//! was there. Neither is an error of the step: the run is paused with the reason, nothing is sent, and
//! `wflo runs resume` goes on once it is put right.
//!
//! A program knows nothing of a run that is paused, and would begin anew: its call is refused, and it goes on.
//!
//! **Architecture Invariant:** a key is sent to no address but the one that it is configured for in this
//! process. That is why a sealed address is not used instead of the present one.

use wflo_core::definition::StepKind;
use wflo_core::error::{Code, Failure};
use wflo_core::machine::{CommandBody, Rejection};
use wflo_gateway::ledger::{CallIntent, Opened, Refusal};

use super::ending;
use crate::calls::Calls;
use crate::error::EngineError;

/// The provider is not where it was when the run was submitted.
const MOVED: Code = Code(4024);

/// What must be put right before the call can be made.
pub(super) fn not_ready(calls: &Calls, intent: &CallIntent) -> Option<Failure> {
    let sealed = &calls.attempt.context.record.options.launch["providers"];
    // A run of before this was sealed goes on as it did.
    let moved = match (sealed.as_object(), sealed[&intent.provider].as_str()) {
        (None, _) => None,
        (Some(_), Some(sealed)) if sealed == intent.address => None,
        (Some(_), sealed) => Some(moved(calls, intent, sealed)),
    };
    moved.or_else(|| intent.not_ready.clone())
}

fn moved(calls: &Calls, intent: &CallIntent, sealed: Option<&str>) -> Failure {
    let CallIntent { provider, address, .. } = intent;
    let run = calls.attempt.run;
    let (message, back) = match sealed {
        Some(sealed) => (
            format!(
                "the provider `{provider}` was {sealed} when this run was submitted, and is {address} here"
            ),
            "give it that address again (the variables of the shell, or base_url in wflo.toml)",
        ),
        None => (
            format!("the provider `{provider}` ({address}) was not there when this run was submitted"),
            "route the model to the provider that it had",
        ),
    };
    Failure::new(MOVED, message).with_hint(format!(
        "{back} and resume; or, to go on at the new address, `wflo runs cancel {run}` and `wflo runs retry {run}`, which keeps what had finished"
    ))
}

/// Pauses the run for the reason; the call is refused once its attempt is being ended. A program's is refused.
pub(super) async fn hold_back(calls: &Calls, error: Failure) -> Result<Opened, EngineError> {
    if calls.attempt.spec().is_some_and(|step| matches!(step.kind, StepKind::Program { .. })) {
        let kind = "provider_not_ready".to_owned();
        return Ok(Opened::Refused(Refusal::Other { status: 503, kind, failure: error }));
    }
    let pause = CommandBody::Pause { by: "wflo".to_owned(), error: Some(error) };
    match calls.attempt.driver.tell(pause, Vec::new()).await {
        // It is being paused or ended already.
        Ok(_) | Err(EngineError::Rejected(Rejection::NotNow(_)) | EngineError::ShuttingDown) => {}
        Err(error) => return Err(error),
    }
    calls.closed().await;
    Ok(Opened::Refused(ending()))
}
