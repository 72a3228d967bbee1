//! Writes that no changeset holds: what is shown is all of it, and what is approved is what happens.

use std::collections::BTreeSet;

use wflo_data::{
    ChangeKind, Committed, DataError, Database, Limits, NotHeld, Preview, Record, Requirements, Resealed,
    Seal, Value, Write,
};

use crate::temp::{ANY, Temp, effect, execute, one};

const SCHEMA: &str = "CREATE TABLE docs (id INTEGER PRIMARY KEY, owner TEXT, body TEXT);
    CREATE VIRTUAL TABLE found USING fts5(body);
    CREATE TRIGGER indexed AFTER UPDATE ON docs BEGIN INSERT INTO found VALUES (new.body); END;
    CREATE TABLE loose (k TEXT PRIMARY KEY, v INTEGER);
    CREATE TABLE nocase (k TEXT COLLATE NOCASE PRIMARY KEY, v INTEGER) WITHOUT ROWID;
    CREATE TABLE hidden (_rowid_ TEXT, v INTEGER);
    CREATE TABLE made (id INTEGER PRIMARY KEY, a INTEGER, twice INTEGER AS (a * 2) STORED);
    CREATE TABLE plain (id INTEGER PRIMARY KEY, n INTEGER);
    CREATE INDEX by_owner ON docs (owner);
    INSERT INTO docs VALUES (1, 'me', 'one'), (2, 'me', 'two'), (3, 'you', 'three');
    INSERT INTO loose VALUES (NULL, 1), (NULL, 2), ('a', 3);
    INSERT INTO nocase VALUES ('a', 1), ('B', 2);
    INSERT INTO hidden VALUES ('x', 1), ('y', 2);
    INSERT INTO made (id, a) VALUES (1, 5);
    INSERT INTO plain VALUES (1, 1), (2, 2);";

fn preview(db: &Database, text: &str) -> Preview {
    db.preview(&[], &execute(text), ANY).unwrap()
}

/// As an approval that waited for days, in a process of its own.
fn seal_of(preview: &Preview) -> Seal {
    assert!(!preview.is_complete(), "{preview:?}");
    let seal = preview.seal.as_ref().unwrap_or_else(|| panic!("no seal: {preview:?}"));
    let seal: Seal = serde_json::from_str(&serde_json::to_string(seal).unwrap()).unwrap();
    assert_eq!(seal.digest(), preview.evidence.digest);
    seal
}

fn resealed(temp: &Temp, id: &str, text: &str, seal: &Seal) -> Resealed {
    temp.db().apply_sealed(effect(id), &execute(text), seal).unwrap()
}

fn differs(temp: &Temp, id: &str, text: &str, seal: &Seal) -> Vec<String> {
    let before = temp.dump();
    match resealed(temp, id, text, seal) {
        Resealed::Differs { parts } => {
            assert_eq!(temp.dump(), before, "{text}: nothing is written");
            assert_eq!(temp.db().recorded(effect(id)).unwrap(), None);
            parts
        }
        Resealed::Applied(applied) => panic!("{text}: {applied:?}"),
    }
}

/// Every statement here is one that no changeset holds.
const UNHELD: [&str; 12] = [
    "UPDATE docs SET body = body || '!' WHERE owner = 'me'",
    "INSERT INTO found VALUES ('new')",
    "INSERT INTO loose VALUES (NULL, 9)",
    "UPDATE loose SET v = v + 1 WHERE v < 3",
    "DELETE FROM loose WHERE k IS NULL",
    "UPDATE nocase SET k = 'A' WHERE k = 'a'",
    "UPDATE hidden SET v = 7 WHERE v = 1",
    "CREATE TABLE more (n INTEGER PRIMARY KEY)",
    "CREATE TABLE copied AS SELECT * FROM docs",
    "ALTER TABLE docs DROP COLUMN body",
    "DROP TABLE plain",
    "CREATE INDEX by_body ON docs (body)",
];

#[test]
fn what_no_changeset_holds_is_shown_bound_and_done_once() {
    for text in UNHELD {
        let temp = Temp::new(SCHEMA);
        let text = if text.starts_with("ALTER") { "ALTER TABLE made ADD COLUMN more" } else { text };
        let before = temp.dump();
        let seen = preview(&temp.db(), text);
        assert_eq!(temp.dump(), before, "{text}");
        assert!(!seen.evidence.is_empty(), "{text}: it is never shown as nothing: {:?}", seen.evidence);
        let seal = seal_of(&seen);
        let Resealed::Applied(applied) = resealed(&temp, "e", text, &seal) else {
            panic!("{text}: it differs")
        };
        assert_eq!(applied.result, seen.result, "{text}");
        let after = temp.dump();
        // As a resume does it, whose last commit may or may not have happened.
        let Resealed::Applied(again) = resealed(&temp, "e", text, &seal) else {
            panic!("{text}: it differs")
        };
        assert!(again.replayed, "{text}");
        assert_eq!(temp.dump(), after, "{text}");
        let ok: String = temp.other().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(ok, "ok", "{text}");
    }
}

#[test]
fn the_rows_of_ordinary_tables_are_shown_although_a_trigger_writes_a_virtual_one() {
    let temp = Temp::new(SCHEMA);
    let rows = [1, 2, 3].map(|id| {
        Record(vec![
            ("id".to_owned(), Value::Integer(id)),
            ("body".to_owned(), Value::Text("PWNED".to_owned())),
        ])
    });
    let write = Write::Update { table: Some("docs".to_owned()), rows: rows.to_vec() };
    let seen = temp.db().preview(&[], &write, ANY).unwrap();
    assert_eq!(seen.evidence.tables["docs"].updated, 3);
    assert_eq!(seen.evidence.changes.len(), 3, "{:?}", seen.evidence);
    let after = seen.evidence.changes[0].after.as_ref().unwrap();
    assert_eq!(after.get("body"), Some(&Value::Text("PWNED".to_owned())));
    assert!(seen.evidence.internal.contains_key("found_data"), "{:?}", seen.evidence.internal);
    assert_eq!(seen.evidence.not_held, Some(NotHeld::VirtualTable { table: "found".to_owned() }));
    let again = |temp: &Temp| temp.db().apply_sealed(effect("e"), &write, &seal_of(&seen)).unwrap();
    assert!(matches!(again(&temp), Resealed::Applied(_)));
    assert_eq!(one(&temp.db(), "SELECT count(*) FROM found('PWNED')"), Value::Integer(3));
    temp.other().execute_batch("INSERT INTO found(found) VALUES('integrity-check')").unwrap();
}

#[test]
fn the_time_of_a_write_is_that_with_which_it_was_shown() {
    let temp = Temp::new(SCHEMA);
    let now = "strftime('%Y-%m-%d %H:%M:%f', 'now')";
    let text = format!("UPDATE docs SET body = {now}, owner = CURRENT_TIMESTAMP WHERE id = 1");
    let seen = preview(&temp.db(), &text);
    let shown = seen.evidence.changes[0].after.as_ref().unwrap().get("body").unwrap().clone();
    let time = |db: &Database| one(db, &format!("SELECT {now}"));
    let begin = time(&temp.db());
    assert!(matches!(shown, Value::Text(_)), "{shown:?}");
    // Elsewhere it goes on.
    while time(&temp.db()) == begin {
        std::hint::spin_loop();
    }
    let Resealed::Applied(_) = resealed(&temp, "e", &text, &seal_of(&seen)) else { panic!("it differs") };
    assert_eq!(one(&temp.db(), "SELECT body FROM docs WHERE id = 1"), shown);
    assert_ne!(time(&temp.db()), shown);
}

#[test]
fn another_writer_in_between_is_never_swept_along() {
    for (text, edit, part) in [
        (
            "UPDATE docs SET body = 'mine' WHERE owner = 'me'",
            "INSERT INTO docs VALUES (9, 'me', 'theirs')",
            "rows of `docs`",
        ),
        (
            "UPDATE docs SET body = 'mine' WHERE owner = 'me'",
            "UPDATE docs SET owner = 'you' WHERE id = 2",
            "rows of `docs`",
        ),
        // A row that is changed, in a column that the write does not touch: it was shown as it was.
        (
            "UPDATE docs SET body = 'mine' WHERE id = 1",
            "UPDATE docs SET owner = 'theirs' WHERE id = 1",
            "rows of `docs`",
        ),
        ("DELETE FROM loose WHERE k IS NULL", "INSERT INTO loose VALUES (NULL, 5)", "rows of `loose`"),
        ("UPDATE loose SET v = 0 WHERE k IS NULL", "UPDATE loose SET v = 8 WHERE v = 1", "rows of `loose`"),
        ("UPDATE nocase SET k = upper(k)", "INSERT INTO nocase VALUES ('c', 1)", "rows of `nocase`"),
        ("UPDATE hidden SET v = 0", "INSERT INTO hidden VALUES ('z', 3)", "rows of `hidden`"),
        ("DROP TABLE plain", "INSERT INTO plain VALUES (3, 3)", "rows of `plain`"),
        ("ALTER TABLE plain DROP COLUMN n", "UPDATE plain SET n = 9 WHERE id = 1", "rows of `plain`"),
        ("CREATE TABLE copied AS SELECT * FROM plain", "INSERT INTO plain VALUES (3, 3)", "rows of `copied`"),
        ("CREATE TABLE more (n)", "CREATE TABLE other (n)", "the definitions of tables"),
        (
            "UPDATE docs SET body = 'mine' WHERE id = 1",
            "CREATE TRIGGER t AFTER UPDATE ON docs BEGIN DELETE FROM plain; END",
            "the definitions of tables",
        ),
    ] {
        let temp = Temp::new(SCHEMA);
        let seal = seal_of(&preview(&temp.db(), text));
        temp.other().execute_batch(edit).unwrap();
        let parts = differs(&temp, "e", text, &seal);
        assert!(parts.iter().any(|found| found == part), "{text} / {edit}: {parts:?}");
    }
}

#[test]
fn edits_that_change_nothing_of_what_was_shown_are_no_conflict() {
    for (text, edit) in [
        ("DELETE FROM loose WHERE k IS NULL AND v = 1", "INSERT INTO loose VALUES (NULL, 5), ('b', 6)"),
        ("UPDATE docs SET body = 'mine' WHERE owner = 'me'", "INSERT INTO docs VALUES (9, 'you', 'theirs')"),
        ("DROP TABLE plain", "UPDATE docs SET owner = 'x' WHERE 0"),
        ("UPDATE nocase SET v = 9 WHERE k = 'a'", "INSERT INTO nocase VALUES ('z', 1)"),
    ] {
        let temp = Temp::new(SCHEMA);
        let seal = seal_of(&preview(&temp.db(), text));
        temp.other().execute_batch(edit).unwrap();
        assert!(matches!(resealed(&temp, "e", text, &seal), Resealed::Applied(_)), "{text} / {edit}");
    }
}

#[test]
fn rows_with_a_null_key_are_shown_one_by_one() {
    let temp = Temp::new(SCHEMA);
    let seen = preview(&temp.db(), "UPDATE loose SET v = v * 10 WHERE v IN (1, 3)");
    assert_eq!(seen.evidence.tables["loose"].updated, 2);
    let null: Vec<_> =
        seen.evidence.changes.iter().filter(|change| change.key.get("k") == Some(&Value::Null)).collect();
    assert_eq!(null.len(), 1, "{:?}", seen.evidence.changes);
    assert_eq!((null[0].kind, null[0].changed.as_slice()), (ChangeKind::Update, ["v".to_owned()].as_slice()));
    assert_eq!(null[0].after.as_ref().unwrap().get("v"), Some(&Value::Integer(10)));
}

#[test]
fn definitions_are_shown_before_and_after() {
    let temp = Temp::new(SCHEMA);
    let seen = preview(&temp.db(), "DROP TABLE plain");
    assert_eq!(seen.evidence.tables["plain"].deleted, 2);
    assert_eq!(seen.evidence.changes.len(), 2, "the rows that go");
    assert!(seen.evidence.definitions[0].after.is_none());
    let seen = preview(&temp.db(), "ALTER TABLE made ADD COLUMN more TEXT");
    let definition = &seen.evidence.definitions[0];
    assert!(!definition.before.as_ref().unwrap().contains("more"), "{definition:?}");
    assert!(definition.after.as_ref().unwrap().contains("more"), "{definition:?}");
    let seen = preview(&temp.db(), "CREATE INDEX fast ON plain (n)");
    assert_eq!((seen.evidence.definitions[0].kind.as_str(), seen.evidence.tables.len()), ("index", 0));
}

#[test]
fn what_a_dropped_table_takes_with_it_is_shown() {
    let temp = Temp::new(
        "CREATE TABLE parents (id INTEGER PRIMARY KEY);
         CREATE TABLE children (id INTEGER PRIMARY KEY, p REFERENCES parents ON DELETE CASCADE);
         INSERT INTO parents VALUES (1), (2);
         INSERT INTO children VALUES (10, 1), (11, 2);",
    );
    let text = "DROP TABLE parents";
    let seen = preview(&temp.db(), text);
    assert_eq!((seen.evidence.tables["parents"].deleted, seen.evidence.tables["children"].deleted), (2, 2));
    temp.other().execute("INSERT INTO children VALUES (12, 1)", []).unwrap();
    let parts = differs(&temp, "e", text, &seal_of(&seen));
    assert_eq!(parts, ["rows of `children`"]);
}

#[test]
fn nothing_is_nothing_only_when_all_is_seen() {
    let temp = Temp::new(SCHEMA);
    for text in [
        "UPDATE docs SET body = 'x' WHERE owner = 'nobody'",
        "UPDATE plain SET n = 0 WHERE id > 100",
        "CREATE TABLE IF NOT EXISTS plain (id)",
        "DELETE FROM loose WHERE v > 100",
    ] {
        assert!(preview(&temp.db(), text).changes_nothing(), "{text}");
    }
    for text in UNHELD {
        let seen = temp.db().preview(&[], &execute(text), ANY);
        assert!(seen.is_err() || !seen.unwrap().changes_nothing(), "{text}");
    }
    // What was nothing, and is something by the time that it is carried out.
    let text = "CREATE TABLE IF NOT EXISTS plain (id)";
    let seal = seal_of(&preview(&temp.db(), text));
    temp.other().execute_batch("DROP TABLE plain").unwrap();
    assert!(differs(&temp, "e", text, &seal).contains(&"the definitions of tables".to_owned()));
}

#[test]
fn an_empty_change_stays_empty_when_it_is_committed() {
    let temp = Temp::new(SCHEMA);
    let seen = preview(&temp.db(), "UPDATE plain SET n = 0 WHERE id > 100");
    assert!(seen.is_complete() && seen.changes_nothing());
    temp.other().execute("INSERT INTO plain VALUES (101, 7)", []).unwrap();
    let committed = temp.db().commit_previews(&[(effect("e"), &seen)], false).unwrap();
    assert!(matches!(committed, Committed::Applied(_)));
    assert_eq!(one(&temp.db(), "SELECT n FROM plain WHERE id = 101"), Value::Integer(7));
}

#[test]
fn what_can_be_neither_shown_nor_bound_is_refused_unless_it_is_allowed() {
    let limits =
        Limits { compared_rows: 2, digested_bytes: 60, changeset_bytes: 1 << 16, ..Limits::default() };
    let mut temp = Temp::new(SCHEMA);
    temp.limits = limits;
    temp.other().execute_batch("INSERT INTO loose VALUES (NULL, 3)").unwrap();
    let blobs = "INSERT INTO plain SELECT id + 1000, randomblob(40000) FROM docs";
    for (text, reason) in [
        ("UPDATE loose SET v = 0", NotHeld::TooManyRows { table: "loose".to_owned() }),
        ("DROP TABLE docs", NotHeld::TooManyRows { table: "docs".to_owned() }),
        (blobs, NotHeld::TooLarge { limit: 1 << 16 }),
    ] {
        match temp.db().preview(&[], &execute(text), ANY) {
            Err(DataError::Unseen(found)) => assert_eq!(found, reason, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
        let seen = temp.db().allow_unseen().preview(&[], &execute(text), ANY).unwrap();
        assert_eq!(seen.evidence.unseen, Some(reason), "{text}");
        assert!(seen.seal.is_none() && !seen.is_complete() && !seen.changes_nothing(), "{text}");
    }
    let undoable = Requirements { undoable: true };
    let refused = temp.db().allow_unseen().preview(&[], &execute("DROP TABLE docs"), undoable).unwrap_err();
    assert!(matches!(refused, DataError::NotUndoable(_)), "{refused:?}");
}

#[test]
fn a_setting_names_the_databases_that_allow_it() {
    let temp = Temp::new(
        "CREATE TABLE loose (k TEXT PRIMARY KEY, v); INSERT INTO loose VALUES (NULL, 1), (NULL, 2)",
    );
    let url = format!("sqlite:{}", temp.path().display());
    let urls = [("a".to_owned(), url.clone()), ("b".to_owned(), url)].into();
    let limits = Limits { compared_rows: 1, ..Limits::default() };
    let all = wflo_data::Databases::open(&urls, std::path::Path::new("/"), &limits).unwrap();
    let all = all.allow_unseen(&BTreeSet::from(["b".to_owned(), "gone".to_owned()]));
    let write = execute("DELETE FROM loose");
    assert!(matches!(all.get(Some("a")).unwrap().preview(&[], &write, ANY), Err(DataError::Unseen(_))));
    assert!(all.get(Some("b")).unwrap().preview(&[], &write, ANY).is_ok());
}

#[test]
fn every_kind_of_virtual_table_comes_out_whole() {
    for (make, write, check) in [
        (
            "CREATE VIRTUAL TABLE v USING fts5(a); INSERT INTO v VALUES ('old one')",
            "UPDATE v SET a = 'new one'",
            "INSERT INTO v(v) VALUES('integrity-check')",
        ),
        (
            "CREATE VIRTUAL TABLE v USING fts5(body, content='docs', content_rowid='id');
             INSERT INTO v(v) VALUES('rebuild')",
            "INSERT INTO v(v, rowid, body) VALUES ('delete', 1, 'one')",
            "SELECT 1",
        ),
        (
            "CREATE VIRTUAL TABLE v USING fts5(a, content='')",
            "INSERT INTO v(rowid, a) VALUES (1, 'only the index')",
            "INSERT INTO v(v) VALUES('integrity-check')",
        ),
        (
            "CREATE VIRTUAL TABLE v USING fts4(a); INSERT INTO v VALUES ('old one')",
            "INSERT INTO v VALUES ('new one')",
            "INSERT INTO v(v) VALUES('integrity-check')",
        ),
        (
            "CREATE VIRTUAL TABLE v USING rtree(id, x0, x1); INSERT INTO v VALUES (1, 0, 1)",
            "INSERT INTO v VALUES (2, 3, 4)",
            "SELECT rtreecheck('v')",
        ),
    ] {
        let temp = Temp::new(SCHEMA);
        temp.other().execute_batch(make).unwrap();
        let seen = preview(&temp.db(), write);
        assert!(!seen.evidence.internal.is_empty(), "{write}: {:?}", seen.evidence);
        let seal = seal_of(&seen);
        // In another process's connection, after this one's was used for other things.
        assert!(matches!(resealed(&temp, "e", write, &seal), Resealed::Applied(_)), "{write}");
        temp.other().execute_batch(check).unwrap();
        // Another writer of the index in between.
        let seal = seal_of(&preview(&temp.db(), "INSERT INTO found VALUES ('mine')"));
        temp.other().execute_batch("INSERT INTO found VALUES ('theirs')").unwrap();
        differs(&temp, "f", "INSERT INTO found VALUES ('mine')", &seal);
    }
}
