//! `wflo diff`: a run's changes as unified text.

use std::ops::ControlFlow;

use serde::Serialize;
use wflo_engine::changes::{Fate, fate};
use wflo_sandbox::workspace::{Change, Hidden, Reason, Store, Text, TextLimits, WorkspaceError};

use crate::cli::DiffArgs;
use crate::commands::runs::{in_colour, letter};
use crate::commands::{Context, pick};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::{Paint, Printer, Table};

use super::error::ChangesError;
use super::{Files, count, files_in, in_project};

/// The most that the bar of `--stat` is wide.
const BAR: usize = 30;

/// One change; one line with `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    change: &'a Change,
    /// Why apply never writes it.
    hidden: Option<Reason>,
    added: usize,
    removed: usize,
    /// The unified diff; absent with `--stat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Whether something was left out of the text.
    shortened: bool,
}

pub(super) async fn run(args: &DiffArgs, context: &Context<'_>) -> Result<Exit, CommandError> {
    let printer = context.printer;
    let session = pick::existing(context)?;
    let record = pick::run(&session, &args.run).await?;
    let run = record.id;
    let fate = fate(session.store.as_ref(), run).await.map_err(CommandError::engine)?;
    if let Some(fate @ Fate::Discarded(_)) = fate {
        return Err(ChangesError::discarded(run, fate.applied()).into());
    }
    let files = Files::open(&session, &record).await?;
    let wanted = in_project(&args.paths, &files.project, &context.current)?;
    let mut changes = files.changes()?;
    if let Some(path) = wanted.iter().find(|path| !changes.iter().any(|change| change.path.is_within(path))) {
        return Err(CommandError::from(WorkspaceError::NotChanged { path: path.clone() }).of_run(run));
    }
    if !wanted.is_empty() {
        changes.retain(|change| wanted.iter().any(|path| change.path.is_within(path)));
    }
    if changes.is_empty() {
        match record.status.is_terminal() {
            true => printer.note(format_args!("Run {run} changed no files.")),
            false => printer.note(format_args!(
                "Run {run} is {} and has changed no files yet: what a step or a program writes is seen once it has ended.",
                record.status
            )),
        }
        return Ok(Exit::Success);
    }
    if show(&changes, &files.store, Some(&files.hidden), args.stat, printer)?.is_break() {
        return Ok(Exit::Success);
    }
    if !record.status.is_terminal() {
        printer.note(format_args!("\nRun {run} is {}: this is what it has changed so far.", record.status));
    }
    Ok(Exit::Success)
}

/// Prints changes, as text or as lines with `--json`; breaks off when nobody reads on.
///
/// # Errors
/// When a content cannot be read.
pub(crate) fn show(
    changes: &[Change],
    store: &Store,
    hidden: Option<&Hidden>,
    stat: bool,
    printer: &Printer,
) -> Result<ControlFlow<()>, WorkspaceError> {
    let paint = printer.paint();
    let mut table = Table::bare();
    let (mut added_all, mut removed_all) = (0, 0);
    for change in changes {
        let text = change.text(store, &TextLimits::default())?;
        let (added, removed) = (text.added, text.removed);
        let reason = hidden.and_then(|hidden| hidden.bars(&change.path));
        printer.object(&Line {
            change,
            hidden: reason,
            added,
            removed,
            text: (!stat).then_some(text.body.as_str()),
            shortened: text.shortened,
        });
        (added_all, removed_all) = (added_all + added, removed_all + removed);
        if stat {
            table.row(summed(paint, change, &text, reason));
        } else {
            printer.line(coloured(paint, &text.body).trim_end());
            if reason.is_some() {
                printer.line(paint.faint("(hidden: apply never writes it)"));
            }
        }
        if printer.is_closed() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if stat {
        printer.line(table);
        printer.line(format_args!("{}, +{added_all} -{removed_all}", count(files_in(changes))));
    }
    Ok(ControlFlow::Continue(()))
}

fn coloured(paint: Paint, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.lines().enumerate() {
        let shown = match line.chars().next() {
            _ if index < 2 => paint.strong(line),
            Some('+') => paint.good(line),
            Some('-') => paint.bad(line),
            Some('@') => paint.link(line),
            _ => line.to_owned(),
        };
        out.push_str(&shown);
        out.push('\n');
    }
    out
}

fn summed(
    paint: Paint,
    change: &Change,
    &Text { added, removed, shortened, .. }: &Text,
    hidden: Option<Reason>,
) -> Vec<String> {
    let all = (added + removed).max(1);
    let scaled = |lines: usize| if all <= BAR { lines } else { (lines * BAR).div_ceil(all) };
    let bar = format!("{}{}", paint.good("+".repeat(scaled(added))), paint.bad("-".repeat(scaled(removed))));
    let note = match hidden {
        Some(_) => "hidden: never applied",
        None if change.is_folder() => "folder",
        None if change.binary => "binary",
        None if shortened => "too large: not all is counted",
        None => "",
    };
    let slash = if change.is_folder() { "/" } else { "" };
    let name = in_colour(paint, change.kind, &format!("{} {}{slash}", letter(change.kind), change.path));
    vec![name, format!("+{added}"), format!("-{removed}"), bar, paint.faint(note)]
}
