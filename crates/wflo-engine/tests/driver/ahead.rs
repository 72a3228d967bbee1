//! Steps that compute while the end of the step before them is being flushed: here another process
//! holds the database's write lock for that time.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use wflo_core::event::EventBody;
use wflo_core::run::RunStatus;
use wflo_engine::executor::End;
use wflo_store::{SqliteStore, StoreOptions};

use crate::support::{Host, Script, budget_of, pays, step, succeeded, successes, until, workflow};

/// Held by "another process": nothing can be committed until it is dropped.
type Lock = Arc<Mutex<Option<Connection>>>;

/// `a` succeeds once the lock is held; `b` makes a paid call; `c` does nothing.
fn script(dir: &Path, lock: &Lock) -> Arc<Script> {
    let script = Arc::new(Script::default());
    let (file, lock) = (dir.join("wflo.db"), Arc::clone(lock));
    script.on("a", move |attempt, _| {
        let mut held = lock.lock().unwrap();
        if attempt.attempt == 1 && held.is_none() {
            let other = Connection::open(&file).unwrap();
            other.busy_timeout(Duration::from_secs(10)).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            *held = Some(other);
        }
        async move { succeeded(&attempt.step) }
    });
    script.on("b", |attempt, store| async move {
        match pays(&attempt, &store).await {
            Ok(()) => succeeded(&attempt.step),
            Err(e) => End::Lost { reason: e.to_string() },
        }
    });
    script
}

fn line() -> serde_json::Value {
    workflow(vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])])
}

#[test]
fn the_next_step_computes_during_the_flush_and_nobody_hears_of_it_before() {
    let (dir, lock) = (tempfile::tempdir().unwrap(), Lock::default());
    let script = script(dir.path(), &lock);
    let host = Host::start(dir.path(), &script);
    let run = host.submit(&line());
    until("b computes", || script.times("b") == 1);
    let events = host.events(run);
    assert!(successes(&events).is_empty(), "the end of a is not durable");
    let journaled = |e: &wflo_core::event::Recorded| matches!(e.event.body, EventBody::EffectStarted { .. });
    assert!(!events.iter().any(journaled), "the call of b waits for its intent");
    assert_eq!(script.times("c"), 0);
    assert_eq!(host.runtime_settled(run), "driven");
    drop(lock.lock().unwrap().take());
    assert_eq!(host.finish(run), RunStatus::Completed);
    assert_eq!(successes(&host.events(run)), ["a", "b", "c"]);
    assert_eq!(script.began.lock().unwrap().len(), 3, "nothing was done again");
}

#[test]
fn an_end_that_never_became_durable_takes_all_that_followed_with_it() {
    let (dir, lock) = (tempfile::tempdir().unwrap(), Lock::default());
    let script = script(dir.path(), &lock);
    // Long enough for b to begin meanwhile.
    let impatient = StoreOptions { lock_wait: Duration::from_secs(3), ..StoreOptions::default() };
    let store = Arc::new(SqliteStore::open(dir.path().join("wflo.db"), impatient).unwrap());
    let first = Host::over(dir.path(), &script, store, 4);
    let run = first.submit(&line());
    until("the run is given up", || first.runtime_settled(run) == "given up");
    assert_eq!(script.times("b"), 1, "b had begun to compute");
    // There is room to write again, and still nothing of b can be written under the lost lease.
    drop(lock.lock().unwrap().take());
    let events = first.events(run);
    let of_b = |e: &wflo_core::event::Recorded| match &e.event.body {
        EventBody::StepStarted { step, .. } => step == "b",
        EventBody::EffectStarted { .. } => true,
        _ => false,
    };
    assert!(successes(&events).is_empty() && !events.iter().any(of_b), "{events:?}");
    // The same engine can take it up again, from where the store says that it stands.
    first.block_on(first.engine.drive(run)).unwrap();
    assert_eq!(first.finish(run), RunStatus::Completed);
    assert_eq!(successes(&first.events(run)), ["a", "b", "c"]);
    let budget = first.block_on(first.store.budgets(vec![budget_of(run).key])).unwrap();
    let cost = first.block_on(first.store.run_cost(run)).unwrap();
    assert!(budget.iter().all(|b| b.held.units() == 0 && b.settled.money() == cost), "{budget:?} {cost}");
}
