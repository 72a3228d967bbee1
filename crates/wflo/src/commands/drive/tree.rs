//! The step tree: what a run's events come to, for a person.
//!
//! Owns the fold for people; the run's own state is the machine's. It reads no clock and writes
//! nowhere.

mod draw;

use std::time::Duration;

use jiff::Timestamp;
use wflo_core::budget::Budget;
use wflo_core::definition::Definition;
use wflo_core::effect::EffectKind;
use wflo_core::event::{AfterFailure, EventBody, Recorded, Wait};
use wflo_core::money::NanoUsd;

use crate::commands::event_line;
use crate::plain;

/// The longest step name that is shown whole.
const NAME: usize = 32;

/// A run as its tree shows it.
pub(super) struct Tree {
    title: String,
    steps: Vec<Node>,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    budget: Option<Budget>,
    spent: NanoUsd,
    /// Calls whose bill was lost.
    lost: u64,
    /// Lines that steps logged or printed.
    logged: u64,
    /// Model calls that were made.
    calls: u64,
}

struct Node {
    name: String,
    kind: &'static str,
    stand: Stand,
    since: Option<Timestamp>,
    /// Time of attempts that are over.
    before: Duration,
    cost: NanoUsd,
    /// What it does or waits for.
    doing: String,
    /// Model calls that are under way.
    calling: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Blocked,
    Running,
    Waiting,
    Done,
    Failed,
    Skipped,
    Cancelled,
}

impl Tree {
    /// The tree of a run in which nothing has happened.
    pub(super) fn new(definition: &Definition, run: &str) -> Self {
        let steps = definition.steps.iter().map(|spec| Node {
            name: plain::short(&spec.name, NAME),
            kind: spec.type_name(),
            stand: Stand::Blocked,
            since: None,
            before: Duration::ZERO,
            cost: NanoUsd::ZERO,
            doing: String::new(),
            calling: 0,
        });
        Tree {
            title: format!("{}  {run}", plain::short(&definition.name, 60)),
            steps: steps.collect(),
            started: None,
            ended: None,
            budget: None,
            spent: NanoUsd::ZERO,

            lost: 0,
            logged: 0,
            calls: 0,
        }
    }

    /// The run budget as it stands now.
    pub(super) fn set_budget(&mut self, budget: Option<Budget>) {
        self.budget = budget;
    }

    /// What was billed so far.
    pub(super) fn spent(&self) -> NanoUsd {
        self.spent
    }

    /// Of how many calls the bill was lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// How many lines steps logged or printed.
    pub(super) fn logged(&self) -> u64 {
        self.logged
    }

    /// How many model calls were made.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// How many model calls are under way.
    pub(super) fn calling(&self) -> u64 {
        self.steps.iter().map(|node| node.calling).sum()
    }

    /// From the first event to the last, or to `now`.
    pub(super) fn elapsed(&self, now: Timestamp) -> Duration {
        self.started.map_or(Duration::ZERO, |since| between(since, self.ended.unwrap_or(now)))
    }

    /// Takes an event in.
    pub(super) fn fold(&mut self, recorded: &Recorded) {
        let at = recorded.event.at;
        match &recorded.event.body {
            EventBody::RunStarted { .. } => self.started = Some(at),
            EventBody::Log { .. } => self.logged += 1,
            body if body.is_end() => self.ended = Some(at),
            EventBody::StepStarted { step, generation, attempt, .. } => {
                let doing = if *generation > 1 { format!("try {generation}") } else { String::new() };
                let doing = if *attempt > 1 && doing.is_empty() { "goes on".to_owned() } else { doing };
                self.become_(step, Stand::Running, at, doing);
            }
            EventBody::StepLost { step, reason, .. } => {
                self.become_(step, Stand::Waiting, at, format!("lost: {}", plain::short(reason, 60)));
            }
            EventBody::StepSuspended { step, on, .. } => {
                let on: Vec<String> = on.iter().map(event_line::wait).collect();
                self.become_(step, Stand::Waiting, at, format!("waits for {}", on.join(", ")));
            }
            EventBody::StepStopped { step, .. } => {
                self.become_(step, Stand::Waiting, at, "stopped".to_owned());
            }
            EventBody::StepSucceeded { step, layer, .. } => {
                let doing = if layer.is_some() { "changed files" } else { "" };
                self.become_(step, Stand::Done, at, doing.to_owned());
            }
            EventBody::StepFailed { step, error, then, .. } => {
                let stand = if *then == AfterFailure::Fail { Stand::Failed } else { Stand::Waiting };
                self.become_(step, stand, at, plain::short(&error.message, 100));
            }
            EventBody::StepUndone { step, report, error, retry, .. } => {
                let stand = if *retry { Stand::Waiting } else { Stand::Failed };
                let doing = match error {
                    None if event_line::has_undone(report) => "its data changes were undone".to_owned(),
                    // It had written nothing: why it failed is still what there is to say.
                    None => self.node(step).map(|node| node.doing.clone()).unwrap_or_default(),
                    Some(error) => format!("not undone: {}", plain::short(&error.message, 80)),
                };
                self.become_(step, stand, at, doing);
            }
            EventBody::StepRetrying { step, generation, .. } => {
                self.become_(step, Stand::Waiting, at, format!("try {generation} follows"));
            }
            EventBody::StepSkipped { step, because } => {
                self.become_(step, Stand::Skipped, at, format!("because of {}", plain::short(because, 40)));
            }
            EventBody::StepCancelled { step, .. } => {
                self.become_(step, Stand::Cancelled, at, String::new());
            }
            EventBody::ApprovalRequested { approval_id, request } => {
                if let Some(step) = &request.step {
                    let wait = Wait::Approval { approval_id: *approval_id };
                    let doing = format!("waits for {}", event_line::wait(&wait));
                    self.doing(step, doing, Some(Stand::Waiting));
                }
            }
            EventBody::EffectStarted { key, kind, name } => {
                let doing = if kind.as_str() == name {
                    name.clone()
                } else {
                    format!("{} {}", kind.as_str(), plain::short(name, 40))
                };
                self.doing(&key.step, doing, Some(Stand::Running));
                if let Some(node) = self.node(&key.step).filter(|_| *kind == EffectKind::Llm) {
                    node.calling += 1;
                }
            }
            EventBody::EffectFinished { key, kind, cost_usd, uncertain, .. } => {
                self.lost += u64::from(*uncertain);
                self.calls += u64::from(*kind == EffectKind::Llm);
                self.spent = self.spent.saturating_add(*cost_usd);
                if let Some(node) = self.node(&key.step) {
                    node.cost = node.cost.saturating_add(*cost_usd);
                    node.doing.clear();
                    node.calling = node.calling.saturating_sub(u64::from(*kind == EffectKind::Llm));
                }
            }
            _ => {}
        }
    }

    fn node(&mut self, step: &str) -> Option<&mut Node> {
        let shown = plain::short(step, NAME);
        self.steps.iter_mut().find(|node| node.name == shown)
    }

    fn doing(&mut self, step: &str, doing: String, stand: Option<Stand>) {
        if let Some(node) = self.node(step) {
            node.doing = doing;
            // A question before a step begins finds it blocked: it has not run yet.
            node.stand = stand.unwrap_or(node.stand);
        }
    }

    fn become_(&mut self, step: &str, stand: Stand, at: Timestamp, doing: String) {
        let Some(node) = self.node(step) else { return };
        if stand == Stand::Running {
            node.since = Some(at);
        } else if let Some(since) = node.since.take() {
            node.before += between(since, at);
        }
        node.stand = stand;
        node.doing = doing;
        // An attempt ends after its calls, or they are lost with it.
        node.calling = 0;
    }
}

fn between(since: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(since)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests;
