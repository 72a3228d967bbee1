//! Budgets: accounts, their limits, and the alerts of their thresholds.
//!
//! Holds stand in `hold`. **Architecture Invariant:** no statement here or there raises
//! `settled + held` above the limit, except a bill that is larger than its hold.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use wflo_core::budget::{Amount, Budget, BudgetChange, Change, Figures, Standing};
use wflo_core::event::EventBody;
use wflo_core::id::BudgetId;
use wflo_core::ports::store::{OpResult, StoreError};

use super::column::{self, Named, Parsed, Units};
use super::fault::Fault;
use super::slice;
use super::standing;
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
             action_on_exceeded, alert_thresholds, alerted, measure, time_zone, standing, said_nanos)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, 0, ?10, ?11, ?12, ?6)
         ON CONFLICT (key, scope, period, period_start, measure, time_zone, standing) DO NOTHING",
        params![
            budget.id.to_string(),
            column::name(&budget.scope)?,
            budget.key,
            column::name(&budget.period)?,
            budget.period_start,
            Units(budget.limit),
            Units(budget.settled),
            column::name(&budget.action_on_exceeded)?,
            cell::plain(&thresholds)?,
            column::name(&budget.measure)?,
            budget.time_zone.name(),
            budget.standing,
        ],
    )?;
    Ok(OpResult::Done)
}

pub(crate) fn top_up(
    tx: &Tx<'_>,
    id: BudgetId,
    amount: Amount,
    by: &str,
    at: Timestamp,
) -> Result<OpResult, Fault> {
    let account = account(tx, id)?;
    raise(tx, &account, amount, Change::ToppedUp, by, at)?;
    Ok(OpResult::Done)
}

/// Says anew what was counted. More than the limit leaves no room; alerts that are passed no longer are raised again
/// when they are.
pub(crate) fn correct(
    tx: &Tx<'_>,
    id: BudgetId,
    settled: Amount,
    (by, reason): (&str, &str),
    at: Timestamp,
) -> Result<OpResult, Fault> {
    if settled.is_negative() {
        return Err(StoreError::Failed(format!("budget {id} is corrected to less than nothing")).into());
    }
    let account = account(tx, id)?;
    let before = account.budget.settled;
    let alerted = u32::try_from(account.passed(settled)).unwrap_or(u32::MAX);
    tx.write(
        "UPDATE budgets SET settled_nanos = ?2, alerted = ?3 WHERE n = ?1",
        params![account.n, Units(settled), alerted],
    )?;
    if settled > before {
        slice::recall(tx, account.n)?;
    }
    let change = account.change(Change::Corrected, by, at, before, settled);
    standing::note(tx, &BudgetChange { reason: Some(reason.to_owned()), ..change })?;
    Ok(OpResult::Done)
}

/// Changes an account's limit by `amount`, and keeps that in its history.
pub(super) fn raise(
    tx: &Tx<'_>,
    account: &Account,
    amount: Amount,
    change: Change,
    by: &str,
    at: Timestamp,
) -> Result<(), Fault> {
    let budget = &account.budget;
    let wanted = budget.limit.saturating_add(amount);
    // Lowering stops at what is in use; a limit that a bill has already passed stays where it is. What a gateway
    // has of it and no call holds is not in use: it comes back.
    let limit = match amount.is_negative() {
        true => {
            let held = budget.held.saturating_sub(slice::sum(tx, account.n)?);
            slice::recall(tx, account.n)?;
            wanted.max(budget.settled.saturating_add(held).min(budget.limit))
        }
        false => wanted,
    };
    tx.write("UPDATE budgets SET limit_nanos = ?2 WHERE n = ?1", params![account.n, Units(limit)])?;
    standing::note(tx, &account.change(change, by, at, budget.limit, limit))
}

/// A budget and how many of its thresholds were announced.
pub(crate) struct Account {
    pub(crate) n: i64,
    pub(crate) budget: Budget,
    alerted: usize,
    /// The limit that a file said last.
    pub(super) said: Amount,
}

impl Account {
    /// The alerts that a bill makes due, in ascending order, and how many are announced after them.
    pub(crate) fn alerts(&self, settled: Amount) -> (Vec<EventBody>, u32) {
        let budget = &self.budget;
        let passed = budget.alert_thresholds.iter().take(self.passed(settled));
        let due = passed.skip(self.alerted).map(|threshold| EventBody::BudgetAlert {
            budget_id: budget.id,
            budget: budget.name(),
            threshold: *threshold,
            figures: Figures::new(budget.measure, settled, budget.limit),
        });
        let due: Vec<_> = due.collect();
        let alerted = u32::try_from(self.alerted + due.len()).unwrap_or(u32::MAX);
        (due, alerted)
    }

    /// How many thresholds are passed.
    fn passed(&self, settled: Amount) -> usize {
        let limit = i128::from(self.budget.limit.units());
        let passed = |threshold: &&u32| {
            // Free calls pass nothing, not even a limit of zero.
            settled > Amount::ZERO && i128::from(settled.units()) * 1000 >= limit * i128::from(**threshold)
        };
        self.budget.alert_thresholds.iter().take_while(passed).count()
    }

    /// A line of its history.
    pub(crate) fn change(
        &self,
        change: Change,
        by: &str,
        at: Timestamp,
        before: Amount,
        after: Amount,
    ) -> BudgetChange {
        let budget = &self.budget;
        BudgetChange {
            at,
            by: by.to_owned(),
            change,
            budget: Some(budget.id),
            scope: budget.scope,
            key: budget.key.clone(),
            period: budget.period,
            period_start: budget.period_start.clone(),
            measure: budget.measure,
            before: Some(before),
            after: Some(after),
            reason: None,
        }
    }
}

const SELECT: &str = "SELECT id, scope, key, period, period_start, limit_nanos, settled_nanos, held_nanos,
     action_on_exceeded, alert_thresholds, alerted, n, measure, time_zone, standing, said_nanos FROM budgets";

/// A budget as it stands inside the transaction.
pub(crate) fn account(tx: &Tx<'_>, id: BudgetId) -> Result<Account, Fault> {
    tx.row(&format!("{SELECT} WHERE id = ?1"), [id.to_string()], read_account)?
        .ok_or_else(|| StoreError::NotFound { noun: "budget", id: id.to_string() }.into())
}

/// The open accounts of a standing budget.
pub(super) fn of_standing(tx: &Tx<'_>, standing: &Standing) -> Result<Vec<Account>, Fault> {
    tx.rows(
        &format!(
            "{SELECT} WHERE standing AND key = ?1 AND scope = ?2 AND period = ?3 AND measure = ?4
             AND time_zone = ?5 ORDER BY n"
        ),
        params![
            standing.key,
            column::name(&standing.scope)?,
            column::name(&standing.period)?,
            column::name(&standing.measure)?,
            standing.time_zone.name()
        ],
        read_account,
    )
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

/// Every budget, in the order in which they were opened.
pub(crate) fn all(conn: &Connection) -> Result<Vec<Budget>, Fault> {
    let mut statement = conn.prepare_cached(&format!("{SELECT} ORDER BY n"))?;
    let found = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found)
}

fn read_account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let said = row.get::<_, Units>(15)?.0;
    Ok(Account { n: row.get(11)?, alerted: row.get::<_, u32>(10)? as usize, said, budget: read(row)? })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Budget> {
    let thresholds: String = row.get(9)?;
    Ok(Budget {
        id: row.get::<_, Parsed<_>>(0)?.0,
        scope: row.get::<_, Named<_>>(1)?.0,
        key: row.get(2)?,
        period: row.get::<_, Named<_>>(3)?.0,
        period_start: row.get(4)?,
        limit: row.get::<_, Units>(5)?.0,
        settled: row.get::<_, Units>(6)?.0,
        held: row.get::<_, Units>(7)?.0,
        action_on_exceeded: row.get::<_, Named<_>>(8)?.0,
        alert_thresholds: json(9, &thresholds)?,
        measure: row.get::<_, Named<_>>(12)?.0,
        time_zone: row.get::<_, Parsed<_>>(13)?.0,
        standing: row.get(14)?,
    })
}

/// The JSON of a column.
pub(super) fn json<T: serde::de::DeserializeOwned>(at: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(error))
    })
}
