//! `wflo runs events`: what happened in a run, whoever drives it and whether anybody does.

use std::time::Duration;

use wflo_core::approval::ApprovalStatus;
use wflo_core::id::RunId;
use wflo_core::ports::store::{ApprovalFilter, Store};
use wflo_core::run::{RunRecord, RunStatus};

use crate::cli::RunRef;
use crate::commands::{Context, drivers, event_line, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::session::Session;

/// So many events are read at once.
const PAGE: u32 = 1_000;
/// How often the store is asked whether any process has committed something.
const POLL: Duration = Duration::from_millis(25);
/// How often the driving process is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Prints the events of a run; with `follow` until it has ended, however long it rests in between.
pub(super) async fn run(which: &RunRef, follow: bool, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let id = pick::run(&session, which).await?.id;
    let mut seen = 0;
    // What was said of a run that stands still: it is said once.
    let mut said = None;
    loop {
        // The counter and the status come first: what is committed after them is found in the next turn.
        let now = session.store.change_counter().await?;
        let run = session.store.run(id).await?.filter(|run| !run.status.is_terminal());
        let before = seen;
        seen = print(&session, context, id, seen).await?;
        let Some(run) = run.filter(|_| follow && !context.printer.is_closed()) else {
            return Ok(Exit::Success);
        };
        if seen != before {
            said = None;
        }
        let stands = stands(&session, &run).await?;
        if said.as_ref() != Some(&stands) {
            stands.iter().for_each(|line| context.printer.note(line));
            said = Some(stands);
        }
        // A process that dies commits nothing: it is asked about now and then.
        let until = tokio::time::Instant::now() + LOOK;
        while now == session.store.change_counter().await? && tokio::time::Instant::now() < until {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Why nothing happens at the moment, and what lets the run go on. Nothing when it is under way.
async fn stands(session: &Session<'_>, run: &RunRecord) -> Result<Vec<String>, CommandError> {
    let id = run.id;
    if run.status == RunStatus::Paused {
        return Ok(vec![format!("Paused: `wflo runs resume {id}` goes on.")]);
    }
    let driver = drivers::of(session, run)?;
    if let Some(hint) = driver.and_then(drivers::LiveDriver::hint) {
        return Ok(vec![hint]);
    }
    let filter = ApprovalFilter { statuses: vec![ApprovalStatus::Pending], run: Some(id), limit: 0 };
    let asked = session.store.approvals(filter).await?;
    if asked.is_empty() && driver.is_none() {
        return Ok(vec![format!("Nobody drives this run: `wflo runs resume {id}` goes on with it.")]);
    }
    let line = |approval: &wflo_core::approval::Approval| {
        let (id, title) = (approval.id, plain::short(&approval.request.title, 120));
        format!("Waits for a decision: {title}\n  wflo approvals show {id}\n  wflo approvals approve {id}")
    };
    Ok(asked.iter().map(line).collect())
}

/// Prints what came after `seen`; the new last number.
async fn print(
    session: &Session<'_>,
    context: &Context<'_>,
    run: RunId,
    mut seen: u64,
) -> Result<u64, CommandError> {
    let printer = context.printer;
    loop {
        let page = session.store.events(run, seen, PAGE).await?;
        for event in &page {
            seen = event.seq;
            printer.object(event);
            printer.line(event_line::line(printer.paint(), event));
        }
        if page.len() < PAGE as usize || printer.is_closed() {
            return Ok(seen);
        }
    }
}
