//! Retrying a run: a new run from the old one, charged to the same run budget.
//!
//! Steps that had finished are not run again, whether or not the code has changed since: a retry usually
//! follows a mend of the step that failed, and nobody wants the others paid and written twice. Who wants
//! one to run again names it; what comes after a step that must run does not fit any more, and runs again
//! too. A question that people have answered was about the code of then, so with other code a gate asks
//! again. A step that was stopped half-way keeps the answers it had if the code is the same.
//!
//! Before anything is chosen the databases are asked about the writes that the old run's journal has no end
//! for ([`made`]): what they have recorded was made, and is never made again.

mod outdated;
mod stale;

use std::collections::{BTreeMap, BTreeSet};

use wflo_core::budget::Quantity;
use wflo_core::definition::{StepKind, StepSpec};
use wflo_core::effect::{
    CancelledWait, EffectClass, EffectKey, EffectKind, EffectRecord, EffectState, OnAmbiguous,
};
use wflo_core::error::{Code, Coded as _, Failure};
use wflo_core::event::{Event, EventBody};
use wflo_core::id::{EngineId, RunId};
use wflo_core::machine::{StepState, StepStatus};
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{Batch, Fence, Op, StoreError};
use wflo_core::run::{Carried, RunRecord, RunStatus};

use crate::budgets;
use crate::changes::{fate, launch_of};
use crate::engine::load;
use crate::error::EngineError;
use crate::made;
use crate::runtime::Runtime;
use crate::steps::is_limit;
use crate::submit::{Prepared, Submission};

pub use self::outdated::Outdated;
use self::outdated::Part;

/// It has not ended.
const NOT_ENDED: Code = Code(3017);
/// Files that it would go on with were discarded.
const FILES_DISCARDED: Code = Code(3015);
/// It would repeat a committed write.
const WOULD_REPEAT: Code = Code(3006);

/// What a retry is asked to do differently.
#[derive(Debug, Clone, Default)]
pub struct Again {
    /// Raises the run budget that both runs are charged to.
    pub top_up: Option<NanoUsd>,
    /// Who asks.
    pub by: String,
    /// Finished steps that run again, with all that depends on them.
    pub from: Vec<String>,
}

/// What became of a retry.
#[derive(Debug, Clone)]
pub struct Retried {
    /// The new run.
    pub run: RunId,
    /// Steps whose results it has from the old one.
    pub kept: Vec<String>,
    /// Finished steps that run again.
    pub again: Vec<Repeated>,
    /// The code is not what the old run ran.
    pub code_changed: bool,
    /// Files of steps that are kept, which the project has otherwise by now.
    pub outdated: Vec<Outdated>,
}

/// A finished step that runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// The step.
    pub step: String,
    /// Why; none when somebody named it, or when it is a gate that asks about other code.
    pub because: Option<String>,
}

impl Repeated {
    /// The step as `name`, and why.
    pub fn said(&self, name: &str) -> String {
        self.because.as_ref().map_or_else(|| name.to_owned(), |why| format!("{name} (because {why})"))
    }
}

impl Runtime {
    /// A new run from one that has ended.
    ///
    /// # Errors
    /// When it has not ended, would repeat a committed write, or `again` names no step; all of
    /// [`Runtime::submit`].
    pub async fn retry(
        &self,
        old: RunId,
        mut submission: Submission,
        again: &Again,
    ) -> Result<Retried, EngineError> {
        let record = self.engine.store().run(old).await?.ok_or(EngineError::NoRun(old))?;
        if !record.status.is_terminal() {
            let message = format!("run {old} is {}; only a run that has ended is retried", record.status);
            let hint =
                format!("go on with `wflo runs resume {old}`, or end it with `wflo runs cancel {old}`");
            return Err(EngineError::Failure(Failure::new(NOT_ENDED, message).with_hint(hint)));
        }
        let (_, state) = load(self.engine.store().as_ref(), &record).await?;
        // All that was said to it: it hears nothing more.
        submission.said_hosts = launch_of(&record)?.said_with(&state.hosts);
        let mut prepared = self.prepare(submission).await?;
        prepared.record.retried_from = Some(old);
        prepared.record.budget_key = record.budget_key.clone();
        prepared.ops = self.budget_ops(&prepared.record, &prepared.definition).await?;
        let new = prepared.record.id;
        if let Some(amount) = again.top_up {
            self.raise(&mut prepared, amount, &again.by).await?;
        }
        let (rows, unknown) = self.settle_writes(&record).await?;
        let not_undone = self.not_undone(old).await?;
        let code_changed = prepared.record.version != record.version;
        let stale = stale::stale(&state, &prepared.definition, &again.from)?;
        let mut parts = Vec::new();
        let mut retried =
            Retried { run: new, kept: Vec::new(), again: Vec::new(), code_changed, outdated: Vec::new() };
        for (spec, step) in state.definition.steps.iter().zip(&state.steps) {
            let own =
                |row: &&EffectRecord| row.key.step == spec.name && row.key.generation == step.generation;
            let mut own: Vec<&EffectRecord> = rows.iter().filter(own).collect();
            let undone = spec.rollback_enabled && !not_undone.contains(&spec.name);
            // What may be done again is what the code of today says of its step, if it still has it.
            let today = prepared.definition.index_of(&spec.name).map(|at| &prepared.definition.steps[at]);
            let says = today.unwrap_or(spec);
            let repeats = |undone: bool, because: Option<&str>| {
                forbid_repetition(&record, says, &own, &unknown, undone, because)
            };
            match &step.status {
                StepStatus::Skipped | StepStatus::Blocked => {}
                // The definition that runs now does not have it any more: it neither runs again nor is kept.
                StepStatus::Succeeded if prepared.definition.index_of(&spec.name).is_none() => {}
                // There is nothing else that it could be retried for.
                StepStatus::Succeeded if matches!(spec.kind, StepKind::Program { .. }) => {
                    retried.again.push(Repeated { step: spec.name.clone(), because: None });
                }
                StepStatus::Succeeded => {
                    let answered = matches!(spec.kind, StepKind::Approval(_));
                    let afresh = stale.get(&spec.name);
                    if afresh.is_some() || (code_changed && answered) {
                        let because = afresh.cloned().flatten();
                        repeats(false, because.as_deref())?;
                        retried.again.push(Repeated { step: spec.name.clone(), because });
                    } else {
                        retried.kept.push(spec.name.clone());
                        prepared.record.options.carried.push(kept(spec, step));
                    }
                }
                _ if !code_changed && was_stopped(&record, spec, step) && !stale.contains_key(&spec.name) => {
                    forbid_unknown(&record, says, &own, &unknown, undone)?;
                    // Their answers are delivered again in the order in which they were delivered.
                    own.retain(|row| {
                        matches!(row.state, EffectState::Finished { .. }) && !(undone && is_write(row))
                    });
                    let (store, step) = (self.engine.store(), (spec.name.as_str(), step.generation));
                    let cancelled = store.cancelled_waits(old, step.0.to_owned(), step.1).await?;
                    parts.extend(own.iter().copied().filter_map(part));
                    prepared.ops.extend(carried((old, new), step, &own, &cancelled));
                }
                _ => repeats(undone, None)?,
            }
        }
        prepared.ops.extend(self.notice(&retried, &record));
        self.keep_layers(&mut prepared, &record, &parts).await?;
        retried.outdated = self.keep_earlier(&mut prepared, &record, parts).await?;
        prepared.ops.extend(self.notice_of_outdated(&prepared, &retried.outdated));
        // The copies refer to the run, so it is made before them: `accept` puts these ops after it.
        self.accept(prepared).await?;
        Ok(retried)
    }

    /// The journals of a run that has ended, with what databases have recorded of writes whose ends they did
    /// not know; and the writes of which nobody knows whether they were made, and why. A run usually has
    /// none left: its end asked before. One that ended while a database was away has.
    async fn settle_writes(
        &self,
        old: &RunRecord,
    ) -> Result<(Vec<EffectRecord>, BTreeMap<EffectKey, String>), EngineError> {
        let (store, clock) = (self.engine.store().as_ref(), self.engine.clock());
        let rows = store.run_effects(old.id).await?;
        let open = rows.iter().filter(|row| made::is_open(row));
        let journals: BTreeSet<(&str, u32)> =
            open.map(|row| (row.key.step.as_str(), row.key.generation)).collect();
        let (mut ops, mut unknown) = (Vec::new(), BTreeMap::new());
        for (step, generation) in journals {
            let own = |row: &&EffectRecord| row.key.step == step && row.key.generation == generation;
            let journal: Vec<EffectRecord> = rows.iter().filter(own).cloned().collect();
            let found = made::find(store, &self.databases, old.id, &journal, clock.now()).await?;
            ops.extend(found.ops);
            unknown.extend(found.unknown);
        }
        if ops.is_empty() {
            return Ok((rows, unknown));
        }
        // Claim, append and release in one commit: nobody drives a run that has ended.
        let expected = store.run(old.id).await?.ok_or(EngineError::NoRun(old.id))?.lease_epoch;
        let engine = EngineId::from_uuid(clock.uuid());
        ops.insert(0, Op::Claim { run: old.id, expected, engine });
        ops.push(Op::Release { run: old.id });
        let fence = Some(Fence { run: old.id, epoch: expected });
        match store.commit(Batch { fence, ops }).await {
            // Another retry has just recorded the same.
            Ok(_) | Err(StoreError::LeaseLost { .. } | StoreError::EffectNotOpen(_)) => {}
            Err(e) => return Err(e.into()),
        }
        Ok((store.run_effects(old.id).await?, unknown))
    }

    /// Steps of a run whose changes could not be undone when they were to be.
    async fn not_undone(&self, run: RunId) -> Result<BTreeSet<String>, EngineError> {
        let mut failed = BTreeSet::new();
        for recorded in self.engine.store().machine_events(run).await? {
            if let EventBody::StepUndone { step, error, .. } = recorded.event.body {
                match error {
                    Some(_) => drop(failed.insert(step)),
                    None => drop(failed.remove(&step)),
                }
            }
        }
        Ok(failed)
    }

    /// What the new run's record says of results that other code has made, and of steps that had finished
    /// and run again.
    fn notice(&self, retried: &Retried, old: &RunRecord) -> Option<Op> {
        let mut said = Vec::new();
        if retried.code_changed && !retried.kept.is_empty() {
            said.push(format!(
                "kept from {}, by code that has changed since: {}",
                old.id,
                retried.kept.join(", ")
            ));
        }
        if !retried.again.is_empty() {
            let again: Vec<String> = retried.again.iter().map(|done| done.said(&done.step)).collect();
            said.push(format!("run again although they had finished: {}", again.join(", ")));
        }
        if said.is_empty() {
            return None;
        }
        let body = EventBody::Notice { notice: "run.retried".to_owned(), message: said.join("; ") };
        let event = Event { at: self.engine.clock().now(), body };
        Some(Op::AppendEvents { run: retried.run, events: vec![event] })
    }

    /// The new run needs the layers of what it takes over. They are held until that is durable, and they
    /// are there: those of a run that was discarded or removed may not be.
    async fn keep_layers(
        &self,
        prepared: &mut Prepared,
        old: &RunRecord,
        parts: &[Part],
    ) -> Result<(), EngineError> {
        let tools = parts.iter().flat_map(|part| [&part.before, &part.after]).flatten().cloned();
        let carried = prepared.record.options.carried.iter().filter_map(|done| done.layer.clone());
        let layers: BTreeSet<String> = carried.chain(tools).collect();
        if layers.is_empty() {
            return Ok(());
        }
        if fate(self.engine.store().as_ref(), old.id).await?.is_some_and(|fate| fate.is_discarded()) {
            return Err(files_discarded(old));
        }
        let ids: Result<Vec<_>, _> = layers.iter().map(|layer| layer.parse()).collect();
        let ids =
            ids.map_err(|e| EngineError::Unreadable(format!("a stored tree has no readable id: {e}")))?;
        prepared.pins.push(self.sandboxes.store.pin(&ids).map_err(|e| EngineError::Failure(e.to_failure()))?);
        prepared.trees.extend(layers);
        Ok(())
    }

    async fn raise(&self, prepared: &mut Prepared, amount: NanoUsd, by: &str) -> Result<(), EngineError> {
        let now = self.engine.clock().now();
        let accounts = budgets::accounts(&prepared.record, &prepared.definition, None, &[], now);
        let known = self.engine.store().budgets(vec![prepared.record.budget_key.clone()]).await?;
        if let Some(own) = accounts.iter().find(|a| a.budget.is_money_of_a_run())
            && let Some(before) = known.iter().find(|b| b.id == own.budget.id)
        {
            let budget_id = before.id;
            let top_up = Op::TopUp { budget: budget_id, amount: amount.into(), by: by.to_owned(), at: now };
            prepared.ops.push(top_up);
            let amount = Quantity::Money { amount_usd: amount };
            let body = EventBody::BudgetToppedUp { budget_id, amount, by: by.to_owned() };
            let event = Event { at: now, body };
            prepared.ops.push(Op::AppendEvents { run: prepared.record.id, events: vec![event] });
        }
        Ok(())
    }
}

/// The layers that a recorded tool names; none where it changed no files.
fn part(row: &EffectRecord) -> Option<Part> {
    let files = &row.attributes["files"];
    let [before, after] = ["before", "after"].map(|name| files[name].as_str().map(str::to_owned));
    (before.is_some() || after.is_some()).then(|| Part { step: row.key.step.clone(), before, after })
}

fn files_discarded(record: &RunRecord) -> EngineError {
    let message =
        format!("the files that {} left were discarded, and a retry would go on without them", record.id);
    let hint = "start afresh with `wflo run`: everything runs again, on the project as it is now";
    EngineError::Failure(Failure::new(FILES_DISCARDED, message).with_hint(hint))
}

fn kept(spec: &StepSpec, step: &StepState) -> Carried {
    Carried {
        step: spec.name.clone(),
        output: step.output.as_deref().cloned().unwrap_or_default(),
        changes: step.changes.clone(),
        layer: step.layer.clone(),
    }
}

/// Whether a step ended because its run did. A program's files are kept then, so it counts as one that has failed;
/// one that a limit of its sandbox ended has not failed by itself either.
fn was_stopped(old: &RunRecord, spec: &StepSpec, step: &StepState) -> bool {
    let by_the_run = || matches!(old.status, RunStatus::Halted | RunStatus::Cancelled | RunStatus::TimedOut);
    let by_a_limit = || step.error.as_ref().is_some_and(|error| is_limit(&error.code));
    match step.status {
        StepStatus::Cancelled => true,
        StepStatus::Failed => matches!(spec.kind, StepKind::Program { .. }) && (by_the_run() || by_a_limit()),
        _ => false,
    }
}

fn is_write(row: &EffectRecord) -> bool {
    row.kind == EffectKind::Db && row.attributes["write"] == true
}

/// Whoever runs a step again must not make a write twice that was committed and not `undone`, nor one that
/// may have been.
fn forbid_repetition(
    old: &RunRecord,
    spec: &StepSpec,
    own: &[&EffectRecord],
    unknown: &BTreeMap<EffectKey, String>,
    undone: bool,
    because: Option<&str>,
) -> Result<(), EngineError> {
    let committed = |row: &&&EffectRecord| is_write(row) && matches!(row.state, EffectState::Finished { .. });
    match own.iter().find(committed).filter(|_| is_guarded(spec) && !undone) {
        Some(row) => Err(would_repeat(old, &spec.name, row, because)),
        None => forbid_unknown(old, spec, own, unknown, undone),
    }
}

/// Nobody makes a write again of which nobody knows whether it was made, unless the step says so.
fn forbid_unknown(
    old: &RunRecord,
    spec: &StepSpec,
    own: &[&EffectRecord],
    unknown: &BTreeMap<EffectKey, String>,
    undone: bool,
) -> Result<(), EngineError> {
    let guarded = is_guarded(spec) && spec.on_ambiguous != Some(OnAmbiguous::Rerun) && !undone;
    let reason = |row: &&EffectRecord| match unknown.get(&row.key) {
        Some(reason) => Some(reason.clone()),
        None => made::is_ambiguous(row).then(|| "its step was told so".to_owned()),
    };
    match own.iter().find_map(|row| Some((row, reason(row)?))).filter(|_| guarded) {
        Some((row, reason)) => Err(may_repeat(old, &spec.name, row, &reason)),
        None => Ok(()),
    }
}

fn is_guarded(spec: &StepSpec) -> bool {
    spec.effect_class.is_none_or(|class| class == EffectClass::Guarded)
}

/// That the new run has these answers from the old, each at its place among them: they cost nothing again.
fn carried(
    (source, run): (RunId, RunId),
    (step, generation): (&str, u32),
    rows: &[&EffectRecord],
    cancelled: &[CancelledWait],
) -> Option<Op> {
    let finished = rows.iter().map(|row| (row.key.path.clone(), row.key.seq));
    let given_up = cancelled.iter().map(|wait| (wait.path.clone(), wait.seq));
    let keep: BTreeSet<(String, u32)> = finished.chain(given_up).collect();
    let (step, keep) = (step.to_owned(), keep.into_iter().collect::<Vec<_>>());
    (!keep.is_empty()).then_some(Op::CarryEffects { source, run, step, generation, keep })
}

fn would_repeat(record: &RunRecord, step: &str, row: &EffectRecord, because: Option<&str>) -> EngineError {
    let what = in_short(row);
    let why = because.map(|why| format!("; `{step}` runs again because {why}")).unwrap_or_default();
    let message =
        format!("a retry of {} would repeat a write that step `{step}` committed: {what}{why}", record.id);
    let hint = "undo it by hand and start a new run, or set rollback_enabled=True or effect_class=\"idempotent\" on the step";
    EngineError::Failure(Failure::new(WOULD_REPEAT, message).with_hint(hint))
}

fn may_repeat(record: &RunRecord, step: &str, row: &EffectRecord, reason: &str) -> EngineError {
    let what = in_short(row);
    let message = format!(
        "a retry of {} may repeat a write of step `{step}`, and whether it was made cannot be looked up: {what} ({reason})",
        record.id
    );
    let hint = "bring the database back and try again; if it keeps no record, look into it yourself and set on_ambiguous=\"rerun\" on the step";
    EngineError::Failure(Failure::new(WOULD_REPEAT, message).with_hint(hint))
}

fn in_short(row: &EffectRecord) -> String {
    row.request.field("sql").as_str().unwrap_or(&row.name).chars().take(120).collect()
}
