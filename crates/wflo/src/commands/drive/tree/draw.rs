//! The tree as lines for a terminal, in the room that it has.

use std::time::Duration;

use console::{measure_text_width, truncate_str};
use jiff::Timestamp;
use wflo_core::budget::Amount;
use wflo_core::money::NanoUsd;

use super::{Node, Stand, Tree, between};
use crate::printer::{Paint, duration, limit, money};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Characters of the budget bar.
const BAR: i128 = 24;

impl Tree {
    /// The tree, at most `height` lines of at most `width` columns; `frame` turns the spinner.
    pub(in crate::commands::drive) fn lines(
        &self,
        paint: Paint,
        now: Timestamp,
        frame: usize,
        (width, height): (usize, usize),
    ) -> Vec<String> {
        let took = duration(self.elapsed(now));
        // The time moves: it is the last to go.
        let room_of_title = width.saturating_sub(measure_text_width(&took) + 2);
        let title = truncate_str(&self.title, room_of_title, "…");
        let mut lines = vec![format!("{}  {}", paint.strong(title), paint.faint(took))];
        let names = self.steps.iter().map(|node| measure_text_width(&node.name)).max().unwrap_or(0);
        let costs = if self.steps.iter().any(|node| node.cost > NanoUsd::ZERO) { 10 } else { 0 };
        let room = height.saturating_sub(3).max(1);
        let shown = self.shown(room);
        for (index, node) in shown.iter().enumerate() {
            let branch = if index + 1 == shown.len() { "└" } else { "├" };
            lines.push(format!("{} {}", paint.faint(branch), node.line(paint, now, frame, (names, costs))));
        }
        if shown.len() < self.steps.len() {
            lines.push(paint.faint(format_args!("  … and {} more steps", self.steps.len() - shown.len())));
        }
        lines.extend(self.bar(paint));
        lines.into_iter().map(|line| truncate_str(&line, width, "…").into_owned()).collect()
    }

    /// The steps that fit: when not all do, those that are at work and those around them.
    fn shown(&self, room: usize) -> Vec<&Node> {
        if self.steps.len() <= room {
            return self.steps.iter().collect();
        }
        let busy = |node: &Node| matches!(node.stand, Stand::Running | Stand::Waiting | Stand::Failed);
        let first = self.steps.iter().position(busy).unwrap_or(self.steps.len());
        let from = first.saturating_sub(2).min(self.steps.len() - room);
        self.steps[from..from + room].iter().collect()
    }

    /// `budget ███░░░ $1.20 of $10.00`.
    fn bar(&self, paint: Paint) -> Option<String> {
        let budget = self.budget.as_ref()?;
        let whole = i128::from(budget.limit.units().max(1));
        let part = |amount: Amount| (i128::from(amount.units()) * BAR + whole - 1) / whole;
        let settled = part(budget.settled).clamp(0, BAR);
        let held = (part(budget.settled.saturating_add(budget.held)).clamp(0, BAR) - settled).max(0);
        let times = |text: &str, count: i128| text.repeat(usize::try_from(count).unwrap_or(0));
        let full = times("█", settled);
        let full = if settled * 10 >= BAR * 9 { paint.bad(full) } else { paint.good(full) };
        let rest = paint.faint(times("░", BAR - settled - held));
        let running = if budget.held > Amount::ZERO {
            format!(" ({} held for calls that run)", money(budget.held.money()))
        } else {
            String::new()
        };
        let spent = money(budget.settled.money());
        Some(format!(
            "budget {full}{}{rest} {spent} of {}{running}",
            paint.careful(times("▒", held)),
            limit(budget.measure, budget.limit)
        ))
    }
}

impl Node {
    fn line(&self, paint: Paint, now: Timestamp, frame: usize, (names, costs): (usize, usize)) -> String {
        let sign = match self.stand {
            Stand::Blocked => paint.faint("·"),
            Stand::Running => paint.link(SPINNER[frame % SPINNER.len()]),
            Stand::Waiting => paint.careful("?"),
            Stand::Done => paint.good("✓"),
            Stand::Failed => paint.bad("✗"),
            Stand::Skipped | Stand::Cancelled => paint.faint("–"),
        };
        let gap = " ".repeat(names.saturating_sub(measure_text_width(&self.name)));
        let name = if self.stand == Stand::Blocked { paint.faint(&self.name) } else { self.name.clone() };
        let spent = self.before + self.since.map_or(Duration::ZERO, |since| between(since, now));
        let ran = self.since.is_some() || !self.before.is_zero();
        let time = if ran { duration(spent) } else { String::new() };
        let cost = if self.cost > NanoUsd::ZERO { money(self.cost) } else { String::new() };
        let word = match self.stand {
            Stand::Blocked if self.kind == "approval" => "approval",
            Stand::Skipped => "skipped",
            Stand::Cancelled => "cancelled",
            _ => "",
        };
        let note = [word, self.doing.as_str()].into_iter().filter(|text| !text.is_empty());
        let note = note.collect::<Vec<_>>().join(" ");
        let note = match self.stand {
            Stand::Failed => paint.bad(note),
            Stand::Waiting => paint.careful(note),
            _ => paint.faint(note),
        };
        let cost = if costs > 0 { format!("  {cost:>costs$}") } else { String::new() };
        format!("{sign} {name}{gap}  {time:>10}{cost}  {note}").trim_end().to_owned()
    }
}
