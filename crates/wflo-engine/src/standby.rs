//! The sandbox of a run's next step, made while a step runs.
//!
//! A *standby* is made by the same steps as any other sandbox, with a runner of its own in it: nothing is shared and
//! no wall is another. It has no order: nobody serves its models, it is no step's, and no line of the project runs in
//! it. Owns when one is made, who gets it and when it ends. What happens where something dies in between is in
//! `docs/adr/0036-the-next-steps-sandbox.md`.
//!
//! **Architecture Invariants:** a standby is one run's, and is given once. Whoever takes it would have asked for the
//! very same. When [`Standbys::end`] returns, none of the run's is alive, or a slow container engine still makes it.

mod seen;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use wflo_core::definition::{AskWhen, Definition, StepKind, StepSpec};
use wflo_core::id::RunId;
use wflo_core::machine::Outputs;

use self::seen::Seen;
use crate::launch::{Backend, Launch};
use crate::sandboxed::{Runner, Sandboxes, Shape};

/// So many of a run may be made for nothing, one behind the other; then it gets no more of them.
const IN_VAIN: u32 = 2;
/// How long one is kept. A step that takes longer does not feel what the next one's start takes.
const KEPT: Duration = Duration::from_secs(60);

/// How long a run's end waits for that of its standby.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the next step of a run will ask for, if nothing changes until then.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) launch: Launch,
    pub(crate) shape: Shape,
}

/// Those of an engine.
pub(crate) struct Standbys {
    /// At most so many at a time.
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    runs: HashMap<RunId, Place>,
}

/// A run's.
#[derive(Default)]
struct Place {
    making: Option<Making>,
    in_vain: u32,
    /// Ends of those that nobody took.
    ending: Vec<JoinHandle<()>>,
}

impl Place {
    /// One was made for nothing. Nobody waits for its end but that of the run.
    fn was_in_vain(&mut self, end: impl Future<Output = ()> + Send + 'static) {
        self.in_vain += 1;
        self.ending.retain(|ending| !ending.is_finished());
        self.ending.push(tokio::spawn(end));
    }
}

/// One that is there, or will be.
struct Making {
    number: u64,
    wish: Wish,
    made: JoinHandle<Option<Made>>,
    expiry: AbortHandle,
}

struct Made {
    runner: Runner,
    seen: Seen,
}

impl Standbys {
    /// As many as this machine can make at once, twice.
    pub(crate) fn new() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Standbys { most: 2 * cores, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to make one, where the run has none and one may be of use.
    pub(crate) fn begin(self: &Arc<Self>, sandboxes: &Arc<Sandboxes>, run: RunId, wish: Wish) {
        let mut state = self.state();
        let at_once = state.runs.values().filter(|place| place.making.is_some()).count();
        let number = state.next;
        let place = state.runs.entry(run).or_default();
        if place.making.is_some() || place.in_vain >= IN_VAIN || at_once >= self.most {
            return;
        }
        let own = Arc::clone(self);
        let expiry = tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            own.expire(run, number);
        });
        // No step's sandbox is called so: a dot is in no name of a step.
        let name = format!("{run}.standby-{number}");
        let made = tokio::spawn(make(Arc::clone(sandboxes), wish.clone(), name));
        place.making = Some(Making { number, wish, made, expiry: expiry.abort_handle() });
        state.next += 1;
    }

    /// The runner that waits for a step of the run which asks for this; `None` where there is none. One that
    /// is being made is waited for: whoever began now would have it later.
    pub(crate) async fn take(&self, run: RunId, wish: &Wish) -> Option<Runner> {
        let making = {
            let mut state = self.state();
            let place = state.runs.get_mut(&run)?;
            let making = place.making.take()?;
            if making.wish != *wish {
                place.was_in_vain(making.end());
                return None;
            }
            making
        };
        making.expiry.abort();
        let Made { runner, seen } = match making.made.await.ok().flatten() {
            Some(made) if made.runner.running.lives() => made,
            _ => {
                self.was_in_vain(run, async {});
                return None;
            }
        };
        if !seen.still_stands().await {
            self.was_in_vain(run, async move { runner.running.kill().await });
            return None;
        }
        if let Some(place) = self.state().runs.get_mut(&run) {
            place.in_vain = 0;
        }
        Some(runner)
    }

    /// Ends the run's. None may be begun for it any more by an attempt that runs now. One that a container engine
    /// takes long to make is ended once it is there.
    pub(crate) async fn end(&self, run: RunId) {
        let Some(Place { making, ending, .. }) = self.state().runs.remove(&run) else { return };
        let ends = async {
            if let Some(making) = making {
                making.end().await;
            }
            for ending in ending {
                let _ = ending.await;
            }
        };
        if tokio::time::timeout(PATIENCE, ends).await.is_err() {
            tracing::warn!(run_id = %run, "a sandbox that was made ahead is not ended yet");
        }
    }

    fn expire(&self, run: RunId, number: u64) {
        let mut state = self.state();
        let Some(place) = state.runs.get_mut(&run) else { return };
        if let Some(making) = place.making.take_if(|making| making.number == number) {
            place.was_in_vain(kill(making.made));
        }
    }

    fn was_in_vain(&self, run: RunId, end: impl Future<Output = ()> + Send + 'static) {
        if let Some(place) = self.state().runs.get_mut(&run) {
            place.was_in_vain(end);
        }
    }
}

impl Making {
    async fn end(self) {
        self.expiry.abort();
        kill(self.made).await;
    }
}

async fn kill(made: JoinHandle<Option<Made>>) {
    // Never aborted: what is half made would be waited for by nobody.
    if let Ok(Some(made)) = made.await {
        made.runner.running.kill().await;
    }
}

async fn make(sandboxes: Arc<Sandboxes>, wish: Wish, name: String) -> Option<Made> {
    let Wish { launch, shape } = wish;
    let workflow = launch.workflow.clone()?;
    // Before it is made: what changes meanwhile is seen as changed.
    let seen = Seen::of(&sandboxes, &launch, &shape).await;
    let started = Runner::start(&sandboxes, &launch, shape, name, None).await;
    let mut runner = match started {
        Ok(runner) => runner,
        Err(error) => {
            // The step that would have taken it meets the same, and says so.
            tracing::debug!(%error, "the next step's sandbox cannot be made ahead");
            return None;
        }
    };
    match (seen, runner.prepare(&workflow).await) {
        (Ok(seen), Ok(())) => Some(Made { runner, seen }),
        _ => {
            runner.running.kill().await;
            None
        }
    }
}

/// Whether the sandboxes of a run may be made ahead. In a cloud one costs money for as long as it waits, and
/// without isolation its folder would be another one than the step's.
pub(crate) fn may_be(launch: &Launch) -> bool {
    launch.one_seed && matches!(launch.backend, Backend::Native | Backend::Docker)
}

/// Whether a step of code begins as soon as `step` has succeeded, the steps of these outputs being over before it.
pub(crate) fn is_followed(definition: &Definition, step: &str, over: &Outputs) -> bool {
    let is_over = |name: &String| name == step || over.contains_key(name);
    let follows = |next: &StepSpec| {
        next.depends_on.iter().any(|name| name == step) && next.depends_on.iter().all(is_over)
    };
    let is_code = |next: &StepSpec| matches!(&next.kind, StepKind::Agent { prompt: None, .. });
    let asks_first =
        |next: &StepSpec| next.approval.as_ref().is_some_and(|a| a.required && a.when == AskWhen::Start);
    definition.steps.iter().any(|next| is_code(next) && follows(next) && !asks_first(next))
}
