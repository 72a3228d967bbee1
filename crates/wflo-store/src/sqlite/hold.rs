//! Holds: money, calls and tokens reserved on every budget that applies, then billed or freed.
//!
//! **Architecture Invariant:** a budget's `held` is the sum of its open holds; a hold is taken on all
//! its budgets or on none.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use wflo_core::budget::{Amounts, Change, Hold, Shortfall};
use wflo_core::event::Event;
use wflo_core::id::{BudgetId, HoldId, RunId};
use wflo_core::ports::store::{OpResult, StoreError};

use super::budget;
use super::column::{Money, Parsed, Units};
use super::fault::Fault;
use super::standing;
use super::tx::Tx;
use crate::cell;

pub(crate) fn take(
    tx: &mut Tx<'_>,
    id: HoldId,
    run: RunId,
    budgets: &[BudgetId],
    amounts: &Amounts,
) -> Result<OpResult, Fault> {
    if amounts.cost.is_negative() {
        return Err(StoreError::Failed(format!("hold {id} is below zero")).into());
    }
    let run_n = tx.key(run)?;
    // All are asked before one is changed: a refusal then costs its group of commits nothing.
    let mut accounts = Vec::with_capacity(budgets.len());
    for budget in budgets {
        let account = budget::account(tx, *budget)?;
        let wanted = amounts.of(account.budget.measure);
        if account.budget.left() < wanted {
            return Err(StoreError::Short(Box::new(Shortfall { budget: account.budget, wanted })).into());
        }
        accounts.push((account.n, wanted));
    }
    for (n, wanted) in accounts {
        // Said again where it is done; subtracting, so that the sum cannot overflow into a float.
        let changed = tx.write(
            "UPDATE budgets SET held_nanos = held_nanos + ?2
             WHERE n = ?1 AND limit_nanos - settled_nanos - held_nanos >= ?2",
            params![n, Units(wanted)],
        )?;
        if changed != 1 {
            return Err(StoreError::Failed(format!("hold {id} does not fit any more")).into());
        }
    }
    let inserted = tx.write(
        "INSERT INTO holds (id, run, budgets, amount, amounts, state) VALUES (?1, ?2, ?3, ?4, ?5, 'open')
         ON CONFLICT (id) DO NOTHING",
        params![id.to_string(), run_n, cell::plain(budgets)?, Money(amounts.cost), cell::plain(amounts)?],
    )?;
    match inserted {
        1 => Ok(OpResult::Done),
        _ => Err(StoreError::Failed(format!("hold {id} exists already")).into()),
    }
}

pub(crate) fn settle(
    tx: &mut Tx<'_>,
    id: HoldId,
    actual: &Amounts,
    at: Timestamp,
) -> Result<OpResult, Fault> {
    if actual.cost.is_negative() {
        return Err(StoreError::Failed(format!("hold {id} is billed below zero")).into());
    }
    let Some(row) = find(tx, id)? else { return Ok(OpResult::Done) };
    let mut alerts = Vec::new();
    let mut over = actual.cost > row.amounts.cost;
    for budget in row.budgets {
        let account = budget::account(tx, budget)?;
        let (held, billed) = (row.amounts.of(account.budget.measure), actual.of(account.budget.measure));
        over |= billed > held;
        let settled = account.budget.settled.checked_add(billed);
        let settled =
            settled.ok_or_else(|| StoreError::Failed(format!("budget {budget} is beyond counting")))?;
        let (due, alerted) = account.alerts(settled);
        for body in due {
            let by = row.run.to_string();
            let limit = account.budget.limit;
            standing::note(tx, &account.change(Change::Alert, &by, at, settled, limit))?;
            alerts.push(Event { at, body });
        }
        tx.write(
            "UPDATE budgets SET held_nanos = held_nanos - ?2, settled_nanos = ?3, alerted = ?4 WHERE n = ?1",
            params![account.n, Units(held), Units(settled), alerted],
        )?;
    }
    tx.write(
        "UPDATE holds SET state = 'settled', actual = ?2 WHERE n = ?1 AND state = 'open'",
        params![row.n, Money(actual.cost)],
    )?;
    if over {
        // Whoever made the call says so to people.
        tracing::debug!(hold = %id, held = ?row.amounts, ?actual, "a bill is above its hold");
        tx.write("UPDATE counters SET overruns = overruns + 1", [])?;
    }
    if !alerts.is_empty() {
        let bodies = alerts.iter().map(cell::plain).collect::<Result<Vec<_>, _>>()?;
        tx.append(row.run, &alerts, &bodies)?;
    }
    Ok(OpResult::Done)
}

pub(crate) fn release(tx: &Tx<'_>, id: HoldId) -> Result<OpResult, Fault> {
    let Some(row) = find(tx, id)? else { return Ok(OpResult::Done) };
    for budget in row.budgets {
        let account = budget::account(tx, budget)?;
        tx.write(
            "UPDATE budgets SET held_nanos = held_nanos - ?2 WHERE n = ?1",
            params![account.n, Units(row.amounts.of(account.budget.measure))],
        )?;
    }
    tx.write("UPDATE holds SET state = 'released' WHERE n = ?1 AND state = 'open'", [row.n])?;
    Ok(OpResult::Done)
}

struct Open {
    n: i64,
    run: RunId,
    budgets: Vec<BudgetId>,
    amounts: Amounts,
}

/// The hold if it is open; `None` when it is settled or released already.
fn find(tx: &Tx<'_>, id: HoldId) -> Result<Option<Open>, Fault> {
    let found = tx.row(
        "SELECT holds.n, runs.id, holds.budgets, holds.amount, holds.amounts, holds.state = 'open'
         FROM holds JOIN runs ON runs.n = holds.run WHERE holds.id = ?1",
        [id.to_string()],
        |row| {
            let open: bool = row.get(5)?;
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, Parsed<RunId>>(1)?.0,
                row.get::<_, String>(2)?,
                amounts(row, 3)?,
                open,
            ))
        },
    )?;
    match found {
        None => Err(StoreError::NotFound { noun: "hold", id: id.to_string() }.into()),
        Some((_, _, _, _, false)) => Ok(None),
        Some((n, run, budgets, amounts, true)) => Ok(Some(Open { n, run, budgets: ids(&budgets)?, amounts })),
    }
}

/// The columns `amount, amounts`: a hold of before other measures is money alone.
fn amounts(row: &Row<'_>, at: usize) -> rusqlite::Result<Amounts> {
    match row.get::<_, Option<String>>(at + 1)? {
        Some(text) => budget::json(at + 1, &text),
        None => Ok(row.get::<_, Money>(at)?.0.into()),
    }
}

/// What a hold reserves, if it is still open.
pub(crate) fn get(conn: &Connection, id: HoldId) -> Result<Option<Hold>, Fault> {
    let found = conn
        .prepare_cached("SELECT budgets, amount, amounts FROM holds WHERE id = ?1 AND state = 'open'")?
        .query_row([id.to_string()], |row| Ok((row.get::<_, String>(0)?, amounts(row, 1)?)))
        .optional()?;
    found.map(|(budgets, amounts)| Ok(Hold { id, budgets: ids(&budgets)?, amounts })).transpose()
}

/// What the open holds of a run reserve, oldest first.
pub(crate) fn of_run(conn: &Connection, run: RunId) -> Result<Vec<Hold>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT holds.id, holds.budgets, holds.amount, holds.amounts FROM holds JOIN runs ON runs.n = holds.run
         WHERE runs.id = ?1 AND holds.state = 'open' ORDER BY holds.n",
    )?;
    let read =
        |row: &Row<'_>| Ok((row.get::<_, Parsed<HoldId>>(0)?.0, row.get::<_, String>(1)?, amounts(row, 2)?));
    let found = statement.query_map([run.to_string()], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let hold =
        |(id, budgets, amounts): (HoldId, String, Amounts)| Ok(Hold { id, budgets: ids(&budgets)?, amounts });
    found.into_iter().map(hold).collect()
}

/// How many bills were above their hold.
pub(crate) fn overruns(conn: &Connection) -> Result<u64, Fault> {
    let overruns: u32 =
        conn.prepare_cached("SELECT overruns FROM counters")?.query_row([], |row| row.get(0))?;
    Ok(u64::from(overruns))
}

fn ids(text: &str) -> Result<Vec<BudgetId>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt {
        path: "the store".to_owned(),
        detail: format!("the budgets of a hold cannot be read: {error}"),
    })
}
