//! A run as scripts see it: RUN, and the exit code that its status stands for.

use serde_json::{Value, json};
use wflo_core::definition::{StepKind, StepSpec};
use wflo_core::id::RunId;
use wflo_core::machine::StepState;
use wflo_core::ports::store::{ApprovalFilter, Store};
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::engine::load;

use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::coded;

/// RUN: a run as scripts see it.
///
/// # Errors
/// Store errors.
pub(crate) async fn run_json(store: &dyn Store, id: RunId) -> Result<Value, CommandError> {
    let record = store.run(id).await?;
    let record = record.ok_or_else(|| coded(&wflo_engine::EngineError::NoRun(id)))?;
    let (definition, state) = load(store, &record).await.map_err(CommandError::engine)?;
    let effects = store.run_effects(id).await?;
    let cost_of = |step: &str| {
        effects
            .iter()
            .filter(|e| e.key.step == step)
            .fold(wflo_core::money::NanoUsd::ZERO, |sum, e| sum.saturating_add(e.cost))
    };
    let steps: Vec<Value> = definition
        .steps
        .iter()
        .zip(&state.steps)
        .map(|(spec, step)| {
            json!({
                "name": spec.name,
                "type": spec.type_name(),
                "status": step.status.as_str(),
                "generation": step.generation,
                "cost_usd": cost_of(&spec.name),
                "resources": step.resources,
                "started_at": step.started_at,
                "finished_at": step.finished_at,
                "error": step.error,
                "exit_code": exit_code(spec, step),
            })
        })
        .collect();
    let budgets = store.budgets(vec![record.budget_key.clone()]).await?;
    let budget = budgets.iter().find(|b| b.is_money_of_a_run());
    let filter = ApprovalFilter { run: Some(id), ..ApprovalFilter::default() };
    let mut approvals: Vec<String> =
        store.approvals(filter).await?.iter().map(|a| a.id.to_string()).collect();
    approvals.reverse();
    let layers: Vec<&String> = state.steps.iter().filter_map(|s| s.layer.as_ref()).collect();
    Ok(json!({
        "id": record.id,
        "workflow": record.workflow,
        "version": record.version,
        "status": record.status,
        "inputs": record.inputs,
        "outputs": record.outputs,
        // What a paused run waits for stands where a failed one has its error.
        "error": record.error.as_ref().or(state.paused_for.as_ref()),
        "cost_usd": store.run_cost(id).await?,
        "budget": budget.map(|b| json!({
            "limit_usd": b.limit.money(), "settled_usd": b.settled.money(), "held_usd": b.held.money()
        })),
        "steps": steps,
        "approvals": approvals,
        "snapshots": layers,
        "retried_from": record.retried_from,
        "rolls_back": record.options.rolls_back,
        "replayed_from": record.options.recording,
        "trace_id": record.trace_id,
        "created_at": record.created_at,
        "finished_at": record.finished_at,
    }))
}

/// What a program ended with, as far as it has ended by itself or by a limit of its own.
fn exit_code(spec: &StepSpec, step: &StepState) -> Option<u8> {
    let is_program = matches!(spec.kind, StepKind::Program { .. });
    let said = || u8::try_from(step.output.as_deref()?["exit_code"].as_u64()?).ok();
    step.exit_code.or_else(said).filter(|_| is_program)
}

/// The exit code of a command that waited for a run: what its status stands for, and of a program that is run
/// as it is what that ended with, unless wflo ended it.
///
/// # Errors
/// Store errors.
pub(crate) async fn exit_of_run(store: &dyn Store, record: &RunRecord) -> Result<Exit, CommandError> {
    let ended = matches!(record.status, RunStatus::Completed | RunStatus::Failed | RunStatus::TimedOut);
    if ended {
        let (definition, state) = load(store, record).await.map_err(CommandError::engine)?;
        let program = definition.steps.first().zip(state.steps.first());
        if let Some(code) = program.and_then(|(spec, step)| exit_code(spec, step)) {
            return Ok(Exit::Command(code));
        }
    }
    Ok(exit_of(record))
}

/// The exit code that a run's status stands for.
pub(crate) fn exit_of(record: &RunRecord) -> Exit {
    match record.status {
        RunStatus::Completed => Exit::Success,
        RunStatus::Failed | RunStatus::RolledBack => Exit::Failed,
        RunStatus::Rejected => Exit::Rejected,
        RunStatus::Halted => Exit::Halted,
        RunStatus::Cancelled | RunStatus::TimedOut => Exit::Cancelled,
        RunStatus::Pending | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => Exit::Waiting,
    }
}
