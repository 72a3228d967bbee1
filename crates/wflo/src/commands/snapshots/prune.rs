//! `wflo snapshots prune`: files of runs that ended go, by age, by number and until the rest fits.

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::id::RunId;
use wflo_core::ports::clock::Clock as _;
use wflo_core::run::RunStatus;
use wflo_core::size::{Bytes, Millis};
use wflo_engine::retention::{self, FilesPlan, FilesSelection, Losing, Trees};

use crate::cli::PruneFilesArgs;
use crate::commands::changes::yes;
use crate::commands::runs::{Kept, STAY, kept, runs};
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::{Printer, size};
use crate::session::Session;

use super::error::SnapshotsError;

/// What `--json` prints.
#[derive(Serialize, Default)]
struct Report {
    dry_run: bool,
    removed: Vec<Removed>,
    kept: Vec<Kept>,
    /// Disk space that came back, in bytes.
    freed_bytes: u64,
    /// Disk space of the files that are left, in bytes.
    left_bytes: u64,
    /// What could not be given back yet, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    later: Vec<String>,
}

#[derive(Serialize)]
struct Removed {
    run_id: RunId,
    workflow: String,
    status: RunStatus,
    finished_at: Option<Timestamp>,
    /// What only it and those before it held.
    bytes: u64,
}

pub(super) async fn run(args: &PruneFilesArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let Some(session) = pick::session(context)? else {
        printer.object(&Report { dry_run: args.dry_run, ..Report::default() });
        printer.note("There are no runs yet.");
        return Ok(Exit::Success);
    };
    let project = &session.settings.project.root;
    let store = freed::workspaces(&session.settings, project)?;
    let (selection, most) = selection(args, &session);
    let plan = retention::plan_files(session.port(), &store, project, session.storage(), &selection).await;
    let FilesPlan { remove, stay, left } = plan.map_err(CommandError::engine)?;
    let mut report = Report {
        dry_run: args.dry_run,
        kept: stay.into_iter().map(kept).collect(),
        left_bytes: left,
        ..Report::default()
    };
    if !args.dry_run {
        if !agreed(args, &remove, printer) {
            printer.note("Nothing was removed.");
            return Ok(Exit::Failed);
        }
        for losing in &remove {
            let removed = retention::remove_files(session.store.as_ref(), losing.record.id).await;
            removed.map_err(CommandError::engine)?;
        }
        match freed::trees(&session, project).await? {
            Trees::Collected(freed) => report.freed_bytes = freed.bytes,
            Trees::Left(why) => report.later.push(why),
        }
    }
    report.removed = remove.into_iter().map(removed).collect();
    show(&report, printer);
    match most.filter(|most| left > most.0) {
        Some(Bytes(most)) => Err(SnapshotsError::Full { left, most }.into()),
        None => Ok(Exit::Success),
    }
}

/// What was asked for, and the most that the files that are left may take.
fn selection(args: &PruneFilesArgs, session: &Session<'_>) -> (FilesSelection, Option<Bytes>) {
    let set = &session.settings.snapshots;
    let most = args.max_size.or(set.max_size);
    let keep = args.keep_last.or(set.keep_last);
    let usual = || (keep.is_none() && most.is_none()).then_some(STAY);
    let ended_before = args.older_than.or(set.older_than).or_else(usual).map(|Millis(age)| {
        let ago = jiff::SignedDuration::from_millis(i64::try_from(age).unwrap_or(i64::MAX));
        session.clock.now().checked_sub(ago).unwrap_or(Timestamp::MIN)
    });
    let keep = usize::try_from(keep.unwrap_or(0)).unwrap_or(usize::MAX);
    (FilesSelection { ended_before, max_bytes: most.map(|most| most.0), keep }, most)
}

/// Off a terminal the command itself is the answer.
fn agreed(args: &PruneFilesArgs, remove: &[Losing], printer: &Printer) -> bool {
    if remove.is_empty() || args.yes || !printer.may_ask() {
        return true;
    }
    let bytes = remove.iter().map(|losing| losing.bytes).sum();
    printer.aside(format_args!("Remove the files of {} ({})? [y/N]", runs(remove.len()), size(bytes)));
    yes()
}

fn removed(losing: Losing) -> Removed {
    let Losing { record, bytes } = losing;
    Removed {
        run_id: record.id,
        workflow: record.workflow,
        status: record.status,
        finished_at: record.finished_at,
        bytes,
    }
}

fn show(report: &Report, printer: &Printer) {
    printer.object(report);
    if printer.json_wanted() {
        return;
    }
    let (number, left) = (runs(report.removed.len()), size(report.left_bytes));
    if report.dry_run {
        for run in &report.removed {
            let Removed { run_id, workflow, status, bytes, .. } = run;
            printer.line(format_args!("{run_id}  {workflow}  {status}  {}", size(*bytes)));
        }
        printer.line(format_args!("The files of {number} would be removed; {left} would be left."));
    } else {
        let freed = size(report.freed_bytes);
        printer.line(format_args!("Removed the files of {number}. Freed {freed}; {left} are left."));
    }
    for run in &report.kept {
        printer.note(format_args!("Those of {} stay: {}", run.run_id, run.message));
    }
    if report.kept.iter().any(|run| run.files.is_some()) {
        printer.hint("`wflo diff ID` shows them, `wflo apply ID` or `wflo discard ID` decides");
    }
    for later in &report.later {
        printer.note(format_args!("Freed by a later pass: {later}"));
    }
}
