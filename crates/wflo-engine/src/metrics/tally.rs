//! How runs stand and what was counted of them, folded from their events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use wflo_core::budget::Budget;
use wflo_core::event::{AfterFailure, Event, EventBody};
use wflo_core::exposition::{Metric, Page, usd};
use wflo_core::id::{ApprovalId, RunId};
use wflo_core::run::RunStatus;
use wflo_gateway::counts::Histogram;

use super::bounded::{Place, label, of};

/// Upper bounds of the buckets of runs and steps, in microseconds: 100 ms to an hour.
const TIMES: [u64; 11] = [
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// Runs that have ended and are remembered, so that what comes behind their end begins nothing anew.
const ENDED: usize = 1_024;

/// Counts by a word of this file.
type Words = BTreeMap<&'static str, u64>;

/// Limit, settled and held, in nano-USD, by workflow.
pub(super) type Budgets = BTreeMap<String, [i128; 3]>;

/// How far a run has been read.
pub(super) enum Seen {
    Nothing,
    To(u64),
    /// It has ended.
    Over,
}

#[derive(Debug)]
struct Run {
    workflow: String,
    budget_key: String,
    seen: u64,
    status: RunStatus,
    started: Option<Timestamp>,
    /// Steps with an attempt under way.
    running: BTreeSet<String>,
    /// When the first attempt of a step began that is not done.
    begun: BTreeMap<String, Timestamp>,
    questions: BTreeSet<ApprovalId>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tally {
    runs: BTreeMap<RunId, Run>,
    ended: VecDeque<RunId>,
    executions: BTreeMap<Place, Words>,
    durations: BTreeMap<Place, Histogram>,
    steps: BTreeMap<Place, Words>,
    attempts: BTreeMap<Place, Words>,
    step_durations: BTreeMap<Place, Histogram>,
    /// By workflow and kind, by how they ended.
    effects: BTreeMap<Place, Words>,
    cost_nanos: BTreeMap<Place, i128>,
    uncertain: BTreeMap<Place, u64>,
    exhausted: BTreeMap<Place, u64>,
    decisions: BTreeMap<Place, Words>,
    connections: BTreeMap<Place, Words>,
}

impl Tally {
    pub(super) fn seen(&self, run: RunId) -> Seen {
        match self.runs.get(&run) {
            Some(known) => Seen::To(known.seen),
            None if self.ended.contains(&run) => Seen::Over,
            None => Seen::Nothing,
        }
    }

    /// A run that this process has begun to drive.
    pub(super) fn begin(&mut self, id: RunId, workflow: &str, budget_key: &str) {
        self.runs.entry(id).or_insert_with(|| Run {
            workflow: label(workflow),
            budget_key: budget_key.to_owned(),
            seen: 0,
            status: RunStatus::Pending,
            started: None,
            running: BTreeSet::new(),
            begun: BTreeMap::new(),
            questions: BTreeSet::new(),
        });
    }

    /// Every run that goes on, and how far it was read.
    pub(super) fn runs(&self) -> Vec<(RunId, u64)> {
        self.runs.iter().map(|(id, run)| (*id, run.seen)).collect()
    }

    /// The accounts of the runs that go on, and the workflow of each.
    pub(super) fn budget_keys(&self) -> BTreeMap<String, String> {
        self.runs.values().map(|run| (run.budget_key.clone(), run.workflow.clone())).collect()
    }

    /// Follows an event that this process has written, and counts it.
    pub(super) fn count(&mut self, id: RunId, seq: u64, event: &Event) {
        let Some(run) = self.runs.get(&id) else { return };
        let workflow = run.workflow.clone();
        let since = |began: Option<&Timestamp>| {
            let took = began.map(|began| event.at.duration_since(*began));
            took.map(|took| Duration::try_from(took).unwrap_or_default())
        };
        let add = |map: &mut BTreeMap<Place, Words>, name: &str, word: &'static str| {
            *of(map, &workflow, name, Words::new).entry(word).or_default() += 1;
        };
        let one = |map: &mut BTreeMap<Place, u64>| *of(map, &workflow, "", || 0) += 1;
        let time = |map: &mut BTreeMap<Place, Histogram>, name: &str, took: Option<Duration>| {
            let Some(took) = took else { return };
            of(map, &workflow, name, || Histogram::new(&TIMES)).observe(took);
        };
        if let Some(status) = ends(&event.body) {
            time(&mut self.durations, "", since(run.started.as_ref()));
            add(&mut self.executions, "", status.as_str());
        }
        if let Some((step, outcome)) = attempt_ends(&event.body) {
            add(&mut self.attempts, step, outcome);
        }
        if let Some((step, status)) = step_ends(&event.body) {
            time(&mut self.step_durations, step, since(run.begun.get(step)));
            add(&mut self.steps, step, status);
        }
        match &event.body {
            EventBody::ApprovalDecided { decision, .. } => {
                let said = match (decision.approved, decision.by.as_str()) {
                    (_, "timeout") => "timed_out",
                    (true, _) => "approved",
                    (false, _) => "rejected",
                };
                add(&mut self.decisions, "", said);
            }
            EventBody::BudgetExhausted { .. } => one(&mut self.exhausted),
            EventBody::EffectFinished { kind, key, cost_usd, uncertain, error, .. } => {
                add(&mut self.effects, kind.as_str(), if error.is_some() { "failed" } else { "done" });
                *of(&mut self.cost_nanos, &workflow, &key.step, || 0) += i128::from(cost_usd.nanos());
                if *uncertain {
                    one(&mut self.uncertain);
                }
            }
            EventBody::EgressOpened { .. } => add(&mut self.connections, "", "opened"),
            EventBody::EgressRefused { .. } => add(&mut self.connections, "", "refused"),
            _ => {}
        }
        self.fold(id, seq, event);
    }

    /// Follows an event without counting it.
    pub(super) fn fold(&mut self, id: RunId, seq: u64, event: &Event) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.seen = seq;
        if ends(&event.body).is_some() {
            self.runs.remove(&id);
            if self.ended.len() >= ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(id);
            return;
        }
        if let Some((step, _)) = attempt_ends(&event.body).or_else(|| step_ends(&event.body)) {
            run.running.remove(step);
        }
        if let Some((step, _)) = step_ends(&event.body) {
            run.begun.remove(step);
        }
        match &event.body {
            EventBody::RunStarted { .. } => {
                run.status = RunStatus::Running;
                run.started = Some(event.at);
            }
            EventBody::RunWaiting { .. } => run.status = RunStatus::Waiting,
            EventBody::RunPaused { .. } => run.status = RunStatus::Paused,
            EventBody::RunRunning {} | EventBody::RunResumed { .. } => run.status = RunStatus::Running,
            EventBody::StepStarted { step, .. } => {
                run.running.insert(step.clone());
                run.begun.entry(step.clone()).or_insert(event.at);
            }
            EventBody::ApprovalRequested { approval_id, .. } => drop(run.questions.insert(*approval_id)),
            EventBody::ApprovalDecided { approval_id, .. }
            | EventBody::ApprovalSuperseded { approval_id, .. } => {
                run.questions.remove(approval_id);
            }
            _ => {}
        }
    }

    /// Everything that is known here.
    pub(super) fn write(&self, page: &mut Page) {
        let workflow = |place: &Place| vec![("workflow", place.0.clone())];
        let step = |place: &Place| vec![("workflow", place.0.clone()), ("step", place.1.clone())];
        let kind = |place: &Place| vec![("workflow", place.0.clone()), ("kind", place.1.clone())];
        let ended = "Executions of workflows that ended in this process, by their status.";
        words(page.metric(super::EXECUTIONS, "counter", ended), &self.executions, workflow, "status");
        let took = "How long those took, waits for people among it.";
        times(page.metric(super::DURATION, "histogram", took), &self.durations, workflow);
        self.standing(page);
        let done = "Steps that are done, by their status.";
        words(page.metric(super::STEPS, "counter", done), &self.steps, step, "status");
        let took = "How long those took, from their first attempt.";
        times(page.metric(super::STEP_DURATION, "histogram", took), &self.step_durations, step);
        let attempts = "Attempts at steps, by how they ended.";
        words(page.metric(super::ATTEMPTS, "counter", attempts), &self.attempts, step, "outcome");
        let effects = "Effects of steps, by how they ended.";
        words(page.metric(super::EFFECTS, "counter", effects), &self.effects, kind, "outcome");
        let mut cost = page.metric(super::COST, "counter", "What effects were billed, in USD.");
        for (place, nanos) in &self.cost_nanos {
            cost.of(&[("workflow", &place.0), ("step", &place.1)], usd(*nanos));
        }
        for (name, help, counts) in [
            (super::UNCERTAIN, "Calls whose bill is not known and whose hold was charged.", &self.uncertain),
            (super::EXHAUSTED, "Calls that did not fit into a budget.", &self.exhausted),
        ] {
            let mut metric = page.metric(name, "counter", help);
            for (place, count) in counts {
                metric.of(&[("workflow", &place.0)], count);
            }
        }
        let decided = "Questions that were decided, by how.";
        words(page.metric(super::DECISIONS, "counter", decided), &self.decisions, workflow, "decision");
        let reached = "Connections to hosts that steps asked for, by what became of them.";
        words(page.metric(super::CONNECTIONS, "counter", reached), &self.connections, workflow, "outcome");
    }

    /// How the runs stand that go on.
    fn standing(&self, page: &mut Page) {
        let (mut runs, mut running, mut questions) =
            (BTreeMap::<Place, u64>::new(), BTreeMap::<Place, u64>::new(), BTreeMap::<Place, u64>::new());
        for run in self.runs.values() {
            *of(&mut runs, &run.workflow, run.status.as_str(), || 0) += 1;
            *of(&mut questions, &run.workflow, "", || 0) += run.questions.len() as u64;
            for step in &run.running {
                *of(&mut running, &run.workflow, step, || 0) += 1;
            }
        }
        for (name, help, second, counts) in [
            (super::RUNS, "Runs that this process drives, by their status.", Some("status"), runs),
            (super::RUNNING, "Steps with an attempt under way.", Some("step"), running),
            (super::QUESTIONS, "Questions that wait for people.", None, questions),
        ] {
            let mut metric = page.metric(name, "gauge", help);
            for ((workflow, name), count) in &counts {
                let labels = second.map(|second| (second, name.as_str()));
                let labels: Vec<_> = [("workflow", workflow.as_str())].into_iter().chain(labels).collect();
                metric.of(&labels, count);
            }
        }
    }
}

type Labels = Vec<(&'static str, String)>;

fn words(
    mut metric: Metric<'_>,
    counts: &BTreeMap<Place, Words>,
    labels: impl Fn(&Place) -> Labels,
    word: &'static str,
) {
    for (place, words) in counts {
        let labels = labels(place);
        for (said, count) in words {
            let all = labels.iter().map(|(name, value)| (*name, value.as_str())).chain([(word, *said)]);
            metric.of(&all.collect::<Vec<_>>(), count);
        }
    }
}

fn times(mut metric: Metric<'_>, counts: &BTreeMap<Place, Histogram>, labels: impl Fn(&Place) -> Labels) {
    for (place, times) in counts {
        let labels = labels(place);
        let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        metric.histogram(&labels, times.below(), times.micros());
    }
}

/// The status that a run ends with.
fn ends(body: &EventBody) -> Option<RunStatus> {
    Some(match body {
        EventBody::RunCompleted {} => RunStatus::Completed,
        EventBody::RunFailed { .. } => RunStatus::Failed,
        EventBody::RunCancelled { .. } => RunStatus::Cancelled,
        EventBody::RunRejected { .. } => RunStatus::Rejected,
        EventBody::RunHalted { .. } => RunStatus::Halted,
        EventBody::RunTimedOut { .. } => RunStatus::TimedOut,
        EventBody::RunRolledBack { .. } => RunStatus::RolledBack,
        _ => return None,
    })
}

fn attempt_ends(body: &EventBody) -> Option<(&str, &'static str)> {
    Some(match body {
        EventBody::StepSucceeded { step, .. } => (step, "completed"),
        EventBody::StepFailed { step, .. } => (step, "failed"),
        EventBody::StepLost { step, .. } => (step, "lost"),
        EventBody::StepSuspended { step, .. } => (step, "suspended"),
        EventBody::StepStopped { step, .. } => (step, "stopped"),
        _ => return None,
    })
}

/// The status that a step ends with, where nothing can follow.
fn step_ends(body: &EventBody) -> Option<(&str, &'static str)> {
    Some(match body {
        EventBody::StepSucceeded { step, .. } => (step, "completed"),
        EventBody::StepFailed { step, then, .. }
            if !matches!(then, AfterFailure::Retry | AfterFailure::UndoThenRetry) =>
        {
            (step, "failed")
        }
        EventBody::StepSkipped { step, .. } => (step, "skipped"),
        EventBody::StepCancelled { step, .. } => (step, "cancelled"),
        _ => return None,
    })
}

/// The money of runs, by workflow; `keys` has the workflow of each account.
pub(super) fn budgets(keys: &BTreeMap<String, String>, budgets: &[Budget]) -> Budgets {
    let mut found = Budgets::new();
    for budget in budgets.iter().filter(|budget| budget.is_money_of_a_run()) {
        let Some(workflow) = keys.get(&budget.key) else { continue };
        let figures = found.entry(workflow.clone()).or_default();
        for (sum, amount) in figures.iter_mut().zip([budget.limit, budget.settled, budget.held]) {
            *sum += i128::from(amount.money().nanos());
        }
    }
    found
}
