//! Rows to update: matched by key, all or nothing.

use wflo_core::error::Coded as _;
use wflo_data::{DataError, Write};

use crate::temp::{Temp, UNDOABLE, effect};

const SCHEMA: &str = "
    CREATE TABLE records (id INTEGER PRIMARY KEY, age INTEGER, note TEXT, twice AS (age * 2));
    CREATE TABLE people (id INTEGER PRIMARY KEY, age INTEGER, name TEXT);
    CREATE TABLE prices (region TEXT, sku TEXT, price REAL, PRIMARY KEY (region, sku)) WITHOUT ROWID;
    CREATE TABLE keyless (a, b);
    INSERT INTO records VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c');
    INSERT INTO people VALUES (1, 10, 'x');
    INSERT INTO prices VALUES ('eu', 'a', 1.0), ('us', 'a', 2.0);";

fn rows(json: serde_json::Value) -> Write {
    Write::from_request("bulk_update", &json).unwrap()
}

#[test]
fn the_table_is_inferred_from_the_columns() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let write =
        rows(serde_json::json!({"rows": [{"id": 1, "note": "z"}, {"ID": 2, "age": 21, "note": null}]}));
    assert_eq!(db.apply(effect("a"), &write, UNDOABLE).unwrap().result.rows_affected, 2);
    let write = rows(serde_json::json!({"rows": [{"region": "eu", "sku": "a", "price": 9.5}]}));
    assert_eq!(db.apply(effect("b"), &write, UNDOABLE).unwrap().result.rows_affected, 1);
    let write = rows(serde_json::json!({"table": "people", "rows": [{"id": 1, "age": 11}]}));
    db.apply(effect("c"), &write, UNDOABLE).unwrap();
    let dump = format!("{:?}", temp.dump());
    for value in ["\"z\"", "21", "9.5", "11"] {
        assert!(dump.contains(value), "{value} in {dump}");
    }
}

#[test]
fn what_is_unclear_or_wrong_names_itself_and_changes_nothing() {
    let temp = Temp::new(SCHEMA);
    let db = temp.db();
    let before = temp.dump();
    for (json, code, wanted) in [
        (serde_json::json!({"rows": [{"id": 1, "age": 2}]}), 6020, "`people`, `records`"),
        (serde_json::json!({"rows": [{"id": 1, "nothing": 2}]}), 6020, "no table has"),
        (serde_json::json!({"rows": [{"region": "eu", "price": 2}]}), 6020, "primary key"),
        (serde_json::json!({"rows": []}), 6020, "no rows"),
        (serde_json::json!({"table": "keyless", "rows": [{"a": 1}]}), 6020, "no primary key"),
        (serde_json::json!({"table": "gone", "rows": [{"a": 1}]}), 6020, "`gone`"),
        (serde_json::json!({"table": "_wflo_effects", "rows": [{"a": 1}]}), 6020, "_wflo_effects"),
        (serde_json::json!({"table": "sqlite_master", "rows": [{"a": 1}]}), 6020, "sqlite_master"),
        (serde_json::json!({"table": "records", "rows": [{"id": 1, "age": 2}, {"id": 1}]}), 6021, "row 2"),
        (serde_json::json!({"table": "records", "rows": [{"age": 1}]}), 6021, "`id`"),
        (serde_json::json!({"table": "records", "rows": [{"id": null, "age": 1}]}), 6021, "null"),
        (serde_json::json!({"table": "records", "rows": [{"id": 1, "x": 1}]}), 6021, "`x`"),
        (serde_json::json!({"table": "records", "rows": [{"id": 1, "age": 1, "AGE": 2}]}), 6021, "twice"),
        (serde_json::json!({"table": "records", "rows": [{"id": 1, "twice": 1}]}), 6010, "generated"),
        (
            serde_json::json!({"table": "records", "rows": [{"id": 1, "note": "z"}, {"id": 7, "note": "y"}, {"id": 8, "note": "x"}]}),
            6022,
            "id=7 / id=8",
        ),
    ] {
        let error = db.apply(effect("e"), &rows(json.clone()), UNDOABLE).unwrap_err();
        assert_eq!(error.code().0, code, "{json}: {error}");
        assert!(error.to_string().contains(wanted), "{json}: {error}");
        assert!(error.hint().is_some() || matches!(error, DataError::Sql { .. }));
    }
    assert_eq!(temp.dump(), before);
}
