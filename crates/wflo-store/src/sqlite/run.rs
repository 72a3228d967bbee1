//! Runs: their rows, their leases, their listing.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params, params_from_iter};
use serde::de::DeserializeOwned;
use wflo_core::canonical::Digest;
use wflo_core::id::{EngineId, RunId};
use wflo_core::ports::store::{OpResult, RunFilter, StoreError};
use wflo_core::run::{RunRecord, RunStatus};

use super::column::{self, Named, Parsed, Unsigned};
use super::event;
use super::fault::Fault;
use super::tx::{Head, Tx};
use crate::blob::BlobStore;
use crate::cell;

/// A run to be created, its JSON encoded.
pub(crate) struct NewRun {
    pub(crate) run: RunRecord,
    pub(crate) definition: String,
    pub(crate) inputs: String,
    pub(crate) options: String,
    pub(crate) outputs: Option<String>,
    pub(crate) error: Option<String>,
}

/// Where a run stands now, its JSON encoded.
pub(crate) struct RunState {
    pub(crate) run: RunId,
    pub(crate) status: RunStatus,
    pub(crate) outputs: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) at: Timestamp,
}

pub(crate) fn create(tx: &mut Tx<'_>, new: &NewRun) -> Result<OpResult, Fault> {
    let run = &new.run;
    let known = tx.row("SELECT 1 FROM definitions WHERE digest = ?1", [&new.definition], |_| Ok(()))?;
    if known.is_none() {
        return Err(StoreError::NotFound { noun: "definition", id: new.definition.clone() }.into());
    }
    // What it takes over (layers, budgets) belongs to a run that may be removed at any moment.
    if let Some(old) = run.retried_from {
        let there = tx.row("SELECT 1 FROM runs WHERE id = ?1", [old.to_string()], |_| Ok(()))?;
        if there.is_none() {
            return Err(StoreError::NotFound { noun: "run", id: old.to_string() }.into());
        }
    }
    // The column says whether the run has ended; a record may not say otherwise.
    let finished = run.status.is_terminal().then(|| run.finished_at.unwrap_or(run.updated_at));
    let inserted = tx.write(
        "INSERT INTO runs (id, lease_epoch, status, updated_at, finished_at, engine, workflow)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING",
        params![
            run.id.to_string(),
            column::signed(run.lease_epoch)?,
            run.status.as_str(),
            column::time(run.updated_at),
            finished.map(column::time),
            run.engine.map(|engine| engine.to_string()),
            run.workflow,
        ],
    )?;
    if inserted == 0 {
        return Err(StoreError::RunExists(run.id).into());
    }
    let n = tx.last_key();
    tx.write(
        "INSERT INTO run_details (n, version, label, code, definition, inputs, options, outputs, error,
             retried_from, budget_key, trace_id, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            n,
            run.version.as_str(),
            run.label,
            run.code.as_str(),
            new.definition,
            new.inputs,
            new.options,
            new.outputs,
            new.error,
            run.retried_from.map(|run| run.to_string()),
            run.budget_key,
            run.trace_id,
            column::time(run.created_at),
        ],
    )?;
    tx.created(run.id, Head { n, seq: 0, epoch: run.lease_epoch, status: run.status });
    Ok(OpResult::Done)
}

pub(crate) fn set(tx: &mut Tx<'_>, state: &RunState) -> Result<OpResult, Fault> {
    tx.set_status(state.run, state.status, state.at)?;
    // Only a terminal run has them, so a running one does not touch its large row.
    if state.status.is_terminal() || state.outputs.is_some() || state.error.is_some() {
        let n = tx.key(state.run)?;
        tx.write(
            "UPDATE run_details SET outputs = ?2, error = ?3 WHERE n = ?1",
            params![n, state.outputs, state.error],
        )?;
    }
    Ok(OpResult::Done)
}

pub(crate) fn claim(tx: &mut Tx<'_>, run: RunId, expected: u64, engine: EngineId) -> Result<OpResult, Fault> {
    let head = *tx.head(run)?;
    if head.epoch != expected {
        return Err(StoreError::LeaseLost { run, current: head.epoch, held: expected }.into());
    }
    let epoch = expected + 1;
    let changed = tx.write(
        "UPDATE runs SET lease_epoch = ?2, engine = ?3 WHERE n = ?1 AND lease_epoch = ?4",
        params![head.n, column::signed(epoch)?, engine.to_string(), column::signed(expected)?],
    )?;
    if changed != 1 {
        return Err(StoreError::Failed(format!("the lease of run {run} is not what this writer read")).into());
    }
    tx.leased(run, epoch)?;
    Ok(OpResult::Done)
}

pub(crate) fn release(tx: &mut Tx<'_>, run: RunId) -> Result<OpResult, Fault> {
    let n = tx.key(run)?;
    tx.write("UPDATE runs SET engine = NULL WHERE n = ?1", [n])?;
    Ok(OpResult::Done)
}

const SELECT: &str = "SELECT id, workflow, version, label, code, inputs, options, status, outputs, error,
     retried_from, budget_key, trace_id, lease_epoch, engine, created_at, updated_at, finished_at,
     (SELECT substr(body, 1, ?1) FROM events WHERE events.run = runs.n ORDER BY seq DESC LIMIT 1)
     FROM runs JOIN run_details ON run_details.n = runs.n";

pub(crate) fn get(conn: &Connection, blobs: &BlobStore, id: RunId) -> Result<Option<RunRecord>, Fault> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} WHERE runs.id = ?2"))?;
    let mut rows = statement.query(params![event::TIME_PREFIX, id.to_string()])?;
    rows.next()?.map(|row| read(row, blobs)).transpose()
}

pub(crate) fn list(
    conn: &Connection,
    blobs: &BlobStore,
    filter: &RunFilter,
) -> Result<Vec<RunRecord>, Fault> {
    let mut conditions = vec!["1"];
    let mut values = vec![event::TIME_PREFIX.to_string()];
    // Names of ours, so they need no parameters.
    let statuses = filter.statuses.iter().map(|s| format!("'{}'", s.as_str())).collect::<Vec<_>>().join(", ");
    let by_status = format!("runs.status IN ({statuses})");
    if !filter.statuses.is_empty() {
        conditions.push(&by_status);
        if !filter.statuses.iter().any(|status| status.is_terminal()) {
            conditions.push("runs.finished_at IS NULL");
        }
    }
    if let Some(workflow) = &filter.workflow {
        conditions.push("runs.workflow = ?");
        values.push(workflow.clone());
    }
    if let Some(engine) = filter.engine {
        conditions.push("runs.engine = ?");
        values.push(engine.to_string());
    }
    if let Some(before) = filter.finished_before {
        // Texts of times are ordered only as far as they have the same digits.
        conditions.push("julianday(runs.finished_at) < julianday(?)");
        values.push(column::time(before));
    }
    let limit = if filter.limit == 0 { -1 } else { i64::from(filter.limit) };
    let sql = format!("{SELECT} WHERE {} ORDER BY runs.n DESC LIMIT {limit}", conditions.join(" AND "));
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row, blobs)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>, blobs: &BlobStore) -> Result<RunRecord, Fault> {
    let optional = |at: usize| -> Result<Option<String>, Fault> { Ok(row.get(at)?) };
    let (changed, last_event) =
        (row.get::<_, Parsed<Timestamp>>(16)?.0, optional(18)?.as_deref().and_then(event::time_of));
    Ok(RunRecord {
        id: row.get::<_, Parsed<_>>(0)?.0,
        workflow: row.get(1)?,
        version: Digest::from_hex(row.get::<_, String>(2)?),
        label: row.get(3)?,
        code: Digest::from_hex(row.get::<_, String>(4)?),
        inputs: cell::read(blobs, row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?)?,
        options: cell::read(blobs, row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?,
        status: row.get::<_, Named<_>>(7)?.0,
        outputs: value(blobs, optional(8)?)?,
        error: value(blobs, optional(9)?)?,
        retried_from: row.get::<_, Option<Parsed<_>>>(10)?.map(|run| run.0),
        budget_key: row.get(11)?,
        trace_id: row.get(12)?,
        lease_epoch: row.get::<_, Unsigned>(13)?.0,
        engine: row.get::<_, Option<Parsed<_>>>(14)?.map(|engine| engine.0),
        created_at: row.get::<_, Parsed<_>>(15)?.0,
        updated_at: last_event.map_or(changed, |at| at.max(changed)),
        finished_at: row.get::<_, Option<Parsed<_>>>(17)?.map(|at| at.0),
    })
}

fn value<T: DeserializeOwned>(blobs: &BlobStore, text: Option<String>) -> Result<Option<T>, Fault> {
    Ok(text.map(|text| cell::read(blobs, &text)).transpose()?)
}
