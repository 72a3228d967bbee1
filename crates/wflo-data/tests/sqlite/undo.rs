//! Undo brings back what a step changed, and destroys nothing that others wrote.

use wflo_core::error::Coded as _;
use wflo_data::{ConflictKind, DataError, NotHeld, OnConflict, Value};

use crate::temp::{ANY, Temp, apply, effect, execute, one, undo_of};

const SCHEMA: &str = "
    CREATE TABLE records (id INTEGER PRIMARY KEY, age INTEGER, note TEXT UNIQUE);
    CREATE TABLE children (id INTEGER PRIMARY KEY AUTOINCREMENT, record REFERENCES records (id) ON DELETE CASCADE);
    CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT);
    CREATE TRIGGER log_update AFTER UPDATE ON records BEGIN INSERT INTO log (what) VALUES (new.note); END;
    INSERT INTO records VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c');
    INSERT INTO children (record) VALUES (1), (1), (2);";

#[test]
fn undo_brings_back_rows_cascades_and_triggers_once() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let before = temp.dump();
    apply(&db, "a", "DELETE FROM records WHERE id = 1").unwrap();
    apply(&db, "b", "UPDATE records SET note = note || '!' WHERE id > 1").unwrap();
    assert_eq!(temp.dump()["children"].len(), 1);
    let request = undo_of("u", &["a", "b"], OnConflict::Abort);
    let dry = db.undo(&request, true).unwrap();
    assert!(dry.dry_run && dry.conflicts.is_empty());
    assert_ne!(temp.dump(), before, "a dry run changes nothing");
    let report = db.undo(&request, false).unwrap();
    assert_eq!(temp.dump(), before);
    assert_eq!((report.tables["records"].inserted, report.tables["records"].updated), (1, 2));
    assert_eq!(report.tables["children"].inserted, 2);
    assert_eq!((&report.diff, &report.tables), (&dry.diff, &dry.tables), "it does what it said");
    assert!(report.notes.iter().any(|note| note.contains("AUTOINCREMENT")), "{:?}", report.notes);
    // Once.
    apply(&db, "c", "DELETE FROM records WHERE id = 3").unwrap();
    assert!(db.undo(&request, false).unwrap().replayed);
    assert_eq!(one(&db, "SELECT count(*) FROM records"), Value::Integer(2));
}

#[test]
fn a_later_edit_is_a_conflict_and_is_kept_unless_forced() {
    for (on_conflict, wanted) in [(OnConflict::Skip, "theirs"), (OnConflict::Force, "b")] {
        let temp = Temp::new(SCHEMA);
        let db = temp.db();
        apply(&db, "a", "UPDATE records SET note = 'x' || id, age = 0").unwrap();
        temp.other().execute("UPDATE records SET note = 'theirs' WHERE id = 2", []).unwrap();
        let edited = temp.dump();
        let error = db.undo(&undo_of("u", &["a"], OnConflict::Abort), false).unwrap_err();
        assert_eq!(error.code().0, 6023);
        let DataError::UndoConflict { conflicts_found, total } = error else { panic!("another error") };
        assert_eq!((total, conflicts_found[0].conflict), (1, ConflictKind::Changed));
        assert_eq!(
            conflicts_found[0].found.as_ref().unwrap().get("note"),
            Some(&Value::Text("theirs".into()))
        );
        assert_eq!(temp.dump(), edited, "nothing at all was undone");
        // The refused undo left no record, so the same effect can be tried again.
        let report = db.undo(&undo_of("u", &["a"], on_conflict), false).unwrap();
        assert_eq!(report.conflicts.len(), 1);
        assert_eq!(report.skipped, u64::from(on_conflict == OnConflict::Skip));
        assert_eq!(one(&db, "SELECT note FROM records WHERE id = 2"), Value::Text(wanted.to_owned()));
        assert_eq!(one(&db, "SELECT note FROM records WHERE id = 1"), Value::Text("a".to_owned()));
    }
}

#[test]
fn an_edit_between_two_effects_is_not_destroyed() {
    for (on_conflict, wanted) in [(OnConflict::Skip, 5), (OnConflict::Force, 10)] {
        let temp = Temp::new(SCHEMA);
        let db = temp.db();
        apply(&db, "a", "UPDATE records SET age = 2 WHERE id = 1").unwrap();
        temp.other().execute("UPDATE records SET age = 5 WHERE id = 1", []).unwrap();
        apply(&db, "b", "UPDATE records SET age = 6 WHERE id = 1").unwrap();
        let error = db.undo(&undo_of("u", &["a", "b"], OnConflict::Abort), false).unwrap_err();
        let DataError::UndoConflict { conflicts_found, .. } = error else { panic!("another error") };
        assert!(conflicts_found.iter().any(|c| c.conflict == ConflictKind::ChangedBetween));
        db.undo(&undo_of("u", &["a", "b"], on_conflict), false).unwrap();
        assert_eq!(one(&db, "SELECT age FROM records WHERE id = 1"), Value::Integer(wanted));
    }
}

#[test]
fn a_rollback_after_the_steps_own_restore_does_nothing() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "a", "UPDATE records SET age = age + 1").unwrap();
    apply(&db, "b", "DELETE FROM records WHERE id = 3").unwrap();
    db.undo(&undo_of("restore", &["a", "b"], OnConflict::Abort), false).unwrap();
    // Somebody works on with the restored rows.
    temp.other().execute_batch("UPDATE records SET age = 77; DELETE FROM records WHERE id = 2").unwrap();
    let before = temp.dump();
    let report = db.undo(&undo_of("rollback", &["a", "b", "restore"], OnConflict::Abort), false).unwrap();
    assert!(report.diff.is_empty() && report.conflicts.is_empty());
    assert_eq!(temp.dump(), before);
}

#[test]
fn writes_after_the_steps_own_restore_are_undone() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "a", "UPDATE records SET age = 0").unwrap();
    db.undo(&undo_of("restore", &["a"], OnConflict::Abort), false).unwrap();
    temp.other().execute("UPDATE records SET age = 99 WHERE id = 1", []).unwrap();
    apply(&db, "b", "UPDATE records SET age = age + 1").unwrap();
    db.undo(&undo_of("rollback", &["a", "restore", "b"], OnConflict::Abort), false).unwrap();
    assert_eq!(one(&db, "SELECT group_concat(age) FROM records"), Value::Text("99,20,30".to_owned()));
}

#[test]
fn rows_that_are_gone_or_back_are_conflicts() {
    for (write, edit, kind) in [
        (
            "UPDATE records SET age = 0 WHERE id = 3",
            "DELETE FROM records WHERE id = 3",
            ConflictKind::Missing,
        ),
        (
            "INSERT INTO records VALUES (9, 9, 'new')",
            "DELETE FROM records WHERE id = 9",
            ConflictKind::Missing,
        ),
        (
            "INSERT INTO records VALUES (9, 9, 'new')",
            "UPDATE records SET age = 1 WHERE id = 9",
            ConflictKind::Changed,
        ),
        ("DELETE FROM records WHERE id = 3", "INSERT INTO records VALUES (3, 1, 'q')", ConflictKind::Exists),
        (
            "DELETE FROM records WHERE id = 3",
            "INSERT INTO records VALUES (9, 1, 'c')",
            ConflictKind::Constraint,
        ),
        (
            "INSERT INTO records VALUES (9, 9, 'n')",
            "INSERT INTO children (record) VALUES (9)",
            ConflictKind::ForeignKey,
        ),
    ] {
        let temp = Temp::new(SCHEMA);
        let db = temp.db();
        apply(&db, "a", write).unwrap();
        temp.other().execute(edit, []).unwrap();
        let before = temp.dump();
        let dry = db.undo(&undo_of("u", &["a"], OnConflict::Abort), true).unwrap();
        assert_eq!(dry.conflicts[0].conflict, kind, "{write} / {edit}");
        let error = db.undo(&undo_of("u", &["a"], OnConflict::Abort), false).unwrap_err();
        assert!(matches!(error, DataError::UndoConflict { .. }), "{write} / {edit}: {error:?}");
        assert_eq!(temp.dump(), before, "{write} / {edit}");
        let skipped = db.undo(&undo_of("u", &["a"], OnConflict::Skip), false);
        match kind {
            // Others refer to the row: it cannot go.
            ConflictKind::ForeignKey => assert!(skipped.is_err()),
            _ => assert_eq!(skipped.unwrap().skipped, 1, "{write} / {edit}"),
        }
        for table in ["records", "children"] {
            assert_eq!(temp.dump()[table], before[table], "{write} / {edit}");
        }
    }
}

#[test]
fn what_cannot_be_undone_is_named() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    db.apply(effect("ddl"), &execute("CREATE TABLE t (a)"), ANY).unwrap();
    apply(&db, "a", "UPDATE records SET age = 0").unwrap();
    let error = db.undo(&undo_of("u", &["ddl", "a"], OnConflict::Abort), false).unwrap_err();
    assert!(matches!(error, DataError::NotUndoable(NotHeld::Schema)), "{error:?}");
    let report = db.undo(&undo_of("u", &["ddl", "a", "never"], OnConflict::Skip), false).unwrap();
    assert_eq!(
        (report.not_undone[0].effect_id.as_str(), report.absent.as_slice()),
        ("ddl", ["never".to_owned()].as_slice())
    );
    assert_eq!(one(&db, "SELECT age FROM records WHERE id = 1"), Value::Integer(10));
}

#[test]
fn an_altered_table_is_not_undone_blindly() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "a", "UPDATE records SET age = 0").unwrap();
    temp.other()
        .execute_batch("ALTER TABLE records DROP COLUMN age; ALTER TABLE records ADD COLUMN size")
        .unwrap();
    let error = db.undo(&undo_of("u", &["a"], OnConflict::Abort), false).unwrap_err();
    assert!(matches!(error, DataError::SchemaChanged { .. }), "{error:?}");
}

#[test]
fn a_damaged_record_is_an_error_not_a_guess() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "a", "UPDATE records SET age = 0").unwrap();
    temp.other()
        .execute("UPDATE _wflo_effects SET changeset = substr(changeset, 1, length(changeset) - 7)", [])
        .unwrap();
    let before = temp.dump();
    assert!(db.undo(&undo_of("u", &["a"], OnConflict::Force), false).is_err());
    assert_eq!(temp.dump(), before);
}
