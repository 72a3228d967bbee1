//! Driving a run in the foreground, for commands that go on with one: `resume`, `retry`, `approve`.
//!
//! Owns what is shown meanwhile and how the command ends; what happens is the engine's.

use tokio::sync::broadcast::error::RecvError;
use wflo_core::approval::ApprovalStatus;
use wflo_core::event::Recorded;
use wflo_core::id::RunId;
use wflo_core::ports::store::{ApprovalFilter, Store};
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::{Progress, Runtime};

use crate::commands::run::watch::{exit_of, run_json};
use crate::commands::{Context, event_line, plain};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::printer::money;
use crate::session::Session;

/// How far a command drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// To the run's end, through its waits; a pause ends it, too.
    Ended,
    /// To the run's end or its next wait.
    Rests,
}

/// The number of a run's last event.
///
/// # Errors
/// Store errors.
pub(crate) async fn last_event(session: &Session<'_>, run: RunId) -> Result<u64, CommandError> {
    let mut last = 0;
    loop {
        let page = session.store.events(run, last, 1_000).await?;
        match page.last() {
            Some(event) => last = event.seq,
            None => return Ok(last),
        }
    }
}

/// Shows what happens after event `seen` in a run that `runtime` drives, and ends as `wflo run` does.
///
/// # Errors
/// Store errors; that the run was given up.
pub(crate) async fn drive(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    run: RunId,
    seen: u64,
    until: Until,
) -> Result<Exit, CommandError> {
    let progress = follow(session, context, runtime, run, seen, until).await?;
    if let Progress::GivenUp(failure) = progress {
        return Err(CommandError::from_failure(failure));
    }
    finish(session, context, run).await
}

async fn follow(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    run: RunId,
    mut seen: u64,
    until: Until,
) -> Result<Progress, CommandError> {
    let mut live = session.store.subscribe();
    catch_up(session, context, run, &mut seen).await?;
    // Whether the run rests and this command goes on waiting for it.
    let mut resting = false;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let progress = tokio::select! {
            biased;
            event = live.recv() => {
                match event {
                    Ok(event) if event.run_id == run => {
                        resting = false;
                        if event.seq == seen + 1 {
                            seen = event.seq;
                            show(context, &event);
                        } else if event.seq > seen {
                            catch_up(session, context, run, &mut seen).await?;
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => catch_up(session, context, run, &mut seen).await?,
                    Err(RecvError::Closed) => return Err(closed()),
                }
                continue;
            }
            progress = runtime.engine.settled(run), if !resting => progress,
            progress = runtime.engine.ended(run), if resting => progress,
            _ = &mut interrupted => {
                context.printer.note(format_args!("\nStopped. `wflo runs resume {run}` goes on."));
                let status = session.store.run(run).await?.map_or(RunStatus::Running, |r| r.status);
                return Ok(Progress::Parked(status));
            }
        };
        let progress = progress.map_err(CommandError::engine)?;
        if until == Until::Ended && progress == Progress::Parked(RunStatus::Waiting) {
            catch_up(session, context, run, &mut seen).await?;
            if !resting && let Some(record) = session.store.run(run).await? {
                left(session, context, &record).await?;
            }
            resting = true;
            continue;
        }
        catch_up(session, context, run, &mut seen).await?;
        return Ok(progress);
    }
}

fn closed() -> CommandError {
    CommandError::engine(wflo_engine::EngineError::ShuttingDown)
}

async fn catch_up(
    session: &Session<'_>,
    context: &Context<'_>,
    run: RunId,
    seen: &mut u64,
) -> Result<(), CommandError> {
    for event in session.store.events(run, *seen, 0).await? {
        *seen = event.seq;
        show(context, &event);
    }
    Ok(())
}

fn show(context: &Context<'_>, event: &Recorded) {
    context.printer.object(event);
    if !context.printer.json_wanted() {
        context.printer.note(event_line::line(context.printer.paint(), event));
    }
}

/// Prints how a run stands and gives the exit code for it.
async fn finish(session: &Session<'_>, context: &Context<'_>, run: RunId) -> Result<Exit, CommandError> {
    let printer = context.printer;
    if printer.json_wanted() {
        let json = run_json(session.store.as_ref(), run).await?;
        printer.object(&serde_json::json!({ "type": "run.finished", "run": json }));
    }
    let Some(record) = session.store.run(run).await? else { return Ok(Exit::Internal) };
    let cost = money(session.store.run_cost(run).await?);
    let paint = printer.paint();
    let status = super::runs::coloured(paint, record.status);
    printer.line(format_args!("{run} {status}, {cost}"));
    if record.status.is_terminal() {
        ended(session, context, &record).await?;
    } else {
        left(session, context, &record).await?;
    }
    Ok(exit_of(&record))
}

async fn ended(session: &Session<'_>, context: &Context<'_>, record: &RunRecord) -> Result<(), CommandError> {
    let printer = context.printer;
    if let Some(error) = &record.error {
        let mut error = error.clone();
        error.message = plain::block(&error.message);
        error.traceback = error.traceback.as_deref().map(plain::block);
        if !printer.json_wanted() {
            printer.failure(&error);
        }
    }
    let (changes, fate) = super::runs::changed_files(session, record).await?;
    if fate.is_none() && !changes.is_empty() {
        let (count, id) = (super::changes::count_of(&changes), record.id);
        printer.note(format_args!(
            "It changed {count}: `wflo diff {id}` shows them, `wflo apply {id}` brings them in."
        ));
    }
    Ok(())
}

/// What a run that rests waits for.
async fn left(session: &Session<'_>, context: &Context<'_>, record: &RunRecord) -> Result<(), CommandError> {
    let printer = context.printer;
    let filter = ApprovalFilter { statuses: vec![ApprovalStatus::Pending], run: Some(record.id), limit: 0 };
    for approval in session.store.approvals(filter).await? {
        printer.note(format_args!(
            "Waits for approval {}: {}\n  wflo approvals show {0}\n  wflo approvals approve {0}",
            approval.id,
            plain::short(&approval.request.title, 120),
        ));
    }
    if record.status == RunStatus::Paused {
        printer.note(format_args!("Paused: `wflo runs resume {}` goes on.", record.id));
    }
    Ok(())
}
