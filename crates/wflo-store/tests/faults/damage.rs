//! Files that are damaged, foreign, too new, or may not be written.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use wflo_core::ports::store::{Op, Store as _, StoreError};
use wflo_store::{SqliteStore, StoreOptions};
use wflo_testkit::executable;

use crate::child::{self, Running};
use crate::contract::ground::*;

fn open(file: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(file, StoreOptions::default())
}

/// Opening must fail and leave every byte and every name as it was.
fn refused(file: &Path) -> StoreError {
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let folder = file.parent().unwrap();
    let (bytes, before) = (fs::read(file).unwrap(), names(folder));
    let error = open(file).unwrap_err();
    assert_eq!((fs::read(file).unwrap() == bytes, names(folder)), (true, before), "{error}");
    error
}

/// A database with some hundred pages, closed.
async fn database(dir: &Path) -> (PathBuf, Vec<wflo_core::id::RunId>) {
    let file = dir.join("wflo.db");
    let store = open(&file).unwrap();
    let mut runs = Vec::new();
    for _ in 0..20 {
        let run = run_record();
        let events = (0..100).map(machine_event).collect();
        let mut ops = acceptance(&run);
        ops.push(Op::AppendEvents { run: run.id, events });
        commit(&store, ops).await.unwrap();
        runs.push(run.id);
    }
    store.close();
    (file, runs)
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wflo.db");
    fs::write(&file, "my shopping list\n".repeat(500)).unwrap();
    assert!(matches!(refused(&file), StoreError::Corrupt { .. }));
}

#[test]
fn another_applications_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wflo.db");
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
        .unwrap();
    let error = refused(&file);
    assert!(
        matches!(&error, StoreError::Corrupt { detail, .. } if detail.contains("another application")),
        "{error}"
    );
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = database(dir.path()).await;
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(refused(&file), StoreError::TooNew { found: 99, .. }));
}

#[tokio::test]
async fn a_truncated_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = database(dir.path()).await;
    let length = fs::metadata(&file).unwrap().len();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length / 2 / 4096 * 4096).unwrap();
    assert!(matches!(refused(&file), StoreError::Corrupt { .. }));
}

#[tokio::test]
async fn damaged_pages_are_named_and_never_read_as_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let (file, runs) = database(dir.path()).await;
    let pristine = fs::read(&file).unwrap();
    let expected = {
        let store = open(&file).unwrap();
        store.events(runs[0], 0, 0).await.unwrap()
    };
    let mut named = 0;
    for page in 1..pristine.len() / 4096 {
        let mut damaged = pristine.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        for name in ["wflo.db-wal", "wflo.db-shm"] {
            let _ = fs::remove_file(dir.path().join(name));
        }
        fs::write(&file, &damaged).unwrap();
        let outcome = match open(&file) {
            Ok(store) => store.events(runs[0], 0, 0).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(events) => assert_eq!(events, expected, "page {page}"),
            Err(StoreError::Corrupt { .. }) => named += 1,
            Err(other) => panic!("page {page}: {other}"),
        }
    }
    assert!(named > 0);
}

#[test]
fn a_folder_that_cannot_be_made_or_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let error = open(&in_the_way.join("wflo.db")).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
#[ignore = "run as an ordinary user by the test below"]
fn child_opens_in_a_read_only_folder() {
    let Some(folder) = child::folder() else { return };
    for name in ["wflo.db", "sub/wflo.db"] {
        let error = open(&folder.join(name)).unwrap_err();
        assert!(matches!(error, StoreError::Failed(_)), "{error}");
        assert!(error.to_string().contains(&folder.display().to_string()), "{error}");
    }
    child::tell("refused");
}

#[test]
fn a_read_only_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o555)).unwrap();
    // Root may write anywhere, so it becomes somebody who may not, with a copy of this program that they can run.
    let binary = dir.path().join("test");
    executable::copied(std::env::current_exe().unwrap(), &binary);
    let test = child::command("damage::child_opens_in_a_read_only_folder", &folder);
    let mut command = std::process::Command::new(binary);
    command.args(test.get_args()).envs(test.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir("/");
    if rustix::process::getuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let (told, passed) = Running::start(command).finish();
    assert!(passed && told == ["refused"], "{told:?}");
}
