//! Driving a new run in this process, from submission to what is said at its end.

use wflo_core::error::{Code, Failure};
use wflo_core::id::RunId;
use wflo_core::ports::clock::Clock;
use wflo_core::ports::store::Store;
use wflo_engine::engine::load;
use wflo_engine::{Runtime, Submission};

use super::attend::{Attendance, Left, Until};
use super::desk::Desk;
use super::end::End;
use super::signals::Signals;
use super::terminal::Terminal;
use super::view::View;
use super::watch::{exit_of, run_json};
use super::{detach, summary};
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;

/// Runs that nobody drives are named up to this many.
const NAMED: usize = 5;

/// How a run is driven.
pub(super) struct How {
    /// The person at the terminal.
    pub(super) terminal: Option<Terminal>,
    /// In a background process: where it reports to its parent.
    pub(super) background: Option<detach::Child>,
    /// The file of a written definition.
    pub(super) definition: Option<String>,
    /// Only record the run.
    pub(super) record_only: bool,
}

/// Submits and drives.
///
/// # Errors
/// Everything that keeps a run from being accepted or driven.
pub(super) async fn drive(
    session: &Session<'_>,
    context: &Context<'_>,
    submission: Submission,
    how: How,
) -> Result<Exit, CommandError> {
    let mut signals = Signals::new()?;
    let runtime = session.runtime().await?;
    let is_background = how.background.is_some();
    if !is_background && !context.printer.json_wanted() {
        name_left_behind(context, &runtime).await?;
    }
    let ended = accept_and_attend(session, context, &runtime, submission, how, &mut signals).await;
    if let Ok(Ended { left: Left::Interrupted, run: Some(run), .. }) = &ended {
        context.printer.note(format_args!(
            "\nStopping run {run}: model calls that are under way are finished first. Again to stop at once."
        ));
    }
    // Model calls settle first; a second signal does not wait for them.
    let at_once = tokio::select! {
        () = runtime.shutdown() => false,
        () = signals.next() => true,
    };
    let ended = ended?;
    let Some(run) = ended.run else {
        context.printer.note("Stopped before the run was accepted.");
        return Ok(Exit::Cancelled);
    };
    if let Some(exit) = ended.exit {
        return Ok(exit);
    }
    if at_once {
        context.printer.note("");
        context.printer.complain(&resumable(run));
        return Ok(Exit::Waiting);
    }
    stopped(session, context, run).await
}

/// How attendance ended.
struct Ended {
    left: Left,
    /// The run, once accepted.
    run: Option<RunId>,
    /// The exit code, when everything has been said.
    exit: Option<Exit>,
}

async fn accept_and_attend(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    submission: Submission,
    how: How,
    signals: &mut Signals,
) -> Result<Ended, CommandError> {
    if how.record_only {
        let prepared = runtime.prepare(submission).await.map_err(CommandError::engine)?;
        let run = runtime.record(prepared).await.map_err(CommandError::engine)?;
        recorded(session, context, run).await?;
        return Ok(Ended { left: Left::Done, run: Some(run), exit: Some(Exit::Success) });
    }
    let run = tokio::select! {
        run = runtime.submit(submission) => run.map_err(CommandError::engine)?,
        () = signals.next() => return Ok(Ended { left: Left::Interrupted, run: None, exit: None }),
    };
    let until = if how.background.is_some() { Until::Rests } else { Until::Ended };
    let is_background = how.background.is_some();
    if let Some(child) = how.background {
        child.accepted(run);
    }
    let record = session.store.run(run).await?.ok_or_else(|| vanished(run))?;
    let (definition, _) = load(session.store.as_ref(), &record).await.map_err(CommandError::engine)?;
    let mut view = View::new(context, &definition, run);
    let mut desk = Desk::new(context.printer, how.terminal);
    let (budget_key, trace_id) = (record.budget_key.clone(), record.trace_id.clone());
    let mut attendance = Attendance {
        session,
        runtime,
        run,
        budget_key,
        trace_id,
        is_background,
        view: &mut view,
        desk: &mut desk,
        signals,
    };
    let left = attendance.stay(until).await;
    let budget = attendance.budget().await?;
    view.finish(session.clock.now(), budget);
    let left = left?;
    if left == Left::Interrupted {
        return Ok(Ended { left, run: Some(run), exit: None });
    }
    let mut end = End { session, context, runtime, definition: how.definition, desk: &mut desk, signals };
    let exit = end.finish(run, &view.tree).await?;
    Ok(Ended { left, run: Some(run), exit: Some(exit) })
}

/// After an orderly stop.
async fn stopped(session: &Session<'_>, context: &Context<'_>, run: RunId) -> Result<Exit, CommandError> {
    let record = session.store.run(run).await?.ok_or_else(|| vanished(run))?;
    if record.status.is_terminal() {
        summary::error(context.printer, &record);
    } else {
        context.printer.complain(&resumable(run));
    }
    finished_line(session, context, run).await?;
    Ok(exit_of(&record))
}

pub(super) async fn finished_line(
    session: &Session<'_>,
    context: &Context<'_>,
    run: RunId,
) -> Result<(), CommandError> {
    if context.printer.json_wanted() {
        let json = run_json(session.store.as_ref(), run).await?;
        context.printer.object(&serde_json::json!({ "type": "run.finished", "run": json }));
    }
    Ok(())
}

async fn recorded(session: &Session<'_>, context: &Context<'_>, run: RunId) -> Result<(), CommandError> {
    if context.printer.json_wanted() {
        let json = run_json(session.store.as_ref(), run).await?;
        context.printer.object(&serde_json::json!({ "run_id": run, "run": json }));
    }
    context.printer.line(run);
    context.printer.note(format_args!("Recorded. `wflo runs resume {run}` starts it."));
    Ok(())
}

/// Runs of earlier processes that could go on.
async fn name_left_behind(context: &Context<'_>, runtime: &Runtime) -> Result<(), CommandError> {
    let left = runtime.engine.left_behind().await.map_err(CommandError::engine)?;
    for run in left.iter().take(NAMED) {
        context.printer.note(format_args!(
            "Run {} of {} was left behind: `wflo runs resume {0}` goes on with it.",
            run.id,
            crate::commands::plain::short(&run.workflow, 60)
        ));
    }
    if left.len() > NAMED {
        context.printer.note(format_args!("{} more: `wflo runs list`.", left.len() - NAMED));
    }
    Ok(())
}

/// The run was stopped from outside and can go on.
fn resumable(run: RunId) -> Failure {
    Failure::new(
        Code(8014),
        format!("run {run} was stopped before its end; nothing that it finished is lost"),
    )
    .with_hint(format!("`wflo runs resume {run}` goes on with it"))
}

pub(super) fn vanished(run: RunId) -> CommandError {
    CommandError::engine(wflo_engine::EngineError::NoRun(run))
}
