//! `--apply`: a completed run's files into the project, by whichever process completes the run.
//!
//! The wish is one of the run's durable options. A process that dies between the run's end and the last
//! file leaves both to `wflo runs resume`, or to `wflo apply`: nothing is lost, and what the project has
//! already is not written again.

use wflo_core::approval::Decision;
use wflo_core::id::ApprovalId;
use wflo_core::ports::clock::Clock;
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::changes::{fate, record_applied};
use wflo_sandbox::workspace::ApplyOptions;

use super::desk::{Answer, Desk};
use super::finished_line;
use super::signals::Signals;
use super::terminal::Terminal;
use crate::commands::changes::{self, Files};
use crate::commands::{Context, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;

/// Whether the run's files are to be brought in and nobody has done it.
///
/// # Errors
/// Store errors.
async fn is_wanted(session: &Session<'_>, record: &RunRecord) -> Result<bool, CommandError> {
    if !record.options.apply || record.status != RunStatus::Completed {
        return Ok(false);
    }
    let fate = fate(session.store.as_ref(), record.id).await.map_err(CommandError::engine)?;
    Ok(fate.is_none())
}

/// Brings the files in when that was asked for; how the command ends if that is not as the run did. Where
/// approvals are required a person is asked first; without a terminal the files wait for `wflo apply`.
///
/// # Errors
/// Conflicts with what changed in the project meanwhile: nothing was written then.
pub(super) async fn bring_in(
    session: &Session<'_>,
    context: &Context<'_>,
    record: &RunRecord,
    (desk, signals): (&mut Desk<'_>, &mut Signals),
) -> Result<Option<Exit>, CommandError> {
    if !is_wanted(session, record).await? {
        return Ok(None);
    }
    let files = Files::open(session, record).await?;
    if files.changes()?.is_empty() {
        return Ok(None);
    }
    if record.options.require_approval
        && let Some(exit) = ask(session, context, record, &files, (desk, signals)).await?
    {
        return Ok(Some(exit));
    }
    write(session, context, record, &files).await.map_err(|error| error.of_run(record.id))?;
    Ok(None)
}

/// Asks; how the command ends when the answer is not yes.
async fn ask(
    session: &Session<'_>,
    context: &Context<'_>,
    record: &RunRecord,
    files: &Files,
    (desk, signals): (&mut Desk<'_>, &mut Signals),
) -> Result<Option<Exit>, CommandError> {
    let (printer, id) = (context.printer, record.id);
    if !desk.is_attended() {
        printer.note(format_args!(
            "The files are not in the project: --require-approval asks first. `wflo apply {id}` brings them in."
        ));
        return Ok(Some(Exit::Waiting));
    }
    let (asked_at, approval) = (session.clock.now(), ApprovalId::from_uuid(session.clock.uuid()));
    let request = files.question(record)?;
    desk.add(approval, Box::new(request.clone()));
    desk.put(&[]);
    let Some(answer) = answer(desk, signals).await else {
        printer.note(format_args!("\nThe files are not in the project. `wflo apply {id}` brings them in."));
        return Ok(Some(Exit::Waiting));
    };
    let decision = Decision {
        approved: answer.approved,
        by: who::local(),
        comment: answer.comment,
        amount: None,
        lasts: None,
        at: session.clock.now(),
    };
    changes::record_answer(session, record, (approval, request), decision, asked_at).await?;
    if answer.approved {
        return Ok(None);
    }
    printer.note(format_args!(
        "The files stay out of the project. `wflo discard {id}` forgets them, `wflo apply {id}` brings them in."
    ));
    Ok(Some(Exit::Rejected))
}

/// What the person says; nothing when the terminal goes, or a signal comes.
async fn answer(desk: &mut Desk<'_>, signals: &mut Signals) -> Option<Answer> {
    loop {
        tokio::select! {
            answer = desk.answer() => match answer {
                Some(answer) => return Some(answer),
                None if desk.is_attended() => {}
                None => return None,
            },
            () = signals.next() => return None,
        }
    }
}

async fn write(
    session: &Session<'_>,
    context: &Context<'_>,
    record: &RunRecord,
    files: &Files,
) -> Result<(), CommandError> {
    let (printer, id) = (context.printer, record.id);
    let options = ApplyOptions { definitions: files.definitions(), ..ApplyOptions::default() };
    let _alone = changes::deciding(session, record)?;
    // Somebody else may have decided meanwhile.
    if !is_wanted(session, record).await? {
        printer.note(format_args!(
            "The files of {id} were applied or discarded meanwhile: nothing was written."
        ));
        return Ok(());
    }
    let report = files.write(&options)?;
    changes::name_conflicts(printer, &report);
    let report = report.or_conflict()?;
    let written = changes::files_in(&report.applied);
    if !report.applied.is_empty() || !report.already.is_empty() {
        let (store, clock) = (session.store.as_ref(), session.clock.as_ref());
        let which = files.places(&report)?;
        record_applied(store, clock, record, written, Some(which)).await.map_err(CommandError::engine)?;
    }
    printer.note(match written {
        1 => "1 changed file is in the project now.".to_owned(),
        0 if !report.already.is_empty() => "The project has the run's changes already.".to_owned(),
        count => format!("{count} changed files are in the project now."),
    });
    let left_out = changes::left_out(&report.unconfirmed);
    for left in &left_out {
        printer.warning(left);
    }
    if !left_out.is_empty() {
        printer.hint(format_args!("`wflo apply {id}` asks about what was left out"));
    }
    changes::name_bare(printer, &report.without_attributes);
    for (path, _) in &report.hidden {
        printer.warning(format_args!("{path} is hidden from runs and was not written"));
    }
    Ok(())
}

/// `wflo runs resume` of a run that has completed, whose files a process that is gone was to bring in.
/// Nothing when there is nothing of that kind to do.
///
/// # Errors
/// As when the run itself ends here.
pub(crate) async fn bring_in_late(
    session: &Session<'_>,
    context: &Context<'_>,
    record: &RunRecord,
    terminal: Option<Terminal>,
) -> Result<Option<Exit>, CommandError> {
    if !is_wanted(session, record).await? || Files::open(session, record).await?.changes()?.is_empty() {
        return Ok(None);
    }
    let mut signals = Signals::new(false)?;
    let mut desk = Desk::new(context.printer, terminal);
    let exit = bring_in(session, context, record, (&mut desk, &mut signals)).await?;
    finished_line(session, context, record).await?;
    Ok(Some(exit.unwrap_or(Exit::Success)))
}
