//! `wflo runs show`: one run with its steps, costs, approvals, files and result.

mod budgets;
pub(crate) use budgets::bar;

mod live;
mod steps;

use std::time::Duration;

use wflo_core::approval::Approval;
use wflo_core::error::Failure;
use wflo_core::machine::RunState;
use wflo_core::money::NanoUsd;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::{ApprovalFilter, Store};
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::changes::Fate;
use wflo_engine::engine::load;
use wflo_sandbox::workspace::{Change, ChangeKind};

use crate::cli::RunRef;
use crate::commands::approvals::{standing, waiting_decision};
use crate::commands::drive::lost_bills;
use crate::commands::{Context, changes, drivers, evidence, pick, refusals};
use crate::exit::Exit;
use crate::failure::{CommandError, of_run};
use crate::plain;
use crate::printer::{Paint, Printer, Table, account, duration};
use crate::session::Session;
use crate::wrap::wrap;

use super::json::run_json;
use super::list::{age, coloured};

/// Files that are listed by name.
const LISTED: usize = 20;

/// Shows a run.
pub(super) async fn run(which: &RunRef, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let record = pick::run(&session, which).await?;
    if context.printer.json_wanted() {
        let mut run = run_json(session.store.as_ref(), record.id).await?;
        live::add(&mut run, &live::of(&session, &record).await);
        context.printer.object(&run);
        return Ok(Exit::Success);
    }
    page(&session, context.printer, &record).await?;
    Ok(Exit::Success)
}

async fn page(session: &Session<'_>, printer: &Printer, record: &RunRecord) -> Result<(), CommandError> {
    let paint = printer.paint();
    let store = session.store.as_ref();
    let (definition, state) = load(store, record).await.map_err(CommandError::engine)?;
    let cost = store.run_cost(record.id).await?;
    head(session, printer, record, &state)?;
    budgets::show(session, printer, record, (&definition, cost)).await?;
    let effects = store.run_effects(record.id).await?;
    let lost = effects.iter().filter(|effect| effect.uncertain > NanoUsd::ZERO).count() as u64;
    if let Some(said) = lost_bills(lost, record.id) {
        printer.paragraph(format_args!("  {said}"));
    }

    printer.line(format_args!("\n{}", paint.strong("Steps")));
    let sandboxes = live::of(session, record).await;
    let table = steps::table(session, paint, record, (&state, &sandboxes), &effects).await?;
    printer.line(table.within(printer.width(), &[0, 5], &[4, 5, 3]));
    if let Some(line) = live::supervised(paint, &sandboxes) {
        printer.line(format_args!("  {line}"));
    }
    for (spec, step) in definition.steps.iter().zip(&state.steps) {
        if let Some(error) = step.error.as_ref().filter(|error| record.error.as_ref() != Some(error)) {
            let name = format!("{}:", plain::line(&spec.name));
            printer.paragraph(format_args!(
                "\n{} {}",
                paint.bad(name),
                failure_text(&of_run(error, record.id), paint)
            ));
        }
    }
    if definition.program().is_some() {
        refused(printer, &refusals::of(store, record.id).await?);
    }
    let filter = ApprovalFilter { run: Some(record.id), ..ApprovalFilter::default() };
    let mut approvals = store.approvals(filter).await?;
    approvals.reverse();
    if !approvals.is_empty() {
        printer.line(format_args!("\n{}", paint.strong("Approvals")));
        printer.line(approvals_table(session, paint, &approvals).await?.within(
            printer.width(),
            &[2, 3],
            &[3, 2],
        ));
    }
    files(session, printer, record).await?;
    let outputs = record.outputs.as_ref().and_then(serde_json::Value::as_object);
    if let Some(outputs) = outputs.filter(|outputs| !outputs.is_empty()) {
        printer.line(format_args!("\n{}", paint.strong("Outputs")));
        for (step, output) in outputs {
            let said = format!("{}: {}", plain::line(step), plain::short(&plain::value(output), 400));
            let width = printer.width().map_or(usize::MAX, |width| width.saturating_sub(2));
            wrap(&said, width, 2).lines().for_each(|line| printer.line(format_args!("  {line}")));
        }
    }
    if let Some(error) = &record.error {
        printer.paragraph(format_args!(
            "\n{} {}",
            paint.bad("error:"),
            failure_text(&of_run(error, record.id), paint)
        ));
    }
    if let Some(error) = &state.paused_for {
        printer.paragraph(format_args!(
            "\n{} {}",
            paint.careful("paused:"),
            failure_text(&of_run(error, record.id), paint)
        ));
    }
    Ok(())
}

fn head(
    session: &Session<'_>,
    printer: &Printer,
    record: &RunRecord,
    state: &RunState,
) -> Result<(), CommandError> {
    let paint = printer.paint();
    let now = session.clock.now();
    let driver = drivers::of(session, record)?;
    let end = state.finished_at.unwrap_or(now);
    let took = state.started_at.map(|start| span(start, end));
    printer.line(format_args!(
        "{}  {}  {}",
        paint.strong(record.id),
        plain::short(&record.workflow, 60),
        coloured(paint, record.status)
    ));
    let mut facts = vec![format!("started {} ago", age(now, record.created_at))];
    facts.extend(took.map(|took| match record.status.is_terminal() {
        true => format!("took {}", duration(took)),
        false => format!("going for {}", duration(took)),
    }));
    facts.push(format!("version {}", record.version.short()));
    facts.extend(record.label.as_ref().map(|label| format!("({})", plain::short(label, 40))));
    printer.line(format_args!("  {}", paint.faint(facts.join(", "))));
    if let Some(argv) = state.definition.program() {
        let words = argv.iter().map(|word| plain::line(word).to_string()).collect::<Vec<_>>().join(" ");
        printer.line(format_args!("  runs {}", plain::short(&words, 200)));
    }
    if let Some(old) = record.retried_from {
        printer.line(format_args!("  retries {old}"));
    }
    if let Some(file) = &record.options.recording {
        let said = format!("replayed: its model calls are answered from {}", plain::line(file));
        printer.line(format_args!("  {said}"));
    }
    match driver {
        Some(driver) => {
            printer.line(format_args!("  driven by process {}", driver.pid));
            if let Some(hint) = driver.hint() {
                printer.line(format_args!("  {}", paint.bad(hint)));
            }
        }
        None if matches!(record.status, RunStatus::Pending | RunStatus::Running) => {
            let hint = format!("nobody drives it: `wflo runs resume {}` goes on", record.id);
            printer.line(format_args!("  {}", paint.careful(hint)));
        }
        None => {}
    }
    if record.inputs.as_object().is_some_and(|inputs| !inputs.is_empty()) {
        printer.line(format_args!("  inputs  {}", plain::short(&record.inputs.to_string(), 200)));
    }
    Ok(())
}

/// What a program was refused on its way out.
fn refused(printer: &Printer, refused: &[String]) {
    if refused.is_empty() {
        return;
    }
    printer.line(format_args!("\n{}", printer.paint().strong("Refused")));
    let width = printer.width().map_or(usize::MAX, |width| width.saturating_sub(2));
    for text in refused {
        wrap(text, width, 2).lines().for_each(|line| printer.line(format_args!("  {line}")));
    }
}

async fn approvals_table(
    session: &Session<'_>,
    paint: Paint,
    approvals: &[Approval],
) -> Result<Table, CommandError> {
    let mut table = Table::bare();
    let now = session.clock.now();
    for approval in approvals {
        let recorded = waiting_decision(session, approval).await?;
        let status = standing(paint, approval, recorded.as_ref(), now);
        let by = approval.decision.as_ref().or(recorded.as_ref()).map(|decision| {
            let comment = decision.comment.as_ref().map(|text| format!(": {}", plain::short(text, 60)));
            let given = evidence::given(&approval.request, decision).map(|given| format!(" ({given})"));
            let by = plain::line(&decision.by);
            format!("by {by}{}{}", given.unwrap_or_default(), comment.unwrap_or_default())
        });
        let title = plain::short(&approval.request.title, 70);
        table.row(vec![format!("  {}", approval.id), status, title, by.unwrap_or_default()]);
    }
    Ok(table)
}

async fn files(session: &Session<'_>, printer: &Printer, record: &RunRecord) -> Result<(), CommandError> {
    let (files, fate) = files_of(session, record).await?;
    let changes = files.as_ref().map_or_else(Vec::new, |files| files.changes().unwrap_or_default());
    if changes.is_empty() && fate.is_none() {
        return Ok(());
    }
    let paint = printer.paint();
    printer.line(format_args!("\n{}", paint.strong("Files changed")));
    for change in changes.iter().take(LISTED) {
        let line = format!("{} {}", letter(change.kind), change.path);
        printer.line(format_args!("  {}", in_colour(paint, change.kind, &line)));
    }
    if changes.len() > LISTED {
        printer.line(format_args!(
            "  … and {} more (`wflo diff {} --stat`)",
            changes.len() - LISTED,
            record.id
        ));
    }
    let said = match fate {
        Some(Fate::Applied(written)) => match files.and_then(|files| files.left(&written).ok()) {
            Some(left) if left.files > 0 => format!(
                "in the project: {} of {}; `wflo apply {2}` brings in the rest, `wflo discard {2}` throws it away",
                left.all - left.files,
                changes::count(left.all),
                record.id
            ),
            _ => format!("applied to the project ({} written)", written.files),
        },
        Some(Fate::Discarded(written)) if written.files == 0 => "discarded".to_owned(),
        Some(Fate::Discarded(written)) => {
            format!("applied to the project ({} written); the rest was discarded", written.files)
        }
        None if record.status.is_terminal() => {
            format!("`wflo diff {0}` shows them, `wflo apply {0}` brings them into the project", record.id)
        }
        None => format!("`wflo diff {}` shows them so far", record.id),
    };
    let width = printer.width().map_or(usize::MAX, |width| width.saturating_sub(2));
    wrap(&said, width, 0).lines().for_each(|line| printer.line(format_args!("  {}", paint.faint(line))));
    Ok(())
}

/// What a run changed in the project's files, and what became of it. Nothing when its files cannot be
/// read any more: a listing does not fail for that.
pub(crate) async fn changed_files(
    session: &Session<'_>,
    record: &RunRecord,
) -> Result<(Vec<Change>, Option<Fate>), CommandError> {
    let (files, fate) = files_of(session, record).await?;
    Ok((files.map_or_else(Vec::new, |files| files.changes().unwrap_or_default()), fate))
}

/// A run's files, where they can be read, and what became of them.
async fn files_of(
    session: &Session<'_>,
    record: &RunRecord,
) -> Result<(Option<changes::Files>, Option<Fate>), CommandError> {
    let fate = wflo_engine::changes::fate(session.store.as_ref(), record.id).await;
    let fate = fate.map_err(CommandError::engine)?;
    if fate.as_ref().is_some_and(Fate::is_discarded) {
        return Ok((None, fate));
    }
    Ok((changes::Files::open(session, record).await.ok(), fate))
}

/// `A`, `M`, `D`: as version control says it.
pub(crate) fn letter(kind: ChangeKind) -> char {
    match kind {
        ChangeKind::Added => 'A',
        ChangeKind::Deleted => 'D',
        ChangeKind::Modified => 'M',
        ChangeKind::Mode => 'm',
        ChangeKind::Attributes => 'x',
        ChangeKind::Type => 'T',
    }
}

pub(crate) fn in_colour(paint: Paint, kind: ChangeKind, text: &str) -> String {
    match kind {
        ChangeKind::Added => paint.good(text),
        ChangeKind::Deleted => paint.bad(text),
        _ => paint.careful(text),
    }
}

fn failure_text(error: &Failure, paint: Paint) -> String {
    let mut text = account::of(error, paint);
    if let Some(hint) = &error.hint {
        text.push_str(&format!("\n{} {}", paint.link("hint:"), plain::hanging(hint)));
    }
    text
}

fn span(start: jiff::Timestamp, end: jiff::Timestamp) -> Duration {
    Duration::try_from(end.duration_since(start)).unwrap_or_default()
}
