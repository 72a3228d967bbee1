//! Rows to update, as statements.
//!
//! Owns the choice of the table and the match by primary key. Every row must be found; the caller's
//! transaction makes it all or nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::authorizer::{Watch, is_reserved, is_system};
use super::connection::Call;
use super::run;
use super::schema::{self, Kind, Table, quoted};
use crate::change::Record;
use crate::error::DataError;
use crate::statement::{Rows, Statement, Write};
use crate::value::Value;

/// How many missing keys an error lists.
const LISTED: usize = 10;

/// The statements of a write.
pub(super) enum Plan {
    /// A statement of the step's own.
    One(Statement),
    /// One update a row.
    Rows {
        table: String,
        /// Distinct statement texts.
        texts: Vec<String>,
        /// For each row: which text, its parameters, its key.
        rows: Vec<(usize, Vec<Value>, Record)>,
    },
}

impl Plan {
    /// Every distinct statement text.
    pub(super) fn texts(&self) -> Vec<&str> {
        match self {
            Plan::One(statement) => vec![&statement.sql],
            Plan::Rows { texts, .. } => texts.iter().map(String::as_str).collect(),
        }
    }

    /// Runs the plan under a running authorizer and leash.
    pub(super) fn execute(&self, call: &Call<'_>, watch: &Watch<'_>) -> Result<Rows, DataError> {
        match self {
            Plan::One(statement) => execute_one(call, watch, statement),
            Plan::Rows { table, texts, rows } => execute_rows(call, watch, table, texts, rows),
        }
    }
}

fn execute_one(call: &Call<'_>, watch: &Watch<'_>, statement: &Statement) -> Result<Rows, DataError> {
    let mut prepared = run::prepare(call, watch, &statement.sql)?;
    run::bind(call, &mut prepared.statement, &statement.params)?;
    let mut rows = Rows::default();
    run::collect(call, &mut prepared.statement, &mut rows)?;
    // The count of a statement that is no INSERT, UPDATE or DELETE is that of one before it.
    if !prepared.reads_only && !prepared.observed.schema {
        rows.rows_affected = call.connection.changes();
        let id = call.connection.last_insert_rowid();
        rows.last_insert_id = (prepared.observed.inserted.is_some() && id != 0).then_some(id);
    }
    Ok(rows)
}

fn execute_rows(
    call: &Call<'_>,
    watch: &Watch<'_>,
    table: &str,
    texts: &[String],
    rows: &[(usize, Vec<Value>, Record)],
) -> Result<Rows, DataError> {
    let mut statements = Vec::with_capacity(texts.len());
    for text in texts {
        statements.push(run::prepare(call, watch, text)?.statement);
    }
    let (mut keys, mut missing, mut affected) = (Vec::new(), 0, 0);
    for (text, params, key) in rows {
        let Some(statement) = statements.get_mut(*text) else { continue };
        for (index, value) in params.iter().enumerate() {
            call.ok(statement.raw_bind_parameter(index + 1, value))?;
        }
        let found = call.ok(statement.raw_execute())?;
        if found == 0 {
            missing += 1;
            if keys.len() < LISTED {
                keys.push(key.to_string());
            }
        }
        affected += found as u64;
    }
    if missing > 0 {
        return Err(DataError::RowsMissing { table: table.to_owned(), keys, missing });
    }
    Ok(Rows { rows_affected: affected, ..Rows::default() })
}

/// The statements of a write.
pub(super) fn plan(call: &Call<'_>, write: &Write) -> Result<Plan, DataError> {
    match write {
        Write::Execute(statement) => Ok(Plan::One(statement.clone())),
        Write::Update { table, rows } => {
            let columns = columns(rows);
            let table = match table {
                Some(name) => named(call, name)?,
                None => inferred(call, &columns)?,
            };
            plan_rows(&table, rows)
        }
    }
}

/// All column names of the rows, in lower case.
fn columns(rows: &[Record]) -> BTreeSet<String> {
    rows.iter().flat_map(|row| row.0.iter().map(|(name, _)| name.to_ascii_lowercase())).collect()
}

fn unclear(detail: String) -> DataError {
    DataError::TableUnclear { detail }
}

fn named(call: &Call<'_>, name: &str) -> Result<Table, DataError> {
    let found = schema::table(call, name)?
        .filter(|table| table.kind == Kind::Ordinary && !is_reserved(&table.name) && !is_system(&table.name));
    let table =
        found.ok_or_else(|| unclear(format!("there is no table `{name}` whose rows can be updated")))?;
    match table.has_key() {
        true => Ok(table),
        false => Err(unclear(format!(
            "`{name}` has no primary key to match rows by; use context.db.execute(\"UPDATE …\")"
        ))),
    }
}

fn inferred(call: &Call<'_>, columns: &BTreeSet<String>) -> Result<Table, DataError> {
    let fits = |table: &Table| {
        let has = |name: &String| table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        let key_given =
            |column: &schema::Column| column.key == 0 || columns.contains(&column.name.to_ascii_lowercase());
        table.kind == Kind::Ordinary
            && table.has_key()
            && columns.iter().all(has)
            && table.columns.iter().all(key_given)
    };
    let mut fitting: Vec<Table> = schema::tables(call)?.into_iter().filter(fits).collect();
    let given = columns.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match (fitting.pop(), fitting.is_empty()) {
        (Some(table), true) => Ok(table),
        (Some(last), false) => {
            fitting.push(last);
            let names = fitting.iter().map(|table| format!("`{}`", table.name)).collect::<Vec<_>>();
            Err(unclear(format!("several tables have the columns {given}: {}", names.join(", "))))
        }
        (None, _) if columns.is_empty() => Err(unclear("there are no rows to tell the table by".to_owned())),
        (None, _) => Err(unclear(format!("no table has the columns {given} and its primary key among them"))),
    }
}

fn plan_rows(table: &Table, rows: &[Record]) -> Result<Plan, DataError> {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut texts = Vec::new();
    let mut planned = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let (text, params, key) =
            plan_row(table, row).map_err(|detail| DataError::RowInvalid { row: index + 1, detail })?;
        let number = *numbers.entry(text).or_insert_with_key(|text| {
            texts.push(text.clone());
            texts.len() - 1
        });
        planned.push((number, params, key));
    }
    Ok(Plan::Rows { table: table.name.clone(), texts, rows: planned })
}

fn plan_row(table: &Table, row: &Record) -> Result<(String, Vec<Value>, Record), String> {
    let mut given: Vec<Option<&Value>> = vec![None; table.columns.len()];
    for (name, value) in &row.0 {
        let place = table.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
        match place.and_then(|place| given.get_mut(place)) {
            None => return Err(format!("`{}` has no column `{name}`", table.name)),
            Some(Some(_)) => return Err(format!("the column `{name}` is given twice")),
            Some(slot) => *slot = Some(value),
        }
    }
    let (mut set, mut params, mut matched, mut key) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (column, value) in table.columns.iter().zip(&given) {
        match (column.key, value) {
            (0, None) => {}
            (0, Some(value)) => {
                set.push(format!("{} = ?", quoted(&column.name)));
                params.push((*value).clone());
            }
            (_, None | Some(Value::Null)) => {
                return Err(format!("its primary key `{}` is missing or null", column.name));
            }
            (_, Some(value)) => {
                matched.push(format!("{} = ?", quoted(&column.name)));
                key.push((column.name.clone(), (*value).clone()));
            }
        }
    }
    if set.is_empty() {
        return Err("it has no column to set beside its primary key".to_owned());
    }
    params.extend(key.iter().map(|(_, value)| value.clone()));
    let text =
        format!("UPDATE {} SET {} WHERE {}", quoted(&table.name), set.join(", "), matched.join(" AND "));
    Ok((text, params, Record(key)))
}
