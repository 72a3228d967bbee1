//! Other programs' locks, and engines' own.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wflo_core::id::EngineId;
use wflo_core::ports::store::{Op, RunFilter, Store as _, StoreError};
use wflo_store::lock::{EngineLock, holder, remove_stale};
use wflo_store::{SqliteStore, StoreOptions};

use crate::child::{self, Running};
use crate::contract::ground::*;

fn impatient() -> StoreOptions {
    StoreOptions { lock_wait: Duration::from_millis(60), ..StoreOptions::default() }
}

#[tokio::test]
async fn another_programs_lock_is_waited_for_and_then_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wflo.db");
    let store = SqliteStore::open(&file, impatient()).unwrap();
    let run = run_record();
    commit(&store, acceptance(&run)).await.unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let append = || vec![Op::AppendEvents { run: run.id, events: vec![machine_event(1)] }];
    assert!(matches!(commit(&store, append()).await, Err(StoreError::Locked { .. })));
    // Readers are not held up.
    assert!(store.events(run.id, 0, 0).await.unwrap().is_empty());
    other.execute_batch("ROLLBACK").unwrap();
    commit(&store, append()).await.unwrap();
    assert_eq!(store.events(run.id, 0, 0).await.unwrap().len(), 1);
    store.close();
    other
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE counters SET overruns = 0; COMMIT",
        )
        .unwrap();
    assert!(matches!(SqliteStore::open(&file, impatient()), Err(StoreError::Locked { .. })));
    drop(other);
    let store = SqliteStore::open(&file, impatient()).unwrap();
    assert_eq!(store.runs(RunFilter::default()).await.unwrap().len(), 1);
}

fn engine() -> EngineId {
    EngineId::from_uuid(uuid::Uuid::from_u128(7))
}

#[test]
#[ignore = "run as another process by the test below"]
fn child_holds_an_engine_lock() {
    let Some(folder) = child::folder() else { return };
    let lock = EngineLock::acquire(&folder, engine(), std::process::id()).unwrap();
    child::tell("locked");
    // Until the parent kills it.
    loop {
        std::thread::park();
        assert_eq!(lock.id(), engine());
    }
}

#[test]
fn an_engine_lives_until_its_process_ends_however_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(child::command("lock::child_holds_an_engine_lock", dir.path()));
    assert_eq!(running.line().as_deref(), Some("locked"));
    let child = running.child.id();
    assert_eq!(holder(dir.path(), engine()).unwrap(), Some(child));
    let pid = Pid::from_child(&running.child);
    kill_process(pid, Signal::STOP).unwrap();
    assert_eq!(holder(dir.path(), engine()).unwrap(), Some(child), "a stopped process is not dead");
    assert!(!remove_stale(dir.path(), engine()).unwrap());
    kill_process(pid, Signal::CONT).unwrap();
    drop(running);
    assert_eq!(holder(dir.path(), engine()).unwrap(), None);
    assert!(remove_stale(dir.path(), engine()).unwrap());
    assert_eq!(std::fs::read_dir(dir.path().join("engines")).unwrap().count(), 0);
}
