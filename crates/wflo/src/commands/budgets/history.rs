//! `wflo budgets history`: what became of limits, and what was used in each period.

use serde::Serialize;
use wflo_core::budget::{Amount, Budget, BudgetChange, Change, Period};
use wflo_core::id::BudgetId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::Store as _;

use super::{Line, find, read_logs, sort};
use crate::cli::BudgetRef;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Table, amount, moment};

/// A change as scripts see it; amounts in USD, calls, tokens or seconds.
#[derive(Serialize)]
#[serde(tag = "type", rename = "change")]
struct ChangeLine<'a> {
    at: jiff::Timestamp,
    by: &'a str,
    change: Change,
    budget_id: Option<BudgetId>,
    scope: wflo_core::budget::Scope,
    key: &'a str,
    period: wflo_core::budget::Period,
    period_start: &'a str,
    measure: wflo_core::budget::Measure,
    before: Option<NanoUsd>,
    after: Option<NanoUsd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

pub(super) async fn run(which: Option<&BudgetRef>, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let Some(session) = pick::session(context)? else {
        printer.note("No budgets yet.");
        return Ok(Exit::Success);
    };
    read_logs(&session).await?;
    let mut changes = session.store.budget_changes().await?;
    let mut budgets = session.store.all_budgets().await?;
    sort(&mut budgets);
    if let Some(which) = which {
        let of = find(&session, which).await?;
        changes.retain(|change| {
            (change.scope, &change.key, change.period, change.measure)
                == (of.scope, &of.key, of.period, of.measure)
        });
        budgets.retain(|budget| same(budget, &of));
    }
    for change in &changes {
        printer.object(&line(change));
    }
    for budget in &budgets {
        printer.object(&Line::new(budget));
    }
    if !changes.is_empty() {
        let mut table = Table::new(&["WHEN", "WHO", "WHAT", "BUDGET"]);
        for change in &changes {
            let budget = budgets.iter().find(|budget| change.budget == Some(budget.id));
            let name = budget.map_or_else(|| name_of(change), Budget::name);
            table.row(vec![
                moment(change.at),
                plain::short(&change.by, 30),
                said(change),
                plain::line(&name),
            ]);
        }
        printer.line(table.within(printer.width(), &[3, 1], &[]).times(&[0]).telling(&[3]));
    }
    if !budgets.is_empty() {
        if !changes.is_empty() {
            printer.line("");
        }
        let mut table = Table::new(&["PERIOD", "USED", "OF", "BUDGET"]);
        for budget in &budgets {
            let period = if budget.period_start.is_empty() { "total" } else { &budget.period_start };
            table.row(vec![
                period.to_owned(),
                amount(budget.measure, budget.settled),
                amount(budget.measure, budget.limit),
                plain::line(&budget.name()),
            ]);
        }
        printer.line(table.within(printer.width(), &[3], &[]).times(&[0]).telling(&[3]).right(&[1, 2]));
    }
    if changes.is_empty() && budgets.is_empty() {
        printer.note("No budgets yet.");
    }
    Ok(Exit::Success)
}

/// A standing budget by which there is no account yet.
fn name_of(change: &BudgetChange) -> String {
    let each = match change.period {
        Period::Total => String::new(),
        period => format!(" per {}", period.name()),
    };
    format!("standing budget of {} `{}`{each}", change.scope.name(), change.key)
}

fn same(budget: &Budget, of: &Budget) -> bool {
    let which = |b: &Budget| (b.scope, b.key.clone(), b.period, b.measure, b.time_zone.clone(), b.standing);
    which(budget) == which(of)
}

fn line(change: &BudgetChange) -> ChangeLine<'_> {
    let decimal = |units: Option<Amount>| units.map(|units| change.measure.decimal(units));
    ChangeLine {
        at: change.at,
        by: &change.by,
        change: change.change,
        budget_id: change.budget,
        scope: change.scope,
        key: &change.key,
        period: change.period,
        period_start: &change.period_start,
        measure: change.measure,
        before: decimal(change.before),
        after: decimal(change.after),
        reason: change.reason.as_deref(),
    }
}

fn said(change: &BudgetChange) -> String {
    let show = |units: Option<Amount>| units.map(|units| amount(change.measure, units)).unwrap_or_default();
    let (before, after) = (show(change.before), show(change.after));
    match change.change {
        Change::Set if before.is_empty() => format!("set to {after}"),
        Change::ToppedUp if change.after < change.before => format!("lowered from {before} to {after}"),
        Change::Set => format!("set from {before} to {after}"),
        Change::Removed => format!("removed ({before})"),
        Change::ToppedUp => format!("topped up from {before} to {after}"),
        Change::Alert => format!("alert: {before} of {after} used"),
        Change::Corrected => {
            let why = plain::short(change.reason.as_deref().unwrap_or_default(), 60);
            format!("corrected from {before} to {after} used: {why}")
        }
    }
}
