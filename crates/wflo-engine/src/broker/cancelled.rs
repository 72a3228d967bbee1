//! Effects that the step stopped waiting for: a time-out, a lost race, a cancelled task.
//!
//! What becomes of the effect itself:
//! - a model call that was sent, and a write that has begun, happen: the call is paid, the write's record
//!   stays, and both are journaled without being told to anybody;
//! - a call that waits for room, for a budget or for a policy is not sent;
//! - a sleep is dropped;
//! - a question (`context.approve`, a write that is asked about alone, a command that is held) is taken back,
//!   and the write is not made; one that was decided first is carried out;
//! - what waits until earlier writes are approved is not begun; a write that was previewed stays among those
//!   that people are asked about;
//! - a tool's command has been ended by the runner, and its result is not journaled.
//!
//! When its result is lost in a crash nothing of it is made again: nobody waits for it. A hold that was
//! left is charged in full when the generation ends, as is that of every call whose answer was lost.
//!
//! See `journal::places` for the order of events and for how a resume comes to the same place.

use wflo_core::approval::{ApprovalStatus, Purpose};
use wflo_core::effect::{CancelledWait, EffectKind};
use wflo_core::machine::{CommandBody, Rejection};

use super::answer::MISMATCH;
use super::{Broker, Unanswered};
use crate::error::EngineError;
use crate::protocol::{EffectCall, EffectError, On};

impl Broker {
    /// Makes it durable that the step no longer waits for these, each after so many answers. Nothing that
    /// the step asks for behind it may be carried out before this has returned.
    pub(crate) async fn cancelled(&self, these: Vec<(On, u32)>) -> Result<(), EngineError> {
        let wait = |(on, after): &(On, u32)| CancelledWait {
            path: on.path.clone(),
            seq: on.seq,
            after: self.journal.order_at(*after),
        };
        let waits: Vec<CancelledWait> = these.iter().map(wait).collect();
        crate::failpoint::pass("wait.cancelled.before");
        self.journal.cancel(&waits).await?;
        crate::failpoint::pass("wait.cancelled.after");
        // Only now: whoever sees it may rely on its being durable.
        let mut tools = self.tools.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (on, _) in &these {
            tools.remove(on);
        }
        drop(tools);
        self.waits.withdraw(these.into_iter().map(|(on, _)| on));
        Ok(())
    }

    /// Takes back the question that an effect put, so that nobody is asked for nothing and a late answer
    /// changes nothing. The end of the wait is durable: a resume does not ask again.
    pub(super) async fn take_back_question(&self, call: &EffectCall) -> Result<(), Unanswered> {
        if !matches!(call.kind, EffectKind::Approval | EffectKind::Db | EffectKind::Tool) {
            return Ok(());
        }
        let key = self.journal.key(&call.path, call.seq);
        // A write that was previewed is one of those that a question is about, and stays one.
        let alone = self.journal.get(&call.path, call.seq).is_some_and(|row| row.attributes["alone"] == true);
        let about = match call.kind {
            EffectKind::Approval => Purpose::Asked { effect: key },
            EffectKind::Tool => Purpose::Write { effect: key },
            _ if alone => Purpose::Write { effect: key },
            _ => return Ok(()),
        };
        let Some(question) = self.question(about).await? else { return Ok(()) };
        if !matches!(question.status, ApprovalStatus::Pending | ApprovalStatus::Approved) {
            return Ok(());
        }
        let reason = "the step no longer waits for the answer".to_owned();
        let body = CommandBody::Supersede { approval: question.id, reason };
        match self.attempt.driver.tell(body, Vec::new()).await {
            Ok(_) | Err(EngineError::Rejected(Rejection::NotPending(_))) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// What a step is told that waits, after a restart, for what it had given up before it; none when it
    /// has not.
    pub(crate) fn waits_again(&self, on: &On) -> Option<EffectError> {
        let gave_up = self.journal.is_cancelled(&on.path, on.seq) && !self.waits.is_withdrawn(on);
        gave_up.then(|| EffectError {
            code: MISMATCH.to_string(),
            kind: "replay_mismatch".to_owned(),
            message: format!(
                "effect {}/{} is not what it was before the restart; the step had stopped waiting for it and waits for it now",
                on.path, on.seq
            ),
            hint: Some("let time-outs depend on nothing but the time, or begin again with `wflo runs retry ID`".to_owned()),
        })
    }
}
