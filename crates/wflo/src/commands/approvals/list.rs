//! `wflo approvals list`.

use wflo_core::approval::ApprovalStatus;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{ApprovalFilter, Store};

use crate::cli::RunRef;
use crate::commands::evidence;
use crate::commands::runs::age;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::Table;

use super::{Going, json, standing, waiting_decision};

/// Lists approvals, newest first.
pub(super) async fn run(
    all: bool,
    run: Option<&RunRef>,
    context: &Context<'_>,
) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let nothing = if all { "No approvals yet." } else { "Nothing waits for a decision." };
    let Some(session) = pick::session(context)? else {
        printer.note(nothing);
        return Ok(Exit::Success);
    };
    let run = match run {
        Some(which) => Some(pick::run(&session, which).await?.id),
        None => None,
    };
    let statuses = if all { Vec::new() } else { vec![ApprovalStatus::Pending] };
    let approvals = session.store.approvals(ApprovalFilter { statuses, run, limit: 0 }).await?;
    let now = session.clock.now();
    let paint = printer.paint();
    let table = Table::new(&["APPROVAL", "STATUS", "AGE", "RUN", "QUESTION"]);
    let mut table = table.within(printer.width(), &[4], &[3, 2, 4]).ids(&[0, 3]).right(&[2]);
    let mut shown = 0;
    for approval in &approvals {
        let recorded = waiting_decision(&session, approval).await?;
        shown += 1;
        printer.object(&json(approval, recorded.as_ref()));
        let status = standing(paint, approval, recorded.as_ref(), now);
        table.row(vec![
            approval.id.to_string(),
            status,
            age(now, approval.requested_at),
            approval.run.to_string(),
            evidence::title(&approval.request, 80),
        ]);
    }
    if shown == 0 {
        printer.note(nothing);
        if !all && let Some(going) = Going::find(&session).await? {
            printer.note(format_args!("But {going}."));
        }
    } else {
        printer.line(table);
        if !all {
            printer.note("\n`wflo approvals show ID` shows exactly what would happen.");
        }
    }
    Ok(Exit::Success)
}
