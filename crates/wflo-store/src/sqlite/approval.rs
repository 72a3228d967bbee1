//! Approvals: questions, answers, and their single use.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params, params_from_iter};
use serde_json::Value;
use wflo_core::approval::{Approval, ApprovalRequest, ApprovalStatus, Decision, Purpose};
use wflo_core::id::{ApprovalId, RunId};
use wflo_core::ports::store::{ApprovalFilter, OpResult, StoreError};

use super::column::{self, Named, Parsed};
use super::fault::Fault;
use super::tx::Tx;
use crate::blob::BlobStore;
use crate::cell;

/// A question, its JSON encoded; the evidence is not part of `request`.
pub(crate) struct NewApproval {
    pub(crate) approval: Approval,
    pub(crate) request: String,
    pub(crate) evidence: String,
    pub(crate) decision: Option<String>,
}

pub(crate) fn put(tx: &mut Tx<'_>, new: &NewApproval) -> Result<OpResult, Fault> {
    let approval = &new.approval;
    let n = tx.key(approval.run)?;
    let inserted = tx.write(
        "INSERT INTO approvals (id, run, status, requested_at, consumed_at, decision, request, evidence, purpose)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
        params![
            approval.id.to_string(),
            n,
            approval.status.as_str(),
            column::time(approval.requested_at),
            approval.consumed_at.map(column::time),
            new.decision,
            new.request,
            new.evidence,
            approval.request.purpose.key(),
        ],
    )?;
    match inserted {
        1 => Ok(OpResult::Done),
        _ => Err(StoreError::Failed(format!("approval {} exists already", approval.id)).into()),
    }
}

pub(crate) fn decide(
    tx: &Tx<'_>,
    id: ApprovalId,
    status: ApprovalStatus,
    decision: &Decision,
) -> Result<OpResult, Fault> {
    if !matches!(status, ApprovalStatus::Approved | ApprovalStatus::Rejected | ApprovalStatus::Expired) {
        return Err(StoreError::Failed(format!("`{}` is not an answer", status.as_str())).into());
    }
    match status_of(tx, id)? {
        ApprovalStatus::Pending => {}
        status => return Err(StoreError::AlreadyDecided { id, status }.into()),
    }
    tx.write(
        "UPDATE approvals SET status = ?2, decision = ?3 WHERE id = ?1 AND status = 'pending'",
        params![id.to_string(), status.as_str(), cell::plain(decision)?],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn consume(tx: &Tx<'_>, id: ApprovalId, at: Timestamp) -> Result<OpResult, Fault> {
    match status_of(tx, id)? {
        ApprovalStatus::Approved => {}
        status => return Err(StoreError::NotApproved { id, status }.into()),
    }
    tx.write(
        "UPDATE approvals SET status = 'consumed', consumed_at = ?2 WHERE id = ?1 AND status = 'approved'",
        params![id.to_string(), column::time(at)],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn supersede(tx: &Tx<'_>, id: ApprovalId) -> Result<OpResult, Fault> {
    match status_of(tx, id)? {
        ApprovalStatus::Pending | ApprovalStatus::Approved | ApprovalStatus::Superseded => {}
        status => return Err(StoreError::AlreadyDecided { id, status }.into()),
    }
    tx.write("UPDATE approvals SET status = 'superseded' WHERE id = ?1", [id.to_string()])?;
    Ok(OpResult::Done)
}

fn status_of(tx: &Tx<'_>, id: ApprovalId) -> Result<ApprovalStatus, Fault> {
    let status: Option<Named<_>> =
        tx.row("SELECT status FROM approvals WHERE id = ?1", [id.to_string()], |row| row.get(0))?;
    match status {
        Some(status) => Ok(status.0),
        None => Err(StoreError::NotFound { noun: "approval", id: id.to_string() }.into()),
    }
}

const SELECT: &str =
    "SELECT approvals.id, runs.id, approvals.status, requested_at, consumed_at, decision, request,
     evidence FROM approvals JOIN runs ON runs.n = approvals.run";

pub(crate) fn get(conn: &Connection, blobs: &BlobStore, id: ApprovalId) -> Result<Option<Approval>, Fault> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} WHERE approvals.id = ?1"))?;
    let mut rows = statement.query([id.to_string()])?;
    rows.next()?.map(|row| read(row, blobs)).transpose()
}

pub(crate) fn list(
    conn: &Connection,
    blobs: &BlobStore,
    filter: &ApprovalFilter,
) -> Result<Vec<Approval>, Fault> {
    let mut conditions = vec!["1".to_owned()];
    let mut values = Vec::new();
    if !filter.statuses.is_empty() {
        // Names of ours, so they need no parameters.
        let names =
            filter.statuses.iter().map(|s| format!("'{}'", s.as_str())).collect::<Vec<_>>().join(", ");
        conditions.push(format!("approvals.status IN ({names})"));
        if filter.statuses.iter().all(|s| matches!(s, ApprovalStatus::Pending | ApprovalStatus::Approved)) {
            conditions.push("approvals.status IN ('pending', 'approved')".to_owned());
        }
    }
    if let Some(run) = filter.run {
        conditions.push("runs.id = ?".to_owned());
        values.push(run.to_string());
    }
    let limit = if filter.limit == 0 { -1 } else { i64::from(filter.limit) };
    let sql = format!("{SELECT} WHERE {} ORDER BY approvals.n DESC LIMIT {limit}", conditions.join(" AND "));
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row, blobs)?);
    }
    Ok(found)
}

/// A run's questions of one purpose, newest first.
pub(crate) fn about(
    conn: &Connection,
    blobs: &BlobStore,
    run: RunId,
    purpose: &Purpose,
) -> Result<Vec<Approval>, Fault> {
    let mut statement = conn
        .prepare_cached(&format!("{SELECT} WHERE runs.id = ?1 AND purpose = ?2 ORDER BY approvals.n DESC"))?;
    let mut rows = statement.query(params![run.to_string(), purpose.key()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row, blobs)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>, blobs: &BlobStore) -> Result<Approval, Fault> {
    let (decision, request, evidence): (Option<String>, String, String) =
        (row.get(5)?, row.get(6)?, row.get(7)?);
    let mut request: ApprovalRequest = cell::read(blobs, &request)?;
    request.evidence = cell::read::<Value>(blobs, &evidence)?;
    Ok(Approval {
        id: row.get::<_, Parsed<_>>(0)?.0,
        run: row.get::<_, Parsed<_>>(1)?.0,
        request,
        status: row.get::<_, Named<_>>(2)?.0,
        decision: decision.map(|text| cell::read(blobs, &text)).transpose()?,
        requested_at: row.get::<_, Parsed<_>>(3)?.0,
        consumed_at: row.get::<_, Option<Parsed<_>>>(4)?.map(|at| at.0),
    })
}
