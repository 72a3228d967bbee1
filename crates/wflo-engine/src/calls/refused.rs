//! The run's record of a program's calls that the gateway ended.
//!
//! A step of a workflow fails with such an error, which its run then names. A program makes of it what it
//! likes, and most calls that are refused have no place in the journal: without this nobody would hear of them.

use std::sync::PoisonError;

use wflo_core::error::Coded as _;
use wflo_core::event::{CALL_REFUSED, EventBody};
use wflo_gateway::error::GatewayError;

use super::Calls;
use crate::ledger::ENDING;

/// So many refusals of an attempt are events, each of another text: how many there are is the program's choice.
const RECORDED: usize = 20;
/// The most characters of one: a model's name is the program's word.
const LONGEST: usize = 1_000;

impl Calls {
    /// Records that a call was ended, if the run's program made it and no other event says so.
    pub(crate) async fn refused(&self, error: &GatewayError) {
        if self.attempt.context.definition.program().is_none() || is_said_elsewhere(error) {
            return;
        }
        let hint = error.hint().map(|hint| format!(": {hint}")).unwrap_or_default();
        let message: String = format!("{error} [{}]{hint}", error.code()).chars().take(LONGEST).collect();
        let message = self.services.redact(message);
        if !self.is_news(&message) {
            return;
        }
        let fact = EventBody::Notice { notice: CALL_REFUSED.to_owned(), message };
        if let Err(error) = self.journal.note(vec![fact]).await {
            tracing::warn!(%error, "a call that was refused is not recorded");
        }
    }

    fn is_news(&self, message: &str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.len() < RECORDED && refused.insert(message.to_owned())
    }
}

/// A budget that halts has events of its own, the end of an attempt is nothing of its calls, and a client that went
/// away before it had asked was refused nothing.
fn is_said_elsewhere(error: &GatewayError) -> bool {
    matches!(
        error,
        GatewayError::BudgetExceeded { unanswered: None, .. }
            | GatewayError::Ledger(_)
            | GatewayError::BodyBroke { .. }
            | GatewayError::ShuttingDown
    ) || error.code() == ENDING
}
