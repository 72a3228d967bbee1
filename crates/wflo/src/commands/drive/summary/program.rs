//! The end of a program that was run as it is.

use jiff::Timestamp;
use wflo_core::run::{RunRecord, RunStatus};

use super::super::tree::Tree;
use crate::commands::refusals;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Printer, duration};
use crate::session::Session;
use crate::wrap::wrap;

/// A program ended with another code than 0, or by a signal: it has said why itself.
const OWN_FAILURE: &str = "WFLO-3100";
/// Where the values of a summary begin.
const INDENT: usize = 13;

/// What the run's program is called, if it runs one.
///
/// # Errors
/// A record of another build.
pub(in super::super) fn program(record: &RunRecord) -> Result<Option<String>, CommandError> {
    let launch = wflo_engine::changes::launch_of(record).map_err(CommandError::engine)?;
    Ok(launch.program.map(|program| plain::short(&program.name, 60)))
}

/// Whether the program failed by itself, which is nothing of wflo's to explain.
pub(in super::super) fn is_own_failure(record: &RunRecord) -> bool {
    record.error.as_ref().is_some_and(|error| error.code == OWN_FAILURE)
}

/// What it was refused, and what would have let it: it may have said nothing of that.
///
/// # Errors
/// Store errors.
pub(in super::super) async fn refused(
    session: &Session<'_>,
    printer: &Printer,
    record: &RunRecord,
) -> Result<(), CommandError> {
    let paint = printer.beside();
    let width = printer.width_beside().unwrap_or(usize::MAX).saturating_sub(INDENT);
    for text in refusals::of(session.store.as_ref(), record.id).await? {
        let text = wrap(&text, width, 0).replace('\n', &format!("\n{}", " ".repeat(INDENT)));
        printer.note(format_args!("  {}  {text}", paint.careful("refused  ")));
    }
    Ok(())
}

/// What helps a program that has failed by itself, where wflo knows.
pub(in super::super) fn hint(printer: &Printer, record: &RunRecord) {
    if let Some(hint) = record.error.as_ref().and_then(|error| error.hint.as_ref()) {
        printer.hint(plain::hanging(hint));
    }
}

/// How it ended: `agent.py ended with 3 in 2.4 s`, and how often it asked a model.
pub(in super::super) fn ended(
    printer: &Printer,
    (record, name): (&RunRecord, &str),
    exit: Exit,
    tree: &Tree,
    now: Timestamp,
) {
    let paint = printer.beside();
    let (sign, what) = match record.status {
        RunStatus::Completed => (paint.good("✓"), format!("{name} ended with 0")),
        RunStatus::Failed if is_own_failure(record) => {
            (paint.bad("✗"), format!("{name} ended with {}", exit.code()))
        }
        status if status.is_terminal() => {
            (paint.bad("✗"), format!("{name}: {}", status.as_str().replace('_', " ")))
        }
        status => (paint.careful("…"), format!("{name}: {status}")),
    };
    let took = duration(tree.elapsed(now));
    printer.note(format_args!("\n{sign} {what} in {took}  {}", paint.faint(record.id)));
    let calls = match tree.calls() {
        0 => return,
        1 => "1 call".to_owned(),
        calls => format!("{calls} calls"),
    };
    printer.note(format_args!("  {}  {calls}", paint.faint("models   ")));
}
