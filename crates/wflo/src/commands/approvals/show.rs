//! `wflo approvals show`: the question with everything that the answer is bound to.

use wflo_core::approval::{ApprovalStatus, OnTimeout, Purpose};
use wflo_core::ports::clock::Clock;

use crate::cli::ApprovalRef;
use crate::commands::evidence::{self, Room};
use crate::commands::runs::age;
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::trust;

use super::{json, standing, waiting_decision};

/// Shows an approval.
pub(super) async fn run(which: &ApprovalRef, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let approval = pick::approval(&session, which).await?;
    let recorded = waiting_decision(&session, &approval).await?;
    let printer = context.printer;
    let paint = printer.paint();
    printer.object(&json(&approval, recorded.as_ref()));
    let request = &approval.request;
    let now = session.clock.now();
    let status = standing(paint, &approval, recorded.as_ref(), now);
    printer.line(format_args!("{}  {status}", paint.strong(approval.id)));
    printer.line(format_args!("  {}", plain::line(&request.title)));
    let step = request.step.as_ref().map(|step| format!(", step {}", plain::line(step)));
    printer.line(format_args!(
        "  {}",
        paint.faint(format_args!(
            "run {}{}, asked {} ago",
            approval.run,
            step.unwrap_or_default(),
            age(now, approval.requested_at)
        ))
    ));
    if !request.approvers.is_empty() {
        let names: Vec<String> = request.approvers.iter().map(|name| plain::line(name)).collect();
        printer.line(format_args!("  for {} (local, not separated)", names.join(", ")));
    }
    if let Some(at) = request.expires_at {
        let then = match request.on_timeout {
            OnTimeout::Reject => "then it counts as rejected",
            OnTimeout::Escalate => "then it is announced again",
            OnTimeout::Hold => "then it goes on waiting",
        };
        printer.line(format_args!("  until {}, {then}", at.strftime("%Y-%m-%d %H:%M:%S UTC")));
    }
    printer.line("");
    for line in evidence::lines(paint, request, Room::page(printer.width())) {
        printer.line(line);
    }
    trust::shown::note(&session.settings.project.root, approval.id);
    if let Some(decision) = approval.decision.as_ref().or(recorded.as_ref()) {
        let word = if decision.approved { paint.good("approved") } else { paint.bad("rejected") };
        let comment = decision.comment.as_ref().map(|text| format!(": {}", plain::line(text)));
        let late = if recorded.is_some() { " (recorded; nobody drives the run)" } else { "" };
        let by = plain::line(&decision.by);
        printer.line(format_args!(
            "\n{word} by {by} at {}{}{late}",
            decision.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
            comment.unwrap_or_default()
        ));
    } else if approval.status == ApprovalStatus::Pending && request.is_over(now) {
        printer.note(format_args!("\n`wflo runs resume {}` goes on with the run.", approval.run));
    } else if approval.status == ApprovalStatus::Pending {
        let amount = matches!(request.purpose, Purpose::Budget { .. });
        let amount = if amount { " [--amount USD]" } else { "" };
        let wflo = printer.command();
        printer.note(format_args!("\n{wflo} approvals approve {}{amount}", approval.id));
        printer.note(format_args!("{wflo} approvals reject {}", approval.id));
    }
    Ok(Exit::Success)
}
