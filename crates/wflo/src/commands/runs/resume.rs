//! `wflo runs resume`: take a run over that nobody drives, and go on with it.

use std::time::Duration;

use wflo_core::run::{RunRecord, RunStatus};
use wflo_engine::engine::{load, send};
use wflo_engine::inbox::Message;
use wflo_engine::{EngineError, Runtime};

use crate::cli::RunRef;
use crate::commands::drive::{self, Until};
use crate::commands::{Context, drivers, pick, who};
use crate::exit::Exit;
use crate::failure::CommandError;
use crate::session::Session;

use super::stop::wait_for;

/// How long a live process has to take up a message before this command returns all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// Goes on with a run.
pub(super) async fn run(which: &RunRef, context: &Context<'_>) -> Result<Exit, CommandError> {
    let session = pick::existing(context)?;
    let record = pick::run(&session, which).await?;
    if record.status.is_terminal() {
        return Err(CommandError::engine(EngineError::Ended { run: record.id, status: record.status }));
    }
    let (_, state) = load(session.store.as_ref(), &record).await.map_err(CommandError::engine)?;
    let message = Message::Resume { by: who::local() };
    if let Some(driver) = drivers::of(&session, &record)? {
        if !state.paused || driver.stopped {
            return Err(driver.refusal(&record));
        }
        tell(&session, &record, &message).await?;
        let on = wait_for(&session, record.id, PATIENCE, |run| run.status != RunStatus::Paused).await?;
        let pid = driver.pid;
        if on.is_some() {
            context.printer.line(format_args!("Process {pid} goes on with {}.", record.id));
            return Ok(Exit::Success);
        }
        context.printer.note(format_args!("The message is kept; process {pid} has not taken it up yet."));
        return Ok(Exit::Waiting);
    }
    if state.paused {
        tell(&session, &record, &message).await?;
    }
    let runtime = session.runtime().await?;
    let ended = go_on(&session, context, &runtime, &record).await;
    runtime.shutdown().await;
    ended
}

async fn tell(session: &Session<'_>, record: &RunRecord, message: &Message) -> Result<(), CommandError> {
    let sent = send(session.store.as_ref(), session.clock.as_ref(), record.id, message).await;
    sent.map_err(CommandError::engine)
}

async fn go_on(
    session: &Session<'_>,
    context: &Context<'_>,
    runtime: &Runtime,
    record: &RunRecord,
) -> Result<Exit, CommandError> {
    let seen = drive::last_event(session, record.id).await?;
    // Before the claim, under the lease as it was read: whoever was faster makes this fail.
    match runtime.note_changed_code(record, record.lease_epoch).await {
        Ok(_) => {}
        Err(error @ EngineError::Store(_)) => return Err(CommandError::engine(error)),
        // The run has its own sealed copy: a project that cannot be read does not keep it from going on.
        Err(error) => context.printer.warning(format_args!("the project cannot be compared: {error}")),
    }
    runtime.engine.drive(record.id).await.map_err(CommandError::engine)?;
    drive::drive(session, context, runtime, record.id, seen, Until::Ended).await
}
