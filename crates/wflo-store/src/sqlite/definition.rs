//! Definitions, each kept once under its digest.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;
use wflo_core::id::RunId;
use wflo_core::ports::store::{OpResult, StoreError};

use super::fault::Fault;
use super::tx::Tx;
use crate::blob::BlobStore;
use crate::cell;

pub(crate) fn put(tx: &Tx<'_>, digest: &str, text: &str) -> Result<OpResult, Fault> {
    tx.write(
        "INSERT INTO definitions (digest, definition) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING",
        params![digest, text],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn of_run(conn: &Connection, blobs: &BlobStore, run: RunId) -> Result<Value, Fault> {
    let text: Option<String> = conn
        .prepare_cached(
            "SELECT definitions.definition FROM runs
             JOIN run_details ON run_details.n = runs.n
             JOIN definitions ON definitions.digest = run_details.definition
             WHERE runs.id = ?1",
        )?
        .query_row([run.to_string()], |row| row.get(0))
        .optional()?;
    match text {
        Some(text) => Ok(cell::read(blobs, &text)?),
        None => Err(StoreError::NotFound { noun: "run", id: run.to_string() }.into()),
    }
}
