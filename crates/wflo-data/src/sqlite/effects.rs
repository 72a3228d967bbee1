//! The record of effects in the user's own database: the table `_wflo_effects`.
//!
//! Owns the table and its rows. A row is written in the same transaction as the change that it
//! records; where a row exists, it is the truth about that effect.

use rusqlite::OptionalExtension as _;
use rusqlite::types::Value as Cell;

use super::connection::Call;
use crate::changeset::{Changeset, TableShape};
use crate::class::NotHeld;
use crate::database::Effect;
use crate::error::DataError;

const CREATE: &str = "CREATE TABLE _wflo_effects (
  seq INTEGER PRIMARY KEY,           -- order of commit
  effect_id TEXT NOT NULL UNIQUE,
  fingerprint TEXT NOT NULL,
  kind TEXT NOT NULL,                -- write, undo
  result TEXT NOT NULL,              -- JSON
  not_held TEXT,                     -- JSON: why there is no changeset
  changeset BLOB,                    -- SQLite session format
  changed_tables TEXT,               -- JSON: the shapes of its tables
  created TEXT NOT NULL              -- RFC 3339, UTC
)";

const COLUMNS: [&str; 9] = [
    "seq",
    "effect_id",
    "fingerprint",
    "kind",
    "result",
    "not_held",
    "changeset",
    "changed_tables",
    "created",
];

/// What stands under the table's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Ours,
    /// Something else of that name.
    Foreign,
}

/// What an effect was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    Write,
    Undo,
}

/// A recorded effect.
pub(super) struct Row {
    pub seq: i64,
    pub effect_id: String,
    pub fingerprint: String,
    /// JSON.
    pub result: String,
    /// The change, or why there is none.
    pub change: Result<Changeset, NotHeld>,
}

/// What stands under the table's name now.
pub(super) fn presence(call: &Call<'_>) -> Result<Presence, DataError> {
    let names: Vec<String> = call.ok((|| {
        let sql = "SELECT name FROM pragma_table_info('_wflo_effects') ORDER BY cid";
        call.connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    })())?;
    Ok(match names {
        names if names.is_empty() => Presence::Absent,
        names if names == COLUMNS => Presence::Ours,
        _ => Presence::Foreign,
    })
}

/// Makes the table if there is none, in the open transaction. `false`: the name is taken.
pub(super) fn ensure(call: &Call<'_>) -> Result<bool, DataError> {
    match presence(call)? {
        Presence::Ours => Ok(true),
        Presence::Foreign => Ok(false),
        Presence::Absent => call.ok(call.connection.execute_batch(CREATE)).map(|()| true),
    }
}

const SELECT: &str =
    "SELECT seq, effect_id, fingerprint, result, not_held, changeset, changed_tables FROM _wflo_effects";

/// The record of one effect.
///
/// # Errors
/// [`DataError::EffectMismatch`] when it was recorded with another fingerprint.
pub(super) fn find(call: &Call<'_>, effect: Effect<'_>) -> Result<Option<Row>, DataError> {
    let Some(row) = load(call, effect.id)? else {
        return Ok(None);
    };
    if row.fingerprint != effect.fingerprint {
        return Err(DataError::EffectMismatch {
            effect_id: row.effect_id,
            recorded: row.fingerprint,
            given: effect.fingerprint.to_owned(),
        });
    }
    Ok(Some(row))
}

/// The record of an effect, whatever its fingerprint.
pub(super) fn load(call: &Call<'_>, effect_id: &str) -> Result<Option<Row>, DataError> {
    let sql = format!("{SELECT} WHERE effect_id = ?1");
    let found = call.connection.query_row(&sql, [effect_id], |row| {
        let cells: [Cell; 4] = [row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, cells))
    });
    let Some((seq, effect_id, fingerprint, cells)) = call.ok(found.optional())? else {
        return Ok(None);
    };
    let damaged = |detail: String| DataError::RecordDamaged { effect_id: String::clone(&effect_id), detail };
    let (result, change) = match cells {
        [Cell::Text(result), Cell::Null, Cell::Blob(bytes), Cell::Text(tables)] => {
            let tables: Vec<TableShape> =
                serde_json::from_str(&tables).map_err(|error| damaged(error.to_string()))?;
            (result, Ok(Changeset { bytes, tables }))
        }
        [Cell::Text(result), Cell::Text(reason), Cell::Null, _] => {
            let reason: NotHeld =
                serde_json::from_str(&reason).map_err(|error| damaged(error.to_string()))?;
            (result, Err(reason))
        }
        _ => return Err(damaged("its columns have other types".to_owned())),
    };
    Ok(Some(Row { seq, effect_id, fingerprint, result, change }))
}

/// Records an effect in the open transaction, with SQLite's clock.
pub(super) fn insert(
    call: &Call<'_>,
    effect: Effect<'_>,
    kind: RecordKind,
    result: &impl serde::Serialize,
    change: &Result<Changeset, NotHeld>,
) -> Result<(), DataError> {
    let json = |value: Result<String, serde_json::Error>| {
        value.map_err(|error| DataError::RecordDamaged {
            effect_id: effect.id.to_owned(),
            detail: error.to_string(),
        })
    };
    let result = json(serde_json::to_string(result))?;
    let (not_held, bytes, tables) = match change {
        Ok(changeset) => {
            (None, Some(&changeset.bytes), Some(json(serde_json::to_string(&changeset.tables))?))
        }
        Err(reason) => (Some(json(serde_json::to_string(reason))?), None, None),
    };
    let kind = match kind {
        RecordKind::Write => "write",
        RecordKind::Undo => "undo",
    };
    let sql = "INSERT INTO _wflo_effects
               (effect_id, fingerprint, kind, result, not_held, changeset, changed_tables, created)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";
    let params = rusqlite::params![effect.id, effect.fingerprint, kind, result, not_held, bytes, tables];
    // Somebody's trigger on this table is none of wflo's.
    call.without_triggers(|| call.ok(call.connection.execute(sql, params)))?;
    Ok(())
}

/// The newest record's place in the order of commits; 0 when there is none.
pub(super) fn newest(call: &Call<'_>) -> Result<i64, DataError> {
    let sql = "SELECT coalesce(max(seq), 0) FROM _wflo_effects";
    call.ok(call.connection.query_row(sql, [], |row| row.get(0)))
}

/// The ids of one owner: `0` is the character after `/`.
const OWNED: &str = "effect_id > ?1 || '/' AND effect_id < ?1 || '0'";

/// How many records an owner has.
pub(super) fn count(call: &Call<'_>, owner: &str) -> Result<u64, DataError> {
    let sql = format!("SELECT count(*) FROM _wflo_effects WHERE {OWNED}");
    let count: u32 = call.ok(call.connection.query_row(&sql, [owner], |row| row.get(0)))?;
    Ok(u64::from(count))
}

/// Removes an owner's records, except the newest of the table.
pub(super) fn remove(call: &Call<'_>, owner: &str) -> Result<u64, DataError> {
    let newest = newest(call)?;
    let sql = format!("DELETE FROM _wflo_effects WHERE {OWNED} AND seq < ?2");
    // Somebody's trigger on this table is none of wflo's.
    let removed =
        call.without_triggers(|| call.ok(call.connection.execute(&sql, rusqlite::params![owner, newest])))?;
    Ok(removed as u64)
}
