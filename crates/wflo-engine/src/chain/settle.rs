//! Waiting until the writes so far are decided: when the question is put, and who waits for it.

use std::sync::PoisonError;
use std::time::Duration;

use wflo_core::approval::{Approval, ApprovalStatus};
use wflo_core::event::{EventBody, Wait};
use wflo_core::id::ApprovalId;
use wflo_core::machine::CommandBody;

use super::{Chain, Changed, Entered, Open, evidence};
use crate::broker::{Unanswered, question};
use crate::error::EngineError;
use crate::protocol::{EffectError, On};

/// How long no write was added before the question is put although the runner did not say that it waits:
/// its program has a timer, a thread or a model call of its own.
const QUIET: Duration = Duration::from_secs(1);
/// How long a call of a stock client waits for people before its sandbox is ended.
const HOLD: Duration = Duration::from_secs(2);

/// Where the question about the chain stands.
enum Asked {
    Not,
    Pending(ApprovalId),
    Approved,
    Refused(Box<Approval>),
}

impl Chain {
    /// Waits until every write so far is approved and committed: what `on` does would leave the system.
    pub(crate) async fn settle(&self, on: &On) -> Result<Result<(), EffectError>, Unanswered> {
        let mut calm = false;
        loop {
            let mut open = self.enter().await?;
            if open.is_empty() {
                return Ok(Ok(()));
            }
            let question = match self.asked(&mut open).await? {
                Asked::Approved => {
                    self.commit(&mut open).await?;
                    continue;
                }
                Asked::Not if open.changes_nothing() => {
                    self.commit(&mut open).await?;
                    continue;
                }
                Asked::Refused(question) => return Ok(Err(question::rejected(&question))),
                Asked::Pending(question) => question,
                Asked::Not if calm => self.ask(&mut open).await?,
                Asked::Not => {
                    self.until_calm(on, open).await?;
                    calm = true;
                    continue;
                }
            };
            drop(open);
            self.decided(on, question).await?;
        }
    }

    async fn decided(&self, on: &On, question: ApprovalId) -> Result<(), Unanswered> {
        let decided = self.waits.decided(&self.attempt, on.clone(), question);
        let stock_client = on.path.starts_with('@');
        let held = async {
            loop {
                tokio::time::sleep(HOLD).await;
                self.held.send_if_modified(|held| {
                    *held = Some(question).filter(|_| stock_client);
                    stock_client
                });
            }
        };
        tokio::select! {
            decided = decided => decided.map(|_| ()).map_err(Unanswered::from),
            () = held => Ok(()),
            () = self.waits.closed() => Err(EngineError::ShuttingDown.into()),
        }
    }

    /// Waits until the step can run no further, or for as long as nothing is added.
    async fn until_calm(&self, on: &On, open: Entered<'_>) -> Result<(), Unanswered> {
        let mut calm = self.calm.subscribe();
        let _blocked = Blocked::begin(self, on.clone());
        let mut before = open.writes.len();
        drop(open);
        loop {
            tokio::select! {
                _ = calm.changed() => return Ok(()),
                () = tokio::time::sleep(QUIET) => {}
                () = self.waits.withdrawn(on) => return Err(Unanswered::Withdrawn),
                () = self.waits.closed() => return Err(EngineError::ShuttingDown.into()),
            }
            let now = self.open.lock().await.writes.len();
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    /// The runner waits for these and for nothing else.
    pub(crate) fn runner_waits(&self, on: &[On]) {
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |each: &On| blocked.contains(each) || self.waits.of(std::slice::from_ref(each)).is_some();
        if on.iter().all(waits) {
            self.calm.send_replace(());
        }
    }

    /// Resolves with the question that a stock client's call waits for, whenever that may be worth ending
    /// its sandbox.
    pub(crate) async fn held(&self) -> ApprovalId {
        let mut held = self.held.subscribe();
        loop {
            // The sender lives as long as this.
            if held.changed().await.is_ok()
                && let Some(question) = *held.borrow()
            {
                return question;
            }
        }
    }

    async fn asked(&self, open: &mut Open) -> Result<Asked, Unanswered> {
        let Some(id) = open.asked else { return Ok(Asked::Not) };
        let question =
            self.services.store.approval(id).await?.filter(|q| q.status != ApprovalStatus::Superseded);
        let good = question.filter(|q| question::still_good(&self.attempt, q, &evidence::action(open)));
        let Some(question) = good else {
            let reason = "what would run has changed";
            if let Some(made) = open.writes.iter().find(|write| write.made) {
                // Some of it has run: that stays, and the rest is shown anew.
                let changed = Changed::detail(made.database.clone(), reason.to_owned());
                return Err(self.rewind(open, changed).await);
            }
            self.take_back(id, reason).await?;
            open.asked = None;
            return Ok(Asked::Not);
        };
        Ok(match question.status {
            ApprovalStatus::Pending | ApprovalStatus::Superseded => Asked::Pending(id),
            ApprovalStatus::Approved | ApprovalStatus::Consumed => Asked::Approved,
            ApprovalStatus::Rejected | ApprovalStatus::Expired => Asked::Refused(Box::new(question)),
        })
    }

    async fn ask(&self, open: &mut Open) -> Result<ApprovalId, Unanswered> {
        let ask = CommandBody::Ask { request: Box::new(self.request(open)?) };
        let events = self.attempt.driver.tell(ask, Vec::new()).await?;
        let asked = events.iter().find_map(|e| match &e.body {
            EventBody::ApprovalRequested { approval_id, .. } => Some(*approval_id),
            _ => None,
        });
        let asked = asked.ok_or_else(|| EngineError::Unreadable("a question got no id".to_owned()))?;
        open.asked = Some(asked);
        Ok(asked)
    }

    pub(super) async fn take_back(&self, question: ApprovalId, reason: &str) -> Result<(), EngineError> {
        let body = CommandBody::Supersede { approval: question, reason: reason.to_owned() };
        match self.attempt.driver.tell(body, Vec::new()).await {
            // It is decided otherwise, or the run has ended.
            Ok(_) | Err(EngineError::Rejected(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Before an attempt runs: makes the changes that were approved while none did.
    pub(crate) async fn take_up(&self) -> Result<(), Unanswered> {
        let mut open = self.enter().await?;
        if !open.is_empty()
            && let Asked::Approved = self.asked(&mut open).await?
        {
            self.commit(&mut open).await?;
        }
        Ok(())
    }

    /// At a step's end: what it must wait for before anything of it is committed.
    pub(crate) async fn at_end(&self) -> Result<Option<Wait>, Unanswered> {
        let mut open = self.enter().await?;
        if open.is_empty() {
            return Ok(None);
        }
        let approval_id = match self.asked(&mut open).await? {
            Asked::Approved => {
                self.commit(&mut open).await?;
                return Ok(None);
            }
            Asked::Not if open.changes_nothing() => {
                self.commit(&mut open).await?;
                return Ok(None);
            }
            Asked::Pending(question) => question,
            Asked::Refused(question) => question.id,
            Asked::Not => self.ask(&mut open).await?,
        };
        Ok(Some(Wait::Approval { approval_id }))
    }

    /// The step failed: its question is about nothing any more.
    pub(crate) async fn withdraw(&self) -> Result<(), EngineError> {
        match self.open.lock().await.asked.take() {
            Some(question) => self.take_back(question, "the step failed before they were made").await,
            None => Ok(()),
        }
    }
}

/// An effect that waits until the step can run no further, for as long as this lives.
struct Blocked<'a> {
    chain: &'a Chain,
    on: On,
}

impl<'a> Blocked<'a> {
    fn begin(chain: &'a Chain, on: On) -> Self {
        chain.blocked.lock().unwrap_or_else(PoisonError::into_inner).insert(on.clone());
        Blocked { chain, on }
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.chain.blocked.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.on);
    }
}
