//! `wflo runs events`: what happened in a run, whoever drives it and whether anybody does.

use std::time::Duration;

use wflo_core::id::RunId;
use wflo_core::ports::store::Store;

use crate::cli::RunRef;
use crate::commands::{Context, drivers, event_line, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;

/// So many events are read at once.
const PAGE: u32 = 1_000;
/// How often the store is asked whether any process has committed something.
const POLL: Duration = Duration::from_millis(25);

/// Prints the events of a run; with `follow` until it has ended.
pub(super) async fn run(which: &RunRef, follow: bool, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let record = pick::run(&session, which).await?;
    let mut seen = 0;
    let mut told = false;
    loop {
        // The counter and the status come first: what is committed after them is found in the next turn.
        let now = session.store.change_counter().await?;
        let over = match session.store.run(record.id).await? {
            Some(run) => run.status.is_terminal(),
            None => true,
        };
        seen = print(&session, context, record.id, seen).await?;
        if !follow || over || context.printer.is_closed() {
            return Ok(Exit::Success);
        }
        if !told {
            told = true;
            match drivers::of(&session, &record)? {
                None => context.printer.note(format_args!(
                    "Nobody drives this run at the moment: `wflo runs resume {}` goes on with it.",
                    record.id
                )),
                Some(driver) => {
                    if let Some(hint) = driver.hint() {
                        context.printer.hint(hint);
                    }
                }
            }
        }
        while now == session.store.change_counter().await? {
            tokio::time::sleep(POLL).await;
        }
    }
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
