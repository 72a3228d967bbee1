//! What happens in this process, counted for Prometheus. Every name of a metric stands in this file.
//!
//! Owns the counters and the page. They follow the events that the store has made durable, from outside of
//! the engine: whoever counts, or scrapes, can hold up nothing. What sandboxes take is [`LiveSandboxes`]'.
//! **Architecture Invariant:** a label is the name of a workflow or of a step, or a word of this file, and there
//! is a bound on how many there are: no id, no input and nothing that a step says becomes one.

pub(crate) mod bounded;
mod process;
mod tally;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use wflo_core::event::{Event, Recorded};
use wflo_core::exposition::{Metric, Page, usd};
use wflo_core::id::RunId;
use wflo_core::ports::store::{Store, StoreError};
use wflo_core::resources::Resources;
use wflo_store::Announced;

use self::tally::{Seen, Tally};
use crate::engine::Engine;
use crate::live::{LiveSandboxes, Sum};
use crate::runtime::Runtime;

const BUILD: &str = "wflo_build_info";
const EXECUTIONS: &str = "wflo_workflow_executions_total";
const DURATION: &str = "wflo_workflow_duration_seconds";
const RUNS: &str = "wflo_runs";
const STEPS: &str = "wflo_steps_total";
const RUNNING: &str = "wflo_steps_running";
const ATTEMPTS: &str = "wflo_step_attempts_total";
const STEP_DURATION: &str = "wflo_step_duration_seconds";
const EFFECTS: &str = "wflo_effects_total";
const COST: &str = "wflo_cost_usd_total";
const UNCERTAIN: &str = "wflo_uncertain_calls_total";
const EXHAUSTED: &str = "wflo_budget_exhausted_total";
const LIMIT: &str = "wflo_budget_limit_usd";
const SETTLED: &str = "wflo_budget_settled_usd";
const HELD: &str = "wflo_budget_held_usd";
const QUESTIONS: &str = "wflo_approvals_waiting";
const DECISIONS: &str = "wflo_approvals_total";
const CONNECTIONS: &str = "wflo_egress_connections_total";
const SLOTS: &str = "wflo_engine_slots";
const SLOTS_USED: &str = "wflo_engine_slots_used";
const QUEUED: &str = "wflo_engine_queued_runs";
const SANDBOXES: &str = "wflo_sandboxes";
const SANDBOXES_BEGUN: &str = "wflo_sandboxes_total";
const CPU: &str = "wflo_sandbox_cpu_seconds_total";
const MEMORY: &str = "wflo_sandbox_memory_bytes";
const MEMORY_PEAK: &str = "wflo_sandbox_memory_peak_bytes";
const TASKS: &str = "wflo_sandbox_tasks";
const TASKS_PEAK: &str = "wflo_sandbox_tasks_peak";
const READ: &str = "wflo_sandbox_disk_read_bytes_total";
const WRITTEN: &str = "wflo_sandbox_disk_written_bytes_total";

/// How many events are read at once of a run that was not followed from its beginning.
const PAGE: u32 = 64;

/// How long a page waits for the store to say how budgets stand.
const PATIENCE: Duration = Duration::from_secs(1);

/// The counters of one process.
pub struct Metrics {
    tally: Mutex<Tally>,
    store: Arc<dyn Store>,
    engine: Engine,
    live: Arc<LiveSandboxes>,
    since: jiff::Timestamp,
}

impl Metrics {
    /// Of this process, which drives runs by `runtime`.
    pub fn of(runtime: &Runtime) -> Arc<Metrics> {
        let engine = runtime.engine.clone();
        Arc::new(Metrics {
            tally: Mutex::default(),
            store: Arc::clone(engine.store()),
            since: engine.clock().now(),
            live: Arc::clone(&runtime.sandboxes.live),
            engine,
        })
    }

    /// Counts what is announced, until nothing is any more. `announced` is older than the first run.
    pub async fn follow(self: Arc<Self>, mut announced: broadcast::Receiver<Announced>) {
        loop {
            let taken = match announced.recv().await {
                Ok(event) => self.take(event).await,
                Err(RecvError::Lagged(_)) => self.catch_up().await,
                Err(RecvError::Closed) => return,
            };
            if let Err(error) = taken {
                tracing::debug!(%error, "events were not counted");
            }
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, Announced { run_id, seq, event }: Announced) -> Result<(), StoreError> {
        let seen = self.tally().seen(run_id);
        match (seen, event) {
            (Seen::Over, _) => Ok(()),
            (Seen::To(seen), _) if seq <= seen => Ok(()),
            (Seen::To(seen), Some(event)) if seq == seen + 1 => {
                self.tally().count(run_id, seq, &event);
                Ok(())
            }
            (Seen::To(seen), _) => self.read(run_id, seen, seen + 1).await,
            (Seen::Nothing, _) => {
                let Some(record) = self.store.run(run_id).await? else { return Ok(()) };
                self.tally().begin(run_id, &record.workflow, &record.budget_key);
                // How it stands follows from its beginning; what happened in other processes is not counted here.
                self.read(run_id, 0, seq).await
            }
        }
    }

    /// Reads what was announced too fast.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let runs = self.tally().runs();
        for (run, seen) in runs {
            self.read(run, seen, seen + 1).await?;
        }
        Ok(())
    }

    async fn read(&self, run: RunId, after: u64, counted: u64) -> Result<(), StoreError> {
        let mut seen = after;
        loop {
            let page: Vec<Recorded> = self.store.events(run, seen, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            seen = last.seq;
            let mut tally = self.tally();
            for Recorded { seq, event, .. } in &page {
                self.fold(&mut tally, run, (*seq, counted), event);
            }
        }
    }

    fn fold(&self, tally: &mut Tally, run: RunId, (seq, counted): (u64, u64), event: &Event) {
        match seq >= counted {
            true => tally.count(run, seq, event),
            false => tally.fold(run, seq, event),
        }
    }

    /// Everything, as Prometheus reads it.
    pub async fn page(&self) -> String {
        let keys = self.tally().budget_keys();
        let names: Vec<String> = keys.keys().cloned().collect();
        let asked = tokio::time::timeout(PATIENCE, self.store.budgets(names)).await;
        let mut page = Page::default();
        page.metric(BUILD, "gauge", "The version that runs.")
            .of(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.tally().write(&mut page);
        if let Ok(Ok(budgets)) = asked {
            budgets_of_runs(&mut page, &tally::budgets(&keys, &budgets));
        }
        let load = self.engine.load();
        page.metric(SLOTS, "gauge", "Steps that may run at once in this process.").is(load.slots);
        page.metric(SLOTS_USED, "gauge", "Of those, how many are in use.").is(load.slots_used);
        page.metric(QUEUED, "gauge", "Runs that wait until they may begin.").is(load.queued_runs);
        self.sandboxes(&mut page);
        process::write(&mut page, self.since);
        page.text()
    }

    fn sandboxes(&self, page: &mut Page) {
        let sums = self.live.sums();
        let each = |mut metric: Metric<'_>, value: &dyn Fn(&Sum) -> Option<String>| {
            for ((workflow, step), sum) in &sums {
                if let Some(value) = value(sum) {
                    metric.of(&[("workflow", workflow), ("step", step)], value);
                }
            }
        };
        let took =
            |of: fn(&Resources) -> Option<u64>| move |sum: &Sum| of(&sum.took).map(|value| value.to_string());
        each(page.metric(SANDBOXES, "gauge", "Sandboxes that run."), &|sum| Some(sum.running.to_string()));
        each(page.metric(SANDBOXES_BEGUN, "counter", "Sandboxes that were begun."), &|sum| {
            Some(sum.begun.to_string())
        });
        each(page.metric(CPU, "counter", "Processor time that sandboxes took."), &|sum| {
            sum.took.cpu_ms.map(|ms| format!("{}.{:03}", ms / 1_000, ms % 1_000))
        });
        each(page.metric(MEMORY, "gauge", "Memory that the sandboxes hold that run."), &|sum| {
            now(sum, sum.memory)
        });
        each(
            page.metric(MEMORY_PEAK, "gauge", "The most memory that one sandbox held at once."),
            &took(|took| took.memory_peak_bytes),
        );
        each(page.metric(TASKS, "gauge", "Processes and threads in the sandboxes that run."), &|sum| {
            now(sum, sum.tasks)
        });
        each(
            page.metric(TASKS_PEAK, "gauge", "The most processes and threads in one sandbox at once."),
            &took(|took| took.tasks_peak),
        );
        each(
            page.metric(READ, "counter", "Bytes that sandboxes read from disks."),
            &took(|took| took.disk_read_bytes),
        );
        each(
            page.metric(WRITTEN, "counter", "Bytes that sandboxes wrote to disks."),
            &took(|took| took.disk_written_bytes),
        );
    }
}

/// Nothing where none runs; what is not known is not said.
fn now(sum: &Sum, figure: Option<u64>) -> Option<String> {
    let none = (sum.running == 0).then_some(0);
    figure.or(none).map(|value| value.to_string())
}

/// The money of the runs that go on, by workflow.
fn budgets_of_runs(page: &mut Page, budgets: &tally::Budgets) {
    for (name, help, of) in [
        (LIMIT, "What the runs may spend that go on and have a limit, in USD.", 0),
        (SETTLED, "What they have spent of it, in USD.", 1),
        (HELD, "What calls under way may still take of it, in USD.", 2),
    ] {
        let mut metric = page.metric(name, "gauge", help);
        for (workflow, figures) in budgets {
            if let Some(nanos) = figures.get(of) {
                metric.of(&[("workflow", workflow)], usd(*nanos));
            }
        }
    }
}

#[cfg(test)]
mod tests;
