//! Questions about hosts, put to whoever sits at the terminal while the command's connection is held.
//!
//! Owns the questions that are open and what an answer does; the conversation is that of `wflo run`
//! ([`Desk`]), with the same words. Nothing of it is durable, because the command is not: what is said for always or never is
//! kept in the user's folder, everything else is over with the command.
//! **Architecture Invariant:** an answer is a line that a person typed after the question stood alone on the
//! terminal. What the command shows meanwhile is held back, and nothing that it writes is read here.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use wflo_core::approval::{ApprovalRequest, Binding, Decision, Lasts, OnTimeout, Purpose};
use wflo_core::canonical::Digest;
use wflo_core::id::ApprovalId;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::clock::Clock as _;
use wflo_core::size::Millis;
use wflo_egress::Rules;
use wflo_egress::ask::{self, Answer, Asker, Question};
use wflo_egress::rules::Change;
use wflo_engine::clock::SystemClock;

use super::network::Reach;
use crate::commands::drive::{self, Desk, Outer, Terminal};
use crate::commands::{Context, who};
use crate::printer::Printer;
use crate::trust;

/// How often questions are looked at that nobody waits for any more.
const LOOK: Duration = Duration::from_millis(100);

/// Holds connections while their question is put.
pub(super) struct Asking {
    unknown: bool,
    patience: Millis,
    put: Option<mpsc::Sender<Asked>>,
    asked: ask::Asked,
}

/// A connection that waits.
struct Asked {
    rule: String,
    question: Question,
    answer: oneshot::Sender<Answer>,
}

impl Asking {
    /// With the person at the terminal, if there is one; without, everything is refused that would be asked about.
    pub(super) fn new<'a>(
        reach: &Reach,
        rules: watch::Sender<Arc<Rules>>,
        (outer, context): (&Arc<Outer>, &Context<'a>),
    ) -> (Asking, Option<Questions<'a>>) {
        let terminal = Terminal::find(!std::io::stdin().is_terminal());
        let (put, asked) = mpsc::channel(ask::MOST);
        let questions = terminal.map(|mut terminal| {
            terminal.share(outer);
            Questions {
                printer: context.printer,
                desk: Desk::new(context.printer, Some(terminal)),
                outer: Arc::clone(outer),
                asked,
                open: Vec::new(),
                rules,
                root: reach.root.clone(),
                patience: reach.patience,
                clock: SystemClock::default(),
            }
        });
        let asking = Asking {
            unknown: reach.unknown,
            patience: reach.patience,
            put: questions.is_some().then_some(put),
            asked: ask::Asked::default(),
        };
        (asking, questions)
    }
}

impl Asker for Asking {
    fn asks_about_unknown(&self) -> bool {
        self.unknown
    }

    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let rule = question.to_string();
            let Some(put) = self.put.as_ref().filter(|_| self.asked.may_ask(&rule)) else {
                return Answer::Nothing;
            };
            let (answer, answered) = oneshot::channel();
            let asked = Asked { rule, question: question.clone(), answer };
            let waiting = async {
                put.send(asked).await.ok()?;
                answered.await.ok()
            };
            match tokio::time::timeout(self.patience.duration(), waiting).await {
                Ok(answer) => answer.unwrap_or(Answer::Nothing),
                Err(_) => {
                    self.asked.nobody_answers();
                    Answer::Nothing
                }
            }
        })
    }
}

/// One question, and the connections that wait for its answer.
struct Open {
    approval: ApprovalId,
    rule: String,
    waiting: Vec<oneshot::Sender<Answer>>,
}

/// The questions of a command, and the person who is asked.
pub(super) struct Questions<'a> {
    printer: &'a Printer,
    desk: Desk<'a>,
    outer: Arc<Outer>,
    asked: mpsc::Receiver<Asked>,
    open: Vec<Open>,
    rules: watch::Sender<Arc<Rules>>,
    root: PathBuf,
    patience: Millis,
    clock: SystemClock,
}

impl Questions<'_> {
    /// Puts questions and takes answers, for as long as this is waited for. What is open then is taken back by
    /// [`Questions::leave`].
    pub(super) async fn serve(&mut self) {
        loop {
            if self.desk.has_next() {
                self.outer.pause().await;
                self.desk.put(&[]);
            }
            tokio::select! {
                Some(asked) = self.asked.recv() => self.add(asked),
                answer = self.desk.answer(), if self.desk.is_asking() => self.heard(answer),
                () = tokio::time::sleep(LOOK), if !self.open.is_empty() => self.look(),
                else => return std::future::pending().await,
            }
        }
    }

    /// Nobody is asked any more: what waits is refused, and the terminal is the command's.
    pub(super) fn leave(&mut self) {
        for open in std::mem::take(&mut self.open) {
            self.withdraw(open.approval);
        }
    }

    fn add(&mut self, asked: Asked) {
        if let Some(open) = self.open.iter_mut().find(|open| open.rule == asked.rule) {
            open.waiting.push(asked.answer);
            return;
        }
        let approval = ApprovalId::from_uuid(self.clock.uuid());
        self.desk.add(approval, Box::new(self.request(&asked)));
        self.open.push(Open { approval, rule: asked.rule, waiting: vec![asked.answer] });
    }

    /// As the engine puts it for a run.
    fn request(&self, asked: &Asked) -> ApprovalRequest {
        let (rule, target) = (&asked.rule, &asked.question.target);
        let mut evidence = json!({ "host": target.host.to_string(), "port": target.port });
        if let Some(request) = &asked.question.request {
            evidence["request"] = json!(request);
        }
        let none = Digest::of_bytes(&[]);
        ApprovalRequest {
            step: None,
            generation: 0,
            title: format!("the command wants to reach {rule}"),
            purpose: Purpose::Host { rule: rule.clone() },
            evidence,
            // Nothing keeps it: it is for the connections that wait here.
            binding: Binding { action: none.clone(), code: none.clone(), evidence: none },
            approvers: Vec::new(),
            quorum: 1,
            expires_at: self.clock.now().checked_add(self.patience.duration()).ok(),
            on_timeout: OnTimeout::Reject,
            notify: Vec::new(),
        }
    }

    /// Takes back what nobody waits for any more: its time was up, or its client has gone.
    fn look(&mut self) {
        self.open.iter_mut().for_each(|open| open.waiting.retain(|waiting| !waiting.is_closed()));
        let over: Vec<ApprovalId> =
            self.open.iter().filter(|open| open.waiting.is_empty()).map(|open| open.approval).collect();
        self.open.retain(|open| !open.waiting.is_empty());
        over.into_iter().for_each(|approval| self.withdraw(approval));
    }

    fn withdraw(&mut self, approval: ApprovalId) {
        if self.desk.withdraw(approval) {
            self.outer.resume();
        }
    }

    fn heard(&mut self, answer: Option<drive::Answer>) {
        let Some(answer) = answer else {
            if !self.desk.is_attended() {
                // The terminal has gone.
                self.open.clear();
                self.outer.resume();
            }
            return;
        };
        self.outer.resume();
        let place = self.open.iter().position(|open| open.approval == answer.approval);
        let Some(Open { rule, waiting, .. }) = place.map(|place| self.open.remove(place)) else { return };
        let lasts = answer.lasts.unwrap_or_default();
        let decision = Decision {
            approved: answer.approved,
            by: who::local(),
            comment: None,
            amount: None,
            lasts: Some(lasts),
            at: self.clock.now(),
        };
        // Before anything follows from it: what was said for always is not lost with this process.
        if let Err(error) =
            trust::hosts::remember(&self.root, &Purpose::Host { rule: rule.clone() }, &decision)
        {
            for failure in &error.failures {
                self.printer
                    .warning(format_args!("the answer holds for this command alone: {}", failure.message));
            }
        }
        if lasts != Lasts::Once
            && let Ok(rule) = rule.parse()
        {
            let change = Change { rule, allowed: answer.approved, is_answer: true };
            self.rules.send_modify(|rules| *rules = Arc::new((**rules).clone().with([change])));
        }
        let said = if answer.approved { Answer::Yes } else { Answer::No };
        for each in waiting {
            // Its client may have gone.
            let _ = each.send(said);
        }
    }
}
