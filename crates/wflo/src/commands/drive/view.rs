//! What a person sees of a run while it goes on: a live tree, or one line for each thing that happens.
//!
//! Owns the drawing on standard error while a run is driven.
//! **Architecture Invariant:** while a question is open nothing is drawn; what is said meanwhile comes
//! after the answer.

use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use wflo_core::budget::Budget;
use wflo_core::definition::Definition;
use wflo_core::event::{EventBody, Recorded};
use wflo_core::id::RunId;

use super::console::Outer;
use super::tree::Tree;
use crate::commands::{Context, event_line};
use crate::printer::Printer;

/// What is shown.
pub(super) struct View<'a> {
    printer: &'a Printer,
    pub(super) tree: Tree,
    live: Option<Live>,
    /// Of a program that is run as it is: it has the streams.
    console: Option<Arc<Outer>>,
    is_program: bool,
    /// Whether a question is open.
    asking: bool,
    /// Said while a question is open.
    held_back: Vec<String>,
}

/// The tree on a terminal, a bar of one line for each of its lines.
struct Live {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
    style: ProgressStyle,
    frame: usize,
}

impl<'a> View<'a> {
    /// A view by the flags, the terminal and the environment.
    pub(super) fn new(
        context: &Context<'a>,
        definition: &Definition,
        run: RunId,
        console: Option<Arc<Outer>>,
    ) -> Self {
        let printer = context.printer;
        let dumb = context.environment.get("TERM") == Some("dumb");
        let is_program = definition.program().is_some();
        let is_live = printer.is_live() && !dumb && !is_program;
        let live = is_live.then(|| Live {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            lines: Vec::new(),
            style: ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
            frame: 0,
        });
        let tree = Tree::new(definition, &run.to_string());
        View { printer, tree, live, console, is_program, asking: false, held_back: Vec::new() }
    }

    /// Whether the tree moves.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some() && !self.asking
    }

    /// Takes in an event that is no news.
    pub(super) fn past(&mut self, event: &Recorded) {
        self.tree.fold(event);
    }

    /// Takes an event in and shows it.
    pub(super) fn event(&mut self, event: &Recorded, now: Timestamp) {
        self.printer.object(event);
        self.tree.fold(event);
        if self.printer.json_wanted() {
            return;
        }
        let wanted = match self.live {
            // Its own words are on the streams already.
            _ if self.is_program => {
                let is_its_own = matches!(event.event.body, EventBody::Log { .. });
                is_said(&event.event.body) && !is_its_own
            }
            Some(_) => is_said(&event.event.body),
            None => self.printer.verbosity() > 0 || is_news(&event.event.body),
        };
        if wanted {
            self.say(event_line::line(self.printer.beside(), event));
        }
        self.draw(now);
    }

    /// Says a line above the tree.
    pub(super) fn say(&mut self, line: String) {
        if self.asking || self.console.as_ref().is_some_and(|console| console.is_on_screen()) {
            self.held_back.push(line);
            return;
        }
        match &self.live {
            Some(live) => live.all.suspend(|| self.printer.note(line)),
            None => self.printer.note(line),
        }
    }

    /// Says what somebody has to act on: also with `-q` and `--json`.
    pub(super) fn urge(&mut self, line: String) {
        match &self.live {
            Some(live) => live.all.suspend(|| self.printer.aside(line)),
            None => self.printer.aside(line),
        }
    }

    /// Moves the spinner and the clocks.
    pub(super) fn tick(&mut self, now: Timestamp, budget: Option<Budget>) {
        if let Some(live) = &mut self.live {
            live.frame = live.frame.wrapping_add(1);
        }
        self.tree.set_budget(budget);
        self.draw(now);
    }

    /// Takes the tree away for a question. Gives what happened before it and could not be said while a program had
    /// the screen.
    pub(super) async fn begin_question(&mut self) -> Vec<String> {
        self.asking = true;
        self.clear();
        if let Some(console) = &self.console {
            console.pause().await;
        }
        std::mem::take(&mut self.held_back)
    }

    /// Goes on after a question.
    pub(super) fn end_question(&mut self, now: Timestamp) {
        self.asking = false;
        for line in std::mem::take(&mut self.held_back) {
            match &self.live {
                Some(live) => live.all.suspend(|| self.printer.note(line)),
                None => self.printer.note(line),
            }
        }
        if let Some(console) = &self.console {
            console.resume();
        }
        self.draw(now);
    }

    /// Leaves the tree as it is now, still.
    pub(super) fn finish(&mut self, now: Timestamp, budget: Option<Budget>) {
        if std::mem::take(&mut self.asking) {
            // The prompt has no line end of its own.
            self.printer.aside("");
        }
        self.clear();
        for line in std::mem::take(&mut self.held_back) {
            self.printer.note(line);
        }
        if self.live.take().is_some() {
            self.tree.set_budget(budget);
            for line in self.tree.lines(self.printer.beside(), now, 0, (width(), usize::MAX)) {
                self.printer.note(line);
            }
        }
    }

    fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            for line in live.lines.drain(..) {
                line.finish_and_clear();
                live.all.remove(&line);
            }
            let _ = live.all.clear();
        }
    }

    /// Draws the tree as it is.
    pub(super) fn draw(&mut self, now: Timestamp) {
        if self.asking {
            return;
        }
        let Some(live) = &mut self.live else { return };
        let height = console::Term::stderr().size().0;
        let room = (width().saturating_sub(1), usize::from(height).saturating_sub(2).max(4));
        let lines = self.tree.lines(self.printer.beside(), now, live.frame, room);
        while live.lines.len() < lines.len() {
            let bar = live.all.add(ProgressBar::new_spinner().with_style(live.style.clone()));
            live.lines.push(bar);
        }
        while live.lines.len() > lines.len() {
            if let Some(line) = live.lines.pop() {
                live.all.remove(&line);
            }
        }
        for (bar, line) in live.lines.iter().zip(lines) {
            bar.set_message(line);
            bar.tick();
        }
    }
}

fn width() -> usize {
    usize::from(console::Term::stderr().size().1).max(20)
}

/// Said above the tree: what the tree cannot show.
fn is_said(body: &EventBody) -> bool {
    matches!(
        body,
        EventBody::Log { .. }
            | EventBody::Emitted { .. }
            | EventBody::Notice { .. }
            | EventBody::EgressRefused { .. }
            | EventBody::EgressChanged { .. }
            | EventBody::NotificationUndelivered { .. }
            | EventBody::BudgetAlert { .. }
            | EventBody::BudgetQueued { .. }
            | EventBody::BudgetToppedUp { .. }
            | EventBody::ReplayMiss { .. }
            | EventBody::ApprovalDecided { .. }
            | EventBody::ApprovalSuperseded { .. }
            | EventBody::ApprovalEscalated { .. }
            | EventBody::RunPaused { .. }
            | EventBody::RunResumed { .. }
    )
}

/// Said where there is no tree, without `-v`.
fn is_news(body: &EventBody) -> bool {
    let routine = matches!(
        body,
        EventBody::EffectStarted { .. }
            | EventBody::EffectFinished { .. }
            | EventBody::RunRunning {}
            | EventBody::RunWaiting { .. }
            | EventBody::RunStopping { .. }
            | EventBody::StepWoken { .. }
            | EventBody::StepStopped { .. }
            | EventBody::SandboxUsed { .. }
            | EventBody::TimerFired { .. }
            | EventBody::ApprovalConsumed { .. }
    );
    // The end is told by the summary.
    !routine && !body.is_end()
}
