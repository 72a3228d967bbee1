//! Being there while a run goes on: shows its events, puts its questions, hears Ctrl-C.

mod rest;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use wflo_core::approval::{ApprovalRequest, ApprovalStatus, Decision, Purpose, TIMEOUT};
use wflo_core::budget::Budget;
use wflo_core::error::Coded as _;
use wflo_core::event::{EventBody, Recorded};
use wflo_core::id::{ApprovalId, RunId};
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{Store, StoreError};
use wflo_engine::inbox::Message;
use wflo_engine::{EngineError, Progress, Runtime};

use super::desk::{Answer, Desk};
use super::feed::Feed;
use super::signals::Signals;
use super::view::View;
use crate::commands::approvals::is_same;
use crate::commands::who;
use crate::failure::CommandError;
use crate::session::Session;
use crate::trust;

/// How often the tree moves.
const FRAME: Duration = Duration::from_millis(100);

/// How long the next question waits for what came of an answer: one that another process takes up may come late.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far a command stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// To the run's end, through its waits.
    Ended,
    /// To the run's end or until it waits for somebody, or long.
    Rests,
}

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The run has ended, or rests.
    Done,
    /// Somebody asked this process to end.
    Interrupted,
}

/// Questions that nobody has answered.
type Open = BTreeMap<ApprovalId, Box<ApprovalRequest>>;

/// What is needed to be there.
pub(super) struct Attendance<'s, 'a> {
    pub(super) session: &'s Session<'a>,
    pub(super) runtime: &'s Runtime,
    pub(super) run: RunId,
    /// The last event that is not news.
    pub(super) seen: u64,
    pub(super) budget_key: String,
    pub(super) trace_id: String,
    /// Nobody looks on: the events are told to the log.
    pub(super) is_background: bool,
    pub(super) view: &'s mut View<'a>,
    pub(super) desk: &'s mut Desk<'a>,
    pub(super) signals: &'s mut Signals,
    /// The question that was answered last, while no event says so, and when.
    pub(super) answered: Option<(ApprovalId, Instant)>,
    /// What was answered here and nobody has taken up: the first answer counts, and it may be another's.
    pub(super) sent: BTreeMap<ApprovalId, (Purpose, Decision)>,
}

impl Attendance<'_, '_> {
    /// Stays until the run has ended (or rests), or until a signal.
    ///
    /// # Errors
    /// Store errors; that the run was given up.
    pub(super) async fn stay(&mut self, mut feed: Feed<'_>, until: Until) -> Result<Left, CommandError> {
        let mut open = Open::new();
        self.catch_up(&mut feed, &mut open).await?;
        let (engine, store) = (self.runtime.engine.clone(), &self.session.store);
        let over = rest::over(engine, store, self.session.clock.as_ref(), self.run, until);
        tokio::pin!(over);
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let progress = loop {
            // What came of one answer is shown before the next question: nothing is while one is open.
            let patience = self.answered.map(|(_, at)| at + PATIENCE);
            let may_ask = self.desk.has_next() && patience.is_none();
            tokio::select! {
                biased;
                () = self.signals.next() => return Ok(Left::Interrupted),
                event = feed.next() => self.take(&event?, &mut open)?,
                () = std::future::ready(()), if may_ask => {
                    let before = self.view.begin_question().await;
                    self.desk.put(&before);
                }
                () = reached(patience), if patience.is_some() => self.answered = None,
                answer = self.desk.answer(), if self.desk.is_asking() => self.heard(answer, &open).await?,
                _ = frames.tick(), if self.view.is_live() => {
                    let budget = self.budget().await?;
                    self.view.tick(self.session.clock.now(), budget);
                }
                progress = &mut over => break progress,
            }
        };
        while let Some(event) = feed.rest().await? {
            self.take(&event, &mut open)?;
        }
        match progress? {
            Progress::GivenUp(failure) => Err(CommandError::from_failure(failure)),
            _ => Ok(Left::Done),
        }
    }

    /// The run budget as it stands.
    ///
    /// # Errors
    /// Store errors.
    pub(super) async fn budget(&self) -> Result<Option<Budget>, CommandError> {
        let budgets = self.session.store.budgets(vec![self.budget_key.clone()]).await?;
        Ok(budgets.into_iter().filter(Budget::is_money_of_a_run).min_by_key(|b| b.limit))
    }

    /// Takes in what happened before this process came, without showing it again, and puts the questions
    /// that are still open.
    async fn catch_up(&mut self, feed: &mut Feed<'_>, open: &mut Open) -> Result<(), CommandError> {
        let now = self.session.clock.now();
        while feed.seen() < self.seen {
            let Some(event) = feed.rest().await? else { break };
            self.view.past(&event);
            match &event.event.body {
                EventBody::ApprovalRequested { approval_id, request } => {
                    open.insert(*approval_id, request.clone());
                }
                EventBody::ApprovalDecided { approval_id, .. }
                | EventBody::ApprovalSuperseded { approval_id, .. } => {
                    open.remove(approval_id);
                }
                _ => {}
            }
        }
        // What has been decided and not been taken up is in the inbox. It is read first: a decision that
        // is taken up in between shows in the approval itself.
        let store = &self.session.store;
        let decided: Vec<ApprovalId> = store
            .run_inbox(self.run)
            .await?
            .into_iter()
            .filter_map(|message| match serde_json::from_value(message.message) {
                Ok(Message::Decide { approval, .. }) => Some(approval),
                _ => None,
            })
            .collect();
        for (approval, request) in open.iter().filter(|(id, _)| !decided.contains(id)) {
            let found = store.approval(*approval).await?;
            if found.is_some_and(|found| found.status == ApprovalStatus::Pending) {
                self.asked(*approval, request);
            }
        }
        self.view.draw(now);
        Ok(())
    }

    fn take(&mut self, event: &Recorded, open: &mut Open) -> Result<(), CommandError> {
        let now = self.session.clock.now();
        self.view.event(event, now);
        if self.is_background {
            log(event, &self.trace_id);
        }
        match &event.event.body {
            EventBody::ApprovalRequested { approval_id, request } => {
                open.insert(*approval_id, request.clone());
                self.asked(*approval_id, request);
            }
            EventBody::ApprovalDecided { approval_id, .. }
            | EventBody::ApprovalSuperseded { approval_id, .. } => {
                self.settle(*approval_id, &event.event.body)?;
                open.remove(approval_id);
                self.answered.take_if(|(answered, _)| answered == approval_id);
                if self.desk.withdraw(*approval_id) {
                    self.view.end_question(now);
                }
            }
            body if body.is_end() => {
                for approval in std::mem::take(open).into_keys() {
                    if self.desk.withdraw(approval) {
                        self.view.end_question(now);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether what was answered here is the answer: then what holds for always is kept. Not before: an answer that
    /// lost, or came too late, says nothing about later runs. With a process that dies before that word is lost, and
    /// people are asked again.
    fn settle(&mut self, id: ApprovalId, body: &EventBody) -> Result<(), CommandError> {
        let Some((purpose, own)) = self.sent.remove(&id) else { return Ok(()) };
        let status = match body {
            EventBody::ApprovalDecided { decision, .. } if is_same(decision, &own) => {
                return trust::hosts::remember(&self.session.settings.project.root, &purpose, &own);
            }
            EventBody::ApprovalDecided { decision, .. } if decision.by == TIMEOUT => ApprovalStatus::Expired,
            EventBody::ApprovalDecided { decision, .. } if decision.approved => ApprovalStatus::Approved,
            EventBody::ApprovalDecided { .. } => ApprovalStatus::Rejected,
            _ => ApprovalStatus::Superseded,
        };
        let lost = StoreError::AlreadyDecided { id, status }.to_failure();
        self.view.urge(format!("your answer does not count: {} [{}]", lost.message, lost.code));
        Ok(())
    }

    fn asked(&mut self, approval: ApprovalId, request: &ApprovalRequest) {
        if self.desk.is_attended() {
            self.desk.add(approval, Box::new(request.clone()));
        } else {
            self.view.urge(how_to_decide(approval));
        }
    }

    async fn heard(&mut self, answer: Option<Answer>, open: &Open) -> Result<(), CommandError> {
        let now = self.session.clock.now();
        let Some(answer) = answer else {
            if !self.desk.is_attended() {
                // The terminal has gone: the questions wait for whoever uses `wflo approvals`. That is said before a
                // program has it again.
                for approval in open.keys() {
                    self.view.urge(how_to_decide(*approval));
                }
                self.view.end_question(now);
            }
            return Ok(());
        };
        self.view.end_question(now);
        let Answer { approval, approved, comment, amount, lasts } = answer;
        let decision = Decision { approved, by: who::local(), comment, amount, lasts, at: now };
        if let Some(request) = open.get(&approval) {
            self.sent.insert(approval, (request.purpose.clone(), decision.clone()));
        }
        let message = Message::Decide { approval, decision };
        match self.runtime.engine.send(self.run, &message).await {
            Ok(()) => {
                self.answered = Some((approval, Instant::now()));
                Ok(())
            }
            Err(EngineError::Ended { .. }) => Ok(()),
            Err(e) => Err(CommandError::engine(e)),
        }
    }
}

async fn reached(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// The event's name and place; what it holds is in the store.
fn log(event: &Recorded, trace_id: &str) {
    let json = serde_json::to_value(&event.event.body).unwrap_or_default();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let (kind, step) = (text("type"), text("step"));
    if kind != "log" {
        tracing::info!(run_id = %event.run_id, trace_id, step, seq = event.seq, "{kind}");
    }
}

fn how_to_decide(approval: ApprovalId) -> String {
    format!(
        "Waits for approval {approval}: `wflo approvals show {approval}`, \
         then `wflo approvals approve {approval}` or `wflo approvals reject {approval}`"
    )
}
