//! A snapshot is a point to come back to, and says what can.

use wflo_data::{DataError, OnConflict, Snapshot, Value};

use crate::temp::{Temp, apply, one, undo_of};

const SCHEMA: &str = "
    CREATE TABLE records (id INTEGER PRIMARY KEY, n INTEGER);
    CREATE TABLE others (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER);
    CREATE TABLE keyless (a);
    CREATE VIRTUAL TABLE search USING fts5(body);
    CREATE TABLE docs (id INTEGER PRIMARY KEY, body);
    CREATE TRIGGER docs_search AFTER INSERT ON docs BEGIN
      INSERT INTO search (rowid, body) VALUES (new.id, new.body); END;
    INSERT INTO records VALUES (1, 0);
    INSERT INTO others VALUES (1, 0);";

#[test]
fn only_what_came_after_is_undone_and_only_in_its_tables() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let first = db.snapshot(None).unwrap();
    apply(&db, "a", "UPDATE records SET n = 1").unwrap();
    let later = Snapshot::from_token(&db.snapshot(Some(&["RECORDS".to_owned()])).unwrap().token()).unwrap();
    apply(&db, "b", "UPDATE records SET n = 2").unwrap();
    apply(&db, "c", "UPDATE others SET n = 2").unwrap();
    let values = || (one(&db, "SELECT n FROM records"), one(&db, "SELECT n FROM others"));
    db.restore(&later, &undo_of("r1", &["a", "b", "c"], OnConflict::Abort), false).unwrap();
    assert_eq!(values(), (Value::Integer(1), Value::Integer(2)));
    db.restore(&first, &undo_of("r2", &["a", "b", "c", "r1"], OnConflict::Abort), false).unwrap();
    assert_eq!(values(), (Value::Integer(0), Value::Integer(0)));
}

#[test]
fn an_earlier_restore_is_itself_undone_by_a_later_one() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let start = db.snapshot(None).unwrap();
    apply(&db, "a", "UPDATE records SET n = 1").unwrap();
    let middle = db.snapshot(None).unwrap();
    db.restore(&start, &undo_of("r1", &["a"], OnConflict::Abort), false).unwrap();
    assert_eq!(one(&db, "SELECT n FROM records"), Value::Integer(0));
    db.restore(&middle, &undo_of("r2", &["a", "r1"], OnConflict::Abort), false).unwrap();
    assert_eq!(one(&db, "SELECT n FROM records"), Value::Integer(1));
}

#[test]
fn forgetting_does_not_move_the_point() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "old/1", "UPDATE records SET n = 1").unwrap();
    let point = db.snapshot(None).unwrap();
    db.forget("old").unwrap();
    apply(&db, "new", "UPDATE records SET n = 2").unwrap();
    db.restore(&point, &undo_of("r", &["new"], OnConflict::Abort), false).unwrap();
    assert_eq!(one(&db, "SELECT n FROM records"), Value::Integer(1));
}

#[test]
fn what_cannot_be_brought_back_is_named_beforehand() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "a", "INSERT INTO others (n) VALUES (1)").unwrap();
    let capabilities = db.snapshot(None).unwrap().capabilities;
    let of = |table: &str| (capabilities[table].undo, capabilities[table].note.clone().unwrap_or_default());
    assert_eq!(of("records"), (true, String::new()));
    assert!(of("others").0 && of("others").1.contains("AUTOINCREMENT"));
    assert!(!of("keyless").0 && of("keyless").1.contains("primary key"));
    assert!(!of("search").0);
    assert!(!of("docs").0 && of("docs").1.contains("`search`"), "its trigger writes a virtual table");
    assert!(!capabilities.keys().any(|name| name.starts_with("_wflo_") || name.starts_with("search_")));
    assert!(matches!(db.snapshot(Some(&["gone".to_owned()])), Err(DataError::TableUnclear { .. })));
    assert!(matches!(Snapshot::from_token("data1.x"), Err(DataError::SnapshotInvalid)));
}
