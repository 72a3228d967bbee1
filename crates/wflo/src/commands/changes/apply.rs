//! `wflo apply`: a run's changes into the project, all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wflo_core::id::RunId;
use wflo_core::ports::store::Store as _;
use wflo_core::run::RunRecord;
use wflo_engine::changes::{Fate, Places, fate, passed_written, record_applied};
use wflo_sandbox::workspace::{
    self, ApplyOptions, Change, Confirmed, Direction, Pending, RelPath, Report, Sensitive, pending_apply,
    resume_apply,
};

use crate::cli::ApplyArgs;
use crate::commands::runs::{in_colour, letter};
use crate::commands::{Context, freed, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::paths::lexical;
use crate::printer::Printer;
use crate::session::Session;

use super::error::ChangesError;
use super::{Files, count, deciding, files_in, hidden, in_project, open_fate};

/// What is to be brought in.
#[derive(Debug, Clone, Default)]
struct Wish {
    /// Only these; empty means everything.
    paths: Vec<RelPath>,
    /// Although the project changed them, too.
    force: Vec<RelPath>,
    /// Nothing is asked. What acts by itself comes in where it was named.
    yes: bool,
    /// The whole project was named.
    all: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    #[serde(flatten)]
    report: &'a Report,
}

pub(super) async fn run(args: &ApplyArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let Some(which) = &args.run else {
        let direction = if args.undo { Direction::Undo } else { Direction::Finish };
        return end_interrupted(direction, context).await;
    };
    let session = pick::existing(context)?;
    let record = pick::run(&session, which).await?;
    let root = &session.settings.project.root;
    let (all, paths) = whole_or_parts(&args.paths, root, &context.current);
    let wish = Wish {
        paths: in_project(&paths, root, &context.current)?,
        force: in_project(&args.force, root, &context.current)?,
        yes: args.yes,
        all,
    };
    match bring_in(&session, context, &record, &wish).await {
        Err(error) => match fate(session.store.as_ref(), record.id).await {
            // Whatever it met: somebody threw them away meanwhile, and their contents with them.
            Ok(Some(fate @ Fate::Discarded(_))) => {
                Err(ChangesError::discarded(record.id, fate.applied()).into())
            }
            _ => Err(error.of_run(record.id)),
        },
        ended => ended,
    }
}

/// Whether the whole project is among what was named, and what it is without that.
fn whole_or_parts(named: &[PathBuf], project: &Path, current: &Path) -> (bool, Vec<PathBuf>) {
    let from = current.canonicalize().unwrap_or_else(|_| current.to_path_buf());
    // What a name with `..` behind a link means is the system's to say, and by its text it may mean another place.
    let is_whole = |path: &PathBuf| {
        let path = from.join(path);
        lexical(&path) == project && path.canonicalize().is_ok_and(|found| found == project)
    };
    // A part of the whole adds nothing to it.
    if named.iter().any(is_whole) { (true, Vec::new()) } else { (false, named.to_vec()) }
}

/// `--yes` alone is a word about no file that acts by itself: nobody has seen which there are.
fn names_something(wish: &Wish) -> bool {
    wish.all || !wish.paths.is_empty()
}

/// Brings a run's changes into the project and records it.
///
/// # Errors
/// Conflicts (nothing was written then), a run that has not ended, changes that are gone or there already.
async fn bring_in(
    session: &Session<'_>,
    context: &Context<'_>,
    record: &RunRecord,
    wish: &Wish,
) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let run = record.id;
    let before = open_fate(session, record).await?;
    let files = Files::open(session, record).await?;
    let changes = files.changes()?;
    if changes.is_empty() {
        return Err(ChangesError::Nothing { run }.into());
    }
    let mut options = ApplyOptions {
        paths: wish.paths.clone(),
        force: wish.force.clone(),
        confirmed: if wish.yes && names_something(wish) { Confirmed::All } else { Confirmed::None },
        settled: match &before {
            Some(fate) => fate.written().places.among(&changes).cloned().collect(),
            None => BTreeSet::new(),
        },
        definitions: files.definitions(),
        dry_run: true,
        ..ApplyOptions::default()
    };
    let mut planned = refuse_conflicts(context, run, files.write(&options)?)?;
    let mut there = Vec::new();
    if !planned.unconfirmed.is_empty() {
        // What the project has already needs nobody's word.
        there = files.write(&ApplyOptions { confirmed: Confirmed::All, ..options.clone() })?.already;
        planned.unconfirmed.retain(|(change, _)| !there.contains(&change.path));
        if !wish.yes {
            options.confirmed = Confirmed::Paths(ask(context, &files, &planned.unconfirmed)?);
        }
    }
    options.dry_run = false;
    let alone = deciding(session, record)?;
    // While this asked, somebody may have thrown them away.
    open_fate(session, record).await?;
    let mut report = refuse_conflicts(context, run, files.write(&options)?)?;
    passed_written();
    report.unconfirmed.retain(|(change, _)| !there.contains(&change.path));
    if report.applied.is_empty() {
        if !report.unconfirmed.is_empty() {
            list_unconfirmed(context, run, &report);
            return Err(ChangesError::Unconfirmed { run }.into());
        }
        // Of what was named nothing follows for the rest.
        if wish.paths.is_empty() && matches!(before, Some(Fate::Applied(_))) {
            return Err(ChangesError::Applied { run }.into());
        }
    }
    let written = files_in(&report.applied);
    // Where everything is hidden nothing has become of the changes.
    if !report.applied.is_empty() || !report.already.is_empty() {
        let (store, clock) = (session.store.as_ref(), session.clock.as_ref());
        let which = files.places(&report)?;
        record_applied(store, clock, record, written, Some(which)).await.map_err(CommandError::engine)?;
    }
    drop(alone);
    printer.object(&Done { run_id: Some(run), report: &report });
    let paint = printer.paint();
    for change in &report.applied {
        let line = format!("{} {}", letter(change.kind), change.path);
        printer.line(format_args!("  {}", in_colour(paint, change.kind, &line)));
    }
    for path in &report.kept_folders {
        printer.warning(format_args!("the folder {path} stays: it holds files that the run did not see"));
    }
    for path in &report.edited {
        printer.note(format_args!(
            "  {path}  was applied before and has been changed here since: it stays as it is"
        ));
    }
    for (path, _) in &report.hidden {
        printer.warning(format_args!("{path} was left out: hidden paths are never written"));
    }
    name_bare(printer, &report.without_attributes);
    list_unconfirmed(context, run, &report);
    match (written, report.already.is_empty()) {
        (0, true) if report.applied.is_empty() => printer.line("Nothing was written."),
        (0, false) => printer.line("The project has these changes already; nothing was written."),
        (written, _) => {
            printer.line(format_args!("Applied {} to {}", count(written), files.project.display()))
        }
    }
    Ok(Exit::Success)
}

/// Names every conflict; nothing was written.
fn refuse_conflicts(context: &Context<'_>, run: RunId, report: Report) -> Result<Report, CommandError> {
    if report.conflicts.is_empty() {
        return Ok(report);
    }
    context.printer.object(&Done { run_id: Some(run), report: &report });
    name_conflicts(context.printer, &report);
    report.or_conflict().map_err(CommandError::from)
}

/// Names every conflict, and why it is one.
pub(crate) fn name_conflicts(printer: &Printer, report: &Report) {
    for conflict in &report.conflicts {
        let why = match conflict.reason {
            workspace::ConflictReason::BothChanged => "changed here since the run began",
            workspace::ConflictReason::TakenOver => {
                "changed here since the run that this one retries made it"
            }
            workspace::ConflictReason::NoFolder => "the folder it belongs in is gone",
            workspace::ConflictReason::FolderNotEmpty => {
                "a folder in its place holds files that the run did not see"
            }
            workspace::ConflictReason::OtherFileSystem => "it lies on another file system",
            workspace::ConflictReason::SameName => {
                "the file system here takes its name and another one for one; apply one of them by its path"
            }
            workspace::ConflictReason::ObjectsLeft => {
                "it may name objects of Git that are left out: apply all of that Git folder, or none of it"
            }
        };
        printer.note(format_args!("  {}  {why}", conflict.path));
    }
}

/// Says what came without attributes.
pub(crate) fn name_bare(printer: &Printer, paths: &[RelPath]) {
    for path in paths {
        printer.warning(format_args!(
            "{path} is there without its extended attributes: the file system does not take them"
        ));
    }
}

/// Asks about each sensitive change on a terminal; elsewhere none is confirmed.
fn ask(
    context: &Context<'_>,
    files: &Files,
    changes: &[(Change, Sensitive)],
) -> Result<Vec<RelPath>, CommandError> {
    let printer = context.printer;
    if !printer.may_ask() {
        return Ok(Vec::new());
    }
    let mut confirmed = Vec::new();
    // A folder is not asked about: it comes and goes with what is confirmed in it, and with no more of it.
    let (objects, rest): (Vec<_>, Vec<_>) = changes
        .iter()
        .filter(|(change, _)| !change.is_folder())
        .partition(|(_, why)| *why == Sensitive::GitObject);
    confirmed.extend(ask_about_objects(printer, &objects));
    for (change, why) in rest {
        let text = change.text(&files.store, &workspace::TextLimits::above_a_question())?;
        printer.aside(text.body.trim_end());
        if text.shortened {
            printer
                .aside(format_args!("  not all of it is shown: `wflo diff {}` has what can be", files.run));
        }
        forget_typed();
        printer.aside(format_args!("{} is {}. Apply it? [y/N]", change.path, what(*why)));
        if yes() {
            confirmed.push(change.path.clone());
        }
    }
    Ok(confirmed)
}

/// New objects of Git, by the repository that they belong to.
fn by_repository<'a>(objects: &[&'a (Change, Sensitive)]) -> BTreeMap<RelPath, Vec<&'a RelPath>> {
    let mut stores: BTreeMap<RelPath, Vec<&RelPath>> = BTreeMap::new();
    for (change, _) in objects {
        let store = change.path.parent().and_then(|folder| folder.parent()).unwrap_or_default();
        stores.entry(store).or_default().push(&change.path);
    }
    stores
}

/// A line for each file that was left out, and one for all the objects of a repository, which nobody can read.
pub(crate) fn left_out(changes: &[(Change, Sensitive)]) -> Vec<String> {
    let folders: BTreeSet<RelPath> = changes.iter().flat_map(|(change, _)| change.path.folders()).collect();
    // With what is in it a folder is left out, too.
    let is_of_another = |change: &Change| change.is_folder() && folders.contains(&change.path);
    let (objects, rest): (Vec<_>, Vec<_>) = changes
        .iter()
        .filter(|(change, _)| !is_of_another(change))
        .partition(|(change, why)| *why == Sensitive::GitObject && !change.is_folder());
    let of_objects = by_repository(&objects).into_iter().map(|(store, paths)| {
        let number = u64::try_from(paths.len()).unwrap_or(u64::MAX);
        let were = if number == 1 { "was" } else { "were" };
        format!(
            "{} with objects of Git for {store} {were} left out: what new commits are made of",
            count(number)
        )
    });
    let of_rest =
        rest.into_iter().map(|(change, why)| format!("{} was left out: it is {}", change.path, what(*why)));
    of_rest.chain(of_objects).collect()
}

/// Asks once about the new objects of each repository: they come in together or not at all, nobody can read them, and
/// nothing runs them.
fn ask_about_objects(printer: &Printer, objects: &[&(Change, Sensitive)]) -> Vec<RelPath> {
    let mut confirmed = Vec::new();
    for (store, paths) in by_repository(objects) {
        forget_typed();
        let number = u64::try_from(paths.len()).unwrap_or(u64::MAX);
        printer.aside(format_args!(
            "{store} gets {} with objects of Git: what its new commits are made of. Apply them? [y/N]",
            count(number)
        ));
        if yes() {
            confirmed.extend(paths.into_iter().cloned());
        }
    }
    confirmed
}

/// Forgets what was typed before a question could be read: it cannot be the answer to it.
fn forget_typed() {
    let _ = rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush);
}

/// One line from the terminal that says yes.
pub(crate) fn yes() -> bool {
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn list_unconfirmed(context: &Context<'_>, run: RunId, report: &Report) {
    if report.unconfirmed.is_empty() {
        return;
    }
    for left in left_out(&report.unconfirmed) {
        context.printer.warning(left);
    }
    let how = match context.printer.may_ask() {
        true => format!("`wflo apply {run}` asks again; or apply them"),
        false => "apply them on a terminal, or".to_owned(),
    };
    context.printer.hint(format_args!("{how} by name with `wflo apply {run} PATH --yes` (`.` names all)"));
}

/// What a sensitive change is to.
const fn what(why: Sensitive) -> &'static str {
    match why {
        Sensitive::Settings => "wflo's settings: limits and budgets of later runs",
        Sensitive::Definition => "a workflow definition",
        Sensitive::Database => {
            "what the next program that opens a database of the project takes for a part of it"
        }
        Sensitive::Program => "a key command of wflo.toml runs it, outside of every sandbox",
        Sensitive::Git => "a file of Git or of another version control",
        Sensitive::GitObject => "an object of Git",
        Sensitive::Shell => "a file that a shell runs",
        Sensitive::Interpreter => "a part of a Python, or a file that one runs by itself",
        Sensitive::Packages => "a file that a package manager runs, or that says where packages come from",
        Sensitive::Container => "a file that makes a container",
        Sensitive::Agent => "a file that steers a coding agent",
        Sensitive::Executable => "a new program",
        Sensitive::Ci => "a file that a build server, build tool or test runner runs",
        Sensitive::Editor => "a file that an editor, a debugger or a prompt of a language runs",
        Sensitive::LinkOutside => "a link that leads out of the project",
        Sensitive::LinkHidden => "a link to what is hidden from steps",
    }
}

/// Records a finished apply with its run, if that is still kept.
///
/// A crash before this leaves files of which the run knows nothing; the next `wflo apply` of it finds
/// them there and says so in the record.
async fn record_finished(
    context: &Context<'_>,
    pending: &Pending,
    left_alone: &[RelPath],
) -> Result<(), CommandError> {
    let Some(run) = pending.by.as_ref().and_then(|by| by.parse::<RunId>().ok()) else { return Ok(()) };
    let session = pick::existing(context)?;
    let store = session.store.as_ref();
    let Some(record) = store.run(run).await? else { return Ok(()) };
    let there: BTreeSet<&RelPath> = pending.paths.iter().filter(|path| !left_alone.contains(path)).collect();
    // Its trees may be gone by now; then only the number is known.
    let changes = Files::open(&session, &record).await.ok().and_then(|files| files.changes().ok());
    let which = changes.map(|changes| Places::of(&changes, &there));
    let written = pending.files.iter().filter(|path| there.contains(path)).count() as u64;
    let recorded = record_applied(store, session.clock.as_ref(), &record, written, which).await;
    recorded.map_err(CommandError::engine)
}

/// Finishes or takes back an apply that was cut short.
async fn end_interrupted(direction: Direction, context: &Context<'_>) -> Result<Exit, CommandError> {
    #[derive(Serialize)]
    struct Ended {
        id: Option<String>,
        direction: &'static str,
        paths: Vec<RelPath>,
        left_alone: Vec<RelPath>,
    }
    let printer = context.printer;
    let settings = context.settings(None)?;
    let word = match direction {
        Direction::Finish => "finished",
        Direction::Undo => "undone",
    };
    let mut ended = Ended { id: None, direction: word, paths: Vec::new(), left_alone: Vec::new() };
    let store = freed::workspaces(&settings, &settings.project.root)?;
    let alone = workspace::deciding(&store, &settings.project.root)?;
    let Some(pending) = pending_apply(&store, &settings.project.root)? else {
        printer.object(&ended);
        printer.line("No apply to this project was cut short.");
        return Ok(Exit::Success);
    };
    let rules = hidden(&settings, &[])?;
    let resumed = resume_apply(&store, &settings.project.root, &rules, direction)?;
    ended.left_alone = resumed.left_alone;
    if direction == Direction::Finish {
        record_finished(context, &pending, &ended.left_alone).await?;
    }
    drop(alone);
    ended.id = Some(pending.id);
    ended.paths = pending.paths;
    printer.object(&ended);
    for path in &ended.left_alone {
        printer.warning(format_args!("{path} was left as it is: somebody else has changed it since"));
    }
    name_bare(printer, &resumed.without_attributes);
    let paths = u64::try_from(ended.paths.len()).unwrap_or(u64::MAX);
    printer.line(format_args!("The apply that was cut short is {word}: {}.", count(paths)));
    Ok(Exit::Success)
}
