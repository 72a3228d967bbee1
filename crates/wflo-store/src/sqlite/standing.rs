//! Standing budgets, and the history of all limits.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use wflo_core::budget::{Amount, BudgetChange, Change, Standing};
use wflo_core::id::BudgetId;
use wflo_core::ports::store::{OpResult, StoreError};

use super::budget;
use super::column::{self, Named, Parsed, Units, Unsigned};
use super::fault::Fault;
use super::tx::Tx;
use crate::cell;

pub(crate) fn set(tx: &Tx<'_>, new: &Standing, by: &str, at: Timestamp) -> Result<OpResult, Fault> {
    if new.limit.is_negative() {
        return Err(StoreError::Failed("a standing budget is set below zero".to_owned()).into());
    }
    let before = known(tx, new)?;
    let mut thresholds = new.alert_thresholds.clone();
    thresholds.sort_unstable();
    thresholds.dedup();
    let thresholds = cell::plain(&thresholds)?;
    let action = new.action_on_exceeded.as_ref().map(column::name).transpose()?;
    let floor = new.min_output_tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
    tx.write(
        "INSERT INTO standing_budgets (scope, key, period, time_zone, measure, limit_units,
             action_on_exceeded, alert_thresholds, min_output_tokens)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (key, scope, period, measure, time_zone) DO UPDATE SET limit_units = ?6,
             action_on_exceeded = ?7, alert_thresholds = ?8, min_output_tokens = ?9",
        params![
            column::name(&new.scope)?,
            new.key,
            column::name(&new.period)?,
            new.time_zone.name(),
            column::name(&new.measure)?,
            Units(new.limit),
            action,
            thresholds,
            floor
        ],
    )?;
    note(tx, &change(new, Change::Set, by, at, before, Some(new.limit)))?;
    for account in budget::of_standing(tx, new)? {
        // A budget that was taken away and comes back: what its accounts had was this limit once.
        let was = before.unwrap_or(account.budget.limit);
        let difference = new.limit.saturating_sub(was);
        if difference != Amount::ZERO {
            budget::raise(tx, &account, difference, Change::Set, by, at)?;
        }
        if let Some(action) = &action {
            tx.write("UPDATE budgets SET action_on_exceeded = ?2 WHERE n = ?1", params![account.n, action])?;
        }
    }
    Ok(OpResult::Done)
}

pub(crate) fn remove(tx: &Tx<'_>, which: &Standing, by: &str, at: Timestamp) -> Result<OpResult, Fault> {
    let Some(before) = known(tx, which)? else {
        let id = format!("{} {}", which.scope.name(), which.key);
        return Err(StoreError::NotFound { noun: "standing budget", id }.into());
    };
    tx.write(
        "DELETE FROM standing_budgets
         WHERE key = ?1 AND scope = ?2 AND period = ?3 AND measure = ?4 AND time_zone = ?5",
        params![
            which.key,
            column::name(&which.scope)?,
            column::name(&which.period)?,
            column::name(&which.measure)?,
            which.time_zone.name()
        ],
    )?;
    note(tx, &change(which, Change::Removed, by, at, Some(before), None))?;
    Ok(OpResult::Done)
}

fn known(tx: &Tx<'_>, which: &Standing) -> Result<Option<Amount>, Fault> {
    tx.row(
        "SELECT limit_units FROM standing_budgets
         WHERE key = ?1 AND scope = ?2 AND period = ?3 AND measure = ?4 AND time_zone = ?5",
        params![
            which.key,
            column::name(&which.scope)?,
            column::name(&which.period)?,
            column::name(&which.measure)?,
            which.time_zone.name()
        ],
        |row| Ok(row.get::<_, Units>(0)?.0),
    )
}

fn change(
    of: &Standing,
    change: Change,
    by: &str,
    at: Timestamp,
    before: Option<Amount>,
    after: Option<Amount>,
) -> BudgetChange {
    BudgetChange {
        at,
        by: by.to_owned(),
        change,
        budget: None,
        scope: of.scope,
        key: of.key.clone(),
        period: of.period,
        period_start: String::new(),
        measure: of.measure,
        before,
        after,
        reason: None,
    }
}

/// Writes a line of history.
pub(super) fn note(tx: &Tx<'_>, line: &BudgetChange) -> Result<(), Fault> {
    tx.write(
        "INSERT INTO budget_changes (at, by, change, budget, scope, key, period, period_start, measure,
             before_units, after_units, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            column::time(line.at),
            line.by,
            column::name(&line.change)?,
            line.budget.map(|id| id.to_string()),
            column::name(&line.scope)?,
            line.key,
            column::name(&line.period)?,
            line.period_start,
            column::name(&line.measure)?,
            line.before.map(Units),
            line.after.map(Units),
            line.reason
        ],
    )?;
    Ok(())
}

/// The standing budgets, in the order in which they were made.
pub(crate) fn all(conn: &Connection) -> Result<Vec<Standing>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT scope, key, period, time_zone, measure, limit_units, action_on_exceeded, alert_thresholds,
             min_output_tokens FROM standing_budgets ORDER BY n",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Standing {
            scope: row.get::<_, Named<_>>(0)?.0,
            key: row.get(1)?,
            period: row.get::<_, Named<_>>(2)?.0,
            time_zone: row.get::<_, Parsed<_>>(3)?.0,
            measure: row.get::<_, Named<_>>(4)?.0,
            limit: row.get::<_, Units>(5)?.0,
            action_on_exceeded: row.get::<_, Option<Named<_>>>(6)?.map(|named| named.0),
            alert_thresholds: budget::json(7, &row.get::<_, String>(7)?)?,
            min_output_tokens: row.get::<_, Option<Unsigned>>(8)?.map(|tokens| tokens.0),
        })
    };
    let found = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found)
}

/// What became of limits, oldest first.
pub(crate) fn changes(conn: &Connection) -> Result<Vec<BudgetChange>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT at, by, change, budget, scope, key, period, period_start, measure, before_units, after_units,
             reason
         FROM budget_changes ORDER BY n",
    )?;
    let read = |row: &Row<'_>| {
        Ok(BudgetChange {
            at: row.get::<_, Parsed<_>>(0)?.0,
            by: row.get(1)?,
            change: row.get::<_, Named<_>>(2)?.0,
            budget: row.get::<_, Option<Parsed<BudgetId>>>(3)?.map(|id| id.0),
            scope: row.get::<_, Named<_>>(4)?.0,
            key: row.get(5)?,
            period: row.get::<_, Named<_>>(6)?.0,
            period_start: row.get(7)?,
            measure: row.get::<_, Named<_>>(8)?.0,
            before: row.get::<_, Option<Units>>(9)?.map(|units| units.0),
            after: row.get::<_, Option<Units>>(10)?.map(|units| units.0),
            reason: row.get(11)?,
        })
    };
    let found = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(found)
}
