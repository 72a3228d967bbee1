//! `wflo runs list`.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::error::{Code, Failure};
use wflo_core::id::RunId;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{RunFilter, Store};
use wflo_core::run::{RunRecord, RunStatus};

use crate::commands::Context;
use crate::commands::drivers::{self, LiveDriver};
use crate::commands::pick;
use crate::document::nearest;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::plain;
use crate::printer::{Paint, Table, duration, money};

/// One line with `--json`.
#[derive(Serialize)]
struct Line<'a> {
    id: RunId,
    workflow: &'a str,
    version: &'a str,
    status: RunStatus,
    cost_usd: NanoUsd,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    retried_from: Option<RunId>,
    driver: Option<LiveDriver>,
}

/// What was asked for.
///
/// # Errors
/// A status that there is not.
pub(super) fn filter(
    status: Option<&str>,
    workflow: Option<&str>,
    limit: u32,
) -> Result<RunFilter, CommandError> {
    let mut statuses = Vec::new();
    if let Some(given) = status {
        let all = || RunStatus::OPEN.into_iter().chain(RunStatus::TERMINAL);
        let names: Vec<&str> = all().map(RunStatus::as_str).collect();
        match all().find(|known| known.as_str() == given) {
            Some(known) => statuses.push(known),
            None => {
                let mut failure = Failure::new(Code(8001), format!("there is no status `{given}`"));
                failure.hint = Some(match nearest(given, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("one of {}", names.join(", ")),
                });
                return Err(CommandError::usage(vec![failure]));
            }
        }
    }
    Ok(RunFilter { statuses, workflow: workflow.map(str::to_owned), limit, ..RunFilter::default() })
}

/// Lists runs, newest first.
pub(super) async fn run(filter: RunFilter, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let Some(session) = pick::session(context)? else {
        printer.note("No runs yet. Start one with `wflo run`.");
        return Ok(Exit::Success);
    };
    let runs = session.store.runs(filter.clone()).await?;
    if runs.is_empty() {
        let narrowed = !filter.statuses.is_empty() || filter.workflow.is_some();
        printer.note(if narrowed { "No such runs." } else { "No runs yet. Start one with `wflo run`." });
        return Ok(Exit::Success);
    }
    let now = session.clock.now();
    let table = Table::new(&["RUN", "WORKFLOW", "STATUS", "AGE", "COST", "PROCESS"]);
    let mut table = table.within(printer.width(), &[1], &[5, 4, 3, 1]).ids(&[0]).right(&[3, 4]).omit_empty();
    let mut left = Vec::new();
    for run in &runs {
        let driver = drivers::of(&session, run)?;
        let cost = session.store.run_cost(run.id).await?;
        printer.object(&Line {
            id: run.id,
            workflow: &run.workflow,
            version: run.version.as_str(),
            status: run.status,
            cost_usd: cost,
            created_at: run.created_at,
            finished_at: run.finished_at,
            retried_from: run.retried_from,
            driver,
        });
        let is_left = driver.is_none() && matches!(run.status, RunStatus::Pending | RunStatus::Running);
        if is_left {
            left.push(run.id);
        }
        table.row(vec![
            run.id.to_string(),
            plain::short(&run.workflow, 32),
            coloured(printer.paint(), run.status),
            age(now, run.created_at),
            money(cost),
            process(printer.paint(), run, driver),
        ]);
    }
    printer.line(table);
    if runs.len() == usize::try_from(filter.limit).unwrap_or(usize::MAX) {
        printer.note(format_args!("\nThe newest {} are shown; `-n` shows more.", runs.len()));
    }
    if let [only] = left.as_slice() {
        printer.note(format_args!("\nNobody drives {only}: `wflo runs resume {only}` goes on with it."));
    } else if let [newest, ..] = left.as_slice() {
        let count = left.len();
        printer.note(format_args!(
            "\nNobody drives {count} of these runs: `wflo runs resume {newest}` goes on with the newest."
        ));
    }
    Ok(Exit::Success)
}

fn process(paint: Paint, run: &RunRecord, driver: Option<LiveDriver>) -> String {
    match driver {
        Some(LiveDriver { pid, stopped: true }) => paint.bad(format_args!("{pid} (stopped)")),
        Some(LiveDriver { pid, .. }) => pid.to_string(),
        None if run.status.is_terminal() => String::new(),
        None => paint.faint("none"),
    }
}

/// A status in the colour of what it means.
pub(crate) fn coloured(paint: Paint, status: RunStatus) -> String {
    match status {
        RunStatus::Completed => paint.good(status),
        RunStatus::Pending | RunStatus::Running => paint.strong(status),
        RunStatus::Waiting | RunStatus::Paused => paint.careful(status),
        _ => paint.bad(status),
    }
}

/// `12 s`, `5 min`, `3 h`, `2 days`.
pub(crate) fn age(now: Timestamp, since: Timestamp) -> String {
    let span = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    match span.as_secs() {
        0..60 => duration(Duration::from_secs(span.as_secs())).replace(".0", "").replace("0 ms", "0 s"),
        60..3_600 => format!("{} min", span.as_secs() / 60),
        3_600..172_800 => format!("{} h", span.as_secs() / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
