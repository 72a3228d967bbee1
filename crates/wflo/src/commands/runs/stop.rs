//! `wflo runs cancel` and `wflo runs pause`: a durable message, and its effect.
//!
//! Whoever drives the run acts on it; when nobody does, this process drives it just so far.

use std::time::Duration;

use serde::Serialize;
use wflo_core::id::RunId;
use wflo_core::ports::store::Store;
use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::changes::launch_of;
use wflo_engine::engine::send;
use wflo_engine::inbox::Message;
use wflo_engine::{EngineError, Progress, Runtime};

use crate::cli::RunRef;
use crate::commands::{Context, drivers, otlp, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;

use super::list::coloured;

/// How long the driving process has before this command returns with what is durable.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the store is asked meanwhile.
const POLL: Duration = Duration::from_millis(10);

/// What is asked of a run.
pub(super) enum Stop {
    Cancel { reason: Option<String> },
    Pause,
}

impl Stop {
    fn message(&self) -> Message {
        match self {
            Stop::Cancel { reason } => Message::Cancel { by: who::local(), reason: reason.clone() },
            Stop::Pause => Message::Pause { by: who::local() },
        }
    }

    fn is_done(&self, run: &RunRecord) -> bool {
        run.status.is_terminal() || (matches!(self, Stop::Pause) && run.status == RunStatus::Paused)
    }

    const fn verb(&self) -> &'static str {
        match self {
            Stop::Cancel { .. } => "cancel",
            Stop::Pause => "pause",
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Done {
    run_id: RunId,
    status: RunStatus,
    /// Whether the run stands as was asked for; else the message is kept for its driver.
    done: bool,
    driver: Option<drivers::LiveDriver>,
}

/// Asks it of a run.
pub(super) async fn run(which: &RunRef, stop: &Stop, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let record = pick::run(&session, which).await?;
    if record.status.is_terminal() {
        return Err(CommandError::engine(EngineError::Ended { run: record.id, status: record.status }));
    }
    if stop.is_done(&record) {
        return say(context, &record, true, None);
    }
    let message = stop.message();
    let sent = send(session.store.as_ref(), session.clock.as_ref(), record.id, &message).await;
    sent.map_err(CommandError::engine)?;
    if let Some(driver) = drivers::of(&session, &record)? {
        let patience = if driver.stopped { Duration::ZERO } else { PATIENCE };
        let reached = wait_for(&session, record.id, patience, |run| stop.is_done(run)).await?;
        if let Some(run) = reached {
            return say(context, &run, true, None);
        }
        context.printer.note(format_args!(
            "The {} is recorded; process {} acts on it as soon as it can.",
            stop.verb(),
            driver.pid
        ));
        if let Some(hint) = driver.hint() {
            context.printer.hint(hint);
        }
        return say(context, &record, false, Some(driver));
    }
    let runtime = session.runtime().await?;
    let here = carry_out(&session, context, &runtime, record.id).await;
    runtime.shutdown().await;
    here?;
    let run = session.store.run(record.id).await?.unwrap_or(record);
    let done = stop.is_done(&run);
    say(context, &run, done, None)
}

/// Drives a run that has such a message until it rests.
///
/// # Errors
/// Store errors; that the run was given up.
pub(super) async fn carry_out(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    run: RunId,
) -> Result<(), CommandError> {
    match runtime.engine.drive(run).await {
        Ok(()) => {}
        // Somebody was faster: the message is theirs.
        Err(EngineError::DrivenElsewhere { .. } | EngineError::Ended { .. }) => {
            wait_for(session, run, PATIENCE, |run| run.status.is_terminal()).await?;
            return Ok(());
        }
        Err(error) => return Err(CommandError::engine(error)),
    }
    match runtime.engine.settled(run).await.map_err(CommandError::engine)? {
        Progress::GivenUp(failure) => Err(CommandError::from_failure(failure)),
        _ => otlp::export(session, context, runtime, run, std::future::pending()).await,
    }
}

/// Waits until a run is as wanted, whichever process makes it so; `None` when the time is up.
///
/// # Errors
/// Store errors.
pub(super) async fn wait_for(
    session: &Session<'_>,
    run: RunId,
    patience: Duration,
    wanted: impl Fn(&RunRecord) -> bool,
) -> Result<Option<RunRecord>, CommandError> {
    let until = tokio::time::Instant::now() + patience;
    loop {
        let record = session.store.run(run).await?;
        if let Some(record) = record.filter(|record| wanted(record)) {
            return Ok(Some(record));
        }
        if tokio::time::Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn say(
    context: &Context<'_>,
    run: &RunRecord,
    done: bool,
    driver: Option<drivers::LiveDriver>,
) -> Result<Exit, CommandError> {
    let printer = context.printer;
    printer.object(&Done { run_id: run.id, status: run.status, done, driver });
    printer.line(format_args!("{} {}", run.id, coloured(printer.paint(), run.status)));
    if run.status == RunStatus::Paused {
        if launch_of(run).is_ok_and(|launch| launch.program.is_some()) {
            printer.note("Its program was ended, and what it had changed is lost: it begins anew.");
        }
        printer.note(format_args!("`wflo runs resume {}` goes on.", run.id));
    }
    Ok(if done { Exit::Success } else { Exit::Waiting })
}
