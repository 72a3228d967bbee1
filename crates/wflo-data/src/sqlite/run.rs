//! Runs one statement of a step: prepared under the authorizer, on a leash of time, size and memory.
//!
//! Owns what every statement goes through, reads and writes alike. Transactions and the capture of
//! changes are the callers'.

use std::collections::BTreeSet;

use rusqlite::Batch;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use super::authorizer::{Observed, Watch, first_token, slow_call};
use super::connection::Call;
use super::leash::{self, Leash, Surplus};
use super::session::Gauge;
use crate::class::Refusal;
use crate::error::DataError;
use crate::statement::{Params, Rows, Statement};
use crate::value::Value;

/// What a statement would do.
#[derive(Debug, Clone, Default)]
pub(super) struct Inspected {
    /// Whether SQLite promises that it changes nothing.
    pub reads_only: bool,
    /// Tables that it may write, triggers included.
    pub written: BTreeSet<String>,
    /// Whether it changes the schema.
    pub schema: bool,
    /// The table that it inserts into itself.
    pub inserted: Option<String>,
}

/// Compiles a statement without running it.
pub(super) fn inspect(call: &Call<'_>, sql: &str) -> Result<Inspected, DataError> {
    // Compiling takes time too: views that join each other double with each level.
    let leash = Leash::start(call, Gauge::default(), Surplus::Interrupt);
    let watch = Watch::start(call.sentry);
    let prepared = prepare(call, &watch, sql).map_err(|error| leash.explain(&watch, error))?;
    Ok(Inspected {
        reads_only: prepared.reads_only,
        written: prepared.observed.written,
        schema: prepared.observed.schema,
        inserted: prepared.observed.inserted,
    })
}

/// Runs a statement that only reads.
pub(super) fn query(call: &Call<'_>, statement: &Statement) -> Result<Rows, DataError> {
    let leash = Leash::start(call, Gauge::default(), Surplus::Interrupt);
    let watch = Watch::start(call.sentry);
    let mut prepared = prepare(call, &watch, &statement.sql)?;
    if !prepared.reads_only {
        return Err(DataError::NotARead);
    }
    bind(call, &mut prepared.statement, &statement.params)?;
    let mut rows = Rows::default();
    let read = collect(call, &mut prepared.statement, &mut rows);
    read.map_err(|error| leash.explain(&watch, error))?;
    Ok(rows)
}

/// A compiled statement.
pub(super) struct Prepared<'conn> {
    pub statement: rusqlite::Statement<'conn>,
    pub observed: Observed,
    pub reads_only: bool,
}

/// Compiles exactly one statement under a running authorizer.
pub(super) fn prepare<'conn>(
    call: &Call<'conn>,
    watch: &Watch<'_>,
    sql: &str,
) -> Result<Prepared<'conn>, DataError> {
    let refuse = |refusal| Err(DataError::Refused(refusal));
    if sql.len() > call.limits.sql_bytes {
        return refuse(Refusal::TooLong { bytes: sql.len(), limit: call.limits.sql_bytes });
    }
    // SQLite would take a NUL for the end, and the reader of the text would not.
    if sql.contains('\0') {
        return refuse(Refusal::Nul);
    }
    // The only statement that SQLite compiles without asking the authorizer. It fails anyway, in a
    // transaction and without attached databases; here it gets its name.
    if first_word(sql).eq_ignore_ascii_case("VACUUM") {
        return refuse(Refusal::Vacuum);
    }
    let mut batch = Batch::new(call.connection, sql);
    let first = batch.next();
    let observed = watch.observed();
    if let Some(refusal) = observed.refusal {
        return refuse(refusal);
    }
    let Some(statement) = call.ok(first)? else {
        return refuse(Refusal::Empty);
    };
    // Whatever follows and is not a comment: another statement, or something that is not one.
    if !matches!(batch.next(), Ok(None)) {
        return refuse(Refusal::Several);
    }
    // The authorizer does not see every name of a schema change (the new name of a table, the body
    // of a trigger). Identifiers have no escapes, so a name that is not in the text is not used.
    if observed.schema && sql.to_ascii_lowercase().contains("_wflo_") {
        return refuse(Refusal::Reserved { name: "_wflo_".to_owned() });
    }
    if let (false, Some(table)) = (observed.schema, &observed.system) {
        return refuse(Refusal::System { name: table.clone() });
    }
    if let (true, Some(function)) = (observed.defines, slow_call(sql)) {
        return refuse(Refusal::Function { function: function.to_owned() });
    }
    if observed.functions > leash::MOST_FUNCTIONS {
        return refuse(Refusal::Functions { found: observed.functions, limit: leash::MOST_FUNCTIONS });
    }
    leash::fit_values(call, sql.len(), &observed);
    let reads_only = statement.readonly() || statement.is_explain() != 0;
    Ok(Prepared { statement, observed, reads_only })
}

/// The first word after spaces, comments and empty statements.
fn first_word(sql: &str) -> &str {
    let mut rest = first_token(sql);
    while let Some(after) = rest.strip_prefix(';') {
        rest = first_token(after);
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    &rest[..end]
}

/// Binds parameters.
pub(super) fn bind(
    call: &Call<'_>,
    statement: &mut rusqlite::Statement<'_>,
    params: &Params,
) -> Result<(), DataError> {
    let mismatch = |detail: String| Err(DataError::ParamMismatch { detail });
    let wanted = statement.parameter_count();
    match params {
        Params::Positional(values) => {
            if values.len() != wanted {
                return mismatch(format!(
                    "the statement has {wanted} placeholders and was given {} parameters",
                    values.len()
                ));
            }
            for (index, value) in values.iter().enumerate() {
                call.ok(statement.raw_bind_parameter(index + 1, value))?;
            }
        }
        Params::Named(values) => {
            for index in 1..=wanted {
                let name = statement.parameter_name(index).map(str::to_owned);
                let value = match name.as_deref().and_then(|name| name.strip_prefix([':', '@', '$'])) {
                    Some(name) => values.get(name),
                    None => {
                        return mismatch(
                            "the statement has `?` placeholders: give a list of parameters, not a dict"
                                .to_owned(),
                        );
                    }
                };
                match value {
                    Some(value) => call.ok(statement.raw_bind_parameter(index, value))?,
                    None => {
                        return mismatch(format!("no parameter for {}", name.unwrap_or_default()));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Runs a bound statement to its end and collects what it returns.
pub(super) fn collect(
    call: &Call<'_>,
    statement: &mut rusqlite::Statement<'_>,
    into: &mut Rows,
) -> Result<(), DataError> {
    into.columns = statement.column_names().map(str::to_owned).collect();
    let columns = into.columns.len();
    let mut size = Counter(0);
    let mut cursor = statement.raw_query();
    while let Some(row) = call.ok(cursor.next())? {
        if columns == 0 {
            continue;
        }
        if into.rows.len() >= call.limits.rows {
            return Err(DataError::ResultTooLarge { limit: call.limits.rows, unit: "rows" });
        }
        let mut values = Vec::with_capacity(columns);
        for column in 0..columns {
            let value = Value::from(call.ok(row.get_ref(column))?);
            size.add(&value);
            if size.0 > call.limits.result_bytes {
                return Err(DataError::ResultTooLarge { limit: call.limits.result_bytes, unit: "bytes" });
            }
            values.push(value);
        }
        into.rows.push(values);
    }
    Ok(())
}

/// Counts the bytes of values as JSON.
pub(super) struct Counter(pub usize);

impl Counter {
    /// Adds one value and its separator.
    pub(super) fn add(&mut self, value: &impl serde::Serialize) {
        // Writing into a counter cannot fail, nor can a value fail to serialise.
        let _ = serde_json::to_writer(&mut *self, value);
        self.0 += 1;
    }
}

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Integer(number),
            ValueRef::Real(number) => Value::Real(number),
            // SQLite does not check that text is UTF-8; what is not comes out as bytes.
            ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::Blob(bytes.to_vec()),
            },
            ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        }
    }
}
