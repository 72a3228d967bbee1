//! What a statement would do is known before it runs.

use wflo_data::{Class, DataError, NotHeld};

use crate::temp::{ANY, Temp, UNDOABLE, effect, execute, sql};

const SCHEMA: &str = "
    CREATE TABLE records (id INTEGER PRIMARY KEY, age INTEGER);
    CREATE TABLE audit (id INTEGER PRIMARY KEY, what TEXT);
    CREATE TABLE keyless (a, b);
    CREATE TABLE nullable (k TEXT PRIMARY KEY, v);
    CREATE TABLE spare (id INTEGER PRIMARY KEY);
    CREATE TABLE loose (k TEXT NOT NULL COLLATE NOCASE PRIMARY KEY, v);
    CREATE TABLE child (id INTEGER PRIMARY KEY, record REFERENCES records (id) ON DELETE CASCADE);
    CREATE TRIGGER log AFTER UPDATE ON records BEGIN INSERT INTO audit (what) VALUES ('u'); END;
    CREATE VIRTUAL TABLE search USING fts5(body);
    CREATE TABLE docs (id INTEGER PRIMARY KEY, body);
    CREATE TRIGGER docs_search AFTER INSERT ON docs BEGIN
      INSERT INTO search (rowid, body) VALUES (new.id, new.body); END;
    CREATE VIEW young AS SELECT * FROM records;
    CREATE TRIGGER young_insert INSTEAD OF INSERT ON young BEGIN
      INSERT INTO records (age) VALUES (new.age); END;";

#[test]
fn reads_are_reads() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    for text in [
        "SELECT * FROM records",
        "select 1;",
        "-- a comment\nSELECT 1 -- another",
        "WITH x AS (SELECT 1) SELECT * FROM x;  ",
        "VALUES (1)",
        "EXPLAIN QUERY PLAN DELETE FROM records",
        "PRAGMA table_info(records)",
        "PRAGMA user_version",
        "SELECT name FROM pragma_table_info('records')",
        "SELECT name FROM sqlite_schema",
        "SELECT * FROM search WHERE search MATCH 'x'",
        "SELECT * FROM young",
        "SELECT '_wflo_effects; COMMIT'",
        "SELECT value FROM json_each('[1,2]')",
    ] {
        assert_eq!(db.classify(text).unwrap(), Class::Read, "{text}");
        db.query(&sql(text)).unwrap();
    }
    for text in ["DELETE FROM records", "INSERT INTO records DEFAULT VALUES RETURNING id"] {
        assert!(matches!(db.query(&sql(text)), Err(DataError::NotARead)), "{text}");
    }
    assert!(matches!(db.classify("SELEC 1"), Err(DataError::Sql { .. })));
}

#[test]
fn a_write_names_the_tables_it_may_write_and_why_it_cannot_be_undone() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let table = |table: &str| table.to_owned();
    for (text, tables, not_held) in [
        ("UPDATE records SET age = 1", vec!["audit", "records"], None),
        ("DELETE FROM records", vec!["child", "records"], None),
        ("INSERT INTO young (age) VALUES (1)", vec!["records", "young"], None),
        (
            "UPDATE keyless SET a = 1",
            vec!["keyless"],
            Some(NotHeld::NoPrimaryKey { table: table("keyless") }),
        ),
        (
            "INSERT INTO search VALUES ('x')",
            vec!["search"],
            Some(NotHeld::VirtualTable { table: table("search") }),
        ),
        (
            "INSERT INTO docs VALUES (7, 'x')",
            vec!["docs", "search"],
            Some(NotHeld::VirtualTable { table: table("search") }),
        ),
        ("DELETE FROM loose", vec!["loose"], Some(NotHeld::LooseKey { table: table("loose") })),
        ("CREATE TABLE t (a)", vec![], Some(NotHeld::Schema)),
        ("DROP TABLE spare", vec!["spare"], Some(NotHeld::Schema)),
        ("ALTER TABLE audit ADD COLUMN x", vec![], Some(NotHeld::Schema)),
        ("ANALYZE", vec![], Some(NotHeld::Schema)),
        ("CREATE VIRTUAL TABLE words USING fts5(a)", vec![], Some(NotHeld::Schema)),
    ] {
        let Class::Write { tables: found, not_held: reason } = db.classify(text).unwrap() else {
            panic!("{text} is a write");
        };
        assert_eq!((found, &reason), (tables.into_iter().map(str::to_owned).collect(), &not_held), "{text}");
        let undoable = db.apply(effect(text), &execute(text), UNDOABLE);
        match not_held {
            None => assert!(undoable.unwrap().digest.is_some(), "{text}"),
            Some(wanted) => {
                assert!(
                    matches!(&undoable, Err(DataError::NotUndoable(found)) if *found == wanted),
                    "{text}: {undoable:?}"
                );
                let applied = db.apply(effect(text), &execute(text), ANY).unwrap();
                assert_eq!(applied.not_held, Some(wanted), "{text}");
            }
        }
    }
}

#[test]
fn rows_with_a_null_key_are_not_lost_silently() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let run = |id: &str, text: &str| db.apply(effect(id), &execute(text), UNDOABLE);
    run("a", "INSERT INTO nullable VALUES ('x', 1)").unwrap();
    for (id, text) in [("b", "INSERT INTO nullable VALUES (NULL, 1)"), ("c", "UPDATE nullable SET k = NULL")]
    {
        let error = run(id, text).unwrap_err();
        assert!(matches!(error, DataError::NotUndoable(NotHeld::NullKey { .. })), "{text}: {error:?}");
    }
    // Where such rows exist, the others can be changed, and they themselves cannot.
    temp.other().execute("INSERT INTO nullable VALUES (NULL, 5)", []).unwrap();
    run("d", "UPDATE nullable SET v = 2 WHERE k = 'x'").unwrap();
    assert!(run("e", "UPDATE nullable SET v = 3").is_err());
    assert!(run("f", "UPDATE nullable SET k = 'y' WHERE k IS NULL").is_err());
    assert!(run("g", "DELETE FROM nullable WHERE k IS NULL").is_err());
}
