//! What may be in a store: what the migrations make, and nothing else.
//!
//! A trigger, a view or a table that is made in another way acts inside wflo's own commits, with what wflo writes there:
//! `trusted_schema` is about functions and keeps none of them from running. A data directory can be brought along by a
//! project, so a store is compared with one that this program has just made.

use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use super::fault::Fault;
use super::migrate;

/// A row of `sqlite_schema` without where its pages are: type, name, table, text.
type Object = (String, String, String, Option<String>);

/// What SQLite's own `ANALYZE` leaves; wflo never asks for it, and a person may have.
const STATISTICS: &str = "sqlite_stat";

/// The objects of stores that this process has looked at, by their schema's number.
static KNOWN: Mutex<Vec<(u32, Vec<Object>)>> = Mutex::new(Vec::new());

/// What of the database behind `conn` is not what a store of this schema has; `None` when all is as it should be.
///
/// # Errors
/// As SQLite says.
pub(crate) fn difference(conn: &Connection, schema: u32) -> Result<Option<String>, Fault> {
    let found = objects(conn)?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let at = match known.iter().position(|(number, _)| *number == schema) {
        Some(at) => at,
        None => {
            let fresh = Connection::open_in_memory()?;
            migrate::fill(&fresh, schema)?;
            known.push((schema, objects(&fresh)?));
            known.len() - 1
        }
    };
    let expected = known.get(at).map_or(&[][..], |(_, objects)| objects);
    let named = |(kind, name, ..): &Object| format!("the {kind} `{name}`");
    // What is too much first: that is what acts.
    if let Some(extra) = found.iter().find(|object| !expected.contains(object)) {
        let altered = expected.iter().any(|known| (&known.0, &known.1) == (&extra.0, &extra.1));
        let how = if altered { "is not as wflo makes it" } else { "is not wflo's" };
        return Ok(Some(format!("{} {how}", named(extra))));
    }
    let missing = expected.iter().find(|object| !found.contains(object));
    // Whole rows are compared, so one that stands there twice is the only way left to have more.
    let twice = (found.len() != expected.len()).then(|| "its schema says something twice".to_owned());
    Ok(missing.map(|object| format!("{} is missing", named(object))).or(twice))
}

fn objects(conn: &Connection) -> Result<Vec<Object>, Fault> {
    let mut statement = conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let mut found = rows.collect::<Result<Vec<Object>, _>>()?;
    found.retain(|(kind, name, ..)| !(kind == "table" && name.starts_with(STATISTICS)));
    Ok(found)
}
