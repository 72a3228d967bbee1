//! Snapshots: a place in the order of recorded effects, and what could be brought back to it.

use super::Sqlite;
use super::connection::Call;
use super::effects::{self, Presence};
use super::run;
use super::schema::{self, Kind, Table, quoted};
use crate::class::NotHeld;
use crate::error::DataError;
use crate::snapshot::{Snapshot, TableCapability};

impl Sqlite {
    /// See [`Database::snapshot`](crate::Database::snapshot).
    pub(crate) fn snapshot(&self, wanted: Option<&[String]>) -> Result<Snapshot, DataError> {
        self.pool.call(|call| {
            let tables = match wanted {
                None => schema::tables(call)?,
                Some(names) => names.iter().map(|name| named(call, name)).collect::<Result<_, _>>()?,
            };
            let presence = effects::presence(call)?;
            let mut capabilities = std::collections::BTreeMap::new();
            for table in &tables {
                if matches!(table.kind, Kind::View | Kind::Shadow) {
                    continue;
                }
                let capability = match presence {
                    Presence::Foreign => cannot(&NotHeld::NoRecord),
                    _ => capability(call, table)?,
                };
                capabilities.insert(table.name.clone(), capability);
            }
            let watermark = if presence == Presence::Ours { effects::newest(call)? } else { 0 };
            let tables = wanted.map(|_| {
                let mut names: Vec<String> = tables.into_iter().map(|table| table.name).collect();
                names.sort();
                names.dedup();
                names
            });
            Ok(Snapshot { tables, watermark, capabilities })
        })
    }
}

fn named(call: &Call<'_>, name: &str) -> Result<Table, DataError> {
    let found = schema::tables(call)?.into_iter().find(|table| table.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| DataError::TableUnclear { detail: format!("there is no table `{name}`") })
}

fn cannot(reason: &NotHeld) -> TableCapability {
    let words = match reason {
        NotHeld::NoPrimaryKey { .. } => "it has no primary key".to_owned(),
        NotHeld::LooseKey { .. } => "its primary key has a collation of its own".to_owned(),
        other => other.to_string(),
    };
    TableCapability { undo: false, note: Some(words) }
}

/// Whether writes to a table can be undone: asked of SQLite by compiling one of each kind, so that
/// what its triggers write counts too.
fn capability(call: &Call<'_>, table: &Table) -> Result<TableCapability, DataError> {
    let name = quoted(&table.name);
    let mut writes = vec![format!("DELETE FROM {name}"), format!("INSERT INTO {name} DEFAULT VALUES")];
    if let Some(column) = table.columns.iter().find(|column| !column.computed) {
        let column = quoted(&column.name);
        writes.push(format!("UPDATE {name} SET {column} = {column}"));
    }
    for sql in writes {
        // A table that cannot be compiled against (a missing module, a broken trigger) cannot be
        // written either.
        let Ok(inspected) = run::inspect(call, &sql) else {
            return Ok(TableCapability { undo: false, note: Some("it cannot be written".to_owned()) });
        };
        if let Some(reason) = schema::not_held(call, &inspected)? {
            return Ok(cannot(&reason));
        }
    }
    let note = if has_counter(call, &table.name)? {
        Some("its AUTOINCREMENT counter is not set back".to_owned())
    } else if table.nullable_key {
        Some("rows whose primary key is NULL cannot be changed".to_owned())
    } else {
        None
    };
    Ok(TableCapability { undo: true, note })
}

/// Whether a table counts its row ids in `sqlite_sequence`.
pub(super) fn has_counter(call: &Call<'_>, table: &str) -> Result<bool, DataError> {
    let exists = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence')";
    if !call.ok(call.connection.query_row(exists, [], |row| row.get::<_, bool>(0)))? {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1 COLLATE NOCASE)";
    call.ok(call.connection.query_row(sql, [table], |row| row.get(0)))
}
