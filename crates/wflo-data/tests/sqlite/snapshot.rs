//! A snapshot is a point to come back to, and says what can.

use wflo_data::{Committed, DataError, Known, OnConflict, Snapshot, Value};

use crate::temp::{ANY, Temp, apply, effect, execute, one, undo_of};

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

/// Rows of `records`, from a database with an edit of somebody else's between the write and the restore.
fn restored_over_an_edit(on_conflict: OnConflict) -> (Temp, wflo_data::Database, wflo_data::Preview) {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let start = db.snapshot(None).unwrap();
    apply(&db, "a", "UPDATE records SET n = 1").unwrap();
    apply(&db, "b", "UPDATE others SET n = 1").unwrap();
    temp.other().execute("UPDATE records SET n = 777", []).unwrap();
    let preview = db.preview_restore(&[], &start, &undo_of("r", &["a", "b"], on_conflict), false).unwrap();
    (temp, db, preview)
}

#[test]
fn a_previewed_restore_shows_what_it_overwrites_and_commits_that_once() {
    let (_temp, db, preview) = restored_over_an_edit(OnConflict::Force);
    let values = || (one(&db, "SELECT n FROM records"), one(&db, "SELECT n FROM others"));
    assert_eq!(values(), (Value::Integer(777), Value::Integer(1)), "nothing is changed by looking");
    let report = preview.undo.as_ref().unwrap();
    assert_eq!((report.conflicts.len(), preview.evidence.tables.len()), (1, 2));
    let records: Vec<_> = preview.evidence.changes.iter().filter(|c| c.table == "records").collect();
    assert_eq!(records[0].before.as_ref().unwrap().get("n"), Some(&Value::Integer(777)));
    let known = |id: &str| db.known(effect(id)).unwrap();
    assert_eq!(known("r"), Known::NotMade);
    for _ in 0..2 {
        let chain = [(effect("r"), &preview)];
        assert!(matches!(db.commit_previews(&chain, false).unwrap(), Committed::Applied(_)));
        assert_eq!(values(), (Value::Integer(0), Value::Integer(0)));
    }
    let Known::Made(answer) = known("r") else { panic!("it is on record") };
    assert_eq!(answer, preview.answer().unwrap(), "what the step was told is what is recorded");
    let restored = db.restore(&db.snapshot(None).unwrap(), &undo_of("r", &[], OnConflict::Abort), false);
    assert!(restored.unwrap().replayed, "as an undo like any other");
}

#[test]
fn a_previewed_restore_is_not_committed_over_an_edit_that_nobody_was_shown() {
    let (temp, db, preview) = restored_over_an_edit(OnConflict::Force);
    temp.other().execute("UPDATE records SET n = 778", []).unwrap();
    let committed = db.commit_previews(&[(effect("r"), &preview)], false).unwrap();
    assert!(matches!(committed, Committed::Conflict { .. }), "{committed:?}");
    assert_eq!(one(&db, "SELECT n FROM others"), Value::Integer(1));
}

#[test]
fn a_previewed_restore_takes_back_the_previews_before_it() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let start = db.snapshot(None).unwrap();
    apply(&db, "a", "UPDATE records SET n = 1").unwrap();
    let write = db.preview(&[], &execute("UPDATE records SET n = 2"), ANY).unwrap();
    let prior = [("b", &write.changeset)];
    let request = undo_of("r", &["a", "b"], OnConflict::Abort);
    let restore = db.preview_restore(&prior, &start, &request, false).unwrap();
    assert!(restore.undo.as_ref().unwrap().absent.is_empty());
    let chain = [(effect("b"), &write), (effect("r"), &restore)];
    assert!(matches!(db.commit_previews(&chain, false).unwrap(), Committed::Applied(_)));
    assert_eq!(one(&db, "SELECT n FROM records"), Value::Integer(0));
    let kinds = "SELECT group_concat(effect_id || ' ' || kind) FROM _wflo_effects WHERE effect_id > 'a'";
    let kinds: String = temp.other().query_row(kinds, [], |row| row.get(0)).unwrap();
    assert_eq!(kinds, "b write,r undo");
}

#[test]
fn what_is_known_of_an_effect_says_when_nobody_can_know() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    assert_eq!(db.known(effect("a")).unwrap(), Known::NotMade, "nothing was ever written");
    apply(&db, "a", "UPDATE records SET n = 1").unwrap();
    assert!(matches!(db.known(effect("a")).unwrap(), Known::Made(_)));
    assert_eq!(db.known(effect("b")).unwrap(), Known::NotMade);
    temp.other().execute_batch("DROP TABLE _wflo_effects; CREATE TABLE _wflo_effects (x)").unwrap();
    assert!(matches!(db.known(effect("a")).unwrap(), Known::Unrecorded { .. }));
}
