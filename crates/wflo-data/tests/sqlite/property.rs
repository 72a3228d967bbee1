//! Random schemas, rows and statements: undo is exact, and a committed preview is the same as having
//! run the statement.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::Config;
use wflo_data::{Committed, DataError, OnConflict, Preview, Value};

use crate::temp::{ANY, Temp, apply, effect, execute, undo_of};

/// Which features the schema has.
#[derive(Debug, Clone)]
struct Schema {
    audit: bool,
    unique: bool,
    cascade: bool,
    generated: bool,
    strict: bool,
    wal: bool,
    deferred: bool,
    loose: bool,
}

fn schema() -> impl Strategy<Value = Schema> {
    any::<[bool; 8]>().prop_map(|[audit, unique, cascade, generated, strict, wal, deferred, loose]| Schema {
        audit,
        unique,
        cascade,
        generated,
        strict,
        wal,
        deferred,
        loose,
    })
}

impl Schema {
    fn sql(&self) -> String {
        let on = |flag: bool, text: &'static str| if flag { text } else { "" };
        format!(
            "PRAGMA journal_mode = {journal};
             CREATE TABLE t0 (id INTEGER PRIMARY KEY, a, n INTEGER {unique} {generated});
             CREATE TABLE t1 (k TEXT NOT NULL {loose} PRIMARY KEY, v REAL){strict};
             CREATE TABLE t2 (x INTEGER, y TEXT, z, PRIMARY KEY (y, x)) WITHOUT ROWID;
             CREATE TABLE t3 (id INTEGER PRIMARY KEY AUTOINCREMENT,
                              parent INTEGER REFERENCES t0 (id) {cascade} {deferred}, w BLOB);
             CREATE TABLE t4 (k TEXT PRIMARY KEY, v);
             CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT);
             CREATE INDEX t0_n ON t0 (n);
             {audit}
             INSERT INTO t0 (id, a, n) VALUES (1, 'a', 1), (2, NULL, 2), (3, x'00ff', 3), (4, 1.5, 4), (5, 'e', 5);
             INSERT INTO t1 VALUES ('A', 1), ('b', 2.5), ('c', NULL);
             INSERT INTO t2 VALUES (1, 'p', 1), (2, 'p', 2), (1, 'q', NULL);
             INSERT INTO t3 (parent, w) VALUES (1, 'w'), (2, NULL), (5, x'01');
             INSERT INTO t4 VALUES ('m', 1), ('n', 2);",
            journal = if self.wal { "wal" } else { "delete" },
            unique = on(self.unique, "UNIQUE"),
            generated = on(self.generated, ", g AS (n * 2), s AS (n + 1) STORED"),
            strict = on(self.strict, " STRICT"),
            cascade = on(self.cascade, "ON DELETE CASCADE ON UPDATE CASCADE"),
            loose = on(self.loose, "COLLATE NOCASE"),
            deferred = on(self.deferred, "DEFERRABLE INITIALLY DEFERRED"),
            audit = on(
                self.audit,
                "CREATE TRIGGER au AFTER UPDATE ON t0 BEGIN INSERT INTO log (what) VALUES (old.id || new.id); END;
                 CREATE TRIGGER ad BEFORE DELETE ON t0 BEGIN UPDATE t4 SET v = old.id; END;"
            ),
        )
    }
}

/// A statement on that schema; many of them break a constraint now and then, and that is fine.
fn statement() -> impl Strategy<Value = String> {
    let id = 1..9i64;
    let value = prop_oneof![
        Just("NULL".to_owned()),
        (-3..9i64).prop_map(|n| n.to_string()),
        Just("'é''x'".to_owned()),
        Just("x'00'".to_owned()),
        Just("0.5".to_owned()),
        Just("-0.0".to_owned()),
        Just("9223372036854775807".to_owned()),
    ];
    let or = prop_oneof![Just(""), Just("OR REPLACE"), Just("OR IGNORE")];
    let key = prop_oneof![Just("'a'"), Just("'A'"), Just("'B'"), Just("'c'"), Just("'d'")];
    (0..20u8, id.clone(), id, value, or, key).prop_map(|(which, i, j, v, or, k)| match which {
        0 => format!("INSERT {or} INTO t0 (id, a, n) VALUES ({i}, {v}, {j})"),
        1 => format!("INSERT {or} INTO t0 (a, n) VALUES ({v}, {j})"),
        2 => format!("UPDATE {or} t0 SET a = {v} WHERE id >= {i}"),
        3 => format!("UPDATE {or} t0 SET id = {j} WHERE id = {i}"),
        4 => format!("UPDATE {or} t0 SET id = id + 100 WHERE id > {i}"),
        5 => "UPDATE t0 SET n = 6 - n".to_owned(),
        6 => format!("DELETE FROM t0 WHERE id = {i}"),
        7 => "DELETE FROM t0".to_owned(),
        8 => format!("INSERT {or} INTO t1 VALUES ({k}, {i})"),
        // One row: which of several ends up under the key depends on their hidden row ids, which are no
        // part of the data and so of no change.
        9 => format!("UPDATE {or} t1 SET k = {k} WHERE k = (SELECT max(k) FROM t1 WHERE v > {i})"),
        10 => format!(
            "INSERT INTO t1 VALUES ({k}, {i}) ON CONFLICT (k) DO UPDATE SET v = v + excluded.v, k = {k}"
        ),
        11 => format!("INSERT {or} INTO t2 VALUES ({i}, {k}, {v})"),
        12 => format!("UPDATE {or} t2 SET y = {k}, z = {v} WHERE x = {i}"),
        13 => format!("DELETE FROM t2 WHERE x < {i}"),
        14 => format!("INSERT {or} INTO t3 (parent, w) VALUES ({i}, {v})"),
        15 => format!("DELETE FROM t3 WHERE parent = {i}"),
        16 => format!("INSERT {or} INTO t4 VALUES ({k}, {v})"),
        17 => format!("UPDATE {or} t4 SET k = CASE WHEN {i} > 6 THEN NULL ELSE {k} END WHERE v = {j}"),
        18 => "INSERT OR IGNORE INTO t0 (a, n) SELECT n, n + 10 FROM t0".to_owned(),
        _ => "UPDATE t1 SET v = v".to_owned(),
    })
}

/// Errors that a random statement may meet.
fn is_expected(error: &DataError) -> bool {
    matches!(error, DataError::Constraint { .. } | DataError::NotUndoable(_))
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn undo_is_exact_from_any_point(
        schema in schema(),
        statements in prop::collection::vec(statement(), 1..12),
        point in any::<prop::sample::Index>(),
    ) {
        let temp = Temp::new(&schema.sql());
        let db = temp.db();
        let mut states = vec![temp.dump()];
        let mut ids: Vec<String> = Vec::new();
        for (index, text) in statements.iter().enumerate() {
            let id = format!("e{index}");
            match apply(&db, &id, text) {
                Ok(_) => {
                    ids.push(id);
                    states.push(temp.dump());
                }
                Err(error) => prop_assert!(is_expected(&error), "{}: {:?}", text, error),
            }
        }
        // Back to a point in the middle, then everything, the first undo included.
        let middle = point.index(states.len());
        let scope: Vec<&str> = ids.iter().skip(middle).map(String::as_str).collect();
        db.undo(&undo_of("u1", &scope, OnConflict::Abort), false).unwrap();
        prop_assert_eq!(&temp.dump(), &states[middle]);
        let mut scope: Vec<&str> = ids.iter().map(String::as_str).collect();
        scope.push("u1");
        db.undo(&undo_of("u2", &scope, OnConflict::Abort), false).unwrap();
        prop_assert_eq!(&temp.dump(), &states[0]);
        let broken: i64 = temp.other()
            .query_row("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'", [], |row| row.get(0))
            .unwrap();
        prop_assert_eq!(broken, 0);
    }

    #[test]
    fn a_committed_preview_is_the_statement(
        schema in schema(),
        statements in prop::collection::vec(statement(), 1..8),
    ) {
        let (direct, previewed) = (Temp::new(&schema.sql()), Temp::new(&schema.sql()));
        let (one, two) = (direct.db(), previewed.db());
        let untouched = previewed.dump();
        let mut previews: Vec<(String, Preview)> = Vec::new();
        for (index, text) in statements.iter().enumerate() {
            let chain: Vec<_> = previews.iter().map(|(_, preview)| &preview.changeset).collect();
            let preview = two.preview(&chain, &execute(text), ANY);
            // A statement that cannot be previewed whole ends a chain; here it is left out.
            if preview.as_ref().is_ok_and(|preview| !preview.is_complete()) {
                continue;
            }
            let applied = one.apply(effect(&format!("e{index}")), &execute(text), ANY);
            match (preview, applied) {
                (Ok(preview), Ok(applied)) => {
                    prop_assert_eq!(&preview.result, &applied.result, "{}", text);
                    previews.push((format!("e{index}"), preview));
                }
                (Err(preview), Err(applied)) => {
                    prop_assert_eq!(preview.to_string(), applied.to_string(), "{}", text);
                }
                (preview, applied) => prop_assert!(false, "{}: {:?} / {:?}", text, preview, applied),
            }
        }
        prop_assert_eq!(&previewed.dump(), &untouched);
        let chain: Vec<_> = previews.iter().map(|(id, preview)| (effect(id), preview)).collect();
        let committed = two.commit_previews(&chain, false).unwrap();
        prop_assert!(matches!(committed, Committed::Applied(_)), "{:?}", committed);
        prop_assert_eq!(&previewed.dump(), &direct.dump());
    }

    #[test]
    fn undo_never_destroys_what_others_wrote(
        schema in schema(),
        steps in prop::collection::vec((statement(), prop::option::of(1..9i64)), 1..10),
        skip in any::<bool>(),
    ) {
        let temp = Temp::new(&schema.sql());
        let (db, other) = (temp.db(), temp.other());
        let rows = || -> BTreeMap<i64, Vec<Value>> {
            let rows = temp.dump().remove("t0").unwrap();
            rows.into_iter().map(|row| match row[0] {
                Value::Integer(id) => (id, row),
                _ => panic!("a row id is an integer"),
            }).collect()
        };
        let mut ids = Vec::new();
        // What others wrote to a row after the last effect that touched it.
        let mut theirs: BTreeMap<i64, Value> = BTreeMap::new();
        for (index, (text, edit)) in steps.iter().enumerate() {
            let (id, before) = (format!("e{index}"), rows());
            if apply(&db, &id, text).is_ok() {
                ids.push(id);
            }
            let after = rows();
            theirs.retain(|id, _| before.get(id) == after.get(id));
            if let Some(row) = edit {
                let wrote = format!("other-{index}");
                let changed = other.execute("UPDATE t0 SET a = ?1 WHERE id = ?2", rusqlite::params![wrote, row]);
                if changed.unwrap() == 1 {
                    theirs.insert(*row, Value::Text(wrote));
                }
            }
        }
        let all = temp.dump();
        let scope: Vec<&str> = ids.iter().map(String::as_str).collect();
        let on_conflict = if skip { OnConflict::Skip } else { OnConflict::Abort };
        match db.undo(&undo_of("u", &scope, on_conflict), false) {
            Ok(_) => {
                let now = rows();
                for (id, wrote) in &theirs {
                    prop_assert_eq!(now.get(id).map(|row| &row[1]), Some(wrote), "row {}", id);
                }
            }
            Err(error) => {
                prop_assert!(matches!(error, DataError::UndoConflict { .. }), "{:?}", error);
                prop_assert_eq!(temp.dump(), all);
            }
        }
    }
}
