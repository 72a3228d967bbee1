//! Budgets on a run's page, each with a bar.

use wflo_core::budget::{Amount, Budget};
use wflo_core::definition::Definition;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::Store;
use wflo_core::run::RunRecord;

use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Paint, Printer, amount, limit, money};
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
        let mut name = budget.name();
        if record.retried_from.is_some() && budget.is_money_of_a_run() {
            name.push_str(", with what it retries");
        }
        let held = match budget.held {
            Amount::ZERO => String::new(),
            held => format!(", {} held by running calls", amount(budget.measure, held)),
        };
        printer.line(format_args!(
            "  {}  {} of {}{held}  ({})",
            bar(printer.paint(), budget.settled.saturating_add(budget.held), budget.limit),
            amount(budget.measure, budget.settled),
            limit(budget.measure, budget.limit),
            plain::line(&name),
        ));
    }
    Ok(())
}

/// How much of a limit is used, to the nearest cell; full only where nothing is left.
pub(crate) fn bar(paint: Paint, used: Amount, limit: Amount) -> String {
    let share = share(used.units().unsigned_abs(), limit.units().unsigned_abs());
    let full = usize::try_from(share).unwrap_or(0);
    let (done, rest) = ("█".repeat(full), "░".repeat(CELLS as usize - full));
    let done = match share * 100 / u128::from(CELLS) {
        90.. => paint.bad(done),
        75.. => paint.careful(done),
        _ => paint.good(done),
    };
    format!("{done}{}", paint.faint(rest))
}

fn share(used: u64, limit: u64) -> u128 {
    let cells = u128::from(CELLS);
    if used >= limit {
        return cells;
    }
    let (used, limit) = (u128::from(used), u128::from(limit.max(1)));
    ((used * cells + limit / 2) / limit).min(cells - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_empty_for_next_to_nothing_and_full_only_at_the_end() {
        assert_eq!(share(5, 10_000), 0);
        assert_eq!(share(5_000, 10_000), 10);
        assert_eq!(share(9_999, 10_000), 19);
        assert_eq!(share(10_000, 10_000), 20);
        assert_eq!(share(0, 0), 20);
        assert_eq!(share(u64::MAX - 1, u64::MAX), 19);
    }
}
