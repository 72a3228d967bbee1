//! Slices: what processes hold of budgets, and what they spent of it.
//!
//! **Architecture Invariant:** a slice is part of its budget's `held`; it is taken of all the wanted
//! budgets or of none; a fold moves what was spent to `settled` and frees what is given back in the
//! commit that moves the position of its process, so that nothing is folded twice and nothing is lost.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use wflo_core::budget::{Amount, Change, Shortfall};
use wflo_core::event::EventBody;
use wflo_core::id::{BudgetId, EngineId};
use wflo_core::ports::store::{Fold, OpResult, Part, SliceOp, StoreError, Want};
use wflo_core::slice::{Alert, Slice, Spender};

use super::budget;
use super::calls;
use super::column::{self, Named, Parsed, Units, Unsigned};
use super::fault::Fault;
use super::standing;
use super::tx::Tx;

/// Who passes a threshold outside of runs.
const GATEWAY: &str = "wflo gateway";

pub(crate) fn execute(tx: &Tx<'_>, op: &SliceOp) -> Result<OpResult, Fault> {
    match op {
        SliceOp::Open(spender) => open(tx, spender),
        SliceOp::Take { spender, wants } => take(tx, *spender, wants),
        SliceOp::Fold(fold) => self::fold(tx, fold),
        SliceOp::Recall { spender, budgets } => {
            let n = spender.map(|spender| key(tx, spender)).transpose()?;
            for budget in budgets {
                tx.write(
                    "UPDATE slices SET recalled = 1 WHERE spender IS NOT ?1
                     AND budget = (SELECT n FROM budgets WHERE id = ?2)",
                    params![n, budget.to_string()],
                )?;
            }
            Ok(OpResult::Done)
        }
        SliceOp::Limit { budget, limit, raises, by, at } => {
            self::limit(tx, *budget, (*limit, *raises), by, *at)
        }
        SliceOp::Forget { before } => calls::forget(tx, *before),
        SliceOp::Answered { spender, budgets } => {
            let n = key(tx, *spender)?;
            for budget in budgets {
                tx.write(
                    "UPDATE slices SET recalled = 0 WHERE spender = ?1
                     AND budget = (SELECT n FROM budgets WHERE id = ?2)",
                    params![n, budget.to_string()],
                )?;
            }
            Ok(OpResult::Done)
        }
    }
}

/// A file says another limit than before: the account's changes by the difference, so that what it was topped up
/// by stays; also below what is in use, and then everybody is asked for what no call holds.
fn limit(
    tx: &Tx<'_>,
    id: BudgetId,
    (said, raises): (Amount, bool),
    by: &str,
    at: Timestamp,
) -> Result<OpResult, Fault> {
    if said.is_negative() {
        return Err(StoreError::Failed(format!("budget {id} is limited below zero")).into());
    }
    let account = budget::account(tx, id)?;
    if account.said == said || (said > account.said && !raises) {
        return Ok(OpResult::Done);
    }
    let before = account.budget.limit;
    let limit = before.saturating_add(said.saturating_sub(account.said)).max(Amount::ZERO);
    tx.write(
        "UPDATE budgets SET limit_nanos = ?2, said_nanos = ?3 WHERE n = ?1",
        params![account.n, Units(limit), Units(said)],
    )?;
    standing::note(tx, &account.change(Change::Set, by, at, before, limit))?;
    if limit < before {
        recall(tx, account.n)?;
    }
    Ok(OpResult::Done)
}

/// Everybody is asked for what no call holds of a budget.
pub(super) fn recall(tx: &Tx<'_>, budget: i64) -> Result<(), Fault> {
    tx.write("UPDATE slices SET recalled = 1 WHERE budget = ?1", [budget])?;
    Ok(())
}

/// What processes hold of a budget in slices.
pub(super) fn sum(tx: &Tx<'_>, budget: i64) -> Result<Amount, Fault> {
    let sum = "SELECT COALESCE(SUM(amount), 0) FROM slices WHERE budget = ?1";
    let sum = tx.row(sum, [budget], |row| row.get::<_, Units>(0))?;
    Ok(sum.map(|sum| sum.0).unwrap_or_default())
}

fn open(tx: &Tx<'_>, spender: &Spender) -> Result<OpResult, Fault> {
    tx.write(
        "INSERT INTO spenders (id, pid, boot_id, position, started_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            spender.id.to_string(),
            spender.pid,
            spender.boot_id,
            column::signed(spender.position)?,
            column::time(spender.started_at)
        ],
    )?;
    Ok(OpResult::Done)
}

fn take(tx: &Tx<'_>, spender: EngineId, wants: &[Want]) -> Result<OpResult, Fault> {
    let holder = key(tx, spender)?;
    // All are asked before one is changed: a refusal then costs its group of commits nothing.
    let mut takes = Vec::with_capacity(wants.len());
    for want in wants {
        if want.least.is_negative() || want.most < want.least {
            return Err(StoreError::Failed(format!("a slice of {} is wanted below zero", want.budget)).into());
        }
        let account = budget::account(tx, want.budget)?;
        let left = account.budget.left();
        if want.least > Amount::ZERO && left < want.least {
            let shortfall = Shortfall { budget: account.budget, wanted: want.least };
            return Err(StoreError::Short(Box::new(shortfall)).into());
        }
        // What is not needed now leaves as much for others.
        let spare = left.saturating_sub(want.least).units().max(0) / 2;
        let ahead = want.most.saturating_sub(want.least).units().min(spare);
        takes.push((account.n, want.least.saturating_add(Amount::from_units(ahead))));
    }
    let mut granted = Vec::with_capacity(wants.len());
    for (n, amount) in takes {
        granted.push(amount);
        if amount <= Amount::ZERO {
            continue;
        }
        // Said again where it is done; subtracting, so that the sum cannot overflow into a float.
        let changed = tx.write(
            "UPDATE budgets SET held_nanos = held_nanos + ?2
             WHERE n = ?1 AND limit_nanos - settled_nanos - held_nanos >= ?2",
            params![n, Units(amount)],
        )?;
        if changed != 1 {
            return Err(StoreError::Failed(format!("a slice for {spender} does not fit any more")).into());
        }
        tx.write(
            "INSERT INTO slices (spender, budget, amount, recalled) VALUES (?1, ?2, ?3, 0)
             ON CONFLICT (spender, budget) DO UPDATE SET amount = amount + excluded.amount",
            params![holder, n, Units(amount)],
        )?;
    }
    Ok(OpResult::Granted(granted))
}

fn fold(tx: &Tx<'_>, fold: &Fold) -> Result<OpResult, Fault> {
    let holder = key(tx, fold.spender)?;
    let moved = tx.write(
        "UPDATE spenders SET position = ?2 WHERE n = ?1 AND position = ?3",
        params![holder, column::signed(fold.to)?, column::signed(fold.from)?],
    )?;
    if moved != 1 {
        let spender = fold.spender;
        return Err(StoreError::Failed(format!("{spender} is not at record {}", fold.from)).into());
    }
    let mut alerts = Vec::new();
    for part in &fold.parts {
        alerts.extend(settle(tx, holder, part, fold.at)?);
    }
    if fold.overruns > 0 {
        tx.write("UPDATE counters SET overruns = overruns + ?1", [fold.overruns])?;
    }
    calls::put(tx, fold.spender, fold.at, &fold.calls)?;
    if fold.ends {
        tx.write(
            "UPDATE budgets SET held_nanos = held_nanos -
                 (SELECT amount FROM slices WHERE spender = ?1 AND budget = budgets.n)
             WHERE n IN (SELECT budget FROM slices WHERE spender = ?1)",
            [holder],
        )?;
        tx.write("DELETE FROM slices WHERE spender = ?1", [holder])?;
        tx.write("DELETE FROM spenders WHERE n = ?1", [holder])?;
    }
    Ok(OpResult::Folded(alerts))
}

/// Moves what was spent of one slice; the alerts that it makes due.
fn settle(tx: &Tx<'_>, holder: i64, part: &Part, at: Timestamp) -> Result<Vec<Alert>, Fault> {
    if part.settled.is_negative() || part.freed.is_negative() {
        return Err(StoreError::Failed(format!("a slice of {} is folded below zero", part.budget)).into());
    }
    let account = budget::account(tx, part.budget)?;
    // A sum that is beyond counting ends its budget, and nothing else.
    let settled = account.budget.settled.saturating_add(part.settled);
    let (due, alerted) = account.alerts(settled);
    for _ in &due {
        standing::note(tx, &account.change(Change::Alert, GATEWAY, at, settled, account.budget.limit))?;
    }
    if part.freed > Amount::ZERO {
        // The row goes first when nothing is left of it: no slice is zero.
        let gone = tx.write(
            "DELETE FROM slices WHERE spender = ?1 AND budget = ?2 AND amount = ?3",
            params![holder, account.n, Units(part.freed)],
        )?;
        let changed = gone
            + tx.write(
                "UPDATE slices SET amount = amount - ?3 WHERE spender = ?1 AND budget = ?2 AND amount > ?3",
                params![holder, account.n, Units(part.freed)],
            )?;
        if changed != 1 {
            return Err(StoreError::Failed(format!("more of {} is freed than was taken", part.budget)).into());
        }
    }
    tx.write(
        "UPDATE budgets SET held_nanos = held_nanos - ?2, settled_nanos = ?3, alerted = ?4 WHERE n = ?1",
        params![account.n, Units(part.freed), Units(settled), alerted],
    )?;
    Ok(due.into_iter().filter_map(alert).collect())
}

fn alert(event: EventBody) -> Option<Alert> {
    let EventBody::BudgetAlert { budget, threshold, figures, .. } = event else { return None };
    Some(Alert { budget, threshold, figures })
}

fn key(tx: &Tx<'_>, spender: EngineId) -> Result<i64, Fault> {
    tx.row("SELECT n FROM spenders WHERE id = ?1", [spender.to_string()], |row| row.get(0))?
        .ok_or_else(|| StoreError::NotFound { noun: "spender", id: spender.to_string() }.into())
}

pub(crate) fn spenders(conn: &Connection) -> Result<Vec<Spender>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT id, pid, boot_id, position, started_at FROM spenders ORDER BY n")?;
    let rows = statement.query_map([], |row| {
        Ok(Spender {
            id: row.get::<_, Parsed<_>>(0)?.0,
            pid: row.get(1)?,
            boot_id: row.get(2)?,
            position: row.get::<_, Unsigned>(3)?.0,
            started_at: row.get::<_, Parsed<Timestamp>>(4)?.0,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn slices(conn: &Connection) -> Result<Vec<Slice>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT spenders.id, budgets.id, slices.amount, slices.recalled, budgets.measure FROM slices
         JOIN spenders ON spenders.n = slices.spender JOIN budgets ON budgets.n = slices.budget
         ORDER BY slices.spender, slices.budget",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Slice {
            spender: row.get::<_, Parsed<_>>(0)?.0,
            budget: row.get::<_, Parsed<_>>(1)?.0,
            amount: row.get::<_, Units>(2)?.0,
            recalled: row.get(3)?,
            measure: row.get::<_, Named<_>>(4)?.0,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
