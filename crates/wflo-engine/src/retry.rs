//! Retrying a run: a new run from the old one, charged to the same run budget.
//!
//! With the same code, steps that had finished are not run again, and a step that was stopped half-way
//! keeps the answers it had. With other code everything runs again.

use wflo_core::budget::Scope;
use wflo_core::effect::{CancelledWait, EffectKey, EffectKind, EffectRecord, EffectState};
use wflo_core::error::{Code, Failure};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::RunId;
use wflo_core::machine::StepStatus;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{EffectEnd, Op};
use wflo_core::run::{Carried, RunRecord};

use crate::budgets;
use crate::engine::load;
use crate::error::EngineError;
use crate::runtime::Runtime;
use crate::submit::{Prepared, Submission};

/// It has not ended.
const NOT_ENDED: Code = Code(3017);
/// It would repeat a committed write.
const WOULD_REPEAT: Code = Code(3006);

impl Runtime {
    /// A new run from one that has ended. `top_up` raises the run budget that both are charged to.
    ///
    /// # Errors
    /// When it has not ended, or would repeat a committed write; all of [`Runtime::submit`].
    pub async fn retry(
        &self,
        old: RunId,
        submission: Submission,
        top_up: Option<NanoUsd>,
        by: &str,
    ) -> Result<RunId, EngineError> {
        let record = self.engine.store().run(old).await?.ok_or(EngineError::NoRun(old))?;
        if !record.status.is_terminal() {
            let message = format!("run {old} is {}; only a run that has ended is retried", record.status);
            let hint =
                format!("go on with `wflo runs resume {old}`, or end it with `wflo runs cancel {old}`");
            return Err(EngineError::Failure(Failure::new(NOT_ENDED, message).with_hint(hint)));
        }
        let mut prepared = self.prepare(submission).await?;
        prepared.record.retried_from = Some(old);
        prepared.record.budget_key = record.budget_key.clone();
        prepared.ops = self.budget_ops(&prepared.record, &prepared.definition).await?;
        let new = prepared.record.id;
        if let Some(amount) = top_up {
            self.raise(&mut prepared, amount, by).await?;
        }
        let (_, state) = load(self.engine.store().as_ref(), &record).await?;
        let rows = self.engine.store().run_effects(old).await?;
        let same_code = prepared.record.version == record.version;
        for (spec, step) in state.definition.steps.iter().zip(&state.steps) {
            match &step.status {
                StepStatus::Succeeded if same_code => {
                    prepared.record.options.carried.push(Carried {
                        step: spec.name.clone(),
                        output: step.output.as_deref().cloned().unwrap_or_default(),
                        state: Some((*state.variables).clone()),
                        layer: step.layer.clone(),
                    });
                }
                StepStatus::Succeeded | StepStatus::Skipped | StepStatus::Blocked => {}
                status => {
                    let own = |row: &&EffectRecord| {
                        row.key.step == spec.name && row.key.generation == step.generation
                    };
                    let mut own: Vec<&EffectRecord> = rows.iter().filter(own).collect();
                    // Their answers are delivered again in the order in which they were delivered.
                    own.sort_by_key(|row| row.order());
                    let stopped = matches!(status, StepStatus::Cancelled);
                    let undone = spec.rollback_enabled;
                    let is_write =
                        |row: &EffectRecord| row.kind == EffectKind::Db && row.attributes["write"] == true;
                    if stopped && same_code {
                        own.retain(|row| {
                            matches!(row.state, EffectState::Finished { .. }) && !(undone && is_write(row))
                        });
                        let cancelled = self
                            .engine
                            .store()
                            .cancelled_waits(old, spec.name.clone(), step.generation)
                            .await?;
                        prepared.ops.extend(carried(new, &spec.name, &own, &cancelled));
                        continue;
                    }
                    let repeated = own.iter().find(|row| {
                        is_write(row)
                            && !undone
                            && matches!(row.state, EffectState::Finished { .. })
                            && spec.effect_class.is_none_or(|c| c == wflo_core::effect::EffectClass::Guarded)
                    });
                    if let Some(row) = repeated {
                        return Err(would_repeat(&record, &spec.name, row));
                    }
                }
            }
        }
        // The copies refer to the run, so it is made before them: `accept` puts these ops after it.
        self.accept(prepared).await
    }

    async fn raise(&self, prepared: &mut Prepared, amount: NanoUsd, by: &str) -> Result<(), EngineError> {
        let accounts =
            budgets::accounts(&prepared.record, &prepared.definition, None, self.engine.clock().now());
        let known = self.engine.store().budgets(vec![prepared.record.budget_key.clone()]).await?;
        if let Some(own) = accounts.iter().find(|a| a.scope == Scope::Run)
            && let Some(before) = known.iter().find(|b| b.id == own.id)
        {
            let budget_id = before.id;
            prepared.ops.push(Op::TopUp { budget: budget_id, amount });
            let body = EventBody::BudgetToppedUp { budget_id, amount_usd: amount, by: by.to_owned() };
            let event = Event { at: self.engine.clock().now(), body };
            prepared.ops.push(Op::AppendEvents { run: prepared.record.id, events: vec![event] });
        }
        Ok(())
    }
}

/// The answers that the new run has from the old, each at its place among them.
fn carried(run: RunId, step: &str, rows: &[&EffectRecord], cancelled: &[CancelledWait]) -> Vec<Op> {
    let orders: Vec<u32> = rows.iter().filter_map(|row| row.order()).collect();
    let place = |after: u32| u32::try_from(orders.partition_point(|o| *o <= after)).unwrap_or(u32::MAX);
    let waits = cancelled.iter().map(|wait| {
        let (step, path) = (step.to_owned(), wait.path.clone());
        let key = EffectKey { step, generation: 1, path, seq: wait.seq };
        Op::CancelWait { run, key, after: place(wait.after) }
    });
    rows.iter().flat_map(|row| carried_effect(run, row, place(row.after))).chain(waits).collect()
}

/// An answer that the new run has from the old: it costs nothing again.
fn carried_effect(run: RunId, row: &EffectRecord, after: u32) -> Vec<Op> {
    let EffectState::Finished { result, .. } = &row.state else { return Vec::new() };
    let mut copy = row.clone();
    copy.key.generation = 1;
    copy.after = after;
    copy.state = EffectState::Intent;
    copy.hold = None;
    copy.cost = NanoUsd::ZERO;
    copy.uncertain = false;
    let end = EffectEnd {
        outcome: Ok(result.clone()),
        cost: NanoUsd::ZERO,
        uncertain: false,
        attributes: serde_json::json!({ "carried": true }),
        at: row.finished_at.unwrap_or(row.started_at),
    };
    let key = copy.key.clone();
    vec![Op::PutEffect { run, effect: Box::new(copy) }, Op::FinishEffect { run, key, end }]
}

fn would_repeat(record: &RunRecord, step: &str, row: &EffectRecord) -> EngineError {
    let what: String = row.request["sql"].as_str().unwrap_or(&row.name).chars().take(120).collect();
    let message =
        format!("a retry of {} would repeat a write that step `{step}` committed: {what}", record.id);
    let hint = "undo it by hand and start a new run, or set rollback_enabled=True or effect_class=\"idempotent\" on the step";
    EngineError::Failure(Failure::new(WOULD_REPEAT, message).with_hint(hint))
}
