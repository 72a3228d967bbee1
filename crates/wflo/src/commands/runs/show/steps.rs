//! Steps on a run's page: how each stands, what it took and cost.

use wflo_core::definition::{Definition, StepSpec};
use wflo_core::effect::EffectRecord;
use wflo_core::machine::{RunState, StepState, StepStatus};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::Store;
use wflo_core::run::RunRecord;
use wflo_engine::live::Live;

use super::{live, span};
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Paint, Table, duration, money, resources};
use crate::session::Session;

/// The steps in the order of the definition.
///
/// # Errors
/// Store errors.
pub(super) async fn table(
    session: &Session<'_>,
    paint: Paint,
    record: &RunRecord,
    (state, sandboxes): (&RunState, &[Live]),
    effects: &[EffectRecord],
) -> Result<Table, CommandError> {
    let limit = run_limit(session, record).await?;
    let costs = step_costs(&state.definition, effects);
    Ok(steps(paint, (state, sandboxes), &costs, limit))
}

async fn run_limit(session: &Session<'_>, record: &RunRecord) -> Result<Option<NanoUsd>, CommandError> {
    let budgets = session.store.budgets(vec![record.budget_key.clone()]).await?;
    Ok(budgets.iter().find(|b| b.is_money_of_a_run()).map(|b| b.limit.money()))
}

fn step_costs(definition: &Definition, effects: &[EffectRecord]) -> Vec<NanoUsd> {
    let of = |step: &StepSpec| {
        let own = effects.iter().filter(|effect| effect.key.step == step.name);
        own.fold(NanoUsd::ZERO, |sum, effect| sum.saturating_add(effect.cost))
    };
    definition.steps.iter().map(of).collect()
}

fn steps(
    paint: Paint,
    (state, sandboxes): (&RunState, &[Live]),
    costs: &[NanoUsd],
    limit: Option<NanoUsd>,
) -> Table {
    let definition = &state.definition;
    let mut table = Table::bare();
    let count = definition.steps.len();
    let rows = definition.steps.iter().zip(&state.steps).zip(costs);
    let mut before: Option<&str> = None;
    for (index, ((spec, step), cost)) in rows.enumerate() {
        let branch = if index + 1 == count { "└─" } else { "├─" };
        let took = match (step.started_at, step.finished_at) {
            (Some(start), Some(end)) => duration(span(start, end)),
            _ => String::new(),
        };
        let in_line = match (spec.depends_on.as_slice(), before) {
            ([], None) => true,
            ([only], Some(previous)) => only == previous,
            _ => false,
        };
        let after = match spec.depends_on.as_slice() {
            _ if in_line => String::new(),
            [] => paint.faint("from the beginning"),
            names => paint.faint(format_args!("after {}", names.join(", "))),
        };
        table.row(vec![
            format!("  {} {} {}", paint.faint(branch), mark(paint, step), plain::line(&spec.name)),
            word(paint, step),
            took,
            share(*cost, limit),
            paint.faint(match sandboxes.iter().find(|live| live.step == spec.name) {
                Some(live) => live::shown(live),
                None => resources(&step.resources),
            }),
            after,
        ]);
        before = Some(spec.name.as_str());
    }
    table
}

/// A step's cost, and its share of the run budget.
fn share(cost: NanoUsd, limit: Option<NanoUsd>) -> String {
    match limit.map(NanoUsd::nanos) {
        Some(limit @ 1..) if cost > NanoUsd::ZERO => {
            let per_mille = i128::from(cost.nanos()) * 1_000 / i128::from(limit);
            format!("{} ({}.{} %)", money(cost), per_mille / 10, per_mille % 10)
        }
        _ => money(cost),
    }
}

fn mark(paint: Paint, step: &StepState) -> String {
    match step.status {
        StepStatus::Succeeded => paint.good("✓"),
        StepStatus::Failed => paint.bad("✗"),
        StepStatus::Asking { .. } | StepStatus::Waiting { .. } => paint.careful("?"),
        StepStatus::Running { .. } | StepStatus::Undoing { .. } => paint.strong("▸"),
        StepStatus::Cancelled | StepStatus::Skipped => paint.faint("-"),
        _ => paint.faint("·"),
    }
}

fn word(paint: Paint, step: &StepState) -> String {
    let again = match step.generation {
        0 | 1 => String::new(),
        generation => format!(" (try {generation})"),
    };
    let word = format!("{}{again}", step.status.as_str());
    match step.status {
        StepStatus::Failed => paint.bad(word),
        StepStatus::Asking { .. } | StepStatus::Waiting { .. } => paint.careful(word),
        StepStatus::Blocked | StepStatus::Skipped | StepStatus::Cancelled => paint.faint(word),
        _ => word,
    }
}
