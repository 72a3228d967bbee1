//! What the sandboxes of this process take while they run.
//!
//! Owns the one reader of them all: it looks every [`PERIOD`] while there is a sandbox, and sleeps while
//! there is none. What it sees stays in memory: the last figures for whoever asks (`outside`, a page of
//! metrics), the peaks for the record that an attempt leaves. It kills nobody; limits are the sandbox's.
//! **Architecture Invariant:** nobody waits for a look, and a look waits for no sandbox.

mod outside;

pub(crate) use outside::Outside;
pub use outside::ask;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use wflo_core::id::RunId;
use wflo_core::resources::Resources;
use wflo_sandbox::{Level, Sandbox, Usage};

use crate::executor::{Attempt, Used};
use crate::metrics::bounded::{self, Place};

/// How often sandboxes are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Whose a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    run: RunId,
    workflow: String,
    step: String,
    generation: u32,
    attempt: u32,
}

impl Whose {
    pub(crate) fn of(attempt: &Attempt) -> Whose {
        Whose {
            run: attempt.run,
            workflow: attempt.context.definition.name.clone(),
            step: attempt.step.clone(),
            generation: attempt.generation,
            attempt: attempt.attempt,
        }
    }
}

/// One sandbox that runs, as it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step: String,
    /// Its journal.
    pub generation: u32,
    /// The attempt.
    pub attempt: u32,
    /// What it took so far.
    #[serde(flatten)]
    pub resources: Resources,
    /// The memory that it holds, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Its processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// The limits that wflo watches over because the kernel does not, each with how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supervised: Vec<Supervised>,
}

/// A limit that is watched over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervised {
    /// Which.
    pub limit: String,
    /// By what, in words.
    pub by: String,
}

/// What the sandboxes of one step took and take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// How many there were, those that run among them.
    pub(crate) begun: u64,
    /// How many run.
    pub(crate) running: u64,
    /// What all of them took; of a peak, the highest.
    pub(crate) took: Resources,
    /// The memory that those hold that run, in bytes.
    pub(crate) memory: Option<u64>,
    /// Their processes and threads.
    pub(crate) tasks: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    whose: Whose,
    sandbox: Weak<dyn Sandbox>,
    used: Used,
    now: Usage,
    supervised: Vec<Supervised>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    live: BTreeMap<u64, Entry>,
    ended: BTreeMap<Place, Sum>,
}

/// The sandboxes of this process that run.
#[derive(Debug, Default)]
pub struct LiveSandboxes {
    state: Mutex<State>,
    begun: Notify,
}

impl LiveSandboxes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sandbox runs until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>, whose: Whose, sandbox: &Arc<dyn Sandbox>, used: Used) -> Entered {
        let watched =
            sandbox.enforcement().iter().filter(|e| e.level == Level::Supervised && e.limit != "timeout");
        let supervised =
            watched.map(|e| Supervised { limit: e.limit.to_owned(), by: e.by.to_owned() }).collect();
        let entry =
            Entry { whose, sandbox: Arc::downgrade(sandbox), used, now: Usage::default(), supervised };
        let mut state = self.state();
        let key = state.next;
        state.next += 1;
        state.live.insert(key, entry);
        drop(state);
        self.begun.notify_one();
        Entered { of: Arc::clone(self), key }
    }

    /// Looks for as long as the process drives runs.
    pub(crate) async fn look(self: Arc<Self>) {
        loop {
            self.begun.notified().await;
            while !self.state().live.is_empty() {
                let own = Arc::clone(&self);
                // Reading what the kernel counts may wait, if not for a sandbox.
                let looked = tokio::task::spawn_blocking(move || own.sample());
                if looked.await.is_err() {
                    return;
                }
                tokio::time::sleep(PERIOD).await;
            }
        }
    }

    /// Looks once at each.
    fn sample(&self) {
        let of = |(key, entry): (&u64, &Entry)| entry.sandbox.upgrade().map(|sandbox| (*key, sandbox));
        let sandboxes: Vec<_> = self.state().live.iter().filter_map(of).collect();
        for (key, sandbox) in sandboxes {
            let Some(usage) = sandbox.sample() else { continue };
            let mut state = self.state();
            let Some(entry) = state.live.get_mut(&key) else { continue };
            // What was not told this time is as it was.
            entry.now = Usage {
                memory: usage.memory.or(entry.now.memory),
                tasks: usage.tasks.or(entry.now.tasks),
                ..usage
            };
            entry.used.reach(Usage {
                // Where nobody keeps a peak, it is the most that was seen.
                memory_peak: usage.memory_peak.max(usage.memory),
                tasks_peak: usage.tasks_peak.max(usage.tasks),
                ..usage
            });
        }
    }

    /// Those that outlive this process if it ends now, by name.
    pub fn outliving(&self) -> Vec<String> {
        let sandboxes: Vec<_> =
            self.state().live.values().filter_map(|entry| entry.sandbox.upgrade()).collect();
        sandboxes.iter().filter_map(|sandbox| sandbox.outlives()).collect()
    }

    /// Every sandbox that runs.
    pub fn all(&self) -> Vec<Live> {
        let state = self.state();
        state.live.values().map(Entry::shown).collect()
    }

    /// What the sandboxes of each step took and take, by workflow and step.
    pub(crate) fn sums(&self) -> BTreeMap<Place, Sum> {
        let state = self.state();
        let mut sums = state.ended.clone();
        for entry in state.live.values() {
            let sum = sum_of(&mut sums, &entry.whose);
            sum.add(entry.used.resources());
            sum.running += 1;
            sum.memory = more(sum.memory, entry.now.memory);
            sum.tasks = more(sum.tasks, entry.now.tasks);
        }
        sums
    }
}

impl Entry {
    fn shown(&self) -> Live {
        Live {
            run_id: self.whose.run,
            step: self.whose.step.clone(),
            generation: self.whose.generation,
            attempt: self.whose.attempt,
            resources: self.used.resources(),
            memory_bytes: self.now.memory,
            tasks: self.now.tasks,
            supervised: self.supervised.clone(),
        }
    }
}

fn more(sum: Option<u64>, one: Option<u64>) -> Option<u64> {
    one.map(|one| sum.unwrap_or(0).saturating_add(one)).or(sum)
}

/// The sum that a sandbox belongs to.
fn sum_of<'a>(sums: &'a mut BTreeMap<Place, Sum>, whose: &Whose) -> &'a mut Sum {
    bounded::of(sums, &whose.workflow, &whose.step, Sum::default)
}

impl Sum {
    fn add(&mut self, took: Resources) {
        self.begun += 1;
        self.took = self.took.then(took);
    }
}

/// A sandbox that runs. What it took stays in the sums when this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    of: Arc<LiveSandboxes>,
    key: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.of.state();
        if let Some(entry) = state.live.remove(&self.key) {
            let took = entry.used.resources();
            sum_of(&mut state.ended, &entry.whose).add(took);
        }
    }
}

#[cfg(test)]
mod tests;
