//! What was looked at is what is committed, or nothing is.

use wflo_data::{
    Applied, ChangeKind, Committed, ConflictKind, DataError, Database, Effect, NotHeld, OnConflict, Preview,
    RowConflict, Value,
};

use crate::temp::{ANY, Temp, UNDOABLE, apply, effect, execute, one, sql, undo_of};

const SCHEMA: &str = "
    CREATE TABLE records (id INTEGER PRIMARY KEY, age INTEGER, note TEXT);
    CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);
    CREATE TRIGGER log_delete AFTER DELETE ON records BEGIN INSERT INTO log (what) VALUES ('gone ' || old.id); END;
    CREATE TABLE keyless (a INTEGER, b TEXT);
    INSERT INTO records VALUES (1, 10, 'a'), (2, 400, 'b'), (3, 500, 'c');
    INSERT INTO keyless VALUES (1, 'x'), (2, 'y');";

fn preview(db: &Database, text: &str) -> Preview {
    db.preview(&[], &execute(text), ANY).unwrap()
}

fn commit(db: &Database, id: &str, preview: &Preview) -> Result<Committed, DataError> {
    db.commit_previews(&[(effect(id), preview)], false)
}

/// Commits one preview, which must fit.
fn committed(db: &Database, id: &str, preview: &Preview) -> Applied {
    match commit(db, id, preview).unwrap() {
        Committed::Applied(mut applied) => applied.remove(0),
        Committed::Conflict { rows, .. } => panic!("a conflict: {rows:?}"),
    }
}

fn conflicts(db: &Database, id: &str, preview: &Preview) -> Vec<RowConflict> {
    match commit(db, id, preview).unwrap() {
        Committed::Conflict { at: 0, rows } => rows,
        Committed::Conflict { at, .. } => panic!("a chain of one has no write {at}"),
        Committed::Applied(applied) => panic!("committed: {applied:?}"),
    }
}

#[test]
fn the_evidence_is_exactly_the_rows_and_nothing_is_changed() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let before = temp.dump();
    let seen = preview(&db, "UPDATE records SET note = 'old' WHERE age > 365");
    assert_eq!(temp.dump(), before);
    assert!(seen.is_complete());
    assert_eq!(seen.result.rows_affected, 2);
    assert_eq!(seen.evidence.tables["records"].updated, 2);
    let row = &seen.evidence.changes[0];
    assert_eq!((row.kind, row.changed.as_slice()), (ChangeKind::Update, ["note".to_owned()].as_slice()));
    // Whole rows, so that whoever decides knows whose they are.
    let before = row.before.as_ref().unwrap();
    assert_eq!(before.get("age"), Some(&Value::Integer(400)));
    assert_eq!(before.get("note"), Some(&Value::Text("b".to_owned())));
    assert_eq!(row.after.as_ref().unwrap().get("note"), Some(&Value::Text("old".to_owned())));

    let seen = preview(&db, "DELETE FROM records WHERE age > 365");
    assert_eq!(seen.evidence.tables["records"].deleted, 2);
    assert_eq!(seen.evidence.tables["log"].inserted, 2, "what triggers do is shown too");
}

#[test]
fn the_captured_change_is_committed_once_with_its_result() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let write = "DELETE FROM records WHERE age > 365 RETURNING id";
    // Through JSON, as an approval that waited for days.
    let json = serde_json::to_string(&preview(&db, write)).unwrap();
    let seen: Preview = serde_json::from_str(&json).unwrap();
    let applied = committed(&temp.db(), "e", &seen);
    assert_eq!(applied.result, seen.result);
    assert_eq!(applied.result.rows, [[Value::Integer(2)], [Value::Integer(3)]]);
    assert_eq!(one(&db, "SELECT count(*) FROM records"), Value::Integer(1));
    assert_eq!(one(&db, "SELECT count(*) FROM log"), Value::Integer(2), "triggers did not run twice");
    let again = committed(&db, "e", &seen);
    assert!(again.replayed);
    assert_eq!(again.result, applied.result);
    assert!(db.apply(effect("e"), &execute(write), ANY).unwrap().replayed);
    let other = Effect { id: "e", fingerprint: "g" };
    assert!(matches!(db.commit_previews(&[(other, &seen)], false), Err(DataError::EffectMismatch { .. })));
}

#[test]
fn any_later_edit_of_a_row_that_was_shown_is_a_conflict() {
    for (statement, edit, kind) in [
        (
            "UPDATE records SET note = 'old' WHERE id = 2",
            "UPDATE records SET note = 'mine' WHERE id = 2",
            ConflictKind::Changed,
        ),
        // A column that the change does not touch, but that was shown and decided it.
        (
            "UPDATE records SET note = 'old' WHERE age > 365",
            "UPDATE records SET age = 1 WHERE id = 2",
            ConflictKind::Changed,
        ),
        (
            "UPDATE records SET note = 'old' WHERE id = 2",
            "DELETE FROM records WHERE id = 2",
            ConflictKind::Missing,
        ),
        (
            "DELETE FROM records WHERE id = 2",
            "UPDATE records SET age = 1 WHERE id = 2",
            ConflictKind::Changed,
        ),
        ("DELETE FROM records WHERE id = 2", "DELETE FROM records WHERE id = 2", ConflictKind::Missing),
        (
            "INSERT INTO records VALUES (4, 1, 'new')",
            "INSERT INTO records VALUES (4, 9, 'theirs')",
            ConflictKind::Exists,
        ),
        (
            "UPDATE keyless SET b = 'z' WHERE a = 1",
            "UPDATE keyless SET a = 7 WHERE a = 1",
            ConflictKind::Changed,
        ),
    ] {
        let temp = Temp::new(SCHEMA);
        let db = temp.db();
        let seen = preview(&db, statement);
        temp.other().execute(edit, []).unwrap();
        let before = temp.dump();
        let found = conflicts(&db, "e", &seen);
        assert!(found.iter().any(|conflict| conflict.conflict == kind), "{statement} / {edit}: {found:?}");
        assert_eq!(temp.dump(), before, "{statement} / {edit}");
        assert_eq!(db.recorded(effect("e")).unwrap(), None);
    }
}

#[test]
fn edits_of_other_rows_are_none() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let seen = preview(&db, "DELETE FROM records WHERE id = 2");
    temp.other().execute("UPDATE records SET note = 'mine' WHERE id = 1", []).unwrap();
    committed(&db, "e", &seen);
}

#[test]
fn a_chain_sees_its_own_changes_and_nobody_else_does() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let first = preview(&db, "INSERT INTO records VALUES (10, 1, 'new')");
    let grow = execute("UPDATE records SET age = age + 1 WHERE note = 'new'");
    let second = db.preview(&[&first.changeset], &grow, ANY).unwrap();
    assert_eq!(second.result.rows_affected, 1);
    let chain = [&first.changeset, &second.changeset];
    let rows = db.preview_query(&chain, &sql("SELECT age FROM records WHERE id = 10")).unwrap();
    assert_eq!(rows.rows, [[Value::Integer(2)]]);
    assert_eq!(one(&db, "SELECT count(*) FROM records"), Value::Integer(3));
    for (id, seen) in [("a", &first), ("b", &second)] {
        committed(&db, id, seen);
    }
    assert_eq!(one(&db, "SELECT age FROM records WHERE id = 10"), Value::Integer(2));
    // The chain was committed, so it does not fit any more.
    let error = db.preview(&chain, &execute("DELETE FROM records"), ANY).unwrap_err();
    assert!(matches!(error, DataError::PreviewStale { .. }), "{error:?}");
}

#[test]
fn what_cannot_be_held_says_so_and_is_not_committed_as_captured() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let seen = preview(&db, "CREATE TABLE t (a)");
    assert_eq!(seen.evidence.not_held, Some(NotHeld::Schema));
    assert!(!seen.is_complete());
    assert!(matches!(commit(&db, "e", &seen), Err(DataError::PreviewIncomplete(_))));
    assert!(!temp.dump().contains_key("t"));
    // A table without a key can be previewed, though not undone.
    let seen = preview(&db, "DELETE FROM keyless WHERE a = 1");
    let applied = committed(&db, "f", &seen);
    assert!(matches!(applied.not_held, Some(NotHeld::NoPrimaryKey { .. })));
    assert_eq!(temp.dump()["keyless"].len(), 1);
}

#[test]
fn a_table_that_was_altered_meanwhile_is_not_written() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let seen = preview(&db, "UPDATE records SET note = 'old' WHERE id = 2");
    temp.other().execute_batch("ALTER TABLE records RENAME COLUMN note TO remark").unwrap();
    let error = commit(&db, "e", &seen).unwrap_err();
    assert!(matches!(error, DataError::SchemaChanged { .. }), "{error:?}");
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let seen = preview(&db, "DELETE FROM records WHERE id = 2");
    temp.other().execute_batch("ALTER TABLE records ADD COLUMN extra DEFAULT 1").unwrap();
    committed(&db, "e", &seen);
}

#[test]
fn evidence_is_bounded_and_its_counts_and_digest_are_not() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let fill = "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n LIMIT 5000)
                INSERT INTO records SELECT i, 1000, hex(zeroblob(4000)) FROM n";
    apply(&db, "fill", fill).unwrap();
    let all = preview(&db, "DELETE FROM records WHERE age = 1000");
    assert_eq!(all.evidence.tables["records"].deleted, 5_000);
    assert!(all.evidence.truncated && all.evidence.changes.len() <= 1_000);
    assert!(serde_json::to_string(&all.evidence).unwrap().len() < 600_000);
    let fewer = preview(&db, "DELETE FROM records WHERE age = 1000 AND id < 5009");
    assert_ne!(all.evidence.digest, fewer.evidence.digest);
    assert_eq!(all.evidence.digest, preview(&db, "DELETE FROM records WHERE age = 1000").evidence.digest);
}

/// A chain of three on two tables: the last one changes what the first one made.
fn three(db: &Database) -> Vec<Preview> {
    let mut chain: Vec<Preview> = Vec::new();
    for text in [
        "INSERT INTO records VALUES (10, 1, 'new')",
        "DELETE FROM records WHERE id = 2",
        "UPDATE records SET age = age + 1 WHERE id IN (1, 10)",
    ] {
        let prior: Vec<_> = chain.iter().map(|preview| &preview.changeset).collect();
        let next = db.preview(&prior, &execute(text), UNDOABLE).unwrap();
        chain.push(next);
    }
    chain
}

const IDS: [&str; 3] = ["a", "b", "c"];

fn commit_all(db: &Database, chain: &[Preview], dry_run: bool) -> Committed {
    let chain: Vec<_> = IDS.iter().map(|id| effect(id)).zip(chain).collect();
    db.commit_previews(&chain, dry_run).unwrap()
}

#[test]
fn a_chain_is_committed_whole_and_once() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let before = temp.dump();
    let chain = three(&db);
    assert!(matches!(commit_all(&db, &chain, true), Committed::Applied(_)));
    assert_eq!(temp.dump(), before, "a dry run changes nothing");
    assert_eq!(db.recorded(effect("a")).unwrap(), None);

    let Committed::Applied(applied) = commit_all(&db, &chain, false) else { panic!("a conflict") };
    let results: Vec<_> = applied.iter().map(|one| one.result.rows_affected).collect();
    assert_eq!(results, [1, 1, 2]);
    let after = temp.dump();
    assert_eq!(one(&db, "SELECT age FROM records WHERE id = 10"), Value::Integer(2));
    assert_eq!(after["log"].len(), 1, "triggers did not run twice");
    // As a resume does it, whose last commit may or may not have happened.
    let Committed::Applied(again) = commit_all(&temp.db(), &chain, false) else { panic!("a conflict") };
    assert!(again.iter().all(|one| one.replayed));
    assert_eq!(temp.dump(), after);
    db.undo(&undo_of("u", &IDS, OnConflict::Abort), false).unwrap();
    assert_eq!(temp.dump(), before, "each of them is on record with its own change");
}

#[test]
fn a_chain_with_one_conflict_is_not_committed_at_all() {
    for (edit, first) in [
        ("INSERT INTO records VALUES (10, 9, 'theirs')", 0),
        ("UPDATE records SET note = 'theirs' WHERE id = 2", 1),
        ("UPDATE records SET note = 'theirs' WHERE id = 1", 2),
    ] {
        let temp = Temp::new(SCHEMA);
        let db = temp.db();
        let chain = three(&db);
        temp.other().execute(edit, []).unwrap();
        let before = temp.dump();
        for dry_run in [true, false] {
            match commit_all(&db, &chain, dry_run) {
                Committed::Conflict { at, rows } => {
                    assert_eq!(at, first, "{edit}");
                    assert_eq!(rows[0].table, "records");
                }
                Committed::Applied(applied) => panic!("{edit}: {applied:?}"),
            }
        }
        assert_eq!(temp.dump(), before, "{edit}");
        for id in IDS {
            assert_eq!(db.recorded(effect(id)).unwrap(), None, "{edit}");
        }
    }
}

#[test]
fn what_must_be_undoable_and_is_not_is_refused_when_it_is_previewed() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    for text in ["CREATE TABLE t (a)", "DELETE FROM keyless WHERE a = 1"] {
        let refused = db.preview(&[], &execute(text), UNDOABLE).unwrap_err();
        assert!(matches!(refused, DataError::NotUndoable(_)), "{text}: {refused:?}");
        assert!(db.preview(&[], &execute(text), ANY).is_ok(), "{text}");
    }
}
