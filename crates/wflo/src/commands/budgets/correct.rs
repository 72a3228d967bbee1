//! `wflo budgets correct`: says anew what a budget has counted, where it counted wrongly.

use serde_json::json;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{Batch, Op, Store as _};

use super::{BudgetsError, find, read_logs, top_up};
use crate::cli::BudgetRef;
use crate::commands::{Context, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::amount as show;
use crate::session::coded;

pub(super) async fn run(
    which: &BudgetRef,
    spent: NanoUsd,
    reason: &str,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let reason = plain::line(reason.trim()).to_string();
    if reason.is_empty() {
        return Err(coded(&BudgetsError::Wrong("say why, for whoever reads its history".to_owned())));
    }
    // What a gateway that was killed has spent would come on top later, and is part of what is corrected.
    read_logs(&session).await?;
    let before = find(&session, which).await?;
    let id = before.id;
    let settled = before.measure.from_decimal(spent);
    let (by, at) = (who::local(), session.clock.now());
    let correct = Op::CorrectBudget { budget: id, settled, by: by.clone(), reason: reason.clone(), at };
    session.store.commit(Batch { fence: None, ops: vec![correct] }).await?;
    let after = find(&session, &BudgetRef::Id(id)).await?;
    context.printer.object(&json!({
        "type": "budget.corrected",
        "budget_id": id,
        "before": before.measure.decimal(before.settled),
        "after": before.measure.decimal(settled),
        "reason": reason,
        "by": by,
    }));
    context.printer.line(format_args!(
        "{} corrected from {} to {}; {} left of {}",
        plain::line(&after.name()),
        show(before.measure, before.settled),
        show(before.measure, settled),
        show(before.measure, after.left()),
        show(before.measure, after.limit)
    ));
    if settled < before.settled {
        top_up::wake(&session, context, id).await?;
    }
    Ok(Exit::Success)
}
