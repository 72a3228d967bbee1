//! Virtual keys. Of the key itself nothing is here but its hash.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use wflo_core::id::KeyId;
use wflo_core::key::{KeyChange, VirtualKey};
use wflo_core::ports::store::{OpResult, StoreError};

use super::column::{self, Parsed};
use super::fault::Fault;
use super::tx::Tx;
use crate::cell;

pub(crate) fn put(tx: &Tx<'_>, key: &VirtualKey) -> Result<OpResult, Fault> {
    tx.write(
        "INSERT INTO keys (id, hash, revoked_at, key) VALUES (?1, ?2, ?3, ?4)",
        params![key.id.to_string(), key.hash, key.revoked_at.map(column::time), plain(key)?],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn change(tx: &Tx<'_>, id: KeyId, change: &KeyChange) -> Result<OpResult, Fault> {
    let stored = "SELECT hash, revoked_at, key FROM keys WHERE id = ?1";
    let Some(before) = tx.row(stored, params![id.to_string()], |row| Ok(read(row)))? else {
        return Err(unknown(id));
    };
    let key = change.clone().of(before?);
    tx.write(
        "UPDATE keys SET hash = ?2, key = ?3 WHERE id = ?1",
        params![id.to_string(), key.hash, plain(&key)?],
    )?;
    Ok(OpResult::Done)
}

/// What stands in no column of its own: what is looked up, and what is never changed back, does.
fn plain(key: &VirtualKey) -> Result<String, StoreError> {
    cell::plain(&VirtualKey { hash: String::new(), revoked_at: None, ..key.clone() })
}

pub(crate) fn revoke(tx: &Tx<'_>, id: KeyId, at: Timestamp) -> Result<OpResult, Fault> {
    let changed = tx.write(
        "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1",
        params![id.to_string(), column::time(at)],
    )?;
    match changed {
        1 => Ok(OpResult::Done),
        _ => Err(unknown(id)),
    }
}

fn unknown(id: KeyId) -> Fault {
    StoreError::NotFound { noun: "key", id: id.to_string() }.into()
}

pub(crate) fn list(conn: &Connection) -> Result<Vec<VirtualKey>, Fault> {
    let mut statement = conn.prepare_cached("SELECT hash, revoked_at, key FROM keys ORDER BY n")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// A key from its hash, its end and the rest.
fn read(row: &Row<'_>) -> Result<VirtualKey, Fault> {
    let text: String = row.get(2)?;
    let key: VirtualKey = serde_json::from_str(&text).map_err(|error| StoreError::Corrupt {
        path: "the store".to_owned(),
        detail: format!("a key cannot be read: {error}"),
    })?;
    let revoked = row.get::<_, Option<Parsed<Timestamp>>>(1)?;
    Ok(VirtualKey { hash: row.get(0)?, revoked_at: revoked.map(|at| at.0), ..key })
}
