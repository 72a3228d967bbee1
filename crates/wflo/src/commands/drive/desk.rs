//! Questions at the terminal: one at a time, yes or no, for budgets the amount, and a comment.
//!
//! Owns the conversation; the decision is sent by whoever drives the run. It never decides by itself:
//! a terminal that is gone leaves the question open.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use wflo_core::approval::{ApprovalRequest, Lasts, Purpose};
use wflo_core::budget::Measure;
use wflo_core::id::ApprovalId;
use wflo_core::money::NanoUsd;

use super::terminal::Terminal;
use crate::commands::evidence::{self, Room};
use crate::printer::{Printer, amount};

/// What is typed so soon after a question took the place of another one was meant for that.
const READING: Duration = Duration::from_secs(1);

/// What a person answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) approval: ApprovalId,
    pub(crate) approved: bool,
    pub(crate) comment: Option<String>,
    pub(crate) amount: Option<NanoUsd>,
    pub(crate) lasts: Option<Lasts>,
}

/// Where the conversation about the first question stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    YesNo,
    Amount,
    Host,
    Comment { approved: bool, amount: Option<NanoUsd> },
}

/// Questions that wait for the person at the terminal.
pub(crate) struct Desk<'a> {
    printer: &'a Printer,
    terminal: Option<Terminal>,
    questions: VecDeque<(ApprovalId, Box<ApprovalRequest>)>,
    stage: Option<Stage>,
    /// The question that was being asked was taken away, and no other has been put since.
    replaces: bool,
    /// Until then no line counts.
    deaf: Option<Instant>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(printer: &'a Printer, terminal: Option<Terminal>) -> Self {
        Desk { printer, terminal, questions: VecDeque::new(), stage: None, replaces: false, deaf: None }
    }

    /// Whether somebody can be asked.
    pub(crate) fn is_attended(&self) -> bool {
        self.terminal.is_some()
    }

    /// Whether the first question has been put.
    pub(crate) fn is_asking(&self) -> bool {
        self.stage.is_some()
    }

    /// Whether a question waits to be put.
    pub(crate) fn has_next(&self) -> bool {
        self.stage.is_none() && self.terminal.is_some() && !self.questions.is_empty()
    }

    /// Queues a question.
    pub(crate) fn add(&mut self, approval: ApprovalId, request: Box<ApprovalRequest>) {
        self.questions.push_back((approval, request));
    }

    /// A question needs no answer any more. Returns whether it was the one being asked.
    pub(crate) fn withdraw(&mut self, approval: ApprovalId) -> bool {
        let was_asked = self.is_asking() && self.questions.front().is_some_and(|(id, _)| *id == approval);
        self.questions.retain(|(id, _)| *id != approval);
        if was_asked {
            self.stage = None;
            self.replaces = true;
            self.printer.aside("");
        }
        was_asked
    }

    /// Puts the first question: what happened before it, its evidence and the prompt.
    pub(crate) fn put(&mut self, before: &[String]) {
        let (Some((id, request)), Some(terminal)) = (self.questions.front(), &mut self.terminal) else {
            return;
        };
        let paint = self.printer.beside();
        terminal.turn_page();
        before.iter().for_each(|line| self.printer.note(line));
        self.printer.aside("");
        let room = Room::prompt(self.printer.width_beside()).about(*id);
        for line in evidence::question(paint, request, room) {
            self.printer.aside(line);
        }
        if std::mem::take(&mut self.replaces) {
            self.printer.aside(
                paint.careful(
                    "  it takes the place of the question before it, which needs no answer any more",
                ),
            );
            self.deaf = Some(Instant::now() + READING);
        }
        terminal.forget();
        let is_host = matches!(request.purpose, Purpose::Host { .. });
        self.stage = Some(if is_host { Stage::Host } else { Stage::YesNo });
        self.prompt();
    }

    fn prompt(&self) {
        let Some((_, request)) = self.questions.front() else { return };
        let paint = self.printer.beside();
        let text = match &self.stage {
            None => return,
            Some(Stage::YesNo) => "Approve? [y/n]".to_owned(),
            Some(Stage::Host) => "Let it? [once/run/always/no/never]".to_owned(),
            Some(Stage::Amount) => {
                let (unit, ask) = (measure(request).unit(), suggested(request));
                let enter = ask.map(|ask| format!(" [Enter for {}]", show(request, ask))).unwrap_or_default();
                format!("How many {unit} more?{enter}")
            }
            Some(Stage::Comment { .. }) => "Comment? [Enter for none]".to_owned(),
        };
        self.printer.prompt(format_args!("{} ", paint.strong(text)));
    }

    /// Waits for the next line and returns the answer once it is whole. Dropping the wait loses nothing.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        let Some(terminal) = &mut self.terminal else { return std::future::pending().await };
        let Some(line) = terminal.line().await else {
            // Nobody is there any more: the question stays open for `wflo approvals`.
            self.terminal = None;
            self.stage = None;
            self.printer.aside("");
            return None;
        };
        if self.deaf.is_some_and(|until| Instant::now() < until) {
            self.printer.aside("  not counted: it was typed before this question could be read");
            self.prompt();
            return None;
        }
        let answer = self.take(line.trim());
        if answer.is_none() {
            self.prompt();
        }
        answer
    }

    fn take(&mut self, line: &str) -> Option<Answer> {
        let (approval, request) = self.questions.front()?;
        let is_budget = matches!(request.purpose, Purpose::Budget { .. });
        let next = match self.stage.clone()? {
            Stage::YesNo => match line.to_ascii_lowercase().as_str() {
                "y" | "yes" if is_budget => Stage::Amount,
                "y" | "yes" => Stage::Comment { approved: true, amount: None },
                "n" | "no" => Stage::Comment { approved: false, amount: None },
                _ => {
                    self.printer.aside("  y or n: nothing is decided without one of them");
                    Stage::YesNo
                }
            },
            // Its connection is held meanwhile: there is one question, and no comment.
            Stage::Host => {
                let (approved, lasts) = match line.to_ascii_lowercase().as_str() {
                    "o" | "once" => (true, Lasts::Once),
                    "r" | "run" | "y" | "yes" => (true, Lasts::Run),
                    "a" | "always" => (true, Lasts::Always),
                    "n" | "no" => (false, Lasts::Run),
                    "never" => (false, Lasts::Always),
                    _ => {
                        self.printer.aside("  one of these words: nothing is decided without it");
                        return None;
                    }
                };
                let approval = *approval;
                self.questions.pop_front();
                self.stage = None;
                return Some(Answer { approval, approved, comment: None, amount: None, lasts: Some(lasts) });
            }
            Stage::Amount => {
                let least = missing(request);
                let given = match line.trim_start_matches('$').parse::<NanoUsd>() {
                    Ok(amount) => Some(amount),
                    Err(_) if line.is_empty() => suggested(request),
                    Err(_) => None,
                };
                match given.filter(|amount| *amount > NanoUsd::ZERO && least.is_none_or(|l| *amount >= l)) {
                    Some(amount) => Stage::Comment { approved: true, amount: Some(amount) },
                    None => {
                        let least = least.map(|least| show(request, least)).unwrap_or_default();
                        let unit = measure(request).unit();
                        self.printer.aside(format_args!("  a number of {unit}, at least {least}"));
                        Stage::Amount
                    }
                }
            }
            Stage::Comment { approved, amount } => {
                let comment = (!line.is_empty()).then(|| line.to_owned());
                let answer = Answer { approval: *approval, approved, comment, amount, lasts: None };
                self.questions.pop_front();
                self.stage = None;
                return Some(answer);
            }
        };
        self.stage = Some(next);
        None
    }
}

fn missing(request: &ApprovalRequest) -> Option<NanoUsd> {
    match request.purpose {
        Purpose::Budget { missing, .. } => Some(missing),
        _ => None,
    }
}

/// What its amounts are of.
fn measure(request: &ApprovalRequest) -> Measure {
    match request.purpose {
        Purpose::Budget { measure, .. } => measure,
        _ => Measure::Cost,
    }
}

/// An amount of the budget, which is asked about in people's unit.
fn show(request: &ApprovalRequest, given: NanoUsd) -> String {
    let measure = measure(request);
    amount(measure, measure.from_decimal(given))
}

/// What a yes gives that names no amount.
fn suggested(request: &ApprovalRequest) -> Option<NanoUsd> {
    match request.purpose {
        Purpose::Budget { missing, suggested, .. } => Some(suggested.unwrap_or(missing)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a person gets who types these lines, one after the other.
    fn typed(purpose: serde_json::Value, lines: &[&str]) -> Option<Answer> {
        let printer = Printer::mute();
        let mut desk = Desk::new(&printer, None);
        let approval: ApprovalId = "apr_01a1fe1eea157971a9ee952eebb5480f".parse().unwrap();
        desk.add(approval, question(purpose));
        desk.stage = Some(Stage::YesNo);
        lines.iter().find_map(|line| desk.take(line))
    }

    fn question(purpose: serde_json::Value) -> Box<ApprovalRequest> {
        let mut request = json!({
            "step": null, "generation": 1, "title": "go on", "evidence": {}, "approvers": [], "quorum": 1,
            "expires_at": null, "on_timeout": "hold", "notify": [],
            "binding": {"action": "0".repeat(64), "code": "0".repeat(64), "evidence": "0".repeat(64)},
        });
        request.as_object_mut().unwrap().extend(purpose.as_object().unwrap().clone());
        serde_json::from_value(request).unwrap()
    }

    fn budget() -> serde_json::Value {
        json!({
            "purpose": "budget", "budget": "bud_01a1fe1eea157971a9ee952eebb5480f",
            "missing": "0.50", "suggested": "3.00",
        })
    }

    #[test]
    fn only_yes_is_yes_and_a_comment_may_follow() {
        let gate = json!({"purpose": "gate"});
        let yes = typed(gate.clone(), &["", "yep", "Y", "looks fine"]).unwrap();
        assert_eq!((yes.approved, yes.comment.as_deref()), (true, Some("looks fine")));
        let no = typed(gate.clone(), &["no", ""]).unwrap();
        assert_eq!((no.approved, no.comment), (false, None));
        assert_eq!(typed(gate, &["", "maybe", "y"]), None, "nothing is decided before the comment");
    }

    #[test]
    fn a_host_is_let_in_or_kept_out_for_as_long_as_is_said() {
        let said = |line: &str| {
            let printer = Printer::mute();
            let mut desk = Desk::new(&printer, None);
            let request = question(json!({"purpose": "host", "rule": "https://a.example"}));
            desk.add("apr_01a1fe1eea157971a9ee952eebb5480f".parse().unwrap(), request);
            desk.stage = Some(Stage::Host);
            desk.take(line).map(|answer| (answer.approved, answer.lasts.unwrap()))
        };
        for (line, expected) in [
            ("once", (true, Lasts::Once)),
            ("Run", (true, Lasts::Run)),
            ("a", (true, Lasts::Always)),
            ("n", (false, Lasts::Run)),
            ("never", (false, Lasts::Always)),
        ] {
            assert_eq!(said(line), Some(expected), "{line}");
        }
        assert_eq!(said(""), None);
        assert_eq!(said("nev"), None);
    }

    #[test]
    fn other_measures_are_raised_in_their_own_unit() {
        let mut purpose = budget();
        purpose
            .as_object_mut()
            .unwrap()
            .extend([("measure".to_owned(), json!("seconds")), ("missing".to_owned(), json!("0.10"))]);
        let amount = |lines: &[&str]| typed(purpose.clone(), lines).and_then(|answer| answer.amount);
        assert_eq!(amount(&["y", "0.05", "90", ""]), Some("90".parse().unwrap()));
        assert_eq!(amount(&["y", "", ""]), Some("3".parse().unwrap()));
    }

    #[test]
    fn a_budget_is_raised_by_what_is_missing_or_more() {
        let amount = |lines: &[&str]| typed(budget(), lines).and_then(|answer| answer.amount);
        assert_eq!(amount(&["y", "", ""]), Some("3".parse().unwrap()));
        assert_eq!(amount(&["y", "0.50", ""]), Some("0.50".parse().unwrap()));
        assert_eq!(amount(&["y", "$2", ""]), Some("2".parse().unwrap()));
        assert_eq!(amount(&["y", "0.10", "much", "-3", "1", ""]), Some("1".parse().unwrap()));
        let no = typed(budget(), &["n", "too dear"]).unwrap();
        assert_eq!((no.approved, no.amount), (false, None));
    }
}
