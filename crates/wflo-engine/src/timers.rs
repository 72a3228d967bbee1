//! Timers of all runs of this engine, in one heap.
//!
//! A timer is due by the boot clock when it was set in this boot (a changed wall clock does not move
//! it), else by the wall clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use wflo_core::id::RunId;
use wflo_core::machine::TimerKey;
use wflo_core::ports::clock::{Clock, Moment};

type Entry = Reverse<(u64, u64, RunId, TimerKey, jiff::Timestamp)>;

#[derive(Default)]
struct Heap {
    /// By boot milliseconds.
    due: BinaryHeap<Entry>,
    /// The number under which a timer is set now, and when it is due; older entries in the heap are
    /// ignored.
    current: HashMap<(RunId, TimerKey), (u64, u64)>,
    count: u64,
}

/// All timers of an engine.
pub(crate) struct Timers {
    heap: Mutex<Heap>,
    changed: Notify,
    clock: Arc<dyn Clock>,
}

impl Timers {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Timers { heap: Mutex::new(Heap::default()), changed: Notify::new(), clock }
    }

    /// Sets a timer that was due at `due` when both clocks showed `set`.
    pub(crate) fn set(&self, run: RunId, key: TimerKey, due: jiff::Timestamp, set: &Moment) {
        let now = self.clock.moment();
        let left_by = |from: jiff::Timestamp| due.duration_since(from).as_millis();
        let boot_due = if now.boot_id == set.boot_id {
            i128::from(set.boot_ms) + left_by(set.wall)
        } else {
            i128::from(now.boot_ms) + left_by(now.wall)
        };
        let boot_due = u64::try_from(boot_due.max(0)).unwrap_or(u64::MAX);
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        // A run that is woken sets its timers again; the heap must not grow by that.
        if heap.current.get(&(run, key.clone())).is_some_and(|(_, known)| *known == boot_due) {
            return;
        }
        heap.count += 1;
        let number = heap.count;
        heap.current.insert((run, key.clone()), (number, boot_due));
        heap.due.push(Reverse((boot_due, number, run, key, due)));
        drop(heap);
        self.changed.notify_one();
    }

    pub(crate) fn drop_timer(&self, run: RunId, key: &TimerKey) {
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        heap.current.remove(&(run, key.clone()));
    }

    /// The next timer that is due, waiting for it, and the time that it was set for.
    pub(crate) async fn next(&self) -> (RunId, TimerKey, jiff::Timestamp) {
        loop {
            match self.poll() {
                Ok(due) => return due,
                Err(None) => self.changed.notified().await,
                Err(Some(wait)) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.changed.notified() => {}
                    }
                }
            }
        }
    }

    fn poll(&self) -> Result<(RunId, TimerKey, jiff::Timestamp), Option<Duration>> {
        let now = self.clock.moment().boot_ms;
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(Reverse((due, number, run, key, set_for))) = heap.due.peek().cloned() else {
                return Err(None);
            };
            if heap.current.get(&(run, key.clone())).is_none_or(|(current, _)| *current != number) {
                heap.due.pop();
            } else if due <= now {
                heap.due.pop();
                heap.current.remove(&(run, key.clone()));
                return Ok((run, key, set_for));
            } else {
                // Long sleeps are cut, so that a suspended laptop wakes near the right time.
                return Err(Some(Duration::from_millis((due - now).min(30_000))));
            }
        }
    }
}
