//! Commands that are held: people are asked before they start, and are shown the command.
//!
//! Owns which are held, the question and the use of its answer. Held is a guarded command of a step that asks at
//! its writes, and every command that a rule of the settings names. What a command will do cannot be shown, so the
//! command itself is the evidence: its words, and what it is given.
//!
//! The sequence for a command of `context.tools`, with what a crash between two lines leaves behind:
//! 1. the question is put; crash: the resume comes to the same command, and finds it by the command's place;
//! 2. people decide; crash: the decision is durable, and the resume goes on here;
//! 3. the intent is committed, and the approval is used up in the same commit; crash: the resume finds the intent,
//!    asks nobody again, and does with it what it does with every command that may have run;
//! 4. the command runs.
//!
//! A step that is a command is the same, with a commit of its own at 3: a resume of the generation finds the
//! approval used, asks nobody again, and knows that the command may have run.

use serde_json::{Value, json};
use wflo_core::approval::{Approval, ApprovalStatus, Purpose};
use wflo_core::definition::StepKind;
use wflo_core::effect::{EffectClass, EffectKey};
use wflo_core::event::Wait;
use wflo_core::machine::CommandBody;
use wflo_core::ports::store::Op;

use super::named::names;
use super::question::{self, still_good};
use super::{Broker, Unanswered, consumed, done};
use crate::error::EngineError;
use crate::ledger::ask_once;
use crate::protocol::{EffectCall, EffectError};

/// The place of a step's own command among its effects.
const OWN: &str = "@command";

/// Why a command is held.
pub(super) enum Why {
    /// It is guarded, and its step asks at its writes.
    Guarded,
    /// This rule names it.
    Rule(String),
}

/// Whether the command that a step is may start.
pub(crate) enum Start {
    /// It may.
    Now,
    /// People let it start, and it may have run before a crash.
    Again,
    /// People have not answered.
    Waits(Wait),
    /// They said no.
    Refused(EffectError),
}

impl Broker {
    /// Why a command of this step waits for people, if it does.
    pub(super) fn holds(&self, argv: &[String]) -> Option<Why> {
        let spec = self.attempt.spec();
        if self.chain.asks() && spec.and_then(|s| s.effect_class) == Some(EffectClass::Guarded) {
            return Some(Why::Guarded);
        }
        let rules = &self.attempt.context.record.options.ask_commands;
        rules.iter().find(|rule| names(rule, argv)).cloned().map(Why::Rule)
    }

    /// Waits until people have let a command of `context.tools` start, of which nothing has begun: what uses
    /// their approval in the commit of its intent, or their no. `None` is that nobody has to be asked.
    pub(super) async fn let_start(
        &self,
        call: &EffectCall,
    ) -> Result<Option<Result<Approval, EffectError>>, Unanswered> {
        let argv = done::argv_of(&call.request);
        let Some(why) = self.holds(&argv) else { return Ok(None) };
        let action = json!(["tool", call.name, call.request]);
        let key = self.journal.key(&call.path, call.seq);
        loop {
            let question = match self.standing(&key, &action).await? {
                Some(question) => question,
                None => {
                    self.ask_to_start(key.clone(), &argv, &call.request, &why, &action).await?;
                    continue;
                }
            };
            let status = match question.status {
                ApprovalStatus::Pending => self.decided(call, question.id).await?,
                status => status,
            };
            match status {
                ApprovalStatus::Approved | ApprovalStatus::Consumed => return Ok(Some(Ok(question))),
                ApprovalStatus::Rejected | ApprovalStatus::Expired => {
                    return Ok(Some(Err(question::rejected(&question))));
                }
                ApprovalStatus::Pending | ApprovalStatus::Superseded => {}
            }
        }
    }

    /// Lets the command start that the step itself is, and uses the approval up: one yes is one start. Else what it
    /// must wait for, or why it may not.
    pub(crate) async fn let_step_start(&self, argv: &[String]) -> Result<Start, Unanswered> {
        let Some(why) = self.holds(argv) else { return Ok(Start::Now) };
        let action = json!(["command", self.attempt.step, argv]);
        let key = self.journal.key(OWN, 0);
        // A program begins anew in each attempt, whatever it did in the one before: people are asked about each.
        let is_program =
            self.attempt.spec().is_some_and(|spec| matches!(spec.kind, StepKind::Program { .. }));
        let is_of_now = |question: &Approval| !is_program || question.status != ApprovalStatus::Consumed;
        let question = match self.standing(&key, &action).await?.filter(is_of_now) {
            Some(question) => question,
            None => {
                let request = json!({ "argv": argv });
                let approval_id = self.ask_to_start(key, argv, &request, &why, &action).await?;
                return Ok(Start::Waits(Wait::Approval { approval_id }));
            }
        };
        match question.status {
            ApprovalStatus::Approved => {
                crate::failpoint::pass("command.consumed.before");
                self.journal.under_lease(self.use_up(&question, "the step's command")).await?;
                crate::failpoint::pass("command.consumed.after");
                Ok(Start::Now)
            }
            ApprovalStatus::Consumed => Ok(Start::Again),
            ApprovalStatus::Rejected | ApprovalStatus::Expired => {
                Ok(Start::Refused(question::rejected(&question)))
            }
            ApprovalStatus::Pending | ApprovalStatus::Superseded => {
                Ok(Start::Waits(Wait::Approval { approval_id: question.id }))
            }
        }
    }

    /// Ops that use an approval up.
    pub(super) fn use_up(&self, question: &Approval, released: &str) -> Vec<Op> {
        if question.status == ApprovalStatus::Consumed {
            return Vec::new();
        }
        let used = Op::ConsumeApproval { id: question.id, at: self.services.clock.now() };
        vec![used, self.journal.event(vec![consumed(question.id, released.to_owned())])]
    }

    /// Whether people have let the command start that the step itself is.
    pub(super) async fn step_was_let_start(&self) -> Result<bool, Unanswered> {
        let is_command = self.attempt.spec().is_some_and(|spec| matches!(spec.kind, StepKind::Tool { .. }));
        if !is_command {
            return Ok(false);
        }
        let about = Purpose::Write { effect: self.journal.key(OWN, 0) };
        Ok(self.question(about).await?.is_some_and(|question| question.status == ApprovalStatus::Consumed))
    }

    /// The question about a command that is for exactly this; another one that stands is taken back.
    async fn standing(&self, key: &EffectKey, action: &Value) -> Result<Option<Approval>, Unanswered> {
        let about = Purpose::Write { effect: key.clone() };
        let Some(question) = self.question(about).await? else { return Ok(None) };
        if still_good(&self.attempt, &question, action) {
            return Ok(Some(question));
        }
        if matches!(question.status, ApprovalStatus::Pending | ApprovalStatus::Approved) {
            let reason = "what would run has changed".to_owned();
            let body = CommandBody::Supersede { approval: question.id, reason };
            self.attempt.driver.tell(body, Vec::new()).await?;
        }
        Ok(None)
    }

    async fn ask_to_start(
        &self,
        effect: EffectKey,
        argv: &[String],
        request: &Value,
        why: &Why,
        action: &Value,
    ) -> Result<wflo_core::id::ApprovalId, EngineError> {
        let command = done::one_line(argv);
        let mut evidence = json!({ "command": command, "argv": argv });
        done::add_given(&mut evidence, request);
        if let Why::Rule(rule) = why {
            evidence["rule"] = json!(rule);
        }
        let title = format!("step `{}` runs {command}", self.attempt.step);
        let (purpose, clock) = (Purpose::Write { effect }, &*self.services.clock);
        let request = question::request(&self.attempt, clock, purpose, title, action, evidence)?;
        let asked = ask_once(&self.attempt, request).await;
        crate::failpoint::pass("command.asked");
        asked
    }
}
