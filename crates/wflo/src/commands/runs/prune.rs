//! `wflo runs prune`: runs that ended long ago go, and what only they held is given back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use wflo_core::error::Failure;
use wflo_core::id::RunId;
use wflo_core::ports::clock::Clock as _;
use wflo_core::ports::store::{Reclaimed, Store as _};
use wflo_core::run::RunStatus;
use wflo_core::size::Millis;
use wflo_engine::retention::{self, Forgotten, Going, Plan, Selection, Staying, Trees, Why};

use crate::cli::PruneArgs;
use crate::commands::changes::{count, yes};
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::{Printer, size};
use crate::session::Session;

/// What ends a run's stay when nothing is said: 30 days.
pub(crate) const STAY: Millis = Millis(30 * 86_400_000);

/// What `--json` prints.
#[derive(Serialize, Default)]
struct Report {
    dry_run: bool,
    removed: Vec<Removed>,
    kept: Vec<Kept>,
    freed: Freed,
    records: Records,
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
    /// Files that nobody had decided about.
    discarded: u64,
}

/// What was selected and stays.
#[derive(Serialize)]
pub(crate) struct Kept {
    pub(crate) run_id: RunId,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<u64>,
    pub(crate) message: String,
}

#[derive(Serialize, Default)]
struct Freed {
    /// Disk space of the runs' files, in bytes.
    files_bytes: u64,
    /// Large values, in bytes.
    values_bytes: u64,
    /// By how much the database becomes smaller, in bytes.
    database_bytes: u64,
}

#[derive(Serialize, Default)]
struct Records {
    /// Rows of `_wflo_effects` that were removed.
    removed: u64,
    /// Databases that still have some.
    waiting: Vec<Waiting>,
}

#[derive(Serialize)]
struct Waiting {
    database: String,
    runs: u64,
    reason: Option<String>,
}

/// Removes what was selected and says what became of it.
pub(super) async fn run(args: &PruneArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let Some(session) = pick::session(context)? else {
        printer.object(&Report { dry_run: args.dry_run, ..Report::default() });
        printer.note("There are no runs yet.");
        return Ok(Exit::Success);
    };
    let store = session.store.as_ref();
    let workspaces = |project: &Path| freed::workspaces(&session.settings, project);
    let plan = retention::plan(store, &selection(args, &session), workspaces).await;
    let Plan { remove, stay } = plan.map_err(CommandError::engine)?;
    let mut report =
        Report { dry_run: args.dry_run, kept: stay.into_iter().map(kept).collect(), ..Report::default() };
    if args.dry_run {
        report.removed = remove.into_iter().map(removed).collect();
        show(&report, printer);
        return Ok(Exit::Success);
    }
    if !agreed(args, &remove, printer) {
        printer.note("Nothing was removed.");
        return Ok(Exit::Failed);
    }
    let mut projects = BTreeSet::from([session.settings.project.root.clone()]);
    for going in remove {
        let run = going.record.id;
        projects.extend(retention::project_of(&going.record).ok());
        match retention::remove(store, &going.record).await.map_err(CommandError::engine)? {
            Ok(()) => report.removed.push(removed(going)),
            Err(why) => report.kept.push(kept(Staying { run, why: Why::Needed(why) })),
        }
    }
    give_back(&session, projects, &mut report).await?;
    show(&report, printer);
    Ok(Exit::Success)
}

fn selection(args: &PruneArgs, session: &Session<'_>) -> Selection {
    // The newest are kept whatever their age; their number alone is a selection, too.
    let age = args.older_than.or_else(|| args.keep.is_none().then_some(STAY));
    let ended_before = age.map(|age| {
        let ago = jiff::SignedDuration::from_millis(i64::try_from(age.0).unwrap_or(i64::MAX));
        session.clock.now().checked_sub(ago).unwrap_or(Timestamp::MIN)
    });
    Selection {
        ended_before,
        keep: usize::try_from(args.keep.unwrap_or(0)).unwrap_or(usize::MAX),
        discard_changes: args.discard_changes,
    }
}

/// Off a terminal the command itself is the answer.
fn agreed(args: &PruneArgs, remove: &[Going], printer: &Printer) -> bool {
    if remove.is_empty() || args.yes || !printer.may_ask() {
        return true;
    }
    let files: u64 = remove.iter().map(|going| going.unapplied).sum();
    let with = if files == 0 {
        String::new()
    } else {
        format!(", with {} that were neither applied nor discarded", count(files))
    };
    printer.aside(format_args!("Remove {}{with}? [y/N]", runs(remove.len())));
    yes()
}

/// Everything that nothing refers to any more, of this pass and of earlier ones that were cut short.
async fn give_back(
    session: &Session<'_>,
    projects: BTreeSet<PathBuf>,
    report: &mut Report,
) -> Result<(), CommandError> {
    let store = session.store.as_ref();
    let (databases, root) = (session.databases(), &session.settings.project.root);
    let forgotten = retention::forget_records(store, &databases, root).await;
    let Forgotten { records, waiting } = forgotten.map_err(CommandError::engine)?;
    report.records.removed = records;
    for waiting in waiting {
        let (database, runs, reason) = (waiting.database, waiting.runs, waiting.reason);
        report.records.waiting.push(Waiting { database, runs, reason });
    }
    let Reclaimed { blob_bytes, database_bytes, busy, .. } = store.collect(session.clock.now()).await?;
    retention::passed_store();
    (report.freed.values_bytes, report.freed.database_bytes) = (blob_bytes, database_bytes);
    if busy {
        report.later.push("large values: other processes are adding some".to_owned());
    }
    for project in projects {
        match freed::trees(session, &project).await? {
            Trees::Collected(freed) => report.freed.files_bytes += freed.bytes,
            Trees::Left(why) => report.later.push(format!("files of {}: {why}", project.display())),
        }
    }
    Ok(())
}

fn removed(going: Going) -> Removed {
    let Going { record, unapplied } = going;
    Removed {
        run_id: record.id,
        workflow: record.workflow,
        status: record.status,
        finished_at: record.finished_at,
        discarded: unapplied,
    }
}

/// What is said of it.
pub(crate) fn kept(staying: Staying) -> Kept {
    let (reason, files, message) = match staying.why {
        Why::Unapplied(files) => {
            ("unapplied", Some(files), format!("{} neither applied nor discarded", count(files)))
        }
        Why::Needed(why) => ("needed", None, why),
        Why::Unreadable(Failure { message, .. }) => ("unreadable", None, message),
    };
    Kept { run_id: staying.run, reason, files, message }
}

fn show(report: &Report, printer: &Printer) {
    printer.object(report);
    if printer.json_wanted() {
        return;
    }
    let files: u64 = report.removed.iter().map(|run| run.discarded).sum();
    let with = if files == 0 { String::new() } else { format!(" and {} of theirs", count(files)) };
    let number = runs(report.removed.len());
    if report.dry_run {
        for run in &report.removed {
            let files =
                if run.discarded == 0 { String::new() } else { format!(", {}", count(run.discarded)) };
            printer.line(format_args!("{}  {}  {}{files}", run.run_id, run.workflow, run.status));
        }
        printer.line(format_args!("{number}{with} would be removed."));
    } else {
        let Freed { files_bytes, values_bytes, database_bytes } = report.freed;
        let all = files_bytes.saturating_add(values_bytes).saturating_add(database_bytes);
        printer.line(format_args!(
            "Removed {number}{with}. Freed {}: {} of files, {} of large values, {} of the database.",
            size(all),
            size(files_bytes),
            size(values_bytes),
            size(database_bytes)
        ));
        if report.records.removed > 0 {
            printer
                .line(format_args!("Removed {} records of effects from databases.", report.records.removed));
        }
    }
    for run in &report.kept {
        printer.note(format_args!("{} stays: {}", run.run_id, run.message));
    }
    if report.kept.iter().any(|run| run.files.is_some()) {
        printer.hint("`wflo diff ID` shows them, `wflo apply ID` or `wflo discard ID` decides; --discard-changes removes them with their runs");
    }
    for waiting in &report.records.waiting {
        if let Some(reason) = &waiting.reason {
            let runs = runs(usize::try_from(waiting.runs).unwrap_or(usize::MAX));
            let name = &waiting.database;
            printer.note(format_args!(
                "Records of {runs} stay in the database {name} until the next time: {reason}"
            ));
        }
    }
    for later in &report.later {
        printer.note(format_args!("Freed by a later pass: {later}"));
    }
}

/// `1 run`, `3 runs`.
pub(crate) fn runs(number: usize) -> String {
    if number == 1 { "1 run".to_owned() } else { format!("{number} runs") }
}
