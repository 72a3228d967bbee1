//! SIGKILL at any moment, and two processes at once.

use std::path::Path;
use std::sync::Arc;

use wflo_store::{SqliteStore, StoreOptions};

use crate::child::{self, Running};
use crate::contract::ground::*;
use crate::ledger;

fn open(folder: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(folder.join("wflo.db"), StoreOptions::default()).unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Commits on `runs` runs at once, `calls` calls each.
fn commit_calls(folder: &Path, runs: usize, calls: u32) {
    runtime().block_on(async {
        let store = open(folder);
        let budget = ledger::open_budget(&*store).await;
        let mut tasks = Vec::new();
        for _ in 0..runs {
            let (store, budget, run) = (Arc::clone(&store), budget.clone(), run_record());
            tasks.push(tokio::spawn(async move {
                commit(&*store, acceptance(&run)).await.unwrap();
                for n in 0..calls {
                    ledger::call(&*store, run.id, &budget, n, child::tell).await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
#[ignore = "run as another process by the tests below"]
fn child_commits_without_end() {
    if let Some(folder) = child::folder() {
        commit_calls(&folder, 8, u32::MAX);
    }
}

#[test]
#[ignore = "run as another process by the tests below"]
fn child_commits_some() {
    if let Some(folder) = child::folder() {
        commit_calls(&folder, 4, 40);
    }
}

#[test]
fn a_kill_loses_nothing_acknowledged_and_leaves_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    // A small generator with a printed state: a failure can be run again.
    let mut state = u64::from(std::process::id()) | 1;
    println!("kill after counts from seed {state}");
    for _ in 0..20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = 1 + (state >> 33) % 400;
        let mut running = Running::start(child::command("kill::child_commits_without_end", dir.path()));
        for _ in 0..after {
            told.push(running.line().expect("the child goes on until it is killed"));
        }
        running.child.kill().unwrap();
        // What it said between the last line read and its death is acknowledged as well.
        let (rest, passed) = running.finish();
        assert!(!passed);
        told.extend(rest);
        runtime().block_on(async { ledger::check(&*open(dir.path()), &told).await });
    }
}

#[test]
fn two_processes_commit_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // Neither is first: the database is made by whoever comes first.
    let children = [(); 2].map(|()| Running::start(child::command("kill::child_commits_some", dir.path())));
    let mut told = Vec::new();
    for running in children {
        let (lines, passed) = running.finish();
        assert!(passed);
        told.extend(lines);
    }
    assert_eq!(told.len(), 2 * 4 * 40 * 2);
    runtime().block_on(async { ledger::check(&*open(dir.path()), &told).await });
}
