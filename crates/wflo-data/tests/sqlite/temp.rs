//! A database file of a test's own, seen through wflo and as any other program sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rusqlite::Connection;
use wflo_data::{
    Applied, DataError, Database, DatabaseUrl, Effect, Limits, OnConflict, Params, Requirements, Statement,
    UndoRequest, Value, Write,
};

/// A temporary database with a schema.
pub struct Temp {
    dir: tempfile::TempDir,
    pub limits: Limits,
}

/// All rows of all tables but wflo's own.
pub type Dump = BTreeMap<String, Vec<Vec<Value>>>;

impl Temp {
    pub fn new(schema: &str) -> Self {
        let temp = Temp { dir: tempfile::tempdir().unwrap(), limits: Limits::default() };
        temp.other().execute_batch(schema).unwrap();
        temp
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    /// wflo's view.
    pub fn db(&self) -> Database {
        Database::open("main", &DatabaseUrl::Sqlite(self.path()), self.limits.clone()).unwrap()
    }

    /// Another program's view.
    pub fn other(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    pub fn dump(&self) -> Dump {
        dump(&self.other())
    }
}

pub fn dump(connection: &Connection) -> Dump {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0
                 AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE '!_wflo!_%' ESCAPE '!'";
    let mut statement = connection.prepare(names).unwrap();
    let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    names
        .into_iter()
        .map(|name| {
            let mut statement = connection.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
            let columns = statement.column_count();
            let mut rows: Vec<Vec<Value>> = statement
                .query_map([], |row| {
                    (0..columns).map(|index| row.get_ref(index).map(value)).collect::<Result<_, _>>()
                })
                .unwrap()
                .map(Result::unwrap)
                .collect();
            rows.sort_by_key(|row| format!("{row:?}"));
            (name, rows)
        })
        .collect()
}

fn value(cell: rusqlite::types::ValueRef<'_>) -> Value {
    use rusqlite::types::ValueRef;
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).unwrap()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

pub fn sql(text: &str) -> Statement {
    Statement { sql: text.to_owned(), params: Params::none() }
}

pub fn execute(text: &str) -> Write {
    Write::Execute(sql(text))
}

pub fn effect(id: &str) -> Effect<'_> {
    Effect { id, fingerprint: "f" }
}

pub const UNDOABLE: Requirements = Requirements { undoable: true };
pub const ANY: Requirements = Requirements { undoable: false };

/// Applies a statement as an undoable effect.
pub fn apply(db: &Database, id: &str, text: &str) -> Result<Applied, DataError> {
    db.apply(effect(id), &execute(text), UNDOABLE)
}

pub fn undo_of(id: &str, scope: &[&str], on_conflict: OnConflict) -> UndoRequest {
    UndoRequest {
        effect_id: id.to_owned(),
        fingerprint: "f".to_owned(),
        scope: scope.iter().map(|id| (*id).to_owned()).collect(),
        on_conflict,
    }
}

/// The single value that a query gives.
pub fn one(db: &Database, text: &str) -> Value {
    db.query(&sql(text)).unwrap().rows.remove(0).remove(0)
}
