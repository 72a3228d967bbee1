//! Budgets on a run's page, each with a bar.

use wflo_core::budget::{Amount, Budget};
use wflo_core::definition::Definition;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::Store;
use wflo_core::run::RunRecord;

use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Paint, Printer, amount, money};
use crate::session::Session;

/// Cells of a bar.
const CELLS: u64 = 20;

/// Every budget of the run that has been opened; the run's cost where it has none of its own.
pub(super) async fn show(
    session: &Session<'_>,
    printer: &Printer,
    record: &RunRecord,
    (definition, cost): (&Definition, NanoUsd),
) -> Result<(), CommandError> {
    let key = &record.budget_key;
    let mut keys = vec![key.clone(), record.workflow.clone()];
    for spec in &definition.steps {
        keys.push(format!("{key}/{}", spec.name));
        keys.push(format!("{key}/{}", spec.agent_name()));
    }
    keys.sort();
    keys.dedup();
    let budgets = session.store.budgets(keys).await?;
    if !budgets.iter().any(Budget::is_money_of_a_run) {
        printer.line(format_args!("  cost    {} (no run budget)", money(cost)));
    }
    for budget in &budgets {
        let name = budget.name();
        let held = match budget.held {
            Amount::ZERO => String::new(),
            held => format!(", {} held by running calls", amount(budget.measure, held)),
        };
        printer.line(format_args!(
            "  {}  {} of {}{held}  ({})",
            bar(printer.paint(), budget),
            amount(budget.measure, budget.settled),
            amount(budget.measure, budget.limit),
            plain::line(&name),
        ));
    }
    Ok(())
}

/// How much of it is used.
pub(crate) fn bar(paint: Paint, budget: &Budget) -> String {
    let used = budget.settled.saturating_add(budget.held).units().unsigned_abs();
    let limit = budget.limit.units().unsigned_abs().max(1);
    let share = (u128::from(used) * u128::from(CELLS)).div_ceil(u128::from(limit)).min(u128::from(CELLS));
    let full = usize::try_from(share).unwrap_or(0);
    let (done, rest) = ("█".repeat(full), "░".repeat(CELLS as usize - full));
    let done = match share * 100 / u128::from(CELLS) {
        90.. => paint.bad(done),
        75.. => paint.careful(done),
        _ => paint.good(done),
    };
    format!("{done}{}", paint.faint(rest))
}
