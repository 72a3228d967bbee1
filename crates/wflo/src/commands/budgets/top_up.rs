//! `wflo budgets top-up`: raises a limit, and lets the runs that wait for it go on.

use serde_json::json;
use wflo_core::approval::{ApprovalStatus, Decision, Purpose};
use wflo_core::budget::Budget;
use wflo_core::event::EventBody;
use wflo_core::id::{BudgetId, RunId};
use wflo_core::machine::TimerKey;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{ApprovalFilter, Batch, Op, Store as _};
use wflo_engine::engine::send;
use wflo_engine::inbox::Message;

use super::{BudgetsError, find};
use crate::cli::BudgetRef;
use crate::commands::{Context, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::limit;
use crate::session::{Session, coded};

pub(super) async fn run(
    which: &BudgetRef,
    amount: NanoUsd,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let Budget { id, measure, .. } = find(&session, which).await?;
    let more = measure.from_decimal(amount);
    if more.units() == 0 {
        return Err(coded(&BudgetsError::Wrong("the amount must be more than 0".to_owned())));
    }
    let (by, at) = (who::local(), session.clock.now());
    let top_up = Op::TopUp { budget: id, amount: more, by: by.clone(), at };
    session.store.commit(Batch { fence: None, ops: vec![top_up] }).await?;
    let budget = find(&session, &BudgetRef::Id(id)).await?;
    context.printer.object(&json!({
        "type": "budget.topped_up",
        "budget_id": id,
        "amount": measure.decimal(more),
        "limit": measure.decimal(budget.limit),
        "by": by,
    }));
    context.printer.line(format_args!(
        "{} raised by {} to {}",
        plain::line(&budget.name()),
        limit(measure, more),
        limit(measure, budget.limit)
    ));
    wake(&session, context, id).await?;
    Ok(Exit::Success)
}

/// Answers the questions about a budget, and wakes the steps that are queued for it.
pub(super) async fn wake(
    session: &Session<'_>,
    context: &Context<'_>,
    id: BudgetId,
) -> Result<(), CommandError> {
    let mut woken: Vec<RunId> = Vec::new();
    let filter = ApprovalFilter { statuses: vec![ApprovalStatus::Pending], ..ApprovalFilter::default() };
    for approval in session.store.approvals(filter).await? {
        if !matches!(approval.request.purpose, Purpose::Budget { budget, .. } if budget == id) {
            continue;
        }
        // The limit is raised already: the answer adds nothing.
        let decision = Decision {
            approved: true,
            by: who::local(),
            comment: Some("by a top-up of the budget".to_owned()),
            amount: Some(NanoUsd::ZERO),
            lasts: None,
            at: session.clock.now(),
        };
        tell(session, approval.run, &Message::Decide { approval: approval.id, decision }).await?;
        woken.push(approval.run);
    }
    for timer in session.store.timers(None, None).await? {
        let Ok(TimerKey::Sleep { step, path, seq }) = timer.key.parse() else { continue };
        let events = session.store.events(timer.run, 0, 0).await?;
        let waits = events.iter().any(|event| match &event.event.body {
            EventBody::BudgetQueued { key, shortfall, .. } => {
                shortfall.budget.id == id && (&key.step, &key.path, key.seq) == (&step, &path, seq)
            }
            _ => false,
        });
        if waits {
            tell(session, timer.run, &Message::Wake { step, path, seq }).await?;
            woken.push(timer.run);
        }
    }
    woken.sort_unstable();
    woken.dedup();
    for run in woken {
        context.printer.note(format_args!(
            "{run} waited for it and goes on; if no process drives it: `wflo runs resume {run}`"
        ));
    }
    Ok(())
}

async fn tell(session: &Session<'_>, run: RunId, message: &Message) -> Result<(), CommandError> {
    let sent = send(session.store.as_ref(), session.clock.as_ref(), run, message).await;
    sent.map_err(CommandError::engine)
}
