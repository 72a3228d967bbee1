//! Questions about hosts that no rule of a run names, and about what a rule says people are asked about.
//!
//! A question is an approval like any other: durable before anybody sees it, decided in whichever process, and
//! kept with the run. What a program may make people read is bounded, and once a question has run out of time
//! nobody is there: the attempt asks no more. The order of things is in `docs/adr/0032`.

use std::sync::Arc;

use serde_json::json;
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Binding, OnTimeout, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::ports::BoxFuture;
use wflo_core::size::Millis;
use wflo_egress::ask::{Answer, Asked, Asker, Question};

use super::Reach;
use crate::error::EngineError;
use crate::executor::Attempt;
use crate::journal::Journal;
use crate::ledger::ask_once;

/// Asks people about the hosts of one attempt.
pub(super) struct Questions {
    attempt: Attempt,
    journal: Arc<Journal>,
    /// How long a connection is held.
    patience: Millis,
    /// Also about hosts that no rule names.
    unknown: bool,
    reach: Arc<Reach>,
    asked: Asked,
}

impl Questions {
    pub(super) fn new(
        attempt: Attempt,
        journal: Arc<Journal>,
        (patience, unknown): (Millis, bool),
        reach: Arc<Reach>,
    ) -> Self {
        Questions { attempt, journal, patience, unknown, reach, asked: Asked::default() }
    }

    async fn decided(&self, question: &Question) -> Result<ApprovalStatus, EngineError> {
        loop {
            let id = ask_once(&self.attempt, self.request(question)?).await?;
            crate::failpoint::pass("egress.asked");
            let mut decisions = self.attempt.decisions.clone();
            let is_decided = |known: &Arc<crate::executor::Decisions>| {
                known.get(&id).is_some_and(|(status, _)| *status != ApprovalStatus::Pending)
            };
            let known = decisions.wait_for(is_decided).await.map_err(|_| EngineError::ShuttingDown)?;
            match known.get(&id).map(|(status, _)| *status) {
                // It was another step's, which is over: this one asks for itself.
                Some(ApprovalStatus::Superseded) => {}
                status => return status.ok_or(EngineError::ShuttingDown),
            }
        }
    }

    fn request(&self, question: &Question) -> Result<ApprovalRequest, EngineError> {
        let unreadable = |e: serde_json::Error| EngineError::Unreadable(e.to_string());
        let (step, rule) = (&self.attempt.step, question.to_string());
        let mut evidence = json!({
            "step": step,
            "host": question.target.host.to_string(),
            "port": question.target.port,
        });
        if let Some(request) = &question.request {
            evidence["request"] = json!(request);
        }
        let now = self.journal.now();
        Ok(ApprovalRequest {
            step: Some(step.clone()),
            generation: self.attempt.generation,
            title: format!("step `{step}` wants to reach {rule}"),
            binding: Binding {
                action: Digest::of_json(&json!(["host", rule])).map_err(unreadable)?,
                code: self.attempt.context.record.code.clone(),
                evidence: Digest::of_json(&evidence).map_err(unreadable)?,
            },
            purpose: Purpose::Host { rule },
            evidence,
            approvers: Vec::new(),
            quorum: 1,
            expires_at: now.checked_add(self.patience.duration()).ok(),
            on_timeout: OnTimeout::Reject,
            notify: Vec::new(),
        })
    }
}

impl Asker for Questions {
    fn asks_about_unknown(&self) -> bool {
        self.unknown
    }

    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            if !self.asked.may_ask(&question.to_string()) {
                return Answer::Nothing;
            }
            let decided = tokio::select! {
                decided = self.decided(question) => decided,
                // Its program is ended: it is not to go on with an answer before that.
                _ = self.attempt.stopped() => std::future::pending().await,
            };
            // What the answer says of other requests holds before this one goes on: the next may follow at once.
            self.reach.catch_up();
            match decided {
                Ok(ApprovalStatus::Approved | ApprovalStatus::Consumed) => Answer::Yes,
                Ok(ApprovalStatus::Rejected) => Answer::No,
                Ok(ApprovalStatus::Expired) => {
                    self.asked.nobody_answers();
                    Answer::Nothing
                }
                Ok(ApprovalStatus::Pending | ApprovalStatus::Superseded) => Answer::Nothing,
                Err(error) => {
                    tracing::warn!(%error, "nobody can be asked about a host");
                    Answer::Nothing
                }
            }
        })
    }
}
