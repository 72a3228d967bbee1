//! A call that was billed more than it could cost.
//!
//! Owns what follows when an upstream reports more than its hold. The bill is charged as it is; if a budget
//! that the call was held on is overdrawn by it, the run is halted there and then, whatever the budget says
//! about calls that do not fit: nothing that this provider says of its bills can be planned with.
//!
//! The sequence, with what a crash between two lines leaves behind:
//! 1. the bill, and a message to the driver, are one commit; crash: whoever takes the run over reads the
//!    message before it starts any step;
//! 2. the run is stopping; crash: it ends as halted and starts nothing;
//! 3. the attempt that made the call is being ended: only then its answer goes on, to nobody.

use serde::{Deserialize, Serialize};
use wflo_core::budget::Budget;
use wflo_core::error::{Code, Failure};
use wflo_core::id::BudgetId;
use wflo_core::machine::CommandBody;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Store, StoreError};

use super::Dispatched;
use crate::inbox::Message;

/// A budget is overdrawn by a bill above its call's upper bound.
const OVERDRAWN: Code = Code(4023);

/// A bill above its hold, and the accounts that it was held on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overshot {
    /// The model, as the program named it.
    pub model: String,
    /// Who billed it.
    pub provider: String,
    /// The bill.
    #[serde(rename = "billed_usd")]
    pub billed: NanoUsd,
    /// The most that the call could cost.
    #[serde(rename = "held_usd")]
    pub held: NanoUsd,
    /// Every budget that applied: what it covers, and which one.
    pub budgets: Vec<(String, BudgetId)>,
}

impl Overshot {
    /// Why the run must not go on: the first budget in which what is spent and held exceeds the limit.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) async fn overdrawn(&self, store: &dyn Store) -> Result<Option<Failure>, StoreError> {
        let keys = self.budgets.iter().map(|(key, _)| key.clone()).collect();
        let over = |budget: &Budget| budget.settled.saturating_add(budget.held) > budget.limit;
        let ours = |budget: &Budget| self.budgets.iter().any(|(_, id)| *id == budget.id);
        let found = store.budgets(keys).await?.into_iter().find(|budget| ours(budget) && over(budget));
        Ok(found.map(|budget| self.failure(&budget)))
    }

    fn failure(&self, budget: &Budget) -> Failure {
        let Overshot { model, provider, billed, held, .. } = self;
        let message = format!(
            "the provider `{provider}` billed a call of {model} at ${billed}, and the most that it could cost was ${held}; the {} of {} stands at {}",
            budget.name(),
            budget.show(budget.limit),
            budget.show(budget.settled.saturating_add(budget.held)),
        );
        Failure::new(OVERDRAWN, message).with_hint(
            "find out why before more is sent there; then `wflo runs retry ID --budget USD` goes on, and what is finished is not paid again",
        )
    }
}

/// The message that goes with a bill above its hold.
pub(super) fn message(call: &Dispatched, overshot: &Overshot) -> Option<serde_json::Value> {
    serde_json::to_value(Message::Overshot { overshot: Box::new(overshot.clone()) })
        .inspect_err(|error| tracing::error!(effect = %call.key, %error, "a message cannot be written"))
        .ok()
}

/// Halts the run if a budget is overdrawn, and keeps the answer back until its attempt is being ended. The
/// bill is durable, and so is the message, so what fails here is done by whoever drives the run next.
pub(super) async fn halt(call: &Dispatched, overshot: &Overshot) {
    let calls = &call.calls;
    let error = match overshot.overdrawn(calls.services.store.as_ref()).await {
        Ok(Some(error)) => error,
        Ok(None) => return,
        Err(error) => return tracing::error!(effect = %call.key, %error, "the budgets cannot be read"),
    };
    if let Err(error) = calls.attempt.driver.tell(CommandBody::Overdrawn { error }, Vec::new()).await {
        // It is ending already, or its driver is: either way the attempt is being ended.
        tracing::debug!(effect = %call.key, %error, "the run was not halted here");
    }
    calls.closed().await;
}
