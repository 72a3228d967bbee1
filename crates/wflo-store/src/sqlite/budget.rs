//! Budgets: accounts, their limits, and the alerts of their thresholds.
//!
//! Holds stand in `hold`. **Architecture Invariant:** no statement here or there raises
//! `settled + held` above the limit, except a bill that is larger than its hold.

use rusqlite::{Connection, Row, params};
use wflo_core::budget::{Budget, display_name};
use wflo_core::event::EventBody;
use wflo_core::id::BudgetId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{OpResult, StoreError};

use super::column::{self, Money, Named, Parsed};
use super::fault::Fault;
use super::tx::Tx;
use crate::cell;

pub(crate) fn open(tx: &Tx<'_>, budget: &Budget) -> Result<OpResult, Fault> {
    if budget.limit.is_negative() || budget.settled.is_negative() {
        return Err(StoreError::Failed(format!("budget {} is opened below zero", budget.id)).into());
    }
    let mut thresholds = budget.alert_thresholds.clone();
    thresholds.sort_unstable();
    thresholds.dedup();
    // Only holds make `held`, so an account is opened without.
    tx.write(
        "INSERT INTO budgets (id, scope, key, period, period_start, limit_nanos, settled_nanos, held_nanos,
             action_on_exceeded, alert_thresholds, alerted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, 0)
         ON CONFLICT (key, scope, period, period_start) DO NOTHING",
        params![
            budget.id.to_string(),
            column::name(&budget.scope)?,
            budget.key,
            column::name(&budget.period)?,
            budget.period_start,
            Money(budget.limit),
            Money(budget.settled),
            column::name(&budget.action_on_exceeded)?,
            cell::plain(&thresholds)?,
        ],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn top_up(tx: &Tx<'_>, id: BudgetId, amount: NanoUsd) -> Result<OpResult, Fault> {
    let budget = account(tx, id)?.budget;
    let wanted = budget.limit.saturating_add(amount);
    // Lowering stops at what is in use; a limit that a bill has already passed stays where it is.
    let limit = match amount.is_negative() {
        true => wanted.max(budget.settled.saturating_add(budget.held).min(budget.limit)),
        false => wanted,
    };
    tx.write("UPDATE budgets SET limit_nanos = ?2 WHERE id = ?1", params![id.to_string(), Money(limit)])?;
    Ok(OpResult::Done)
}

/// A budget and how many of its thresholds were announced.
pub(crate) struct Account {
    pub(crate) n: i64,
    pub(crate) budget: Budget,
    alerted: usize,
}

impl Account {
    /// The alerts that a bill makes due, in ascending order, and how many are announced after them.
    pub(crate) fn alerts(&self, settled: NanoUsd) -> (Vec<EventBody>, u32) {
        let budget = &self.budget;
        let passed = budget.alert_thresholds.iter().take_while(|threshold| {
            // Free calls pass nothing, not even a limit of zero.
            settled > NanoUsd::ZERO
                && i128::from(settled.nanos()) * 1000
                    >= i128::from(budget.limit.nanos()) * i128::from(**threshold)
        });
        let due = passed.skip(self.alerted).map(|threshold| EventBody::BudgetAlert {
            budget_id: budget.id,
            budget: display_name(budget.scope, &budget.key, budget.period),
            threshold: *threshold,
            settled_usd: settled,
            limit_usd: budget.limit,
        });
        let due: Vec<_> = due.collect();
        let alerted = u32::try_from(self.alerted + due.len()).unwrap_or(u32::MAX);
        (due, alerted)
    }
}

const SELECT: &str = "SELECT id, scope, key, period, period_start, limit_nanos, settled_nanos, held_nanos,
     action_on_exceeded, alert_thresholds, alerted, n FROM budgets";

/// A budget as it stands inside the transaction.
pub(crate) fn account(tx: &Tx<'_>, id: BudgetId) -> Result<Account, Fault> {
    tx.row(&format!("{SELECT} WHERE id = ?1"), [id.to_string()], |row| {
        Ok(Account { n: row.get(11)?, alerted: row.get::<_, u32>(10)? as usize, budget: read(row)? })
    })?
    .ok_or_else(|| StoreError::NotFound { noun: "budget", id: id.to_string() }.into())
}

/// The budgets with these keys, in the order in which they were opened.
pub(crate) fn with_keys(conn: &Connection, keys: &[String]) -> Result<Vec<Budget>, Fault> {
    let mut statement =
        conn.prepare_cached(&format!("{SELECT} WHERE key IN (SELECT value FROM json_each(?1)) ORDER BY n"))?;
    let found = statement.query_map([cell::plain(keys)?], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found)
}

/// The budgets with these ids, in the order in which they were opened.
pub(crate) fn with_ids(conn: &Connection, ids: &[BudgetId]) -> Result<Vec<Budget>, Fault> {
    let mut statement =
        conn.prepare_cached(&format!("{SELECT} WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY n"))?;
    let found = statement.query_map([cell::plain(ids)?], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Budget> {
    let thresholds: String = row.get(9)?;
    Ok(Budget {
        id: row.get::<_, Parsed<_>>(0)?.0,
        scope: row.get::<_, Named<_>>(1)?.0,
        key: row.get(2)?,
        period: row.get::<_, Named<_>>(3)?.0,
        period_start: row.get(4)?,
        limit: row.get::<_, Money>(5)?.0,
        settled: row.get::<_, Money>(6)?.0,
        held: row.get::<_, Money>(7)?.0,
        action_on_exceeded: row.get::<_, Named<_>>(8)?.0,
        alert_thresholds: serde_json::from_str(&thresholds).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(9, rusqlite::types::Type::Text, Box::new(error))
        })?,
    })
}
