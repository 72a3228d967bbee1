//! Batches made ready for the writer.
//!
//! Owns the translation of port operations into writes whose JSON is text already, so that encoding
//! costs the callers' threads and not the one that writes, and the dispatch of each to its noun.

use serde_json::Value;
use wflo_core::budget::Amounts;
use wflo_core::effect::EffectState;
use wflo_core::error::Failure;
use wflo_core::event::Event;
use wflo_core::id::{BudgetId, HoldId, RunId};
use wflo_core::ports::store::{Batch, Fence, Op, OpResult, StoreError};

use super::approval::{self, NewApproval};
use super::effect::{self, EffectPreview, EffectResult, NewEffect};
use super::event;
use super::fault::Fault;
use super::run::{self, NewRun, RunState};
use super::tx::Tx;
use super::{budget, content, definition, engine, hold, inbox, key, retention, slice, standing, timer};
use crate::blob::Adding;
use crate::cell::{self, CellWriter};

/// A batch whose values are encoded.
pub(crate) struct Writes {
    pub(crate) fence: Option<Fence>,
    pub(crate) writes: Vec<Write>,
    /// About how many bytes it will write.
    pub(crate) bytes: usize,
    /// Later batches under its fence build on it.
    pub(crate) posted: bool,
    /// Held until the commit has returned: blobs that only this batch refers to.
    pub(crate) adding: Option<Adding>,
}

/// One encoded operation.
pub(crate) enum Write {
    Definition {
        digest: String,
        text: String,
    },
    NewRun(Box<NewRun>),
    Events {
        run: RunId,
        events: Vec<Event>,
        bodies: Vec<String>,
    },
    RunState(Box<RunState>),
    NewEffect(Box<NewEffect>),
    EffectResult(Box<EffectResult>),
    EffectPreview(Box<EffectPreview>),
    Hold {
        id: HoldId,
        run: RunId,
        budgets: Vec<BudgetId>,
        amounts: Amounts,
    },
    NewApproval(Box<NewApproval>),
    Message {
        run: RunId,
        text: String,
        at: jiff::Timestamp,
    },
    /// Nothing to encode.
    Plain(Op),
}

impl Writes {
    /// Encodes a batch; what must be kept as blobs first is left in `cells`.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when a value is not JSON or a record contradicts itself.
    pub(crate) fn encode(batch: Batch, cells: &mut CellWriter) -> Result<Writes, StoreError> {
        let writes = batch.ops.into_iter().map(|op| encode(op, cells)).collect::<Result<Vec<_>, _>>()?;
        let bytes = cells.bytes + 200 * writes.len();
        Ok(Writes { fence: batch.fence, writes, bytes, posted: false, adding: None })
    }

    /// Executes the batch; one result for each operation.
    pub(crate) fn execute(&self, tx: &mut Tx<'_>) -> Result<Vec<OpResult>, Fault> {
        self.check_fence(tx)?;
        self.writes.iter().map(|write| write.execute(tx)).collect()
    }

    fn check_fence(&self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        let Some(fence) = self.fence else { return Ok(()) };
        let creates = |write: &Write| matches!(write, Write::NewRun(new) if new.run.id == fence.run);
        if self.writes.iter().any(creates) {
            return Ok(());
        }
        let current = tx.head(fence.run)?.epoch;
        match current == fence.epoch {
            true => Ok(()),
            false => Err(StoreError::LeaseLost { run: fence.run, current, held: fence.epoch }.into()),
        }
    }
}

fn encode(op: Op, cells: &mut CellWriter) -> Result<Write, StoreError> {
    Ok(match op {
        Op::PutDefinition { digest, definition } => {
            Write::Definition { digest, text: cells.text(&definition)? }
        }
        Op::CreateRun { run, definition } => Write::NewRun(Box::new(NewRun {
            inputs: cells.text(&run.inputs)?,
            options: cells.text(&run.options)?,
            outputs: cells.optional(run.outputs.as_ref())?,
            error: cells.optional(run.error.as_ref())?,
            run: *run,
            definition,
        })),
        Op::AppendEvents { run, events } => {
            let bodies = events.iter().map(cell::plain).collect::<Result<Vec<_>, _>>()?;
            cells.bytes += bodies.iter().map(String::len).sum::<usize>();
            Write::Events { run, events, bodies }
        }
        Op::SetRun { run, status, outputs, error, at } => Write::RunState(Box::new(RunState {
            run,
            status,
            outputs: cells.optional(outputs.as_ref())?,
            error: cells.optional(error.as_ref())?,
            at,
        })),
        Op::PutEffect { run, effect } => {
            if effect.state != EffectState::Intent {
                return Err(StoreError::Failed(format!("effect {} is put with a result", effect.key)));
            }
            let Some(request) = effect.request.here() else {
                return Err(StoreError::Failed(format!("effect {} is put without its request", effect.key)));
            };
            Write::NewEffect(Box::new(NewEffect {
                run,
                request: cells.text(request)?,
                attributes: cells.text(&effect.attributes)?,
                effect: *effect,
            }))
        }
        Op::PreviewEffect { run, key, outcome, attributes } => {
            let (result, error) = encode_outcome(&outcome, cells)?;
            Write::EffectPreview(Box::new(EffectPreview { run, key, result, error, attributes }))
        }
        Op::FinishEffect { run, key, end } => {
            let (result, error) = encode_outcome(&end.outcome, cells)?;
            Write::EffectResult(Box::new(EffectResult {
                run,
                key,
                result,
                error,
                cost: end.cost,
                uncertain: end.uncertain,
                attributes: end.attributes,
                at: end.at,
            }))
        }
        Op::Hold { id, run, mut budgets, amounts } => {
            // Twice the same budget would hold twice.
            let mut seen = std::collections::HashSet::new();
            budgets.retain(|budget| seen.insert(*budget));
            Write::Hold { id, run, budgets, amounts }
        }
        Op::PutApproval(approval) => {
            let mut approval = *approval;
            let evidence = cells.text(&approval.request.evidence)?;
            approval.request.evidence = Value::Null;
            let request = cells.text(&approval.request)?;
            let decision = approval.decision.as_ref().map(cell::plain).transpose()?;
            Write::NewApproval(Box::new(NewApproval { approval, request, evidence, decision }))
        }
        Op::KeepContent { run, pieces } => {
            cells.bytes +=
                pieces.iter().map(|piece| usize::try_from(piece.bytes()).unwrap_or(0)).sum::<usize>();
            Write::Plain(Op::KeepContent { run, pieces })
        }
        Op::PushInbox { run, message, at } => Write::Message { run, text: cells.text(&message)?, at },
        other => Write::Plain(other),
    })
}

/// A result or an error; one of the two is there.
fn encode_outcome(
    outcome: &Result<Value, Failure>,
    cells: &mut CellWriter,
) -> Result<(Option<String>, Option<String>), StoreError> {
    Ok(match outcome {
        Ok(value) => (Some(cells.text(value)?), None),
        Err(failure) => (None, Some(cells.text(failure)?)),
    })
}

impl Write {
    fn execute(&self, tx: &mut Tx<'_>) -> Result<OpResult, Fault> {
        match self {
            Write::Definition { digest, text } => definition::put(tx, digest, text),
            Write::NewRun(new) => run::create(tx, new),
            Write::Events { run, events, bodies } => event::append(tx, *run, events, bodies),
            Write::RunState(state) => run::set(tx, state),
            Write::NewEffect(new) => effect::put(tx, new),
            Write::EffectResult(result) => effect::finish(tx, result),
            Write::EffectPreview(preview) => effect::preview(tx, preview),
            Write::Hold { id, run, budgets, amounts } => hold::take(tx, *id, *run, budgets, amounts),
            Write::NewApproval(new) => approval::put(tx, new),
            Write::Message { run, text, at } => inbox::push(tx, *run, text, *at),
            Write::Plain(op) => plain(tx, op),
        }
    }
}

fn plain(tx: &mut Tx<'_>, op: &Op) -> Result<OpResult, Fault> {
    match op {
        Op::Claim { run, expected, engine } => run::claim(tx, *run, *expected, *engine),
        Op::Release { run } => run::release(tx, *run),
        Op::ReopenEffect { run, key, hold, carried, attributes } => {
            effect::reopen(tx, *run, key, *hold, *carried, attributes)
        }
        Op::CancelWait { run, key, after } => effect::cancel_wait(tx, *run, key, *after),
        Op::ConfirmEffect { run, key, at } => effect::confirm(tx, *run, key, *at),
        Op::RewindEffects { run, first, attributes } => effect::rewind(tx, *run, first, attributes),
        Op::CopyEffects { run, step, from, to, keep } => {
            effect::copy(tx, step, (*run, *from), (*run, *to), keep)
        }
        Op::CarryEffects { source, run, step, generation, keep } => {
            effect::copy(tx, step, (*source, *generation), (*run, 1), keep)
        }
        Op::KeepContent { run, pieces } => content::keep(tx, *run, pieces),
        Op::OpenBudget(budget) => budget::open(tx, budget),
        Op::Settle { id, actual, at } => hold::settle(tx, *id, actual, *at),
        Op::ReleaseHold { id } => hold::release(tx, *id),
        Op::TopUp { budget, amount, by, at } => budget::top_up(tx, *budget, *amount, by, *at),
        Op::CorrectBudget { budget, settled, by, reason, at } => {
            budget::correct(tx, *budget, *settled, (by, reason), *at)
        }
        Op::SetStanding { standing, by, at } => standing::set(tx, standing, by, *at),
        Op::RemoveStanding { standing, by, at } => standing::remove(tx, standing, by, *at),
        Op::DecideApproval { id, status, decision } => approval::decide(tx, *id, *status, decision),
        Op::ConsumeApproval { id, at } => approval::consume(tx, *id, *at),
        Op::SupersedeApproval { id } => approval::supersede(tx, *id),
        Op::DropInbox { ids } => inbox::remove(tx, ids),
        Op::PutTimer { run, key, due, set } => timer::put(tx, *run, key, *due, set),
        Op::DropTimer { run, key } => timer::remove(tx, *run, key),
        Op::PutEngine { id, pid, at } => engine::put(tx, *id, *pid, *at),
        Op::DropEngine { id } => engine::remove(tx, *id),
        Op::KeepTrees { run, trees } => retention::keep_trees(tx, *run, trees),
        Op::DropTrees { run } => retention::drop_trees(tx, *run),
        Op::RemoveRun { run, epoch, spent, databases } => {
            retention::remove(tx, *run, *epoch, spent, databases)
        }
        Op::DropLeftover(leftover) => retention::drop_leftover(tx, leftover),
        Op::Slice(op) => slice::execute(tx, op),
        Op::PutKey(new) => key::put(tx, new),
        Op::ChangeKey { id, change } => key::change(tx, *id, change),
        Op::RevokeKey { id, at } => key::revoke(tx, *id, *at),
        // Encoded above, each as a write of its own.
        Op::PutDefinition { .. }
        | Op::CreateRun { .. }
        | Op::AppendEvents { .. }
        | Op::SetRun { .. }
        | Op::PutEffect { .. }
        | Op::FinishEffect { .. }
        | Op::PreviewEffect { .. }
        | Op::Hold { .. }
        | Op::PutApproval(_)
        | Op::PushInbox { .. } => Err(StoreError::Failed("an operation was not encoded".to_owned()).into()),
    }
}
