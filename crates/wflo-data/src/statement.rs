//! What a step asks of a database: a statement with its parameters, or rows to update; and what it
//! gets back.
//!
//! Owns the shapes and their JSON, as in the worker protocol. What they may do is decided by
//! [`Database::classify`](crate::Database::classify).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::change::Record;
use crate::error::DataError;
use crate::value::Value;

/// One SQL statement with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Exactly one statement; a trailing `;` and comments are fine.
    pub sql: String,
    /// What its placeholders stand for.
    pub params: Params,
}

/// Parameters of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Params {
    /// For `?` and `?NNN`, in order. Their number must be that of the placeholders.
    Positional(Vec<Value>),
    /// For `:name`, `@name` and `$name`, without the sign. Every placeholder needs its name;
    /// further names are allowed, as in Python's `sqlite3`.
    Named(BTreeMap<String, Value>),
}

impl Params {
    /// No parameters.
    pub fn none() -> Self {
        Params::Positional(Vec::new())
    }
}

/// A change that a step asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A statement that is not read-only.
    Execute(Statement),
    /// Rows matched by their primary key; the other columns are set. All or nothing.
    Update {
        /// The table; `None` infers it from the columns.
        table: Option<String>,
        /// One record a row; each holds the whole primary key.
        rows: Vec<Record>,
    },
}

/// What a statement returned.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rows {
    /// Column names, in order.
    pub columns: Vec<String>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Value>>,
    /// Rows that the statement itself inserted, updated or deleted (not those of triggers).
    pub rows_affected: u64,
    /// The row id of the last row that the statement itself inserted, in a table whose row id is its
    /// primary key or that has none.
    pub last_insert_id: Option<i64>,
}

impl Statement {
    /// A statement without parameters.
    pub fn new(sql: impl Into<String>) -> Self {
        Statement { sql: sql.into(), params: Params::none() }
    }

    /// A statement with positional parameters.
    pub fn with(sql: impl Into<String>, params: impl IntoIterator<Item = Value>) -> Self {
        Statement { sql: sql.into(), params: Params::Positional(params.into_iter().collect()) }
    }

    /// Reads `{"sql": …, "params": […] | {…} | null}`, the request of `db/query` and `db/execute`.
    ///
    /// # Errors
    /// [`DataError::RequestInvalid`] for another shape, [`DataError::ParamInvalid`] for a parameter
    /// that is not a database value.
    pub fn from_request(request: &Json) -> Result<Self, DataError> {
        let sql = request
            .get("sql")
            .and_then(Json::as_str)
            .ok_or(DataError::RequestInvalid { reason: "`sql` must be text" })?;
        let params = match request.get("params") {
            None | Some(Json::Null) => Params::none(),
            Some(Json::Array(list)) => {
                let values = list.iter().enumerate().map(|(index, json)| {
                    Value::from_json(json).map_err(|source| DataError::ParamInvalid {
                        param: format!("number {}", index + 1),
                        source,
                    })
                });
                Params::Positional(values.collect::<Result<_, _>>()?)
            }
            Some(Json::Object(map)) => Params::Named(named(map)?),
            Some(_) => return Err(DataError::RequestInvalid { reason: "`params` must be a list or a dict" }),
        };
        Ok(Statement { sql: sql.to_owned(), params })
    }
}

impl Write {
    /// Reads the request of the effect `db/<name>`: `execute`, `update` or `bulk_update`.
    ///
    /// # Errors
    /// [`DataError::RequestInvalid`] for another name or shape, [`DataError::ParamInvalid`] for a
    /// value that is not a database value.
    pub fn from_request(name: &str, request: &Json) -> Result<Self, DataError> {
        match name {
            "execute" => Statement::from_request(request).map(Write::Execute),
            "update" | "bulk_update" => {
                let table = match request.get("table") {
                    None | Some(Json::Null) => None,
                    Some(Json::String(table)) => Some(table.clone()),
                    Some(_) => return Err(DataError::RequestInvalid { reason: "`table` must be text" }),
                };
                let rows = request
                    .get("rows")
                    .and_then(Json::as_array)
                    .ok_or(DataError::RequestInvalid { reason: "`rows` must be a list of dicts" })?;
                let rows = rows.iter().map(|row| match row {
                    Json::Object(map) => Ok(Record(named(map)?.into_iter().collect())),
                    _ => Err(DataError::RequestInvalid { reason: "each row must be a dict of columns" }),
                });
                Ok(Write::Update { table, rows: rows.collect::<Result<_, _>>()? })
            }
            _ => Err(DataError::RequestInvalid { reason: "a write is `execute`, `update` or `bulk_update`" }),
        }
    }
}

fn named(map: &serde_json::Map<String, Json>) -> Result<BTreeMap<String, Value>, DataError> {
    map.iter()
        .map(|(name, json)| match Value::from_json(json) {
            Ok(value) => Ok((name.clone(), value)),
            Err(source) => Err(DataError::ParamInvalid { param: format!("`{name}`"), source }),
        })
        .collect()
}
