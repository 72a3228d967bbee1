//! The store's promises on SQLite, and those that only SQLite makes.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, missing_docs)]

#[path = "contract/all.rs"]
mod contract;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use contract::Fixture;
use contract::ground::*;
use wflo_core::ports::store::{Op, Store as _};
use wflo_store::{SqliteStore, StoreOptions};

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(".wflo/wflo.db");
    Fixture::new(move || Arc::new(SqliteStore::open(&file, StoreOptions::default()).unwrap()), dir)
}

contract::promises!(fixture);

#[test]
fn any_order_of_calls_keeps_the_books() {
    contract::budget_model::any_order_of_calls_keeps_the_books(fixture);
}

#[tokio::test]
async fn only_the_owner_can_read_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/data/wflo.db", dir.path().display());
    let store = SqliteStore::open(&url, StoreOptions::default()).unwrap();
    assert_eq!(store.data_dir(), dir.path().join("data"));
    let mut run = run_record();
    run.inputs = serde_json::json!("x".repeat(50_000));
    commit(&store, acceptance(&run)).await.unwrap();
    let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("data"), mode("data/blobs")), (0o700, 0o700));
    assert_eq!(
        (mode("data/wflo.db"), mode("data/wflo.db-wal"), mode("data/wflo.db-shm")),
        (0o600, 0o600, 0o600)
    );
}

#[tokio::test]
async fn what_is_committed_is_announced_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("wflo.db"), StoreOptions::default()).unwrap();
    let (mut commits, mut recorded, run) = (store.commits(), store.subscribe(), run_record());
    let before = *commits.borrow_and_update();
    commit(&store, acceptance(&run)).await.unwrap();
    for n in 0..3 {
        let events = vec![machine_event(n), journal_event(n)];
        commit(&store, vec![Op::AppendEvents { run: run.id, events }]).await.unwrap();
    }
    assert!(commits.has_changed().unwrap() && *commits.borrow() == before + 4);
    let mut heard = Vec::new();
    while let Ok(event) = recorded.try_recv() {
        heard.push(event);
    }
    assert_eq!(heard, store.events(run.id, 0, 0).await.unwrap());
    // What failed is not announced.
    let ops = vec![
        Op::AppendEvents { run: run.id, events: vec![machine_event(9)] },
        Op::SupersedeApproval { id: approval_id() },
    ];
    assert!(commit(&store, ops).await.is_err());
    assert!(recorded.try_recv().is_err() && *commits.borrow() == before + 4);
}

#[tokio::test]
async fn the_log_is_emptied_while_commits_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wflo.db");
    let store = SqliteStore::open(&file, StoreOptions::default()).unwrap();
    let run = run_record();
    commit(&store, acceptance(&run)).await.unwrap();
    let size = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
    let mut events = journal_event(1);
    events.body = wflo_core::event::EventBody::Notice { notice: "n".to_owned(), message: "x".repeat(4000) };
    // 64 MiB in all, eight times what the log may hold before it is copied.
    for _ in 0..256 {
        let op = Op::AppendEvents { run: run.id, events: vec![events.clone(); 64] };
        commit(&store, vec![op]).await.unwrap();
    }
    assert!(size("wflo.db") > 32 << 20, "the database has {} bytes", size("wflo.db"));
    assert!(size("wflo.db-wal") < 32 << 20, "the log has {} bytes", size("wflo.db-wal"));
    store.close();
    assert!(!dir.path().join("wflo.db-wal").exists(), "the last to close copies the log and removes it");
    let store = SqliteStore::open(&file, StoreOptions::default()).unwrap();
    assert_eq!(store.events(run.id, 0, 0).await.unwrap().len(), 256 * 64);
}

#[tokio::test]
async fn another_kind_of_url_is_refused_by_name() {
    let error = SqliteStore::open("postgres://db/wflo", StoreOptions::default()).unwrap_err();
    assert!(error.to_string().contains("not part of this release"), "{error}");
}
