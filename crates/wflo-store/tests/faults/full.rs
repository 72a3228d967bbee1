//! A disk that is full.

use std::path::Path;
use std::process::Command;

use wflo_core::ports::store::{Batch, Fence, Op, Store as _, StoreError};
use wflo_store::{SqliteStore, StoreOptions};

use crate::child::{self, Running};
use crate::contract::ground::*;
use crate::ledger;

#[test]
#[ignore = "run in a mount namespace of its own by the test below"]
fn child_fills_its_disk() {
    if let Some(folder) = child::folder() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(fill(&folder));
        child::tell("done");
    }
}

async fn fill(folder: &Path) {
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![1_u8; 1 << 20]).unwrap();
    let store = SqliteStore::open(folder.join("wflo.db"), StoreOptions::default()).unwrap();
    let (run, budget) = (run_record(), ledger::open_budget(&store).await);
    commit(&store, acceptance(&run)).await.unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
    let (mut n, mut error) = (0, None);
    while error.is_none() {
        error = ledger::call(&store, run.id, &budget, n, tell).await.err();
        n += 1;
    }
    assert!(matches!(error, Some(StoreError::DiskFull { .. })), "{error:?}");
    // Nothing is lost, and what is there can be read while the disk is still full.
    let so_far = told.lock().unwrap().clone();
    ledger::check(&store, &so_far).await;
    let large = || {
        let mut run = run_record();
        run.inputs = serde_json::json!("x".repeat(3 << 20));
        acceptance(&run)
    };
    assert!(
        matches!(commit(&store, large()).await, Err(StoreError::DiskFull { .. })),
        "a blob needs room as well"
    );
    let ahead = run_record();
    let fence = Some(Fence { run: ahead.id, epoch: ahead.lease_epoch });
    let mut posted = store.post(Batch { fence, ops: acceptance(&ahead) }).await.unwrap().await;
    while posted.is_ok() {
        let events = (0..500).map(journal_event).collect();
        let ops = vec![Op::AppendEvents { run: ahead.id, events }];
        posted = store.post(Batch { fence, ops }).await.unwrap().await;
    }
    // Space comes back, and work goes on in the same process.
    std::fs::remove_file(&ballast).unwrap();
    let behind = Op::AppendEvents { run: ahead.id, events: vec![journal_event(0)] };
    let refused = store.commit(Batch { fence, ops: vec![behind] }).await;
    assert_eq!(refused, posted, "what builds on the lost batch does not come back with the space");
    for more in 0..20 {
        ledger::call(&store, run.id, &budget, n + more, tell).await.unwrap();
    }
    store.close();
    let store = SqliteStore::open(folder.join("wflo.db"), StoreOptions::default()).unwrap();
    let so_far = told.lock().unwrap().clone();
    ledger::check(&store, &so_far).await;
}

#[test]
fn a_full_disk_is_named_and_work_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let test = child::command("full::child_fills_its_disk", dir.path());
    let mut command = Command::new("unshare");
    // Root needs no user namespace, which some hosts refuse.
    match rustix::process::getuid().is_root() {
        true => command.args(["--mount"]),
        false => command.args(["--map-root-user", "--mount"]),
    };
    let script = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";
    command.args(["sh", "-c", script]).arg(dir.path()).arg(test.get_program()).args(test.get_args());
    command.envs(test.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (told, passed) = Running::start(command).finish();
    assert!(
        passed && told == ["done"],
        "this test needs util-linux's unshare and mount namespaces: {told:?}"
    );
}
