//! The port between a run's driver and whatever carries out a step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use wflo_core::approval::{ApprovalStatus, Decision};
use wflo_core::definition::{Definition, StepSpec};
use wflo_core::effect::EffectRecord;
use wflo_core::error::Failure;
use wflo_core::event::Wait;
use wflo_core::id::{ApprovalId, RunId};
use wflo_core::machine::Outputs;
use wflo_core::money::NanoUsd;
use wflo_core::ports::BoxFuture;
use wflo_core::ports::store::{Fence, Op, StoreError};
use wflo_core::resources::Resources;
use wflo_core::run::RunRecord;
use wflo_sandbox::Usage;
use wflo_sandbox::workspace::Pin;

use crate::driver::DriverHandle;
use crate::egress::Remaining;

/// What does not change while a run runs.
#[derive(Debug)]
pub struct RunContext {
    /// The run as it was submitted.
    pub record: RunRecord,
    /// What it runs.
    pub definition: Arc<Definition>,
}

/// Why an attempt is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The run was paused: it goes on later.
    Paused,
    /// The run ends by itself: it failed, was rejected, or ran out of budget.
    Ending,
    /// The run was cancelled or is out of time: people wait for its end.
    Cancelled,
    /// A budget on time is used up: the step is ended where it stands.
    OutOfTime,
    /// The engine shuts down: the run goes on in another.
    Shutdown,
    /// Another process holds the lease: nothing may be written any more.
    LeaseLost,
}

impl Stop {
    /// Whether a call that is on its way is waited for only a short while: people wait for the end, and
    /// nobody will ask for the answer. (After a shutdown somebody will: it is worth waiting for.)
    pub fn is_urgent(self) -> bool {
        matches!(self, Stop::Cancelled | Stop::LeaseLost)
    }
}

/// Where the questions of a run stand.
pub type Decisions = BTreeMap<ApprovalId, (ApprovalStatus, Option<Decision>)>;

/// How long a generation has been active, in milliseconds: kept by whoever carries its attempts out,
/// recorded by its driver. Time in which it only waited durably does not count.
#[derive(Debug, Clone, Default)]
pub struct Active(Arc<std::sync::atomic::AtomicU64>);

impl Active {
    /// So long before this attempt.
    pub fn new(ms: u64) -> Self {
        Active(Arc::new(ms.into()))
    }

    /// So long by now.
    pub fn ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// It has been active at least so long.
    pub fn reach(&self, ms: u64) {
        self.0.fetch_max(ms, std::sync::atomic::Ordering::Relaxed);
    }
}

/// What the sandbox of an attempt took: kept by whoever ends it, recorded by the run's driver.
#[derive(Debug, Clone, Default)]
pub struct Used(Arc<Mutex<Usage>>);

impl Used {
    /// It took at least this.
    pub fn reach(&self, usage: Usage) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.most(usage);
    }

    /// As a record has it.
    pub fn resources(&self) -> Resources {
        let used = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Resources {
            cpu_ms: used.cpu.map(|cpu| u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX)),
            memory_peak_bytes: used.memory_peak,
            disk_read_bytes: used.disk.map(|disk| disk.read),
            disk_written_bytes: used.disk.map(|disk| disk.written),
            tasks_peak: used.tasks_peak,
        }
    }
}

/// One attempt of one generation of a step.
#[derive(Clone)]
pub struct Attempt {
    /// The run.
    pub run: RunId,
    /// The step's name.
    pub step: String,
    /// Its journal.
    pub generation: u32,
    /// The attempt within it.
    pub attempt: u32,
    /// The lease.
    pub epoch: u64,
    /// What does not change while the run runs.
    pub context: Arc<RunContext>,
    /// Outputs of the steps that are over before it begins.
    pub outputs: Outputs,
    /// The run's variables as it begins with them.
    pub variables: Arc<Value>,
    /// Workspace layers of the steps before it, oldest first.
    pub layers: Vec<String>,
    /// How long its generation has been active.
    pub active: Active,
    /// What its sandbox took.
    pub used: Used,
    /// Asks it to end.
    pub stop: watch::Receiver<Option<Stop>>,
    /// Tells it what people decided.
    pub decisions: watch::Receiver<Arc<Decisions>>,
    /// Tells it what people say of hosts.
    pub hosts: watch::Receiver<Arc<Vec<wflo_core::machine::HostChange>>>,
    /// What its run has left of what may go to hosts and from them.
    pub(crate) remaining: Remaining,
    /// The run's driver, for questions.
    pub driver: DriverHandle,
}

impl Attempt {
    /// The step's definition.
    pub fn spec(&self) -> Option<&StepSpec> {
        self.context.definition.steps.iter().find(|s| s.name == self.step)
    }

    /// The fence of everything that the attempt writes.
    pub const fn fence(&self) -> Fence {
        Fence { run: self.run, epoch: self.epoch }
    }

    /// Resolves when the attempt is asked to end.
    pub async fn stopped(&self) -> Stop {
        let mut stop = self.stop.clone();
        match stop.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(Stop::Shutdown),
            // The driver is gone, so nobody could use a result.
            Err(_) => Stop::Shutdown,
        }
    }
}

/// What a program left although it failed.
#[derive(Debug)]
pub struct Left {
    /// What it ended with, where it was not ended with its run.
    pub exit_code: Option<u8>,
    /// What it changed.
    pub layer: Option<Layer>,
}

/// A workspace layer that a step left.
#[derive(Debug)]
pub struct Layer {
    /// Its id.
    pub id: String,
    /// Keeps it from being collected until the step's success, which names it, is durable.
    pub pin: Pin,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum End {
    /// It returned.
    Succeeded {
        /// What.
        output: Value,
        /// The run's variables as it left them.
        state: Option<Value>,
        /// What its model calls were billed.
        cost: NanoUsd,
        /// The workspace layer it left.
        layer: Option<Layer>,
        /// Committed with its success, such as the use of an approval.
        ops: Vec<Op>,
    },
    /// It raised, or broke a rule.
    Failed {
        /// The error.
        error: Failure,
        /// Whether it was a time-out.
        timed_out: bool,
        /// Why a retry is out of the question.
        no_retry: Option<Failure>,
        /// Finished effects that a retry keeps: path and position.
        keep: Vec<(String, u32)>,
        /// What it left all the same, if it is a program.
        left: Option<Left>,
    },
    /// Its worker died without a word.
    Lost {
        /// How.
        reason: String,
    },
    /// It waits for durable things and has been ended.
    Suspended {
        /// For what.
        on: Vec<Wait>,
    },
    /// It ended as it was asked to.
    Stopped,
}

/// Carries out steps.
pub trait Executor: Send + Sync + 'static {
    /// Carries out one attempt; returns only once nothing of it is left running.
    fn run(&self, attempt: Attempt) -> BoxFuture<'_, End>;

    /// The run is left by its driver, or is about to be over: ends what was made for attempts that do not come.
    /// No attempt of it runs.
    fn leave(&self, _run: RunId) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Ops that finish, in the journal of a generation that is over, the writes that were made without its
    /// journal's knowing. `rows` are that journal.
    ///
    /// # Errors
    /// Store errors.
    fn made(&self, _run: RunId, _rows: Vec<EffectRecord>) -> BoxFuture<'_, Result<Vec<Op>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Undoes the data changes of a generation: what was restored, and why it could not be, if so.
    /// Asked again after a crash, it must not undo twice.
    fn compensate(
        &self,
        context: Arc<RunContext>,
        step: String,
        generation: u32,
        fence: Fence,
    ) -> BoxFuture<'_, (Value, Option<Failure>)>;
}
