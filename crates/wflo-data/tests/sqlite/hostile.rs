//! A step's SQL is hostile: nothing of this gets through, and the database stays as it was.

use std::time::{Duration, Instant};

use wflo_core::error::Coded as _;
use wflo_data::{Class, DataError, Limits, Refusal, Statement, Value};

use crate::temp::{ANY, Temp, apply, effect, execute, one, sql};

const SCHEMA: &str = "
    CREATE TABLE records (id INTEGER PRIMARY KEY AUTOINCREMENT, age INTEGER, note TEXT);
    INSERT INTO records (age, note) VALUES (1, 'a'), (2, 'b'), (400, 'c');
    CREATE VIRTUAL TABLE docs USING fts5(body);
    INSERT INTO docs VALUES ('hello world');
    CREATE VIEW young AS SELECT * FROM records WHERE age < 100;";

/// Statements that no step may run.
const REFUSED: &[&str] = &[
    "BEGIN",
    "COMMIT",
    "END",
    "ROLLBACK",
    "SAVEPOINT s",
    "RELEASE s",
    "ROLLBACK TO s",
    "/* c */ -- d\n COMMIT",
    ";;COMMIT",
    "ATTACH '/tmp/wflo-hostile.db' AS x",
    "ATTACH ':memory:' AS x",
    "DETACH main",
    "VACUUM",
    "vacuum INTO '/tmp/wflo-hostile.db'",
    "/**/VACUUM/**/INTO '/tmp/wflo-hostile.db'",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA journal_mode",
    "PRAGMA synchronous = OFF",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA main.user_version = 7",
    "PRAGMA database_list",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA max_page_count = 1",
    "PRAGMA table_info(_wflo_effects)",
    "PRAGMA temp_store_directory = '/tmp'",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT * FROM _wflo_effects",
    "SELECT * FROM main.\"_WFLO_effects\"",
    "SELECT (SELECT count(*) FROM [_wflo_effects])",
    "WITH x AS (SELECT * FROM _wflo_effects) SELECT * FROM x",
    "INSERT INTO _wflo_effects (effect_id) VALUES ('x')",
    "UPDATE _wflo_effects SET result = 'x'",
    "DELETE FROM _wflo_effects",
    "DROP TABLE _wflo_effects",
    "ALTER TABLE _wflo_effects RENAME TO mine",
    "ALTER TABLE records RENAME TO _wflo_records",
    "CREATE TABLE _wflo_x (a)",
    "CREATE INDEX i ON _wflo_effects (result)",
    "CREATE VIEW v AS SELECT * FROM _wflo_effects",
    "CREATE TRIGGER t AFTER INSERT ON _wflo_effects BEGIN DELETE FROM records; END",
    "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM \"_Wflo_effects\"; END",
    "CREATE TABLE copy AS SELECT * FROM _wflo_effects",
    "INSERT INTO records (note) SELECT result FROM _wflo_effects",
    "CREATE TEMP TABLE t (a)",
    "CREATE TEMP TRIGGER t AFTER INSERT ON main.records BEGIN SELECT 1; END",
    "CREATE TEMP VIEW records AS SELECT 1",
    "CREATE VIRTUAL TABLE v USING dbstat",
    "CREATE VIRTUAL TABLE v USING csv('/etc/passwd')",
    "INSERT INTO sqlite_master (type) VALUES ('table')",
    "UPDATE sqlite_schema SET sql = ''",
    "DELETE FROM sqlite_master",
    "DELETE FROM sqlite_sequence",
    "UPDATE sqlite_sequence SET seq = 1",
    "DROP TABLE sqlite_sequence",
    "CREATE TABLE sqlite_stat1 (tbl, idx, stat)",
    "CREATE TABLE sqlite_x (a)",
    "INSERT INTO docs_data VALUES (1, 2)",
    "DELETE FROM docs_content",
    "DROP TABLE docs_data",
    "SELECT 1; SELECT 2",
    "SELECT 1; DELETE FROM records",
    "DELETE FROM records; COMMIT",
    "SELECT 1; garbage",
    "SELECT 1;;; -- c\n; COMMIT",
    "SELECT 1 \0 ; COMMIT",
    "EXPLAIN SELECT * FROM _wflo_effects",
    "",
    "  ;; -- nothing\n /* at all */ ;",
];

#[test]
fn what_no_step_may_run_is_refused_and_changes_nothing() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "first", "UPDATE records SET note = 'x' WHERE id = 1").unwrap();
    let before = temp.dump();
    let journal: String = temp.other().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    for text in REFUSED {
        for result in [
            db.apply(effect("e"), &execute(text), ANY).map(|_| ()),
            db.query(&sql(text)).map(|_| ()),
            db.preview(&[], &execute(text), ANY).map(|_| ()),
            db.preview_query(&[], &sql(text)).map(|_| ()),
        ] {
            let error = result.expect_err(text);
            // A statement that names a shadow table or a missing thing may also simply be wrong.
            assert!(matches!(error, DataError::Refused(_) | DataError::Sql { .. }), "{text}: {error:?}");
        }
        assert!(
            matches!(db.classify(text), Ok(Class::Refused(_)) | Err(DataError::Sql { .. })),
            "{text}: {:?}",
            db.classify(text)
        );
    }
    assert_eq!(temp.dump(), before);
    let after: String = temp.other().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(after, journal);
    assert!(!std::path::Path::new("/tmp/wflo-hostile.db").exists());
    // The connection is as good as before.
    apply(&db, "last", "DELETE FROM records WHERE id = 1").unwrap();
}

#[test]
fn a_refusal_names_what_was_tried() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    for (text, wanted) in [
        ("COMMIT", "transaction"),
        ("ATTACH 'x' AS y", "attaches"),
        ("VACUUM INTO 'x'", "vacuum"),
        ("PRAGMA writable_schema = 1", "writable_schema"),
        ("SELECT load_extension('x')", "load_extension"),
        ("SELECT 1; SELECT 2", "more than one"),
        ("DELETE FROM sqlite_master", "sqlite_master"),
        ("INSERT INTO docs_data VALUES (1, 2)", "docs_data"),
        ("CREATE TABLE _wflo_x (a)", "_wflo_x"),
    ] {
        let Class::Refused(refusal) = db.classify(text).unwrap() else { panic!("{text} was not refused") };
        assert!(refusal.to_string().contains(wanted), "{text}: {refusal}");
        assert_eq!(DataError::Refused(refusal).code().to_string(), "WFLO-6009");
    }
}

#[test]
fn a_trigger_cannot_reach_what_a_statement_cannot() {
    // Somebody else's trigger on the user's table, written to reach wflo's records.
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    apply(&db, "first", "UPDATE records SET note = 'x' WHERE id = 1").unwrap();
    temp.other()
        .execute_batch(
            "CREATE TRIGGER steal AFTER DELETE ON records BEGIN
               INSERT INTO records (note) SELECT result FROM _wflo_effects; END",
        )
        .unwrap();
    let error = apply(&db, "second", "DELETE FROM records WHERE id = 1").unwrap_err();
    assert!(matches!(error, DataError::Refused(Refusal::Reserved { .. })), "{error:?}");
}

#[test]
fn endless_statements_end_at_the_deadline() {
    let mut temp = Temp::new(SCHEMA);
    temp.limits = Limits { statement_time: Duration::from_millis(200), ..Limits::default() };
    let db = temp.db();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let started = Instant::now();
    assert!(matches!(db.query(&sql(endless)), Err(DataError::TooSlow { .. })));
    let write = format!("UPDATE records SET age = ({endless})");
    assert!(matches!(apply(&db, "e", &write), Err(DataError::TooSlow { .. })));
    // Not a measurement: only that neither ran on without end.
    assert!(started.elapsed() < Duration::from_secs(60));
    // And nobody is kept waiting by what they left.
    temp.other().execute("UPDATE records SET age = 0", []).unwrap();
}

#[test]
fn functions_that_take_hours_on_long_texts_do_not_get_them() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let long = "hex(zeroblob(4000000))";
    for text in [
        format!("SELECT instr({long} || {long}, {long} || 'x')"),
        format!("SELECT replace({long}, {long} || 'x', 'y')"),
        format!("SELECT trim({long}, {long} || 'x')"),
        format!("SELECT json_patch({long}, {long})"),
        format!("WITH x AS (SELECT {long} AS t) SELECT rtrim(t, t) FROM x"),
    ] {
        assert!(matches!(db.query(&sql(&text)), Err(DataError::ValueTooLarge)), "{text}");
    }
    for text in [
        "CREATE TABLE t (a, b, CHECK (instr(a, b) = 0))",
        "CREATE TABLE t (a, b, c AS (replace(a, b, '')))",
        "CREATE TABLE t (a, b, CHECK (\"INSTR\" /* ( */ -- c\n (a, b) = 0))",
        "CREATE TABLE t (a, b, c AS ([replace] (a, b, '')))",
        "CREATE INDEX i ON records (trim(note, note))",
        "ALTER TABLE records ADD COLUMN c AS (json_patch(note, note))",
    ] {
        let error = db.apply(effect(text), &execute(text), ANY).unwrap_err();
        assert!(matches!(error, DataError::Refused(Refusal::Function { .. })), "{text}: {error:?}");
    }
    // The words themselves are free, and so are views and triggers.
    for text in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT REPLACE, \"trim\" TEXT)",
        "CREATE VIEW w AS SELECT replace(note, 'a', 'b') AS r FROM records",
    ] {
        db.apply(effect(text), &execute(text), ANY).unwrap();
    }
    // A trigger or view that uses one brings the limit with it.
    temp.other().execute_batch("CREATE VIEW v AS SELECT instr(note, note) AS i FROM records").unwrap();
    let text = format!("SELECT i FROM v WHERE {long} IS NOT NULL");
    assert!(matches!(db.query(&sql(&text)), Err(DataError::ValueTooLarge)));
    // The next statement has the whole range again, and short values are no matter.
    db.query(&sql(&format!("SELECT length({long})"))).unwrap();
    assert_eq!(one(&db, "SELECT replace(trim(' aXa '), 'X', 'b')"), Value::Text("aba".to_owned()));
}

#[test]
fn statements_that_are_endless_to_compile_end_too() {
    let mut temp = Temp::new(SCHEMA);
    temp.limits = Limits { statement_time: Duration::from_millis(200), ..Limits::default() };
    let other = temp.other();
    other.execute_batch("CREATE VIEW v0 AS SELECT id FROM records").unwrap();
    for level in 1..40 {
        let before = level - 1;
        other
            .execute_batch(&format!(
                "CREATE VIEW v{level} AS SELECT id FROM v{before} UNION ALL SELECT id FROM v{before}"
            ))
            .unwrap();
    }
    let db = temp.db();
    for result in [
        db.query(&sql("SELECT * FROM v39")).map(|_| ()),
        db.classify("SELECT * FROM v39").map(|_| ()),
        db.preview(&[], &execute("DELETE FROM records WHERE id IN (SELECT id FROM v39)"), ANY).map(|_| ()),
    ] {
        assert!(result.is_err());
    }
}

#[test]
fn ordinary_schema_changes_work() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    for text in [
        "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE)",
        "CREATE TABLE IF NOT EXISTS a (id)",
        "INSERT INTO a (b) VALUES (1)",
        "CREATE INDEX a_b ON a (b)",
        "ALTER TABLE a ADD COLUMN c DEFAULT 1",
        "ALTER TABLE a RENAME COLUMN c TO d",
        "ALTER TABLE a DROP COLUMN d",
        "ALTER TABLE a RENAME TO z",
        "CREATE TRIGGER t AFTER INSERT ON z BEGIN UPDATE records SET age = 1; END",
        "CREATE VIEW w AS SELECT * FROM z",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
        "INSERT INTO f VALUES ('some words')",
        "CREATE VIRTUAL TABLE r USING rtree(id, a, b)",
        "ANALYZE",
        "ANALYZE records",
        "REINDEX",
        "CREATE TABLE copy AS SELECT * FROM records",
        "DROP TABLE f",
        "DROP TABLE r",
        "DROP VIEW w",
        "DROP TRIGGER t",
        "DROP INDEX a_b",
        "DROP TABLE z",
    ] {
        db.apply(effect(text), &execute(text), ANY).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    let tables: Vec<String> = temp.dump().into_keys().filter(|name| !name.starts_with("docs")).collect();
    assert_eq!(tables, ["copy", "records"]);
}

#[test]
fn results_and_values_are_bounded() {
    let mut temp = Temp::new(SCHEMA);
    temp.limits = Limits { rows: 1_000, result_bytes: 100_000, ..Limits::default() };
    let db = temp.db();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1001) SELECT i FROM n";
    assert!(matches!(db.query(&sql(many)), Err(DataError::ResultTooLarge { limit: 1_000, unit: "rows" })));
    let large = "SELECT hex(zeroblob(60000))";
    assert!(matches!(db.query(&sql(large)), Err(DataError::ResultTooLarge { unit: "bytes", .. })));
    for text in ["SELECT length(zeroblob(1000000000))", "SELECT length(printf('%900000000d', 1))"] {
        let error = db.query(&sql(text)).unwrap_err();
        assert!(matches!(error, DataError::ValueTooLarge), "{text}: {error:?}");
    }
    assert!(matches!(
        db.query(&sql(&format!("SELECT '{}'", "x".repeat(2 << 20)))),
        Err(DataError::Refused(Refusal::TooLong { .. }))
    ));
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(matches!(db.query(&sql(&deep)), Err(DataError::Sql { .. })));
    let statements = "SELECT 1;".repeat(100_000);
    assert!(matches!(db.query(&sql(&statements)), Err(DataError::Refused(Refusal::Several))));
}

#[test]
fn a_write_cannot_fill_the_disk_or_the_memory() {
    let mut temp = Temp::new(SCHEMA);
    temp.limits = Limits { growth_bytes: 1 << 20, changeset_bytes: 1 << 20, ..Limits::default() };
    let db = temp.db();
    let rows = |n: u32, size: u32| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {n})
             INSERT INTO records (note) SELECT zeroblob({size}) FROM n"
        )
    };
    let before = temp.dump();
    for (id, n, size) in [("growth", 300, 10_000), ("memory", 40_000, 1)] {
        let error = apply(&db, id, &rows(n, size)).unwrap_err();
        assert!(matches!(error, DataError::WriteTooLarge { .. }), "{id}: {error:?}");
    }
    assert_eq!(temp.dump(), before);
    // Without undo the second is fine; it says that it cannot be undone.
    let applied = db.apply(effect("memory"), &execute(&rows(40_000, 1)), ANY).unwrap();
    assert_eq!(applied.result.rows_affected, 40_000);
    assert!(applied.digest.is_none() && applied.not_held.is_some());
}

#[test]
fn nothing_of_one_statement_is_seen_by_the_next() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let insert = execute("INSERT INTO records (age) VALUES (5)");
    assert_eq!(db.apply(effect("a"), &insert, ANY).unwrap().result.last_insert_id, Some(4));
    let rows = db.apply(effect("b"), &execute("INSERT OR IGNORE INTO records (id) VALUES (4)"), ANY).unwrap();
    assert_eq!((rows.result.rows_affected, rows.result.last_insert_id), (0, None));
    let update = db.apply(effect("c"), &execute("UPDATE records SET age = 1"), ANY).unwrap();
    assert_eq!((update.result.rows_affected, update.result.last_insert_id), (4, None));
    assert_eq!(db.query(&sql("SELECT last_insert_rowid()")).unwrap().rows, [[Value::Integer(0)]]);
}

#[test]
fn parameters_must_fit() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let from = |json: serde_json::Value| Statement::from_request(&json).and_then(|s| db.query(&s));
    for (request, wanted) in [
        (serde_json::json!({"sql": "SELECT ?", "params": []}), "1 placeholders"),
        (serde_json::json!({"sql": "SELECT 1", "params": [1]}), "0 placeholders"),
        (serde_json::json!({"sql": "SELECT :a", "params": {"b": 1}}), ":a"),
        (serde_json::json!({"sql": "SELECT ?", "params": {"a": 1}}), "list"),
        (serde_json::json!({"sql": "SELECT ?", "params": [[1]]}), "number 1"),
        (serde_json::json!({"sql": "SELECT ?", "params": [u64::MAX]}), "64"),
        (serde_json::json!({"sql": "SELECT ?", "params": 1}), "list or a dict"),
        (serde_json::json!({"sql": 1}), "text"),
    ] {
        let error = from(request.clone()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{request}: {error}");
    }
    let exact = serde_json::json!({"sql": "SELECT :n, @b, $t", "params":
        {"n": i64::MIN, "b": {"$bytes": "AP8="}, "t": "é", "unused": 1}});
    assert_eq!(
        from(exact).unwrap().rows,
        [[Value::Integer(i64::MIN), Value::Blob(vec![0, 255]), Value::Text("é".to_owned())]]
    );
}

#[test]
fn a_long_expression_over_long_values_is_cut_short() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let long = "hex(zeroblob(7000000))";
    // SQLite cannot be interrupted in the middle of these; each has minutes to do.
    let nested = format!("{}{long}{}", "upper(".repeat(100), ")".repeat(100));
    let columns = vec![format!("length({nested})"); 40].join(",");
    let compared = vec!["t=u"; 100_000].join("|");
    for text in [
        format!("SELECT {columns}"),
        format!("UPDATE records SET age = age WHERE ({}) IS NULL", columns.replace(',', "+")),
        format!("WITH x AS (SELECT {long} AS t, {long} AS u) SELECT {compared} FROM x"),
    ] {
        let began = Instant::now();
        let error = match text.starts_with("UPDATE") {
            true => db.apply(effect("long"), &execute(&text), ANY).map(drop).unwrap_err(),
            false => db.query(&sql(&text)).map(drop).unwrap_err(),
        };
        let known = matches!(
            error,
            DataError::ValueTooLarge
                | DataError::Sql { .. }
                | DataError::TooSlow { .. }
                | DataError::Refused(_)
        );
        assert!(known && began.elapsed() < HANG, "{:.80}: {error:?}", text);
    }
    let many = vec!["abs(1)"; 5_000].join(",");
    let error = db.query(&sql(&format!("SELECT 1 WHERE 1 IN ({many})"))).unwrap_err();
    assert!(matches!(error, DataError::Refused(Refusal::Functions { found: 5_000, .. })), "{error:?}");
    // What people write has what it needs: long values, and long texts.
    db.query(&sql(&format!("SELECT length(upper(lower({long})))"))).unwrap();
    let rows = vec!["(1, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')"; 10_000].join(",");
    apply(&db, "rows", &format!("INSERT INTO records (age, note) VALUES {rows}")).unwrap();
    let literal = "y".repeat(900_000);
    apply(&db, "literal", &format!("INSERT INTO records (age, note) VALUES (1, '{literal}')")).unwrap();
}

/// For a hang; not a measure.
const HANG: Duration = Duration::from_secs(60);
