//! An effect happens once, whatever asks how often.

use std::sync::Barrier;
use std::time::Duration;

use wflo_core::error::Coded as _;
use wflo_data::{DataError, Database, Databases, Effect, Forgotten, Limits, NotHeld, Recording, Value};

use crate::temp::{ANY, Temp, UNDOABLE, apply, effect, execute, one, sql};

const SCHEMA: &str = "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
                      INSERT INTO counter VALUES (1, 0);";
const ADD: &str = "UPDATE counter SET n = n + 1 RETURNING n";

#[test]
fn the_same_effect_gives_its_recorded_result() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let first = db.apply(effect("e"), &execute(ADD), ANY).unwrap();
    assert!(!first.replayed && first.recorded);
    assert_eq!(first.result.rows, [[Value::Integer(1)]]);
    temp.other().execute("UPDATE counter SET n = 100", []).unwrap();
    for db in [&db, &temp.db()] {
        let again = db.apply(effect("e"), &execute(ADD), ANY).unwrap();
        assert!(again.replayed);
        assert_eq!((&again.result, &again.digest), (&first.result, &first.digest));
        assert_eq!(db.recorded(effect("e")).unwrap(), Some(again));
    }
    assert_eq!(one(&db, "SELECT n FROM counter"), Value::Integer(100));
    assert_eq!(db.recorded(effect("other")).unwrap(), None);
}

#[test]
fn another_request_under_the_same_id_is_an_error() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    db.apply(effect("e"), &execute(ADD), ANY).unwrap();
    let other = Effect { id: "e", fingerprint: "g" };
    let error = db.apply(other, &execute(ADD), ANY).unwrap_err();
    assert_eq!(error.code().to_string(), "WFLO-6018");
    assert_eq!(one(&db, "SELECT n FROM counter"), Value::Integer(1));
}

#[test]
fn a_failed_write_leaves_neither_change_nor_record() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let failing = "INSERT INTO counter VALUES (2, 0), (1, 0)";
    assert!(matches!(apply(&db, "e", failing), Err(DataError::Constraint { .. })));
    assert_eq!(one(&db, "SELECT count(*) FROM counter"), Value::Integer(1));
    assert_eq!(db.recorded(effect("e")).unwrap(), None);
}

#[test]
fn threads_that_race_for_one_effect_do_it_once() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let (start, racers) = (Barrier::new(8), 8);
    let results: Vec<_> = std::thread::scope(|scope| {
        let run = || {
            start.wait();
            db.apply(effect("e"), &execute(ADD), ANY).unwrap()
        };
        let threads: Vec<_> = (0..racers).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|applied| !applied.replayed).count(), 1);
    assert!(results.iter().all(|applied| applied.result.rows == [[Value::Integer(1)]]));
    assert_eq!(one(&db, "SELECT n FROM counter"), Value::Integer(1));
}

#[test]
fn a_locked_database_is_a_named_error_and_is_waited_for() {
    let mut temp = Temp::new(SCHEMA);
    temp.limits = Limits { lock_wait: Duration::from_millis(50), ..Limits::default() };
    let db = temp.db();
    let other = temp.other();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = db.apply(effect("e"), &execute(ADD), ANY).unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(error.code().to_string(), "WFLO-6006");
    other.execute_batch("ROLLBACK").unwrap();
    db.apply(effect("e"), &execute(ADD), ANY).unwrap();
}

#[test]
fn the_users_journal_mode_stays_and_readers_are_not_disturbed() {
    for mode in ["delete", "wal"] {
        let temp = Temp::new(SCHEMA);
        let _: String =
            temp.other().query_row(&format!("PRAGMA journal_mode = {mode}"), [], |row| row.get(0)).unwrap();
        let reader = temp.other();
        let db = temp.db();
        apply(&db, "e", ADD).unwrap();
        let now: String = reader.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(now, mode);
        let n: i64 = reader.query_row("SELECT n FROM counter", [], |row| row.get(0)).unwrap();
        assert_eq!(n, 1);
    }
}

#[test]
fn where_the_record_cannot_be_kept_writes_are_guarded() {
    let temp = Temp::new(SCHEMA);
    temp.other().execute_batch("CREATE TABLE _wflo_effects (mine)").unwrap();
    let db = temp.db();
    assert!(matches!(db.recording().unwrap(), Recording::Guarded { .. }));
    let applied = db.apply(effect("e"), &execute(ADD), ANY).unwrap();
    assert!(!applied.recorded);
    assert_eq!(applied.not_held, Some(NotHeld::NoRecord));
    let error = db.apply(effect("f"), &execute(ADD), UNDOABLE).unwrap_err();
    assert!(matches!(error, DataError::NotUndoable(NotHeld::NoRecord)), "{error:?}");
}

#[test]
fn forgotten_records_are_gone_except_the_newest() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    assert_eq!(db.forget("run_1").unwrap(), Forgotten::default(), "nothing was ever recorded");
    for id in ["run_1/a/1/0/0", "run_1/b/1/0/0", "run_10/a", "run_1", "run_0/a", "run_1/c"] {
        apply(&db, id, ADD).unwrap();
    }
    // A trigger of theirs does not get in the way.
    temp.other()
        .execute_batch("CREATE TRIGGER t BEFORE DELETE ON _wflo_effects BEGIN SELECT RAISE(ABORT, 'no'); END")
        .unwrap();
    assert_eq!(db.forget("run_1").unwrap(), Forgotten { removed: 2, left: 1 });
    let is_there = |id: &str| db.recorded(effect(id)).unwrap().is_some();
    assert!(!is_there("run_1/a/1/0/0") && !is_there("run_1/b/1/0/0") && is_there("run_1/c"));
    assert!(is_there("run_10/a") && is_there("run_1") && is_there("run_0/a"));
    apply(&db, "run_2/a", ADD).unwrap();
    assert_eq!(db.forget("run_1").unwrap(), Forgotten { removed: 1, left: 0 });
    assert_eq!(db.forget("run_1").unwrap(), Forgotten::default());
}

#[test]
fn a_replaced_file_is_not_written_through_an_old_connection() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "a", ADD).unwrap();
    let fresh = Temp::new(SCHEMA);
    std::fs::rename(fresh.path(), temp.path()).unwrap();
    apply(&db, "a", ADD).unwrap();
    assert_eq!(temp.dump()["counter"], [[Value::Integer(1), Value::Integer(1)]]);
}

#[test]
fn what_cannot_be_opened_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("text.db"), "this is not a database, it is a text file").unwrap();
    std::fs::create_dir(dir.path().join("folder.db")).unwrap();
    let open = |url: &str| {
        let urls = [("main".to_owned(), url.to_owned())].into();
        Databases::open(&urls, dir.path(), &Limits::default()).unwrap_err()
    };
    assert!(matches!(open("sqlite:missing.db"), DataError::Missing { .. }));
    assert!(open("sqlite:missing.db").hint().unwrap().contains("[databases.main]"));
    assert!(matches!(open("sqlite:text.db"), DataError::NotADatabase { .. }));
    assert!(matches!(open("sqlite:folder.db"), DataError::CannotOpen { .. }));
    assert!(matches!(open("postgres://u:p@h/d"), DataError::UrlInvalid { .. }));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing was made or changed");
}

#[test]
fn the_default_database_is_main_or_the_only_one() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.db", "b.db"] {
        rusqlite::Connection::open(dir.path().join(name))
            .unwrap()
            .execute_batch("CREATE TABLE t (a)")
            .unwrap();
    }
    let open = |names: &[(&str, &str)]| {
        let urls = names.iter().map(|(name, file)| ((*name).to_owned(), format!("sqlite:{file}"))).collect();
        Databases::open(&urls, dir.path(), &Limits::default()).unwrap()
    };
    assert!(open(&[("x", "a.db")]).get(None).is_ok());
    assert!(open(&[("x", "a.db"), ("main", "b.db")]).get(None).is_ok());
    let two = open(&[("x", "a.db"), ("y", "b.db")]);
    assert!(two.get(None).is_err() && two.get(Some("x")).is_ok() && two.get(Some("z")).is_err());
    assert!(open(&[]).get(None).unwrap_err().to_string().contains("no database"));
    let hidden = two.hidden_files();
    for suffix in ["", "-wal", "-shm", "-journal"] {
        assert!(hidden.contains(&dir.path().join(format!("a.db{suffix}"))), "{suffix}");
    }
}

#[test]
fn a_read_only_file_reads() {
    let temp = Temp::new(SCHEMA);
    let mut permissions = std::fs::metadata(temp.path()).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(temp.path(), permissions).unwrap();
    let db: Database = temp.db();
    // A privileged user may write it all the same.
    if db.recording().unwrap() == Recording::ReadOnly {
        assert!(matches!(apply(&db, "e", ADD), Err(DataError::ReadOnly { .. })));
    }
    assert_eq!(db.query(&sql("SELECT n FROM counter")).unwrap().rows.len(), 1);
}
