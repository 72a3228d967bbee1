//! The store's promises on SQLite, and those that only SQLite makes.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, missing_docs)]

#[path = "contract/all.rs"]
mod contract;

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Fixture;
use contract::ground::*;
use wflo_core::event::{Event, EventBody};
use wflo_core::ports::store::{Op, Store as _, StoreError};
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
        heard.extend(event.recorded());
    }
    assert_eq!(heard, store.events(run.id, 0, 0).await.unwrap());
    // Many large ones that a subscriber has not taken would fill the memory: only that they are there is said.
    let data = serde_json::json!("x".repeat(10_000));
    let large = EventBody::Emitted { step: "s".to_owned(), name: "n".to_owned(), data };
    let events = vec![Event { at: at(4), body: large }, machine_event(5)];
    commit(&store, vec![Op::AppendEvents { run: run.id, events }]).await.unwrap();
    let told = [recorded.try_recv().unwrap(), recorded.try_recv().unwrap()];
    assert_eq!(told.clone().map(|event| event.seq), [heard.len() as u64 + 1, heard.len() as u64 + 2]);
    assert_eq!(told.map(|event| event.event.is_some()), [false, true]);
    // What failed is not announced.
    let ops = vec![
        Op::AppendEvents { run: run.id, events: vec![machine_event(9)] },
        Op::SupersedeApproval { id: approval_id() },
    ];
    assert!(commit(&store, ops).await.is_err());
    assert!(recorded.try_recv().is_err() && *commits.borrow() == before + 5);
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
    // How often the log has begun anew stands in its head.
    let log = dir.path().join("wflo.db-wal");
    let begun = || {
        let mut head = [0; 16];
        std::fs::File::open(&log).unwrap().read_exact(&mut head).unwrap();
        u32::from_be_bytes(head[12..].try_into().unwrap())
    };
    // 64 MiB in all, eight times what the log may hold before it is copied. Who copies it has a turn after every
    // 16 MiB, however busy the machine is; the commits that let the log begin anew become rarer, so that they do not
    // fill it.
    let mut few = 0;
    for _ in 0..4 {
        let before = begun();
        for _ in 0..64 {
            let op = Op::AppendEvents { run: run.id, events: vec![events.clone(); 64] };
            commit(&store, vec![op]).await.unwrap();
        }
        let (deadline, mut wait) = (Instant::now() + Duration::from_secs(120), Duration::from_millis(1));
        while begun() == before {
            assert!(Instant::now() < deadline, "the log did not begin anew");
            tokio::time::sleep(wait).await;
            wait *= 2;
            commit(&store, vec![Op::AppendEvents { run: run.id, events: vec![journal_event(1)] }])
                .await
                .unwrap();
            few += 1;
        }
    }
    assert!(size("wflo.db") > 32 << 20, "the database has {} bytes", size("wflo.db"));
    assert!(size("wflo.db-wal") < 32 << 20, "the log has {} bytes", size("wflo.db-wal"));
    store.close();
    assert!(!dir.path().join("wflo.db-wal").exists(), "the last to close copies the log and removes it");
    let store = SqliteStore::open(&file, StoreOptions::default()).unwrap();
    assert_eq!(store.events(run.id, 0, 0).await.unwrap().len(), 256 * 64 + few);
}

#[tokio::test]
async fn another_kind_of_url_is_refused_by_name() {
    let error = SqliteStore::open("postgres://db/wflo", StoreOptions::default()).unwrap_err();
    assert!(error.to_string().contains("not part of this release"), "{error}");
}

#[tokio::test]
async fn the_file_becomes_smaller_when_runs_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wflo.db");
    let store = SqliteStore::open(&file, StoreOptions::default()).unwrap();
    let run = run_record();
    let event = |n| match journal_event(n).body {
        wflo_core::event::EventBody::Notice { notice, .. } => wflo_core::event::Event {
            at: at(n),
            body: wflo_core::event::EventBody::Notice { notice, message: "m".repeat(20_000) },
        },
        _ => unreachable!(),
    };
    commit(&store, acceptance(&run)).await.unwrap();
    for n in 0..500 {
        commit(&store, vec![Op::AppendEvents { run: run.id, events: vec![event(n)] }]).await.unwrap();
    }
    // Copies the log, so that the file has all of it.
    assert_eq!(store.collect(at(0)).await.unwrap().database_bytes, 0);
    let before = std::fs::metadata(&file).unwrap().len();
    let ops = vec![
        Op::SetRun {
            run: run.id,
            status: wflo_core::run::RunStatus::Completed,
            outputs: None,
            error: None,
            at: at(600),
        },
        Op::RemoveRun { run: run.id, epoch: 1, spent: Vec::new(), databases: Vec::new() },
    ];
    commit(&store, ops).await.unwrap();
    let freed = store.collect(at(0)).await.unwrap().database_bytes;
    let after = std::fs::metadata(&file).unwrap().len();
    assert!(before > 10_000_000 && freed > 8_000_000 && after < 2_000_000, "{before} {freed} {after}");
    commit(&store, acceptance(&run_record())).await.unwrap();
}

/// Every table that refers to runs, those of later schemas too: a new one needs a row in the sample.
#[tokio::test]
async fn no_table_keeps_a_row_of_a_removed_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wflo.db");
    let store: Arc<dyn wflo_core::ports::store::Store> =
        Arc::new(SqliteStore::open(&file, StoreOptions::default()).unwrap());
    let (run, _) = contract::retention::full(&store).await;
    let rows = || -> Vec<(String, i64)> {
        let conn = rusqlite::Connection::open(&file).unwrap();
        let names = "SELECT m.name FROM sqlite_schema m, pragma_table_info(m.name) c
                     WHERE m.type = 'table' AND c.name = 'run' AND c.type = 'INTEGER' ORDER BY 1";
        let names: Vec<String> = conn
            .prepare(names)
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let names = names.into_iter().chain(["runs", "run_details", "effect_requests"].map(str::to_owned));
        let count = |name: String| {
            let sql = format!("SELECT count(*) FROM {name}");
            let count = conn.query_row(&sql, [], |row| row.get(0)).unwrap();
            (name, count)
        };
        names.map(count).collect()
    };
    let before = rows();
    assert!(before.len() >= 11 && before.iter().all(|(_, count)| *count > 0), "{before:?}");
    let op = Op::RemoveRun { run: run.id, epoch: run.lease_epoch, spent: Vec::new(), databases: Vec::new() };
    commit(&*store, vec![op]).await.unwrap();
    let after = rows();
    assert!(after.iter().all(|(_, count)| *count == 0), "{after:?}");
}

/// A data directory of the first schema goes on, and says what its runs need.
#[tokio::test]
async fn the_first_schema_is_brought_forward() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wflo.db");
    let conn = rusqlite::Connection::open(&file).unwrap();
    conn.execute_batch(include_str!("../src/sqlite/migrations/0001_initial.sql")).unwrap();
    conn.execute_batch(
        r#"INSERT INTO definitions VALUES ('d1', '{}');
           INSERT INTO runs VALUES (1, 'run_0190f2e4000070008000000000000001', 1, 'running',
               '2026-11-01T00:00:00Z', NULL, NULL, 'w');
           INSERT INTO run_details VALUES (1, 'v', NULL, 'c', 'd1', '{}',
               '{"launch":{"sealed":"s1"},"carried":[{"step":"a","output":1,"state":null,"layer":"l1"}]}',
               NULL, NULL, NULL, 'run_0190f2e4000070008000000000000001', 't', '2026-11-01T00:00:00Z');
           INSERT INTO events VALUES (1, 1, 1, 0,
               '{"time":"2026-11-01T00:00:00Z","type":"step.succeeded","step":"b","layer":"l2"}');
           INSERT INTO approvals VALUES (1, 'apr_0190f2e4000070008000000000000002', 1, 'pending',
               '2026-11-01T00:00:00Z', NULL, NULL,
               '{"purpose":"write","effect":{"step":"b","generation":1,"path":"0","effect_seq":2},"step":"b",
                 "generation":1,"title":"?","evidence":null,"binding":{"action":"a","code":"c","evidence":"e"},
                 "approvers":[],"quorum":1,"expires_at":null,"on_timeout":"hold","notify":[]}', '{}');
           PRAGMA user_version = 1;"#,
    )
    .unwrap();
    conn.pragma_update(None, "application_id", i32::from_be_bytes(*b"wflo")).unwrap();
    drop(conn);
    let store = SqliteStore::open(&file, StoreOptions::default()).unwrap();
    assert_eq!(store.trees().await.unwrap(), ["l1", "l2", "s1"]);
    let run = "run_0190f2e4000070008000000000000001".parse().unwrap();
    let effect =
        wflo_core::effect::EffectKey { step: "b".to_owned(), generation: 1, path: "0".to_owned(), seq: 2 };
    let purpose = wflo_core::approval::Purpose::Write { effect };
    assert_eq!(store.approvals_about(run, purpose).await.unwrap().len(), 1);
}

/// A store whose migrations are done, as its file.
fn made(dir: &std::path::Path) -> std::path::PathBuf {
    let file = dir.join("wflo.db");
    drop(SqliteStore::open(&file, StoreOptions::default()).unwrap());
    file
}

/// What a project brings along acts inside wflo's own commits, so a store is as the migrations make it or is not opened.
#[test]
fn a_store_with_anything_that_wflo_does_not_make_is_refused_as_it_is() {
    for (statement, named) in [
        ("CREATE TRIGGER t AFTER INSERT ON approvals BEGIN DELETE FROM approvals; END", "trigger `t`"),
        ("CREATE VIEW v AS SELECT 1", "view `v`"),
        ("CREATE TABLE x (a)", "table `x`"),
        ("CREATE INDEX i ON events (body)", "index `i`"),
        ("ALTER TABLE budgets ADD COLUMN more TEXT", "table `budgets`"),
        ("DROP INDEX budgets_account", "index `budgets_account`"),
        ("DROP TABLE inbox; CREATE VIEW inbox AS SELECT 1 AS id", "view `inbox`"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = made(dir.path());
        let conn = rusqlite::Connection::open(&file).unwrap();
        conn.execute_batch(statement).unwrap();
        drop(conn);
        let before = std::fs::read(&file).unwrap();
        match SqliteStore::open(&file, StoreOptions::default()) {
            Err(StoreError::Altered { detail, .. }) => {
                assert!(detail.contains(named), "{statement}: {detail}")
            }
            other => panic!("{statement}: {other:?}"),
        }
        assert_eq!(std::fs::read(&file).unwrap(), before, "{statement}");
    }
}

#[test]
fn statistics_that_a_person_asked_for_are_no_strangers() {
    let dir = tempfile::tempdir().unwrap();
    let file = made(dir.path());
    rusqlite::Connection::open(&file).unwrap().execute_batch("ANALYZE").unwrap();
    SqliteStore::open(&file, StoreOptions::default()).unwrap();
}

/// SQLite would roll it back before anything of the store can be looked at.
#[test]
fn a_journal_beside_a_store_that_has_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = made(dir.path());
    let journal = dir.path().join("wflo.db-journal");
    std::fs::write(&journal, "anything").unwrap();
    match SqliteStore::open(&file, StoreOptions::default()) {
        Err(StoreError::Altered { detail, .. }) => assert!(detail.contains("wflo.db-journal"), "{detail}"),
        other => panic!("{other:?}"),
    }
    assert!(journal.exists(), "SQLite was not asked");
    std::fs::remove_file(&journal).unwrap();
    SqliteStore::open(&file, StoreOptions::default()).unwrap();
}
