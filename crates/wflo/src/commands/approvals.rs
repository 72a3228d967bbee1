//! `wflo approvals …`: see and decide what waits for a person.

mod decide;
mod going;
mod list;
mod show;

use jiff::Timestamp;
use wflo_core::approval::{Approval, ApprovalStatus, Decision};
use wflo_core::id::ApprovalId;
use wflo_core::ports::store::{Store, StoreError};
use wflo_engine::inbox::Message;

use crate::cli::ApprovalsCommand;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::Paint;
use crate::session::{Session, block_on};

pub(crate) use self::going::Going;

/// Carries out one of the verbs.
pub(crate) fn run(command: &ApprovalsCommand, context: &Context<'_>) -> Result<Exit, CommandError> {
    match command {
        ApprovalsCommand::List { all, run } => block_on(list::run(*all, run.as_ref(), context)),
        ApprovalsCommand::Show { approval } => block_on(show::run(approval, context)),
        ApprovalsCommand::Approve { decision, amount } => {
            block_on(decide::run(decision, decide::Answer::Yes { amount: *amount }, context))
        }
        ApprovalsCommand::Reject(decision) => block_on(decide::run(decision, decide::Answer::No, context)),
    }
}

/// A decision that is durable and that no process has taken up yet.
pub(crate) async fn waiting_decision(
    session: &Session<'_>,
    approval: &Approval,
) -> Result<Option<Decision>, CommandError> {
    if approval.status != ApprovalStatus::Pending {
        return Ok(None);
    }
    for message in session.store.run_inbox(approval.run).await? {
        if let Ok(Message::Decide { approval: about, decision }) = serde_json::from_value(message.message)
            && about == approval.id
        {
            return Ok(Some(decision));
        }
    }
    Ok(None)
}

/// How often is looked where a decision is just being taken up.
const LOOKS: usize = 20;

/// Where a decision that was sent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is the answer.
    Counts,
    /// It is the first that was recorded, and nobody has taken it up: the time of the question may still be over
    /// before somebody does.
    First,
}

/// Whether a decision that was sent is the one that counts: of several the first does, and none after the time of the
/// question.
///
/// # Errors
/// WFLO-7001 when another one does; store errors.
pub(crate) async fn standing_of(
    session: &Session<'_>,
    id: ApprovalId,
    own: &Decision,
) -> Result<Sent, CommandError> {
    for _ in 0..LOOKS {
        let Some(approval) = session.store.approval(id).await? else { break };
        let decided = approval.status != ApprovalStatus::Pending;
        let recorded = waiting_decision(session, &approval).await?;
        return match (decided, approval.decision.as_ref().or(recorded.as_ref())) {
            (true, Some(counts)) if is_same(counts, own) => Ok(Sent::Counts),
            (false, Some(first)) if is_same(first, own) => Ok(Sent::First),
            (true, _) => Err(StoreError::AlreadyDecided { id, status: approval.status }.into()),
            (false, Some(first)) => {
                let status = if first.approved { ApprovalStatus::Approved } else { ApprovalStatus::Rejected };
                Err(StoreError::AlreadyDecided { id, status }.into())
            }
            // It was taken up between the two looks.
            (false, None) => {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                continue;
            }
        };
    }
    Err(StoreError::AlreadyDecided { id, status: ApprovalStatus::Superseded }.into())
}

/// Whether it is that answer: its words may be kept without what is secret in them.
pub(crate) fn is_same(one: &Decision, other: &Decision) -> bool {
    let answer = |of: &Decision| (of.approved, of.by.clone(), of.lasts, of.amount, of.at);
    answer(one) == answer(other)
}

/// Where a question stands, for people.
pub(crate) fn standing(
    paint: Paint,
    approval: &Approval,
    recorded: Option<&Decision>,
    now: Timestamp,
) -> String {
    match (approval.status, recorded) {
        (_, Some(decision)) if decision.approved => paint.good("approved, not taken up"),
        (_, Some(_)) => paint.bad("rejected, not taken up"),
        // It ends when somebody drives the run.
        (ApprovalStatus::Pending, None) if approval.request.is_over(now) => paint.bad("expired"),
        (ApprovalStatus::Pending, None) => paint.careful("pending"),
        (status @ (ApprovalStatus::Rejected | ApprovalStatus::Expired), None) => paint.bad(status.as_str()),
        (ApprovalStatus::Approved | ApprovalStatus::Consumed, None) => paint.good("approved"),
        (ApprovalStatus::Superseded, None) => paint.faint("superseded"),
    }
}

/// The approval as scripts see it: `run` is called `run_id` there, as in every event.
fn json(approval: &Approval, recorded: Option<&Decision>) -> serde_json::Value {
    let mut value = serde_json::to_value(approval).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        if let Some(run) = object.remove("run") {
            object.insert("run_id".to_owned(), run);
        }
        object.insert("recorded".to_owned(), serde_json::to_value(recorded).unwrap_or_default());
    }
    value
}
