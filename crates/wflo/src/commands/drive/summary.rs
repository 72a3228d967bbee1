//! What is said when a run is over: how it ended, what it returned, what it cost, what it changed.

use std::fmt::Display;

use jiff::Timestamp;
use serde_json::Value;
use wflo_core::approval::ApprovalStatus;
use wflo_core::budget::Budget;
use wflo_core::definition::MISSING_INPUT;
use wflo_core::error::Failure;
use wflo_core::id::RunId;
use wflo_core::machine::TimerKey;
use wflo_core::money::NanoUsd;
use wflo_core::ports::store::{ApprovalFilter, RunFilter, Store};
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::engine::load;
use wflo_sandbox::workspace::{Change, ChangeKind};

mod program;

pub(super) use program::{ended, hint, is_own_failure, program, refused};

use super::tree::Tree;
use crate::failure::{CommandError, of_run};
use crate::plain;
use crate::printer::{Printer, duration, limit, money};
use crate::session::Session;

/// Lines that an output may take on a terminal.
const LINES: usize = 2;
/// Files that are named.
const FILES: usize = 8;

/// How it ended: `completed in 2.4 s`, or the error.
pub(super) fn verdict(printer: &Printer, record: &RunRecord, tree: &Tree, now: Timestamp) {
    let paint = printer.beside();
    let (sign, status) = match record.status {
        RunStatus::Completed => (paint.good("✓"), paint.good("completed")),
        RunStatus::Pending | RunStatus::Running | RunStatus::Waiting | RunStatus::Paused => {
            (paint.careful("…"), paint.careful(record.status))
        }
        status => (paint.bad("✗"), paint.bad(status.as_str().replace('_', " "))),
    };
    let took = duration(tree.elapsed(now));
    printer.note(format_args!("\n{sign} {status} in {took}  {}", paint.faint(record.id)));
}

/// Why it did not complete: on standard error, because `run.finished` is the last line for scripts.
pub(super) fn error(printer: &Printer, record: &RunRecord) {
    let Some(error) = &record.error else { return };
    printer.complain(&of_run(error, record.id));
    let failed = matches!(record.status, RunStatus::Failed | RunStatus::TimedOut);
    // A run that lacks an input lacks it again.
    let is_said = error.code == MISSING_INPUT.to_string()
        || error.hint.as_ref().is_some_and(|hint| hint.contains("runs retry"));
    if failed && !is_said && !printer.json_wanted() {
        printer
            .note(format_args!("`wflo runs retry {}` runs it again and keeps what had finished.", record.id));
    }
}

/// What a person types for the run: `latest` while it is the newest, which is shorter than a line.
///
/// # Errors
/// Store errors.
pub(super) async fn name_of(session: &Session<'_>, run: RunId) -> Result<String, CommandError> {
    let newest = session.store.runs(RunFilter { limit: 1, ..RunFilter::default() }).await?;
    Ok(match newest.first() {
        Some(newest) if newest.id == run => "latest".to_owned(),
        _ => run.to_string(),
    })
}

/// Where the lines are that steps logged or printed: the tree has no room for them.
pub(super) fn logged(printer: &Printer, name: &str, lines: u64) {
    if lines > 0 {
        let lines = if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
        let what = printer.beside().faint("output   ");
        printer.note(format_args!("  {what}  {lines}: `wflo runs events {name}`"));
    }
}

/// What must be put right before a paused run goes on, if it was not a person who paused it.
///
/// # Errors
/// Store errors.
pub(super) async fn paused_for(
    session: &Session<'_>,
    record: &RunRecord,
) -> Result<Option<Failure>, CommandError> {
    if record.status != RunStatus::Paused {
        return Ok(None);
    }
    let (_, state) = load(session.store.as_ref(), record).await.map_err(CommandError::engine)?;
    Ok(state.paused_for.map(|error| {
        let hint = then_resume(error.hint.as_deref(), record.id);
        of_run(
            &Failure { message: plain::block(&error.message), hint: Some(plain::block(&hint)), ..error },
            record.id,
        )
    }))
}

/// What helps, and that the run goes on then.
fn then_resume(hint: Option<&str>, run: RunId) -> String {
    let resume = format!("`wflo runs resume {run}` goes on");
    match hint {
        Some(hint) => format!("{}, then {resume}", hint.trim_end_matches('.')),
        None => resume,
    }
}

/// The result, on standard output: whole for a file or a pipe, bounded on a terminal.
pub(super) fn outputs(printer: &Printer, record: &RunRecord) {
    let Some(outputs) = &record.outputs else { return };
    let Value::Object(steps) = outputs else { return printer.line(outputs) };
    if steps.values().all(Value::is_null) {
        return;
    }
    if !printer.is_read_by_person() {
        let text = serde_json::to_string_pretty(outputs).unwrap_or_default();
        return printer.line(text);
    }
    let width = steps.keys().map(|name| console::measure_text_width(name)).max().unwrap_or(0).min(32);
    let room = (printer.width().unwrap_or(80) * LINES).saturating_sub(width + 4);
    for (name, value) in steps.iter().filter(|(_, value)| !value.is_null()) {
        let name = printer.paint().strong(plain::padded(&plain::short(name, 32), width));
        printer.line(format_args!("  {name}  {}", plain::short(&plain::value(value), room)));
    }
}

/// Cost, approvals and files.
///
/// # Errors
/// Store errors.
pub(super) async fn account(
    session: &Session<'_>,
    printer: &Printer,
    (record, name): (&RunRecord, &str),
    budget: Option<&Budget>,
    tree: &Tree,
) -> Result<(), CommandError> {
    let (paint, spent) = (printer.beside(), tree.spent());
    if spent > NanoUsd::ZERO || budget.is_some() {
        let cost = cost(spent, budget, record.retried_from.is_some());
        printer.note(format_args!("  {}  {cost}", paint.faint("cost     ")));
    }
    if let Some(said) = lost_bills(tree.lost(), name) {
        printer.note(format_args!("             {said}"));
    }
    let filter = ApprovalFilter { run: Some(record.id), ..ApprovalFilter::default() };
    let approvals = session.store.approvals(filter).await?;
    let count = |of: &[ApprovalStatus]| approvals.iter().filter(|a| of.contains(&a.status)).count();
    let said: Vec<String> = [
        (count(&[ApprovalStatus::Approved, ApprovalStatus::Consumed]), "approved"),
        (count(&[ApprovalStatus::Rejected]), "rejected"),
        (count(&[ApprovalStatus::Expired]), "expired"),
        (count(&[ApprovalStatus::Pending]), "waiting"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    if !said.is_empty() {
        printer.note(format_args!("  {}  {}", paint.faint("approvals"), said.join(", ")));
    } else if record.options.require_approval && record.status.is_terminal() {
        printer.note(format_args!("  {}  no step needed one", paint.faint("approvals")));
    }
    Ok(())
}

/// That not all of the cost is known.
pub(crate) fn lost_bills(calls: u64, run: impl Display) -> Option<String> {
    let whose = match calls {
        0 => return None,
        1 => "the bill of 1 call was".to_owned(),
        calls => format!("the bills of {calls} calls were"),
    };
    let report = format!("`wflo costs report --uncertain --run {run}`");
    Some(format!("{whose} lost: the most they can be is charged ({report})"))
}

/// What the run was billed, and of a retry what its budget has been, too: that counts what it retries.
fn cost(spent: NanoUsd, budget: Option<&Budget>, retries: bool) -> String {
    let Some(budget) = budget else { return money(spent) };
    let limit = limit(budget.measure, budget.limit);
    match retries {
        false => format!("{} of {limit}", money(spent)),
        true => {
            let settled = money(budget.settled.money());
            format!("{}; its budget, with what it retries: {settled} of {limit}", money(spent))
        }
    }
}

/// What lets a run that rests go on. Questions have been named already.
///
/// # Errors
/// Store errors.
pub(super) async fn rests(
    session: &Session<'_>,
    printer: &Printer,
    record: &RunRecord,
) -> Result<(), CommandError> {
    let id = record.id;
    if record.status == RunStatus::Paused {
        printer.note(format_args!("Paused: `wflo runs resume {id}` goes on."));
        return Ok(());
    }
    if let Some(due) = wakes(session, id).await? {
        printer.note(format_args!("It sleeps until {due}: `wflo runs resume {id}` goes on then."));
    }
    Ok(())
}

/// What a run waits for, for scripts: a line for each question, and for the nearest timer.
///
/// # Errors
/// Store errors.
pub(super) async fn waits(
    session: &Session<'_>,
    printer: &Printer,
    record: &RunRecord,
) -> Result<(), CommandError> {
    let id = record.id;
    let statuses = vec![ApprovalStatus::Pending];
    let filter = ApprovalFilter { statuses, run: Some(id), ..ApprovalFilter::default() };
    for approval in session.store.approvals(filter).await?.iter().rev() {
        let title = plain::short(&approval.request.title, 120);
        printer.line(format_args!("{id} waits for approval {}: {title}", approval.id));
    }
    if let Some(due) = wakes(session, id).await? {
        printer.line(format_args!("{id} waits until {due}"));
    }
    Ok(())
}

/// When the nearest sleep or pause before another try is over.
async fn wakes(session: &Session<'_>, run: RunId) -> Result<Option<String>, CommandError> {
    let timers = session.store.timers(None, Some(run)).await?;
    let sleeping = timers
        .iter()
        .filter(|timer| matches!(timer.key.parse(), Ok(TimerKey::Backoff { .. } | TimerKey::Sleep { .. })));
    let due = sleeping.map(|timer| timer.due).min();
    Ok(due.map(|due| due.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()))
}

/// The changed files, and how to bring them in when the run itself was not told to.
pub(super) fn files(printer: &Printer, (record, name): (&RunRecord, &str), changes: &[Change]) {
    let changed = changes.iter().filter(|change| !change.is_folder());
    // What a commit writes says less than what it is of.
    let (gits, own): (Vec<&Change>, Vec<&Change>) = changed.partition(|change| is_gits(change));
    if gits.is_empty() && own.is_empty() {
        return;
    }
    let paint = printer.beside();
    let names = own.iter().take(FILES).map(|change| match change.kind {
        ChangeKind::Added => paint.good(format_args!("+{}", change.path)),
        ChangeKind::Deleted => paint.bad(format_args!("-{}", change.path)),
        _ => paint.careful(format_args!("~{}", change.path)),
    });
    let mut said = vec![names.collect::<Vec<_>>().join(" ")];
    if own.len() > FILES {
        said.push(format!("… and {} more", own.len() - FILES));
    }
    if !gits.is_empty() {
        said.push(format!("{}{} of Git's", if own.is_empty() { "" } else { "and " }, gits.len()));
    }
    let said = said.join(" ");
    let count = own.len() + gits.len();
    printer.note(format_args!("  {}  {count} changed: {}", paint.faint("files    "), said.trim_start()));
    if !record.options.apply || record.status != RunStatus::Completed {
        // A line each: with an id two do not fit.
        for (what, verb) in [("see them", "diff"), ("bring them in", "apply"), ("throw them away", "discard")]
        {
            printer.note(format_args!("             {what:<15}  {} {verb} {name}", printer.command()));
        }
    }
}

fn is_gits(change: &Change) -> bool {
    change.path.components().any(|part| part == b".git")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_retry_cost_is_told_from_what_its_budget_has_been() {
        use wflo_core::budget::{Measure, OnExceeded, Period, Scope, Zone};
        let usd = |text: &str| text.parse::<NanoUsd>().unwrap();
        let budget = Budget {
            id: wflo_core::id::BudgetId::from_uuid(uuid::Uuid::nil()),
            scope: Scope::Run,
            key: "run_1".to_owned(),
            period: Period::Total,
            period_start: String::new(),
            time_zone: Zone::default(),
            standing: false,
            measure: Measure::Cost,
            limit: usd("1.03").into(),
            settled: usd("0.0793").into(),
            held: wflo_core::budget::Amount::ZERO,
            action_on_exceeded: OnExceeded::Halt,
            alert_thresholds: Vec::new(),
        };
        let retry = cost(usd("0.0721"), Some(&budget), true);
        assert_eq!(retry, "$0.0721; its budget, with what it retries: $0.0793 of $1.03");
        assert_eq!(cost(usd("0.0793"), Some(&budget), false), "$0.0793 of $1.03");
        assert_eq!(cost(usd("0.0793"), None, true), "$0.0793");
    }

    #[test]
    fn a_hint_and_what_comes_then_are_one_sentence() {
        let run = RunId::from_uuid(uuid::Uuid::nil());
        let hint = then_resume(Some("Set the key again."), run);
        assert_eq!(hint, format!("Set the key again, then `wflo runs resume {run}` goes on"));
        assert_eq!(then_resume(None, run), format!("`wflo runs resume {run}` goes on"));
    }
}
